"""Bootstrap statistics against a plain loop over replicates with the same counts."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from mmpkd.compare import resample
from mmpkd.compare.resample import calibration_draws, discrimination_draws, draw_counts, mean_draws
from mmpkd.errors import InputError
from mmpkd.evaluate.classification import average_precision, calibration_bins, calibration_error

CASES, PATIENTS, REPLICATES = 150, 60, 40


@pytest.fixture
def sample() -> dict[str, np.ndarray]:
    """Three columns of scores: fine, coarse (many ties) and with missing labels; up to several cases a patient."""
    rng = np.random.default_rng(3)
    scores = rng.random((CASES, 3))
    scores[:, 1] = scores[:, 1].round(1)
    labels = (rng.random((CASES, 3)) < 0.3 * scores + 0.1).astype(float)
    labels[rng.random(CASES) < 0.2, 2] = np.nan
    return {
        "scores": scores,
        "labels": labels,
        "patients": np.concatenate([np.arange(PATIENTS), rng.integers(0, PATIENTS, CASES - PATIENTS)]),
        "counts": draw_counts(PATIENTS, REPLICATES, rng),
    }


def test_the_first_draw_is_the_sample_and_the_others_redraw_as_many() -> None:
    counts = draw_counts(30, 500, np.random.default_rng(0))
    assert counts.shape == (30, 501)
    assert counts.dtype == np.uint8
    assert (counts[:, 0] == 1).all()
    assert (counts.sum(axis=0) == 30).all()
    # Each unit's count is binomial(30, 1/30): variance 29/30.
    assert counts[:, 1:].var() == pytest.approx(29 / 30, abs=0.05)


def test_the_same_seed_draws_the_same_counts() -> None:
    first, again = (draw_counts(7, 50, np.random.default_rng(5)) for _ in range(2))
    assert (first == again).all()
    assert (first != draw_counts(7, 50, np.random.default_rng(6))).any()


def test_nothing_to_draw_from_is_refused() -> None:
    with pytest.raises(InputError, match="needs units and replicates"):
        draw_counts(0, 10, np.random.default_rng(0))


def test_auroc_and_average_precision_equal_a_loop_over_scikit_learn(sample: dict[str, np.ndarray]) -> None:
    auroc, precision = discrimination_draws(**sample)
    for column in range(3):
        seen = ~np.isnan(sample["labels"][:, column])
        y, s = sample["labels"][seen, column], sample["scores"][seen, column]
        for draw in range(REPLICATES + 1):
            weight = sample["counts"][sample["patients"][seen], draw]
            assert auroc[column, draw] == pytest.approx(roc_auc_score(y, s, sample_weight=weight), abs=1e-12)
            expected = average_precision_score(y, s, sample_weight=weight)
            assert precision[column, draw] == pytest.approx(expected, abs=1e-12)


def test_weights_mean_repeated_cases(sample: dict[str, np.ndarray]) -> None:
    auroc, precision = discrimination_draws(**sample)
    repeats = sample["counts"][sample["patients"], 7]
    y, s = np.repeat(sample["labels"][:, 1], repeats), np.repeat(sample["scores"][:, 1], repeats)
    assert auroc[1, 7] == pytest.approx(roc_auc_score(y, s), abs=1e-12)
    assert precision[1, 7] == pytest.approx(average_precision(s, y), abs=1e-12)


@pytest.mark.parametrize("limit", ["_BLOCK_BYTES", "_FLOAT32_WHOLE"])
def test_blocks_and_precision_change_nothing(
    sample: dict[str, np.ndarray], monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    before = discrimination_draws(**sample)
    monkeypatch.setattr(resample, limit, 1)
    monkeypatch.setattr(resample, "_MIN_BLOCK", 7)
    for old, new in zip(before, discrimination_draws(**sample), strict=True):
        assert new == pytest.approx(old, abs=1e-14)


def test_a_draw_with_one_class_only_is_nan() -> None:
    counts = np.array([[1, 0, 2], [1, 2, 0]], dtype=np.uint8)
    scores, labels = np.array([[0.9], [0.2]]), np.array([[1.0], [0.0]])
    for draws in discrimination_draws(scores, labels, np.arange(2), counts):
        assert draws[0, 0] == 1.0
        assert np.isnan(draws[0, 1:]).all()


def test_a_column_without_labels_is_nan_and_its_scores_may_be_missing() -> None:
    nothing = np.full((4, 1), np.nan)
    auroc, precision = discrimination_draws(nothing, nothing, np.arange(4), np.ones((4, 2), np.uint8))
    assert np.isnan(auroc).all()
    assert np.isnan(precision).all()


def test_a_missing_score_of_a_labelled_case_is_refused() -> None:
    with pytest.raises(InputError, match="NaN where its case has a label"):
        discrimination_draws(np.array([[np.nan]]), np.array([[1.0]]), np.array([0]), np.ones((1, 1), np.uint8))


def test_means_leave_missing_cells_out_of_sum_and_number(sample: dict[str, np.ndarray]) -> None:
    values = np.where(np.isnan(sample["labels"]), np.nan, sample["scores"])
    draws = mean_draws(values, sample["patients"], sample["counts"])
    weights = sample["counts"][sample["patients"]].astype(float)
    for column in range(3):
        seen = ~np.isnan(values[:, column])
        expected = [np.average(values[seen, column], weights=w[seen]) for w in weights.T]
        assert draws[column] == pytest.approx(expected, abs=1e-12)
    assert np.isnan(mean_draws(np.full((CASES, 1), np.nan), sample["patients"], sample["counts"])).all()


def test_calibration_error_keeps_the_samples_bins(sample: dict[str, np.ndarray]) -> None:
    p, y = sample["scores"][:, 1], sample["labels"][:, 1]
    draws = calibration_draws(p, y, sample["patients"], sample["counts"])
    assert draws[0] == pytest.approx(calibration_error(p, y), abs=1e-12)
    weight, bins = sample["counts"][sample["patients"], 5].astype(float), calibration_bins(p)
    gaps = [abs((weight * (p - y))[bins == b].sum()) for b in range(10)]
    assert draws[5] == pytest.approx(sum(gaps) / weight.sum(), abs=1e-12)
