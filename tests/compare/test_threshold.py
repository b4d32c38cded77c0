"""Where a line of gains meets 0, against simulation and in the cases without an answer."""

from __future__ import annotations

import numpy as np
import pytest

from mmpkd.compare.threshold import helping_threshold
from mmpkd.errors import InputError

QUALITY = np.linspace(0.5, 0.95, 8)


def test_a_line_without_noise_is_found() -> None:
    found = helping_threshold(QUALITY, 0.4 * (QUALITY - 0.7), np.full(8, 1e-4))
    assert found.crossing.estimate == pytest.approx(0.7)
    assert found.slope.estimate == pytest.approx(0.4)
    assert found.crossing.high - found.crossing.low < 0.001


def test_the_interval_covers() -> None:
    rng, errors = np.random.default_rng(0), np.linspace(0.02, 0.04, 8)
    held = 0
    for _ in range(1000):
        gain = 0.4 * (QUALITY - 0.7) + errors * rng.normal(size=8)
        crossing = helping_threshold(QUALITY, gain, errors).crossing
        held += np.isnan(crossing.low) or crossing.low <= 0.7 <= crossing.high
    assert 930 <= held <= 970


def test_a_slope_that_may_be_nothing_leaves_the_threshold_open() -> None:
    crossing = helping_threshold(QUALITY, np.full(8, 0.05), np.full(8, 0.02)).crossing
    assert np.isnan([crossing.low, crossing.high]).all()


@pytest.mark.parametrize(
    ("quality", "errors", "message"),
    [
        (QUALITY[:2], np.ones(2), "at least three teachers"),
        (np.full(4, 0.8), np.ones(4), "not equally good"),
        (QUALITY, np.zeros(8), "standard error above 0"),
    ],
)
def test_too_little_is_refused(quality: np.ndarray, errors: np.ndarray, message: str) -> None:
    with pytest.raises(InputError, match=message):
        helping_threshold(quality, np.zeros(len(quality)), errors)
