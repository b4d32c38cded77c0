"""The top area tuned on validation ROIs."""

import numpy as np
import pytest

from mmpkd.errors import InputError
from mmpkd.evaluate.localisation import overlap
from mmpkd.evaluate.threshold import TopArea, parse_policy
from mmpkd.evaluate.tuning import DEFAULT_GRID, tune_top_area, youden_threshold


def test_the_share_of_the_best_mean_iou_is_chosen() -> None:
    # Ten pixels; ROIs of the top 2 and of the top 4. Areas 2: (1 + .5) / 2; 3: (2/3 + 3/4) / 2; 4: (.5 + 1) / 2.
    maps = np.tile(np.arange(10.0, 0, -1), (2, 1, 1)).reshape(2, 1, 10)
    masks = np.zeros((2, 1, 10), bool)
    masks[0, 0, :2] = masks[1, 0, :4] = True
    assert tune_top_area(maps, masks, (0.1, 0.2, 0.3, 0.4)) == 0.2  # of the equals 0.2 and 0.4 the smaller
    assert tune_top_area(maps[1:], masks[1:], (0.1, 0.2, 0.3, 0.4)) == 0.4


def test_it_agrees_with_scoring_each_share_and_is_recorded_as_a_policy() -> None:
    rng = np.random.default_rng(0)
    masks = rng.random((8, 12, 12)) < 0.2
    maps = masks * 0.3 + rng.random((8, 12, 12))
    share = tune_top_area(maps, masks)
    means = {other: overlap(maps, masks, TopArea(other)).iou.mean() for other in DEFAULT_GRID}
    assert means[share] == max(means.values())
    assert parse_policy(TopArea(share).name) == TopArea(share)


def test_maps_without_an_roi_are_left_out_and_none_at_all_is_refused() -> None:
    maps, masks = np.random.default_rng(0).random((2, 3, 3)), np.zeros((2, 3, 3), bool)
    with pytest.raises(InputError, match="no validation map has an ROI"):
        tune_top_area(maps, masks)
    masks[0, 0, 0] = True
    assert tune_top_area(maps, masks) == tune_top_area(maps[:1], masks[:1])


@pytest.mark.parametrize("grid", [(), (0.0, 0.1), (0.1, 1.5), (float("nan"),)])
def test_shares_that_are_none_are_refused(grid: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="shares to choose from"):
        tune_top_area(np.ones((1, 2, 2)), np.ones((1, 2, 2), bool), grid)


class TestYoudenThreshold:
    def test_it_is_the_best_of_all_thresholds_tried_one_by_one(self):
        rng = np.random.default_rng(2)
        for _ in range(20):
            labels = (rng.random(40) < 0.4).astype(float)
            labels[:2] = 0, 1
            p = np.round(np.clip(0.3 * labels + rng.random(40), 0, 1), 1)
            tried = {t: (p[labels == 1] >= t).mean() - (p[labels == 0] >= t).mean() for t in np.unique(p)}
            best = max(tried.values())
            assert youden_threshold(labels, p) == max(t for t, j in tried.items() if j > best - 1e-12)

    def test_missing_labels_are_left_out_and_one_class_is_a_coin_toss(self):
        assert youden_threshold(np.array([np.nan, 0, 1]), np.array([0.95, 0.2, 0.7])) == 0.7
        assert youden_threshold(np.array([1.0, 1.0]), np.array([0.2, 0.9])) == 0.5
        with pytest.raises(InputError, match="probability is NaN"):
            youden_threshold(np.array([0.0, 1.0]), np.array([np.nan, 0.9]))
