"""The published results of privileged learning, on fewer repetitions than the docs show."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def known_results(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("studies/known_results.py")


def test_a_regularised_teacher_passes_on_what_it_knows(known_results: ModuleType) -> None:
    found = known_results.lopez_paz(3, 1e-3, 1e-3, repetitions=8, test_cases=2000)
    means = [values.mean() for values in found]
    assert means == pytest.approx([0.98, 0.89, 0.97], abs=0.02)


def test_noise_before_the_label_is_what_a_teacher_takes_away(known_results: ModuleType) -> None:
    found = known_results.lopez_paz(1, 1e-3, 1e-4, repetitions=8, test_cases=2000)
    means = [values.mean() for values in found]
    assert means == pytest.approx([0.96, 0.88, 0.95], abs=0.02)


def test_a_saturated_teacher_passes_on_nothing(known_results: ModuleType) -> None:
    found = known_results.lopez_paz(3, known_results.SATURATED, 1e-3, repetitions=8, test_cases=2000)
    assert found.privileged.mean() > 0.98
    assert np.abs(found.gain).max() < 0.005


def test_sharing_decides_whether_a_teacher_hurts_or_helps(known_results: ModuleType) -> None:
    apart, all_shared = (known_results.modality_focusing(shared, repetitions=12).gain for shared in (0, 10))
    assert known_results.interval(apart)[2] < 0 < known_results.interval(all_shared)[1]
    for shared, gain in ((0, apart), (10, all_shared)):
        mean, low, high = known_results.interval(gain)
        theirs, their_low, their_high = known_results.authors_gain(shared, 60)
        assert abs(mean - theirs) < np.hypot(high - low, their_high - their_low) / 2


def test_the_authors_gains_have_t_intervals_of_their_printed_spread(
    known_results: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.array([-1.0, 0.5, 2.0])
    monkeypatch.setattr(known_results, "AUTHORS_RUNS", (3,))
    monkeypatch.setattr(known_results, "AUTHORS", {4: ((points.mean(), points.std()),)})
    assert known_results.authors_gain(4, 3) == pytest.approx(known_results.interval(points / 100))


def test_the_sign_change_lies_between_the_points_it_lies_between(known_results: ModuleType) -> None:
    none = np.zeros(3)
    curve = {
        gamma: known_results.Accuracies(none, none, np.array([-0.01, 0.0, 0.01]) * 1e-9 + gain)
        for gamma, gain in ((0.0, -0.02), (0.2, 0.01), (0.4, -0.01), (0.8, 0.03))
    }
    assert known_results.sign_change(curve, resamples=50) == pytest.approx((0.5, 0.5, 0.5))
