"""Seeds crossed with patients: by hand, its limits, and the coverage with few seeds that percentiles lack."""

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from mmpkd.compare.crossed import Crossed, combine_seeds, seeds_by_patients
from mmpkd.compare.intervals import mean_over_seeds, percentile_interval
from mmpkd.compare.resample import discrimination_draws, draw_counts, mean_draws
from mmpkd.compare.structural import auroc_covariance
from mmpkd.errors import InputError

NAN = float("nan")


def test_by_hand() -> None:
    # Over the draws: covariance (1 x 2 + 0 x -1 + -1 x -1) / 2 = 1.5, times 5/4. s^2 = 0.02 between 0.5 and 0.7.
    draws = np.array([[0.5, 1.0, 0.0, -1.0], [0.7, 2.0, -1.0, -1.0]])
    found = seeds_by_patients(draws, patients=5)
    assert found.estimate == pytest.approx(0.6)
    assert found.standard_error == pytest.approx(np.sqrt(0.01 + 1.875))
    bound = 0.01 / norm.ppf(2 / 3) ** 2  # of one degree of freedom: a square of a normal value is less in a third
    assert found.df == pytest.approx((bound + 1.875) ** 2 / (bound**2 / 1 + 1.875**2 / 4))


def test_where_patients_add_nothing_it_is_the_t_test_over_seeds() -> None:
    sample = np.array([0.02, 0.05, -0.01, 0.04])
    found = seeds_by_patients(np.repeat(sample[:, None], 11, axis=1), patients=30)
    expected = ttest_1samp(sample, 0.0)
    assert found.p() == pytest.approx(expected.pvalue, abs=1e-12)
    assert found.interval()[1:] == pytest.approx(tuple(expected.confidence_interval(0.95)), abs=1e-12)


def test_one_seed_has_the_error_over_patients_alone() -> None:
    found = seeds_by_patients(np.array([[5.0, 1.0, 2.0, 3.0, 4.0]]), patients=10)
    assert found == pytest.approx((5.0, np.sqrt(5 / 3 * 10 / 9), 9.0))


def test_seeds_that_disagree_about_patients_do_not_shrink_the_error() -> None:
    draws = np.array([[0.1, 1.0, -1.0, 1.0, -1.0], [0.3, -1.0, 1.0, -1.0, 1.0]])
    assert seeds_by_patients(draws, patients=50).standard_error == pytest.approx(0.1)


def test_undefined_draws_are_left_out_up_to_a_tenth() -> None:
    draws = np.random.default_rng(0).normal(size=(3, 21))
    draws[1, 5:7] = NAN
    kept = np.delete(draws, [5, 6], axis=1)
    assert seeds_by_patients(draws, 9) == pytest.approx(seeds_by_patients(kept, 9))
    draws[0, 9] = NAN
    assert np.isnan(seeds_by_patients(draws, 9)[1:]).all()
    assert np.isnan(seeds_by_patients(draws, 9).interval()[1:]).all()


def test_delongs_covariance_gives_what_the_draws_give() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random(150) < 0.4).astype(float)
    shared = rng.normal(size=(150, 1))
    scores = labels[:, None] * [1.0, 1.2, 0.8] + shared + 0.5 * rng.normal(size=(150, 3))
    aurocs = auroc_covariance(scores, labels)
    analytic = combine_seeds(aurocs.auroc, aurocs.covariance, 150)
    counts = draw_counts(150, 4000, rng)
    draws = discrimination_draws(scores, np.repeat(labels[:, None], 3, axis=1), np.arange(150), counts)[0]
    drawn = seeds_by_patients(draws, 150)
    assert analytic.estimate == pytest.approx(drawn.estimate, abs=1e-12)
    assert analytic.standard_error == pytest.approx(drawn.standard_error, rel=0.05)
    assert np.isnan(combine_seeds(aurocs.auroc, np.full((3, 3), NAN), 150).standard_error)


def test_nothing_varying_has_no_p() -> None:
    assert np.isnan(seeds_by_patients(np.ones((3, 5)), 4).p())


def test_three_seeds_that_vary_are_covered_where_percentiles_are_not() -> None:
    rng = np.random.default_rng(1)
    covered = np.zeros(2)
    for _ in range(400):
        values = rng.normal(size=(30, 1)) + np.sqrt(30) * rng.normal(size=3) + rng.normal(size=(30, 3))
        draws = mean_draws(values, np.arange(30), draw_counts(30, 200, rng))
        again = percentile_interval(mean_over_seeds(draws, draw_counts(3, 200, rng)))
        covered += [interval.low <= 0 <= interval.high for interval in (seeds_by_patients(draws, 30).interval(), again)]
    # Seeds make half of the variance of one seed's mean; Monte Carlo error is 0.011.
    assert 0.92 <= covered[0] / 400 <= 0.99
    assert covered[1] / 400 < 0.90


def test_three_seeds_that_agree_by_chance_claim_no_certainty() -> None:
    # Seeds vary three times as much as patients: with the plug-in degrees of freedom 92.2% are covered.
    rng = np.random.default_rng(4)
    drawn = rng.normal(size=(4000, 1)) + 3 * np.sqrt(3) * rng.normal(size=(4000, 3))
    intervals = [combine_seeds(values, np.ones((3, 3)), 1000).interval() for values in drawn]
    assert 0.935 <= np.mean([interval.low <= 0 <= interval.high for interval in intervals]) <= 0.965


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="at least two patients and one seed, not 1"):
        seeds_by_patients(np.zeros((2, 5)), 1)
    with pytest.raises(InputError, match="between 0 and 1"):
        Crossed(0.0, 1.0, 4.0).interval(95.0)
