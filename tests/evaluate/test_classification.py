"""Classification metrics against hand-worked values, Hanley and McNeil's ratings and scikit-learn."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from mmpkd.errors import InputError
from mmpkd.evaluate.classification import (
    auroc,
    average_precision,
    brier,
    calibration_bins,
    calibration_error,
    classification_scores,
)

NAN = float("nan")


def test_auroc_of_five_tied_ratings_is_that_of_hanley_and_mcneil() -> None:
    normal, abnormal = [33, 6, 6, 11, 2], [3, 2, 2, 11, 33]
    scores = np.concatenate([np.repeat([1, 2, 3, 4, 5], normal), np.repeat([1, 2, 3, 4, 5], abnormal)])
    labels = np.repeat([0, 1], [sum(normal), sum(abnormal)])
    assert auroc(scores, labels) == pytest.approx(0.8931710615280595, abs=1e-15)


def test_auroc_counts_a_rating_with_weights_as_that_many_cases() -> None:
    scores, weights = np.tile([1, 2, 3, 4, 5], 2), np.array([33, 6, 6, 11, 2, 3, 2, 2, 11, 33])
    assert auroc(scores, np.repeat([0, 1], 5), weights) == pytest.approx(0.8931710615280595, abs=1e-15)


@pytest.mark.parametrize("decimals", [1, 2, 12])
@pytest.mark.parametrize("weighted", [False, True])
def test_auroc_and_average_precision_agree_with_scikit_learn(decimals: int, weighted: bool) -> None:
    rng = np.random.default_rng(decimals)
    scores, labels = rng.random(400).round(decimals), rng.random(400) < 0.2
    weights = rng.integers(0, 4, 400) if weighted else None
    assert auroc(scores, labels, weights) == pytest.approx(
        roc_auc_score(labels, scores, sample_weight=weights), abs=1e-12
    )
    assert average_precision(scores, labels, weights) == pytest.approx(
        average_precision_score(labels, scores, sample_weight=weights), abs=1e-12
    )
    assert brier(scores, labels, weights) == pytest.approx(
        brier_score_loss(labels, scores, sample_weight=weights), abs=1e-12
    )


def test_infinite_scores_tie_with_each_other() -> None:
    # Pairs: (inf, inf) half, (inf, -inf) whole; (0, inf) none, (0, -inf) whole.
    scores, labels = np.array([np.inf, np.inf, 0.0, -np.inf]), np.array([1, 0, 1, 0])
    assert auroc(scores, labels) == 2.5 / 4


@pytest.mark.parametrize("label", [0.0, 1.0])
def test_one_class_leaves_ranking_metrics_undefined_and_brier_defined(label: float) -> None:
    p, y = np.array([0.2, 0.6]), np.array([label, label])
    assert np.isnan(auroc(p, y))
    assert np.isnan(average_precision(p, y))
    assert brier(p, y) == pytest.approx(((0.2 - label) ** 2 + (0.6 - label) ** 2) / 2)


def test_cases_without_a_label_are_left_out() -> None:
    p, y = np.array([0.1, 0.4, 0.4, 0.8, 0.0]), np.array([0, 0, 1, 1, NAN])
    assert auroc(p, y) == 0.875  # 3.5 of 4 pairs
    assert brier(p, y) == pytest.approx((0.01 + 0.16 + 0.36 + 0.04) / 4)


def test_no_label_at_all_is_nan_everywhere() -> None:
    p, y = np.array([0.3, 0.4]), np.array([NAN, NAN])
    assert all(np.isnan(metric(p, y)) for metric in (auroc, average_precision, brier, calibration_error))


def test_calibration_error_of_two_bins_by_hand() -> None:
    # Bins {.1, .3} with rate .5 and {.6, .8} with rate 1: .5 |.2 - .5| + .5 |.7 - 1| = .3
    assert calibration_error(np.array([0.8, 0.1, 0.6, 0.3]), np.array([1, 0, 1, 1]), bins=2) == pytest.approx(0.3)


def test_tied_probabilities_share_a_calibration_bin() -> None:
    bins = calibration_bins(np.array([0.5, 0.9, 0.5, 0.5, 0.1, 0.5]), bins=3)
    assert bins[[0, 2, 3, 5]].tolist() == [1, 1, 1, 1]
    assert bins[[4, 1]].tolist() == [0, 2]


def test_bins_hold_equal_numbers_without_ties() -> None:
    assert np.bincount(calibration_bins(np.random.default_rng(0).random(50), bins=10)).tolist() == [5] * 10


def test_a_constant_forecast_at_the_base_rate_is_calibrated() -> None:
    assert calibration_error(np.full(8, 0.25), np.array([1, 0, 0, 0, 1, 0, 0, 0])) == 0.0


def test_macro_is_the_mean_over_defined_findings_and_says_how_many() -> None:
    p = np.array([[0.1, 0.5], [0.4, 0.5], [0.4, 0.5], [0.8, 0.5]])
    y = np.array([[0, 0], [0, 0], [1, 0], [1, NAN]])
    table = classification_scores(p, y, ["nodule", "mass"]).set_index(["finding", "metric"])
    assert table.loc[("nodule", "auroc"), "value"] == 0.875
    assert np.isnan(table.loc[("mass", "auroc"), "value"])
    assert table.loc[("macro", "auroc"), ["value", "findings", "cases", "positives"]].tolist() == [
        0.875,
        1,
        4,
        2,
    ]
    assert table.loc[("mass", "brier"), ["value", "cases", "positives"]].tolist() == [0.25, 3, 0]
    assert table.loc[("macro", "brier"), "findings"] == 2


@pytest.mark.parametrize(
    ("scores", "labels", "words"),
    [
        ([0.5, NAN], [0, 1], "1 of 2 scores are NaN"),
        ([0.5, 0.5], [0, 2], "a label is 2"),
        ([0.5, 0.5, 0.5], [0, 1], "shapes"),
        ([0.5, 1.5], [0, 1], "a probability is 1.5"),
    ],
)
def test_bad_input_is_one_sentence(scores: list[float], labels: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        brier(np.array(scores), np.array(labels))


def test_a_negative_weight_is_refused() -> None:
    with pytest.raises(InputError, match="weight is negative"):
        auroc(np.array([0.1, 0.2]), np.array([0, 1]), np.array([1, -1]))
