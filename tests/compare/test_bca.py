"""BCa and percentile intervals against scipy.stats.bootstrap over the same replicates."""

import numpy as np
import pytest
from scipy.stats import bootstrap

from mmpkd.compare.bca import bca_interval, jackknife_counts
from mmpkd.compare.intervals import percentile_interval
from mmpkd.compare.resample import discrimination_draws, draw_counts, mean_draws
from mmpkd.errors import InputError
from mmpkd.evaluate.classification import auroc

NAN = float("nan")
LEVEL = 0.9


@pytest.fixture(scope="module")
def skewed() -> np.ndarray:
    return np.random.default_rng(0).gamma(1.0, size=25)


def _mean(values: np.ndarray, axis: int = -1) -> np.ndarray:
    return np.mean(values, axis=axis)


def _as_draws(estimate: float, distribution: np.ndarray) -> np.ndarray:
    return np.concatenate([[estimate], distribution])


@pytest.mark.parametrize("level", [0.8, 0.95])
def test_a_mean_has_scipys_intervals_over_the_same_replicates(skewed: np.ndarray, level: float) -> None:
    left_out = mean_draws(skewed[:, None], np.arange(25), jackknife_counts(25))[0, 1:]
    results = {
        method: bootstrap((skewed,), _mean, n_resamples=999, confidence_level=level, method=method, rng=1)
        for method in ("BCa", "percentile")
    }
    draws = _as_draws(float(skewed.mean()), results["BCa"].bootstrap_distribution)
    limits = results["BCa"].confidence_interval
    assert bca_interval(draws, left_out, level=level)[1:] == pytest.approx((limits.low, limits.high), abs=1e-12)
    limits = results["percentile"].confidence_interval
    assert percentile_interval(draws, level)[1:] == pytest.approx((limits.low, limits.high), abs=1e-12)
    assert bca_interval(draws, left_out, level=level).low > percentile_interval(draws, level).low


def test_an_auroc_has_scipys_bca_interval_over_the_same_replicates() -> None:
    rng = np.random.default_rng(2)
    labels = (rng.random(40) < 0.4).astype(float)
    scores = labels + rng.normal(size=40)
    scipys = bootstrap(
        (scores, labels), auroc, paired=True, vectorized=False, n_resamples=300, confidence_level=LEVEL, rng=3
    )
    left_out = discrimination_draws(scores[:, None], labels[:, None], np.arange(40), jackknife_counts(40))[0][0, 1:]
    found = bca_interval(_as_draws(auroc(scores, labels), scipys.bootstrap_distribution), left_out, level=LEVEL)
    limits = scipys.confidence_interval
    assert found[1:] == pytest.approx((limits.low, limits.high), abs=1e-12)


def test_two_levels_are_scipys_two_samples() -> None:
    rng = np.random.default_rng(4)
    first, second = rng.gamma(1.0, size=8), rng.gamma(2.0, size=20)
    scipys = bootstrap(
        (first, second), lambda a, b, axis: a.mean(axis) + b.mean(axis), n_resamples=999, confidence_level=LEVEL, rng=5
    )
    left_out = [
        (values.sum() - values) / (len(values) - 1) + other.mean()
        for values, other in ((first, second), (second, first))
    ]
    draws = _as_draws(float(first.mean() + second.mean()), scipys.bootstrap_distribution)
    limits = scipys.confidence_interval
    assert bca_interval(draws, *left_out, level=LEVEL)[1:] == pytest.approx((limits.low, limits.high), abs=1e-12)


def test_our_own_replicates_give_scipys_limits_within_monte_carlo_error(skewed: np.ndarray) -> None:
    counts = draw_counts(25, 20_000, np.random.default_rng(6))
    draws = mean_draws(skewed[:, None], np.arange(25), counts)[0]
    left_out = mean_draws(skewed[:, None], np.arange(25), jackknife_counts(25))[0, 1:]
    limits = bootstrap((skewed,), _mean, n_resamples=20_000, rng=7).confidence_interval
    # A 2.5% quantile of 20,000 replicates has the standard error 0.0187 SD; both sides vary, and 4 of it is rare.
    tolerance = 4 * np.sqrt(2) * 0.0187 * draws.std()
    assert bca_interval(draws, left_out)[1:] == pytest.approx((limits.low, limits.high), abs=tolerance)


def test_symmetric_replicates_without_skew_give_percentiles() -> None:
    draws = np.concatenate([[0.0], np.linspace(-1, 1, 2001)])
    assert bca_interval(draws, np.array([-0.1, 0.1])) == pytest.approx(percentile_interval(draws), abs=1e-12)


def test_each_unit_is_left_out_once() -> None:
    assert jackknife_counts(3).tolist() == [[1, 0, 1, 1], [1, 1, 0, 1], [1, 1, 1, 0]]
    values, patients = np.array([1.0, 2.0, 4.0, 8.0]), np.array([0, 0, 1, 2])
    assert mean_draws(values[:, None], patients, jackknife_counts(3))[0] == pytest.approx([3.75, 6.0, 11 / 3, 7 / 3])


@pytest.mark.parametrize(
    "draws", [np.array([NAN, 1.0, 2.0]), np.array([1.5, 1.0, 2.0, NAN]), np.array([0.0, 1.0, 2.0])]
)
def test_undefined_replicates_and_replicates_on_one_side_have_no_interval(draws: np.ndarray) -> None:
    assert np.isnan(bca_interval(draws, np.array([0.1, 0.2]))[1:]).all()


def test_without_values_left_out_there_is_no_interval() -> None:
    draws = np.array([1.5, 1.0, 2.0])
    assert np.isnan(bca_interval(draws, np.array([NAN, 0.1, 0.2]))[1:]).all()
    with pytest.raises(InputError, match="jackknife_counts"):
        bca_interval(draws)
    with pytest.raises(InputError, match="at least two units"):
        jackknife_counts(1)
    with pytest.raises(InputError, match="between 0 and 1"):
        bca_interval(draws, np.array([0.1, 0.2]), level=95.0)
