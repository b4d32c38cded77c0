"""Intervals by hand, and the coverage that they promise."""

import numpy as np
import pytest

from mmpkd.compare.intervals import mean_over_findings, mean_over_seeds, percentile_interval
from mmpkd.compare.resample import draw_counts, mean_draws
from mmpkd.errors import InputError

NAN = float("nan")


def test_percentiles_of_the_replicates_around_the_samples_value() -> None:
    draws = np.concatenate([[7.0], np.arange(101)])
    assert percentile_interval(draws, 0.9) == pytest.approx((7.0, 5.0, 95.0))


def test_undefined_replicates_are_left_out_up_to_a_tenth() -> None:
    replicates = np.arange(100.0)
    replicates[:10] = NAN
    assert percentile_interval(np.concatenate([[50.0], replicates]), 0.5).low == pytest.approx(10 + 89 / 4)
    replicates[10] = NAN
    estimate, low, high = percentile_interval(np.concatenate([[50.0], replicates]), 0.5)
    assert estimate == 50.0
    assert np.isnan([low, high]).all()


def test_an_undefined_estimate_has_no_interval() -> None:
    assert np.isnan(percentile_interval(np.array([NAN, 1.0, 2.0]))).all()


@pytest.mark.parametrize("level", [0.0, 1.0, 95.0])
def test_a_level_outside_0_to_1_is_refused(level: float) -> None:
    with pytest.raises(InputError, match=r"between 0 and 1.*0\.95 is usual"):
        percentile_interval(np.zeros(3), level)


def test_seeds_are_averaged_as_often_as_they_were_drawn() -> None:
    values = np.array([[0.6, 0.5, NAN], [0.9, 0.8, 0.7]])
    counts = np.array([[1, 2, 0], [1, 0, 2]], dtype=np.uint8)
    assert mean_over_seeds(values, counts) == pytest.approx([0.75, 0.5, 0.7])


def test_a_drawn_seed_without_a_value_makes_the_replicate_undefined() -> None:
    assert np.isnan(mean_over_seeds(np.array([[NAN], [0.9]]), np.ones((2, 1), np.uint8))).all()


def test_macro_leaves_out_what_the_sample_or_the_replicate_does_not_define() -> None:
    values = np.array([[0.8, 0.6, NAN], [0.6, NAN, NAN], [NAN, 0.1, 0.2]])
    assert mean_over_findings(values)[:2] == pytest.approx([0.7, 0.6])
    assert np.isnan(mean_over_findings(values)[2])


def test_redrawing_patients_covers_where_redrawing_cases_would_not() -> None:
    # Ten equal cases a patient: an interval that forgot the patients would be about 3 times too narrow.
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        values = np.repeat(rng.normal(size=40), 10)[:, None]
        counts = draw_counts(40, 300, rng)
        interval = percentile_interval(mean_draws(values, np.repeat(np.arange(40), 10), counts)[0])
        held += interval.low <= 0 <= interval.high
    assert 0.90 <= held / 200 <= 0.98
