"""Where a line of gains meets 0, against simulation and in the cases without an answer."""

from __future__ import annotations

import numpy as np
import pytest

from mmpkd.compare.crossed import seeds_by_patients
from mmpkd.compare.threshold import RESOLUTION, helping_threshold
from mmpkd.errors import InputError

QUALITY = np.linspace(0.5, 0.95, 8)
SEEDS, PATIENTS, DRAWS = 5, 40, 200


def _exact(gain: np.ndarray) -> np.ndarray:
    return np.broadcast_to(gain[:, None, None], (len(gain), SEEDS, DRAWS))


def _studied(rng: np.random.Generator, slope: float, crossing: float) -> np.ndarray:
    """Simulate gains of students whose hard rivals, seeds and patients are shared, as draws of patients see them."""
    hard = 0.02 * rng.normal(size=(1, SEEDS, 1)) + 0.1 * rng.normal(size=(1, 1, PATIENTS))
    taught = 0.02 * rng.normal(size=(8, SEEDS, 1)) + 0.1 * rng.normal(size=(8, 1, PATIENTS))
    of_patients = slope * (QUALITY - crossing)[:, None, None] + taught - hard
    weights = rng.multinomial(PATIENTS, np.full(PATIENTS, 1 / PATIENTS), size=DRAWS - 1) / PATIENTS
    return np.concatenate([of_patients.mean(axis=2, keepdims=True), of_patients @ weights.T], axis=2)


def test_a_line_without_noise_is_found() -> None:
    found = helping_threshold(QUALITY, _exact(0.4 * (QUALITY - 0.7)), PATIENTS)
    assert found.crossing.estimate == pytest.approx(0.7)
    assert found.slope.estimate == pytest.approx(0.4)
    assert found.gain[:, 0] == pytest.approx(0.4 * (found.quality - 0.7))


def test_the_interval_covers_though_all_gains_share_their_rivals() -> None:
    rng, held = np.random.default_rng(0), 0
    for _ in range(1000):
        draws = _studied(rng, slope=0.4, crossing=0.7)
        _, low, high = helping_threshold(QUALITY, draws, PATIENTS, within=(0.7, 0.7 + RESOLUTION)).gain[0]
        held += low <= 0 <= high
    assert 930 <= held <= 970


def test_the_limits_are_the_outermost_points_where_the_line_may_be_0() -> None:
    found = helping_threshold(QUALITY, _studied(np.random.default_rng(3), slope=0.4, crossing=0.7), PATIENTS)
    possible = found.quality[(found.gain[:, 1] <= 0) & (found.gain[:, 2] >= 0)]
    assert found.crossing[1:] == (possible[0], possible[-1])
    assert 0.5 < found.crossing.low < found.crossing.estimate < found.crossing.high < 1


def test_a_slope_that_may_be_nothing_leaves_an_end_open() -> None:
    rng = np.random.default_rng(1)
    hurting = helping_threshold(QUALITY, _studied(rng, slope=0.1, crossing=1.2), PATIENTS)
    assert 0.5 < hurting.crossing.low < 1
    assert np.isnan(hurting.crossing.high)
    nothing = helping_threshold(QUALITY, _studied(rng, slope=0.0, crossing=0.7), PATIENTS)
    assert np.isnan(nothing.crossing[1:]).all()


def test_all_teachers_helping_leaves_the_threshold_outside() -> None:
    found = helping_threshold(QUALITY, _exact(0.1 + 0.1 * QUALITY), PATIENTS)
    assert found.crossing.estimate == pytest.approx(-1)
    assert np.isnan(found.crossing[1:]).all()


def test_a_point_of_the_line_has_the_interval_of_its_weighted_gains() -> None:
    draws = _studied(np.random.default_rng(2), slope=0.4, crossing=0.7)
    found = helping_threshold(QUALITY, draws, PATIENTS, within=(QUALITY.mean(), 1.0))
    assert found.gain[0] == pytest.approx(seeds_by_patients(draws.mean(axis=0), PATIENTS).interval())


def test_one_seed_speaks_of_its_students_alone() -> None:
    draws = _studied(np.random.default_rng(4), slope=0.4, crossing=0.7)[:, :1]
    found = helping_threshold(QUALITY, draws, PATIENTS, within=(QUALITY.mean(), 1.0))
    assert found.gain[0] == pytest.approx(seeds_by_patients(draws.mean(axis=0), PATIENTS).interval())
    assert np.isfinite(found.slope).all()


@pytest.mark.parametrize(
    ("quality", "gain", "message"),
    [
        (QUALITY[:2], 0.0, "at least three teachers"),
        (np.full(4, 0.8), 0.0, "not equally good"),
        (QUALITY, np.nan, "is not defined"),
    ],
)
def test_too_little_is_refused(quality: np.ndarray, gain: float, message: str) -> None:
    with pytest.raises(InputError, match=message):
        helping_threshold(quality, _exact(np.full(len(quality), gain)), PATIENTS)
