"""Localisation metrics by hand, and the properties that make them comparable between maps."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpkd.errors import InputError
from mmpkd.evaluate.baselines import chance_iou
from mmpkd.evaluate.localisation import (
    OVERLAP_METRICS,
    energy,
    energy_enrichment,
    localisation_scores,
    overlap,
    pointing,
    rank_accuracy,
)

POLICIES = ("top-area=0.1", "top-area=0.37", "matched-area")


def row(*values: float) -> np.ndarray:
    return np.array(values, dtype=float).reshape(1, 1, -1)


def random_pair(seed: int, levels: int = 1000) -> tuple[np.ndarray, np.ndarray]:
    """Five maps with ties (few levels: many) and ROIs of different size, none empty or whole."""
    rng = np.random.default_rng(seed)
    maps = rng.integers(0, levels, (5, 6, 7)).astype(float)
    maps[:, 0, 0] += 1  # never zero everywhere
    masks = rng.random((5, 6, 7)) < rng.uniform(0.1, 0.6, (5, 1, 1))
    masks[:, 2, 3], masks[:, 0, 1] = True, False
    return maps, masks


def test_energy_hand_checks() -> None:
    assert energy(row(0.7, 0.2, 0.1, 0), row(1, 0, 1, 0)) == pytest.approx([0.8])
    square = np.array([[[0.6, 0.2], [0.1, 0.1]]])
    assert energy(square, np.array([[[True, True], [False, False]]])) == pytest.approx([0.8])


def test_enrichment_is_energy_over_area() -> None:
    assert energy_enrichment(row(0.7, 0.2, 0.1, 0), row(1, 0, 0, 0)) == pytest.approx([0.7 / 0.25])


def test_rank_accuracy_and_top_three_overlap_hand_checks() -> None:
    heat, mask = row(0.9, 0.8, 0.7, 0.1, 0), row(1, 0, 1, 0, 0)
    assert rank_accuracy(heat, mask) == [0.5]
    assert overlap(heat, mask, "top-area=0.6").precision == pytest.approx([2 / 3])


def test_overlap_metrics_by_hand() -> None:
    # 10 pixels, top 4 attended, ROI of 3, of which 2 are attended: TP 2, FP 2, FN 1, TN 5.
    counts = overlap(row(9, 8, 7, 6, 5, 4, 3, 2, 1, 0), row(1, 0, 1, 0, 0, 0, 0, 0, 0, 1), "top-area=0.4")
    expected = {
        "iou": 2 / 5,
        "precision": 0.5,
        "recall": 2 / 3,
        "fdr": 0.5,
        "fpr": 2 / 7,
        "attended_area": 0.4,
    }
    assert {name: getattr(counts, name)[0] for name in OVERLAP_METRICS} == pytest.approx(expected)


def test_the_papers_false_positive_rate_can_only_be_a_discovery_rate() -> None:
    # A box of 10% of the image, a quarter of the attended area inside: fdr .75 is usual, fpr stays far below.
    heat, mask = np.zeros((1, 10, 10)), np.zeros((1, 10, 10), bool)
    heat[0, 0, :8], mask[0, 0, 6:], mask[0, 1, :6] = 1, True, True
    counts = overlap(heat, mask, "top-area=0.08")
    assert counts.fdr == pytest.approx([0.75])
    assert counts.fpr == pytest.approx([6 / 90])


def test_matched_area_attends_as_many_pixels_as_the_roi_has() -> None:
    maps, masks = random_pair(0)
    counts = overlap(maps, masks, "matched-area")
    assert counts.attended_px == pytest.approx(masks.sum(axis=(1, 2)))
    assert counts.precision == pytest.approx(counts.recall)


def test_pointing_counts_tied_maxima_as_the_share_that_hits() -> None:
    assert pointing(row(3, 3, 3, 1), row(1, 0, 1, 1)) == pytest.approx([2 / 3])
    assert pointing(row(1, 2, 0, 0), row(0, 1, 0, 0)).tolist() == [1.0]
    assert pointing(row(1, 2, 0, 0), row(1, 0, 1, 1)).tolist() == [0.0]


@pytest.mark.parametrize("policy", POLICIES)
def test_a_constant_map_scores_exactly_chance(policy: str) -> None:
    masks = random_pair(1)[1]
    maps = np.full(masks.shape, 0.3)
    area = masks.mean(axis=(1, 2))
    counts = overlap(maps, masks, policy)
    attended = area if policy == "matched-area" else np.full(5, float(policy.partition("=")[2]))
    assert counts.iou == pytest.approx(chance_iou(attended, area), abs=1e-14)
    assert counts.precision == pytest.approx(area)
    assert counts.recall == pytest.approx(attended)
    assert counts.fpr == pytest.approx(attended)
    assert pointing(maps, masks) == pytest.approx(area)
    assert energy_enrichment(maps, masks) == pytest.approx(np.ones(5))


def test_an_empty_roi_is_undefined_and_never_a_hit() -> None:
    scores = localisation_scores(np.random.default_rng(0).random((1, 4, 4)), np.zeros((1, 4, 4), bool), POLICIES)
    assert len(scores) == len(POLICIES) * len(OVERLAP_METRICS) + 3
    assert all(np.isnan(values).all() for values in scores.values())


def test_the_false_positive_rate_of_a_whole_image_roi_is_undefined() -> None:
    counts = overlap(np.random.default_rng(0).random((1, 4, 5)), np.ones((1, 4, 5), bool), "top-area=0.1")
    assert np.isnan(counts.fpr).all()
    assert counts.precision == pytest.approx([1.0])
    assert counts.iou == pytest.approx([0.1])


def test_an_all_zero_map_has_no_energy_but_points_as_chance_does() -> None:
    maps, mask = np.zeros((1, 2, 2)), np.array([[[True, False], [False, False]]])
    assert np.isnan(energy_enrichment(maps, mask)).all()
    assert pointing(maps, mask) == pytest.approx([0.25])


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 1000]))
def test_scores_do_not_depend_on_the_order_of_pixels(seed: int, levels: int) -> None:
    maps, masks = random_pair(seed, levels)
    order = np.random.default_rng(seed).permutation(42)
    shuffled = [x.reshape(5, 42)[:, order].reshape(5, 6, 7) for x in (maps, masks)]
    for key, values in localisation_scores(maps, masks, POLICIES).items():
        assert localisation_scores(*shuffled, POLICIES)[key] == pytest.approx(values, abs=1e-12)


@given(seed=st.integers(0, 10_000), power=st.integers(-8, 8))
def test_scores_do_not_depend_on_the_scale_of_the_map(seed: int, power: int) -> None:
    maps, masks = random_pair(seed, 5)
    for key, values in localisation_scores(maps, masks, POLICIES).items():
        scaled = localisation_scores(maps * 2.0**power, masks, POLICIES)[key]
        assert scaled == pytest.approx(values, abs=1e-12)


@given(seed=st.integers(0, 10_000))
def test_all_but_energy_see_only_the_order_of_values(seed: int) -> None:
    maps, masks = random_pair(seed, 5)
    bent = localisation_scores(np.expm1(maps), masks, POLICIES)
    for key, values in localisation_scores(maps, masks, POLICIES).items():
        if key[1] != "energy_enrichment":
            assert bent[key] == pytest.approx(values, abs=1e-12)


@given(seed=st.integers(0, 10_000))
def test_a_token_grid_against_coverage_scores_as_its_enlargement_against_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid, pixels = rng.integers(0, 4, (2, 3, 4)).astype(float) + 1, rng.random((2, 15, 20)) < 0.3
    coverage = pixels.reshape(2, 3, 5, 4, 5).mean(axis=(2, 4))
    large = localisation_scores(grid.repeat(5, axis=1).repeat(5, axis=2), pixels, POLICIES)
    for key, values in localisation_scores(grid, coverage, POLICIES).items():
        assert values == pytest.approx(large[key], abs=1e-12)


def test_half_precision_maps_score_as_their_double() -> None:
    maps, masks = random_pair(3, 5)
    double = localisation_scores(maps, masks, POLICIES)
    for key, values in localisation_scores(maps.astype(np.float16), masks, POLICIES).items():
        assert values == pytest.approx(double[key], rel=1e-6)


def test_many_maps_score_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks = random_pair(4)
    whole = localisation_scores(maps, masks)
    monkeypatch.setattr("mmpkd.evaluate.localisation._CHUNK_PIXELS", 84)  # two maps a piece
    for key, values in localisation_scores(maps, masks).items():
        assert values.tolist() == whole[key].tolist()
        assert values[3] == localisation_scores(maps[3:4], masks[3:4])[key][0]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (-0.5, "map 1 holds -0.5 at row 2, column 1; .* take its positive part"),
        (np.nan, "map 1 holds nan at row 2, column 1"),
        (np.inf, "map 1 holds inf at row 2, column 1"),
    ],
)
def test_a_map_with_a_bad_value_is_refused_with_its_place(value: float, words: str) -> None:
    maps = np.ones((2, 3, 2))
    maps[1, 2, 1] = value
    with pytest.raises(InputError, match=words):
        energy(maps, np.ones((2, 3, 2), bool))


@pytest.mark.parametrize("shape", [(2, 3, 3), (1, 3, 2), (2, 2, 3)])
def test_masks_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"maps are \(2, 3, 2\) and masks"):
        overlap(np.ones((2, 3, 2)), np.ones(shape, bool), "matched-area")


def test_a_mask_that_is_not_coverage_is_refused() -> None:
    with pytest.raises(InputError, match="mask holds a value outside 0 to 1"):
        pointing(np.ones((1, 2, 2)), np.full((1, 2, 2), 255))
