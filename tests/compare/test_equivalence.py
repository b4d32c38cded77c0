"""Two one-sided tests against scipy's one-sided t tests, by hand, and by intervals."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from mmpkd.compare.equivalence import equivalence_of_draws, equivalence_of_interval, tost
from mmpkd.compare.intervals import Interval
from mmpkd.errors import InputError

NAN = float("nan")


def test_by_hand_with_the_normal_distribution() -> None:
    # (0.004 - 0.02) / 0.008 = -2: p = P(Z <= -2) = 0.0227501; the other side has z = 3.
    found = tost(0.004, 0.008, 0.02)
    assert found.p == pytest.approx(0.0227501319, abs=1e-9)
    assert found.interval == pytest.approx((0.004, 0.004 - 1.6448536 * 0.008, 0.004 + 1.6448536 * 0.008), abs=1e-8)
    assert found.equivalent
    assert tost(-0.004, 0.008, 0.02).p == pytest.approx(found.p, abs=1e-15)


def test_t_agrees_with_scipys_one_sided_tests() -> None:
    values = np.array([0.03, -0.02, 0.05, 0.01, -0.04, 0.02])
    error = values.std(ddof=1) / np.sqrt(6)
    expected = max(
        ttest_1samp(values, -0.05, alternative="greater").pvalue, ttest_1samp(values, 0.05, alternative="less").pvalue
    )
    assert tost(values.mean(), error, 0.05, df=5.0).p == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("estimate", [0.0, 0.006, 0.0068421, 0.0068422, 0.03, -0.02])
def test_the_test_and_its_interval_agree(estimate: float) -> None:
    found = tost(estimate, 0.008, 0.02)
    assert found.equivalent == equivalence_of_interval(found.interval, 0.02)


def test_a_small_estimate_with_a_wide_interval_is_not_equivalent() -> None:
    assert not tost(0.001, 0.05, 0.02).equivalent


@pytest.mark.parametrize("error", [0.0, NAN])
def test_without_variation_there_is_no_evidence(error: float) -> None:
    found = tost(0.0, error, 0.02)
    assert np.isnan(found.p)
    assert not found.equivalent


def test_replicates_count_what_lies_beyond_the_margin() -> None:
    replicates = np.linspace(-0.01, 0.03, 400)  # 100 of them at 0.02 and above
    found = equivalence_of_draws(np.concatenate([[0.01], replicates]), 0.02)
    assert found.p == pytest.approx((np.count_nonzero(replicates >= 0.02) + 1) / 401)
    assert found.interval == pytest.approx((0.01, -0.008, 0.028))
    assert not found.equivalent
    assert equivalence_of_draws(np.concatenate([[0.01], replicates]), 0.031).p == pytest.approx(1 / 401)


def test_replicates_agree_with_the_normal_test_where_they_are_normal() -> None:
    draws = np.concatenate([[0.004], np.random.default_rng(0).normal(0.004, 0.008, 100_000)])
    assert equivalence_of_draws(draws, 0.02).p == pytest.approx(tost(0.004, 0.008, 0.02).p, abs=0.0015)


def test_undefined_replicates_beyond_a_tenth_leave_it_undefined() -> None:
    draws = np.concatenate([[0.0], np.zeros(80), np.full(20, NAN)])
    assert np.isnan(equivalence_of_draws(draws, 0.02).p)
    assert not equivalence_of_interval(Interval(0.0, NAN, NAN), 0.02)


@pytest.mark.parametrize("margin", [0.0, -0.1, NAN, np.inf])
def test_a_margin_is_a_number_above_0(margin: float) -> None:
    with pytest.raises(InputError, match="name it before the run"):
        tost(0.0, 0.01, margin)


def test_alpha_and_errors_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"0\.05 is usual"):
        tost(0.0, 0.01, 0.02, alpha=0.6)
    with pytest.raises(InputError, match=r"-0\.01"):
        tost(0.0, -0.01, 0.02)
