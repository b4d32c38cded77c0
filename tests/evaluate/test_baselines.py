"""Picture-blind baselines by hand."""

import numpy as np
import pytest

from mmpkd.errors import InputError
from mmpkd.evaluate.baselines import (
    centre_prior,
    chance_iou,
    chance_levels,
    leave_patient_out_priors,
    mean_roi_prior,
    resample_area,
    uniform_map,
)
from mmpkd.evaluate.localisation import localisation_scores


def test_chance_iou_by_hand() -> None:
    # A tenth on a fifth: expected overlap .02, union .1 + .2 - .02.
    assert chance_iou(0.1, np.array([0.2, 1.0, 0.0])) == pytest.approx([0.02 / 0.28, 0.1, 0.0])
    assert np.isnan(chance_iou(0.0, 0.0))


def test_chance_iou_agrees_with_random_maps() -> None:
    rng = np.random.default_rng(0)
    inside = rng.hypergeometric(2_000, 8_000, 1_000, 4_000)  # a tenth of 10,000 pixels on an ROI of a fifth
    assert np.mean(inside / (3_000 - inside)) == pytest.approx(float(chance_iou(0.1, 0.2)), abs=1e-3)


def test_areas_outside_the_image_are_refused() -> None:
    with pytest.raises(InputError, match="outside 0 to 1"):
        chance_iou(0.1, 12.0)


def test_centre_prior_is_a_gaussian_in_shares_of_the_side() -> None:
    prior = centre_prior(5, 4, sigma=0.25)
    assert prior.argmax() // 4 == 2
    assert prior == pytest.approx(prior[::-1, ::-1])
    # Row 0, column 0: v = .1 - .5, u = .125 - .5.
    assert prior[0, 0] == pytest.approx(np.exp(-(0.4**2 + 0.375**2) / (2 * 0.0625)))


def test_area_resampling_gives_the_coverage_of_each_cell() -> None:
    mask = np.array([[1, 1, 0], [1, 0, 0]])
    # Columns of 1.5 pixels: (1 + .5 x 1) / 1.5 and 0; (1 + 0) / 1.5 and 0.
    assert resample_area(mask, (2, 2)) == pytest.approx(np.array([[1.0, 1 / 3], [2 / 3, 0.0]]))


@pytest.mark.parametrize("shape", [(3, 5), (7, 4), (64, 64), (200, 1)])
def test_area_resampling_keeps_the_mean(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).random((11, 13))
    assert resample_area(image, shape).mean() == pytest.approx(image.mean())


def test_mean_roi_prior_averages_masks_of_different_sizes() -> None:
    left, top = np.zeros((4, 4), bool), np.zeros((2, 6), bool)
    left[:, :2], top[0] = True, True
    assert mean_roi_prior([left, top], (2, 2)) == pytest.approx(np.array([[1.0, 0.5], [0.5, 0.0]]))


def test_without_rois_the_prior_is_uniform() -> None:
    assert mean_roi_prior([], (2, 3)).tolist() == uniform_map(2, 3).tolist()


def test_a_patients_own_rois_are_not_in_their_prior() -> None:
    masks = [np.eye(2)[[k]].reshape(1, 2) for k in (0, 1, 0)]  # left, right, left
    priors = leave_patient_out_priors(masks, ["a", "b", "a"], (1, 2))
    # a sees only b's (right), b sees both of a's (left).
    assert priors[:, 0].tolist() == [[0, 1], [1, 0], [0, 1]]


def test_a_lone_patients_prior_is_uniform() -> None:
    priors = leave_patient_out_priors([np.eye(2), np.eye(2)], ["a", "a"], (2, 2))
    assert (priors == 1).all()


def test_leave_patient_out_agrees_with_the_mean_of_the_rest() -> None:
    rng = np.random.default_rng(1)
    masks, patients = [rng.random((9, 8)) < 0.4 for _ in range(6)], list("aabbcd")
    priors = leave_patient_out_priors(masks, patients, (5, 5))
    for k, patient in enumerate(patients):
        rest = [mask for mask, other in zip(masks, patients, strict=True) if other != patient]
        assert priors[k] == pytest.approx(mean_roi_prior(rest, (5, 5)), abs=1e-12)


def test_chance_levels_by_hand() -> None:
    levels = chance_levels(np.array([0.2]), ("top-area=0.1", "matched-area", "otsu"))
    shown = {key: values[0] for key, values in levels.items()}
    # IoU: .02 / .28, .04 / .36, and .2 where all is attended.
    assert [shown[p, "iou"] for p in ("top-area=0.1", "matched-area", "otsu")] == pytest.approx([1 / 14, 1 / 9, 0.2])
    assert [shown["top-area=0.1", m] for m in ("precision", "fdr", "recall", "fpr")] == pytest.approx(
        [0.2, 0.8, 0.1, 0.1]
    )
    assert {metric: value for (policy, metric), value in shown.items() if not policy} == pytest.approx(
        {
            "pointing": 0.2,
            "energy_enrichment": 1.0,
            "rank_accuracy": 0.2,
            "pixel_auroc": 0.5,
            "pixel_auprc": 0.2,
            "cnr": 0.0,
        }
    )


def test_chance_levels_agree_with_random_maps() -> None:
    rng = np.random.default_rng(0)
    maps, masks = rng.random((400, 32, 32)), np.zeros((400, 32, 32), bool)
    masks[:, :8, :16] = True
    scores, levels = localisation_scores(maps, masks), chance_levels(masks.mean(axis=(1, 2)))
    for key, values in scores.items():
        assert values.mean() == pytest.approx(levels[key][0], abs=0.02), key
