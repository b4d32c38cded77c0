"""Localisation metrics by hand, and the properties that make them comparable between maps."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score

from mmpkd.errors import InputError
from mmpkd.evaluate.baselines import chance_iou, chance_levels
from mmpkd.evaluate.localisation import (
    FREE_METRICS,
    OVERLAP_METRICS,
    cnr,
    energy,
    energy_enrichment,
    localisation_scores,
    overlap,
    pixel_auprc,
    pixel_auroc,
    pointing,
    rank_accuracy,
)

RANK_POLICIES = ("top-area=0.1", "top-area=0.37", "matched-area")
POLICIES = (*RANK_POLICIES, "otsu", "max-fraction=0.5")


Metric = Callable[[np.ndarray, np.ndarray], np.ndarray]


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


def test_pixel_auroc_and_average_precision_by_hand() -> None:
    # Inside 7 and 4, outside 6, 4, 1: 7 beats all 3; 4 beats 1 and ties with 4: (3 + 1.5) / 6.
    heat, mask = row(7, 6, 4, 4, 1), row(1, 0, 1, 0, 0)
    assert pixel_auroc(heat, mask) == pytest.approx([0.75])
    # Steps of recall: 7 alone (precision 1), then the tie of two (2 of 4).
    assert pixel_auprc(heat, mask) == pytest.approx([0.5 * 1 + 0.5 * 0.5])


def test_a_pixel_half_in_the_roi_counts_half_on_either_side() -> None:
    # Coverage 1, .5, 0 from the highest down: pairs 1 x .5 + 1 x 1 + .5 x 1, and the middle with itself half of .25.
    assert pixel_auroc(row(3, 2, 1), row(1, 0.5, 0)) == pytest.approx([(0.5 + 1 + 0.5 + 0.125) / (1.5 * 1.5)])


def test_cnr_is_signed_and_by_hand() -> None:
    # Inside 3, 5: mean 4, variance 1. Outside 0, 1, 2: mean 1, variance 2/3.
    heat, mask = row(3, 5, 0, 1, 2), row(1, 1, 0, 0, 0)
    assert cnr(heat, mask) == pytest.approx([3 / np.sqrt(1 + 2 / 3)])
    assert cnr(heat, 1 - mask) == pytest.approx([-3 / np.sqrt(1 + 2 / 3)])


def test_contrast_without_noise_is_undefined_even_where_means_round() -> None:
    mask = np.zeros((1, 3, 7))
    mask[0, :, :3] = 1
    for inside, outside in ((0.7, 0.1), (1.0, 0.0), (0.1, 0.3)):
        assert np.isnan(cnr(np.where(mask > 0, inside, outside), mask)).all()


def test_cnr_sees_little_noise_and_large_or_tiny_values() -> None:
    rng = np.random.default_rng(0)
    mask = np.zeros((1, 8, 8))
    mask[0, :4] = 1
    heat = 1 + mask + 1e-9 * rng.random((1, 8, 8))
    expected = (heat[0, :4].mean() - heat[0, 4:].mean()) / np.sqrt(heat[0, :4].var() + heat[0, 4:].var())
    for scale in (1.0, 1e-300, 1e300):
        assert cnr(heat * scale, mask) == pytest.approx([expected], rel=1e-5)


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 1000]))
def test_pixel_auroc_and_average_precision_agree_with_scikit_learn(seed: int, levels: int) -> None:
    maps, masks = random_pair(seed, levels)
    pairs = [(mask.ravel(), heat.ravel()) for heat, mask in zip(maps, masks, strict=True)]
    assert pixel_auroc(maps, masks) == pytest.approx([roc_auc_score(*pair) for pair in pairs], abs=1e-12)
    assert pixel_auprc(maps, masks) == pytest.approx([average_precision_score(*pair) for pair in pairs], abs=1e-12)


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5]))
def test_covered_pixels_are_weights_as_scikit_learn_means_them(seed: int, levels: int) -> None:
    rng = np.random.default_rng(seed)
    heat, coverage = rng.integers(0, levels, (1, 4, 5)).astype(float), rng.random((1, 4, 5)).round(2)
    y, weights = np.repeat([1, 0], 20), np.concatenate([coverage.ravel(), 1 - coverage.ravel()])
    values = np.tile(heat.ravel(), 2)
    assert pixel_auroc(heat, coverage) == pytest.approx([roc_auc_score(y, values, sample_weight=weights)])
    assert pixel_auprc(heat, coverage) == pytest.approx([average_precision_score(y, values, sample_weight=weights)])


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
    attended = {"matched-area": area, "otsu": np.ones(5), "max-fraction=0.5": np.ones(5)}.get(policy)
    attended = np.full(5, float(policy.partition("=")[2])) if attended is None else attended
    assert counts.iou == pytest.approx(chance_iou(attended, area), abs=1e-14)
    assert counts.precision == pytest.approx(area)
    assert counts.recall == pytest.approx(attended)
    assert counts.fpr == pytest.approx(attended)
    assert pointing(maps, masks) == pytest.approx(area)
    assert energy_enrichment(maps, masks) == pytest.approx(np.ones(5))
    assert pixel_auroc(maps, masks) == pytest.approx(np.full(5, 0.5), abs=1e-15)
    assert pixel_auprc(maps, masks) == pytest.approx(area)
    assert np.isnan(cnr(maps, masks)).all()


def test_a_constant_map_scores_the_stated_chance_levels_and_never_a_hit() -> None:
    masks = np.concatenate([random_pair(2)[1], np.zeros((1, 6, 7), bool), np.ones((1, 6, 7), bool)])
    levels = chance_levels(masks.mean(axis=(1, 2)), POLICIES)
    scores = localisation_scores(np.full(masks.shape, 0.3), masks, POLICIES)
    assert list(levels) == list(scores)
    for key, values in scores.items():
        expected = np.full(7, np.nan) if key[1] == "cnr" else levels[key]
        assert values == pytest.approx(expected, abs=1e-14, nan_ok=True), key
    assert levels["", "cnr"] == pytest.approx([0, 0, 0, 0, 0, np.nan, np.nan], nan_ok=True)
    assert (scores["", "pointing"][:5] < 1).all()


def test_an_empty_roi_is_undefined_and_never_a_hit() -> None:
    scores = localisation_scores(np.random.default_rng(0).random((1, 4, 4)), np.zeros((1, 4, 4), bool), POLICIES)
    assert len(scores) == len(POLICIES) * len(OVERLAP_METRICS) + len(FREE_METRICS)
    assert all(np.isnan(values).all() for values in scores.values())


def test_the_false_positive_rate_of_a_whole_image_roi_is_undefined() -> None:
    counts = overlap(np.random.default_rng(0).random((1, 4, 5)), np.ones((1, 4, 5), bool), "top-area=0.1")
    assert np.isnan(counts.fpr).all()
    assert counts.precision == pytest.approx([1.0])
    assert counts.iou == pytest.approx([0.1])


@pytest.mark.parametrize("metric", [pixel_auroc, pixel_auprc, cnr])
@pytest.mark.parametrize("inside", [0.0, 1.0])
def test_what_needs_pixels_inside_and_outside_is_undefined_without(metric: Metric, inside: float) -> None:
    maps = np.random.default_rng(0).random((2, 4, 5))
    assert np.isnan(metric(maps, np.full((2, 4, 5), inside))).all()


@pytest.mark.parametrize("policy", ["otsu", "max-fraction=0.5"])
def test_a_zero_map_attends_nothing_where_its_values_set_the_area(policy: str) -> None:
    maps, mask = np.zeros((1, 2, 2)), np.array([[[True, False], [False, False]]])
    counts = overlap(maps, mask, policy)
    assert np.isnan([counts.precision, counts.fdr]).all()
    assert [counts.iou, counts.recall, counts.fpr, counts.attended_area] == [0, 0, 0, 0]


def test_an_all_zero_map_has_no_energy_but_points_as_chance_does() -> None:
    maps, mask = np.zeros((1, 2, 2)), np.array([[[True, False], [False, False]]])
    assert np.isnan(energy_enrichment(maps, mask)).all()
    assert pointing(maps, mask) == pytest.approx([0.25])


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([2, 5, 1000]))
def test_scores_do_not_depend_on_the_order_of_pixels(seed: int, levels: int) -> None:
    maps, masks = random_pair(seed, levels)
    order = np.random.default_rng(seed).permutation(42)
    shuffled = [x.reshape(5, 42)[:, order].reshape(5, 6, 7) for x in (maps, masks)]
    again = localisation_scores(*shuffled, POLICIES)
    for key, values in localisation_scores(maps, masks, POLICIES).items():
        assert again[key] == pytest.approx(values, abs=1e-12, nan_ok=True)


@given(seed=st.integers(0, 10_000), power=st.integers(-8, 8))
def test_scores_do_not_depend_on_the_scale_of_the_map(seed: int, power: int) -> None:
    maps, masks = random_pair(seed, 5)
    scaled = localisation_scores(maps * 1.5**power, masks, POLICIES)
    for key, values in localisation_scores(maps, masks, POLICIES).items():
        assert scaled[key] == pytest.approx(values, abs=1e-12, nan_ok=True)


@given(seed=st.integers(0, 10_000))
def test_all_but_energy_and_contrast_see_only_the_order_of_values(seed: int) -> None:
    maps, masks = random_pair(seed, 5)
    bent = localisation_scores(np.expm1(maps), masks, RANK_POLICIES)
    for key, values in localisation_scores(maps, masks, RANK_POLICIES).items():
        if key[1] not in ("energy_enrichment", "cnr"):
            assert bent[key] == pytest.approx(values, abs=1e-12)


@given(seed=st.integers(0, 10_000))
def test_a_token_grid_against_coverage_scores_as_its_enlargement_against_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    grid, pixels = rng.integers(0, 4, (2, 3, 4)).astype(float) + 1, rng.random((2, 15, 20)) < 0.3
    coverage = pixels.reshape(2, 3, 5, 4, 5).mean(axis=(2, 4))
    large = localisation_scores(grid.repeat(5, axis=1).repeat(5, axis=2), pixels, POLICIES)
    for key, values in localisation_scores(grid, coverage, POLICIES).items():
        assert values == pytest.approx(large[key], abs=1e-12, nan_ok=True)


def test_half_precision_maps_score_as_their_double() -> None:
    maps, masks = random_pair(3, 5)
    double = localisation_scores(maps, masks, POLICIES)
    for dtype in (np.float16, np.float32, np.int32):
        for key, values in localisation_scores(maps.astype(dtype), masks, POLICIES).items():
            assert values == pytest.approx(double[key], rel=1e-6)


def test_many_maps_score_as_each_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    maps, masks = random_pair(4)
    whole = localisation_scores(maps, masks, POLICIES)
    monkeypatch.setattr("mmpkd.evaluate.ranking.CHUNK_PIXELS", 84)  # two maps a piece
    alone = localisation_scores(maps[3:4], masks[3:4], POLICIES)
    for key, values in localisation_scores(maps, masks, POLICIES).items():
        assert values.tolist() == whole[key].tolist()
        assert values[3] == alone[key][0]


def test_no_maps_give_no_scores() -> None:
    nothing = np.zeros((0, 3, 4))
    scores = localisation_scores(nothing, nothing.astype(bool), POLICIES)
    assert {values.shape for values in scores.values()} == {(0,)}


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
