"""Power and detectable differences by hand, by simulation, and against Hanley and McNeil's table."""

import numpy as np
import pytest

from mmpkd.compare.equivalence import tost
from mmpkd.compare.power import (
    planned_auroc_error,
    planned_difference_error,
    power_of_difference,
    power_of_equivalence,
    sample_size_multiplier,
    smallest_detectable_difference,
    standard_error_of_draws,
)
from mmpkd.errors import InputError

NAN = float("nan")


def test_the_smallest_detectable_difference_is_280_standard_errors() -> None:
    assert smallest_detectable_difference(0.01) == pytest.approx(0.01 * (1.959964 + 0.841621), abs=1e-8)
    assert smallest_detectable_difference(0.02, power=0.9, alpha=0.01) == pytest.approx(
        0.02 * (2.575829 + 1.281552), abs=1e-7
    )


def test_power_inverts_it() -> None:
    difference = smallest_detectable_difference(0.013, power=0.85)
    assert power_of_difference(difference, 0.013) == pytest.approx(0.85, abs=1e-6)
    assert power_of_difference(0.0, 0.013) == pytest.approx(0.05, abs=1e-12)
    assert power_of_difference(-difference, 0.013) == power_of_difference(difference, 0.013)


def test_power_of_equivalence_is_the_share_of_studies_called_equivalent() -> None:
    found = np.random.default_rng(0).normal(0.005, 0.01, 20_000)
    share = np.mean([tost(float(estimate), 0.01, 0.03).equivalent for estimate in found[:4000]])
    assert power_of_equivalence(0.03, 0.01, 0.005) == pytest.approx(share, abs=0.025)
    assert power_of_equivalence(0.03, 0.01, 0.03) == pytest.approx(0.05, abs=1e-4)
    assert power_of_equivalence(0.01, 0.01) == 0.0


def test_half_the_difference_takes_four_times_the_patients() -> None:
    detectable = smallest_detectable_difference(0.01)
    assert sample_size_multiplier(detectable, 0.01) == pytest.approx(1.0)
    assert sample_size_multiplier(-detectable / 2, 0.01) == pytest.approx(4.0)
    with pytest.raises(InputError, match="smallest one that matters"):
        sample_size_multiplier(0.0, 0.01)


def test_the_standard_error_of_replicates_leaves_the_sample_and_undefined_ones_out() -> None:
    assert standard_error_of_draws(np.array([100.0, 1, 2, 3, 4])) == pytest.approx(np.sqrt(5 / 3))
    draws = np.concatenate([[0.0], np.tile([1.0, 3.0], 10), [NAN]])
    assert standard_error_of_draws(draws) == pytest.approx(np.sqrt(20 / 19))
    assert np.isnan(standard_error_of_draws(np.array([0.0, 1.0, NAN, 2.0])))


def test_a_planned_error_is_that_of_hanley_and_mcneil() -> None:
    # 51 abnormal and 58 normal at A = .893: Q1 = .80669, Q2 = .84252; (.09555 + 50 x .00924 + 57 x .04507) / 2958.
    assert planned_auroc_error(0.893, 51, 58) == pytest.approx(0.0325, abs=1e-4)
    # A = .5 is Mann and Whitney's variance: (m + n + 1) / (12 m n).
    assert planned_auroc_error(0.5, 30, 70) ** 2 == pytest.approx(101 / (12 * 2100), rel=1e-12)


def test_pairing_shrinks_the_error_of_a_difference() -> None:
    assert planned_difference_error(0.03, 0.04, 0.0) == pytest.approx(0.05)
    assert planned_difference_error(0.03, 0.04, 0.5) == pytest.approx(np.sqrt(0.0013))


@pytest.mark.parametrize("error", [0.0, NAN])
def test_a_study_in_which_nothing_varied_tells_nothing(error: float) -> None:
    assert np.isnan(smallest_detectable_difference(error))
    assert np.isnan(power_of_difference(0.1, error))
    assert np.isnan(power_of_equivalence(0.1, error))


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match=r"0\.8 is usual"):
        smallest_detectable_difference(0.1, power=1.0)
    with pytest.raises(InputError, match="not negative"):
        power_of_difference(0.1, -1.0)
    with pytest.raises(InputError, match=r"0\.05 is usual"):
        power_of_difference(0.1, 1.0, alpha=0.0)
    with pytest.raises(InputError, match="both kinds"):
        planned_auroc_error(0.8, 0, 10)
    with pytest.raises(InputError, match="within ±1"):
        planned_difference_error(0.1, 0.1, 1.5)
