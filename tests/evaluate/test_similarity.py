"""Similarities by hand, against scipy and against a plain loop; and maps of several seeds as one."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from mmpkd.errors import InputError
from mmpkd.evaluate.similarity import (
    MEASURES,
    TopOverlap,
    disagreement,
    ensemble,
    similarity,
    spearman,
    ssim,
    top_overlap,
)


def random_maps(seed: int, shape: tuple[int, ...] = (5, 6, 7), levels: int = 1000) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, levels, shape).astype(float)


def row(*values: float) -> np.ndarray:
    return np.array(values, dtype=float).reshape(1, 1, -1)


def ssim_in_loops(a: np.ndarray, b: np.ndarray, window: tuple[int, int]) -> float:
    """Wang et al.'s equation for one pair, written out with a window of the given sides."""
    a, b = (a - a.min()) / (a.max() - a.min()), (b - b.min()) / (b.max() - b.min())
    high, wide = window
    weights = {
        (y, x): math.exp(-((y - high // 2) ** 2 + (x - wide // 2) ** 2) / (2 * 1.5**2))
        for y in range(high)
        for x in range(wide)
    }
    total = sum(weights.values())
    values = []
    for top in range(a.shape[0] - high + 1):
        for left in range(a.shape[1] - wide + 1):

            def mean(of: np.ndarray, top: int = top, left: int = left) -> float:
                return sum(w * of[top + y, left + x] for (y, x), w in weights.items()) / total

            ma, mb = mean(a), mean(b)
            va, vb, cov = mean((a - ma) ** 2), mean((b - mb) ** 2), mean((a - ma) * (b - mb))
            over = (2 * ma * mb + 0.0001) * (2 * cov + 0.0009)
            values.append(over / ((ma**2 + mb**2 + 0.0001) * (va + vb + 0.0009)))
    return sum(values) / len(values)


@pytest.mark.parametrize(
    ("shape", "window"), [((6, 6), (3, 3)), ((8, 14), (5, 7)), ((3, 9), (3, 5)), ((24, 22), (11, 11)), ((4, 4), (3, 3))]
)
def test_ssim_equals_the_equation_in_loops(shape: tuple[int, int], window: tuple[int, int]) -> None:
    a, b = random_maps(1, (3, *shape)), random_maps(2, (3, *shape))
    b = 0.5 * a + b
    expected = [ssim_in_loops(x, y, window) for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(ssim(a, b), expected, rtol=1e-9)


def test_ssim_of_one_window_by_hand() -> None:
    # A map of two pixels has one window of equal weights: means 1/2, variances 1/4, covariance -1/4.
    assert ssim(row(0, 1), row(0, 5)) == pytest.approx([1.0])
    assert ssim(row(0, 1), row(5, 0)) == pytest.approx([(-0.5 + 0.0009) / (0.5 + 0.0009)])


@given(st.integers(0, 10_000), st.sampled_from([2, 4, 1000]))
def test_spearman_is_scipys_under_ties(seed: int, levels: int) -> None:
    a, b = random_maps(seed, (3, 3, 4), levels), random_maps(seed + 1, (3, 3, 4), levels)
    a[:, 0, 0], b[:, 1, 1] = levels, levels  # never constant
    expected = [spearmanr(x.ravel(), y.ravel()).statistic for x, y in zip(a, b, strict=True)]
    np.testing.assert_allclose(spearman(a, b), expected, atol=1e-12)


def test_top_overlap_by_hand() -> None:
    heat = row(9, 8, 7, 6, 5, 4, 3, 2, 1, 0)
    assert top_overlap(heat, heat[..., ::-1], 0.5) == [0]
    assert top_overlap(heat, row(9, 8, 0, 0, 5, 4, 3, 7, 6, 5), 0.4) == pytest.approx([2 / 6])
    assert top_overlap(heat, row(0, 0, 9, 0, 0, 0, 0, 0, 0, 0), 0.01) == [0]  # at least one pixel: the first


def test_top_overlap_shares_ties_out() -> None:
    # The second place falls on two of three pixels: 1 + 1/2 x 1 of 2 + 2.
    assert top_overlap(row(3, 2, 1, 0), row(3, 1, 1, 0), 0.5) == pytest.approx([1.5 / 2.5])
    flat, heat = np.ones((1, 10, 10)), random_maps(3, (1, 10, 10))
    assert top_overlap(flat, heat, 0.2) == pytest.approx([0.2 / 1.8])


@pytest.mark.parametrize("name", MEASURES)
class TestEveryMeasure:
    def test_identical_maps_score_one_at_any_scale(self, name: str) -> None:
        maps = np.argsort(random_maps(4, (5, 36), 10**6)).reshape(5, 6, 6).astype(float)
        np.testing.assert_allclose(similarity(maps, maps, MEASURES[name]), 1.0, rtol=1e-12)
        np.testing.assert_allclose(similarity(maps, 3e-9 * maps + 7e-9, MEASURES[name]), 1.0, rtol=1e-5)

    def test_is_symmetric_and_row_by_row(self, name: str) -> None:
        a, b = random_maps(5), random_maps(6)
        both = similarity(a, b, MEASURES[name])
        np.testing.assert_allclose(both, similarity(b, a, MEASURES[name]), rtol=1e-12)
        one = similarity(a[2:3], b[2:3], MEASURES[name])
        np.testing.assert_allclose(both[2:3], one, rtol=1e-12)

    def test_half_precision_is_read_exactly(self, name: str) -> None:
        a, b = random_maps(7).astype(np.float16), random_maps(8).astype(np.float16)
        exact = similarity(a.astype(float), b.astype(float), MEASURES[name])
        np.testing.assert_array_equal(similarity(a, b, MEASURES[name]), exact)

    def test_random_maps_are_hardly_alike(self, name: str) -> None:
        alike = similarity(random_maps(9, (200, 8, 8)), random_maps(10, (200, 8, 8)), MEASURES[name])
        chance = {"ssim": 0.0, "spearman": 0.0, "top_overlap": 6 / 64 / (2 - 6 / 64)}[name]
        assert alike.mean() == pytest.approx(chance, abs=0.05)

    def test_no_maps_give_no_values(self, name: str) -> None:
        assert similarity(np.zeros((0, 4, 4)), np.zeros((0, 4, 4)), MEASURES[name]).shape == (0,)

    def test_shapes_that_differ_are_refused(self, name: str) -> None:
        with pytest.raises(InputError, match=r"\(2, 3, 4\) and \(2, 4, 3\)"):
            similarity(np.ones((2, 3, 4)), np.ones((2, 4, 3)), MEASURES[name])

    def test_a_broken_map_is_named(self, name: str) -> None:
        maps = random_maps(11)
        maps[3, 0, 0] = np.nan
        with pytest.raises(InputError, match="map 3 holds NaN"):
            similarity(maps, random_maps(12), MEASURES[name])


def test_a_constant_map_has_no_structure_and_no_order() -> None:
    maps, flat = random_maps(13, (2, 4, 4)), random_maps(13, (2, 4, 4))
    flat[1] = 5.0
    for measure in (ssim, spearman):
        assert np.isnan(measure(maps, flat)).tolist() == [False, True]
        assert np.isnan(measure(flat, flat)).tolist() == [False, True]


def test_a_share_outside_its_range_is_refused() -> None:
    for share in (0.0, 1.5, float("nan")):
        with pytest.raises(InputError, match="share of highest pixels"):
            TopOverlap(share)


def test_the_ensemble_weighs_seeds_alike_whatever_their_scale() -> None:
    maps = np.stack([row(1, 3, 0, 0), 100 * row(0, 1, 1, 0), row(0, 0, 0, 0)])
    np.testing.assert_allclose(ensemble(maps), row(0.25 / 3, 1.25 / 3, 0.5 / 3, 0))


def test_disagreement_is_the_deviation_of_shares() -> None:
    maps = np.stack([row(1, 3, 0, 0), 100 * row(0, 1, 1, 0), row(0, 0, 0, 0)])  # the zero map is left out
    root = math.sqrt(2)
    np.testing.assert_allclose(disagreement(maps), row(0.25 / root, 0.25 / root, 0.5 / root, 0))
    assert np.isnan(disagreement(maps[1:])).all()
    assert disagreement(random_maps(14, (4, 2, 3, 5, 6))).shape == (2, 3, 5, 6)


def test_only_maps_can_be_combined() -> None:
    for broken in (np.full((2, 1, 2, 2), np.nan), np.full((2, 1, 2, 2), -1.0), np.zeros((0, 1, 2, 2))):
        with pytest.raises(InputError, match="finite and >= 0"):
            ensemble(broken)
