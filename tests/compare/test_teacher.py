"""The teacher's record: values by hand and by scikit-learn, NaN logits, reference labels, and JSON."""

import json

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmpkd.compare.teacher import entropy_bits, score_teacher
from mmpkd.errors import InputError

FINDINGS = ("nodule", "mass")


@pytest.fixture
def made() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = (rng.random((60, 2)) < 0.4).astype(float)
    return {
        "logits": 2 * labels - 1 + rng.normal(size=(60, 2)),
        "labels": labels,
        "patients": np.repeat([f"p{k}" for k in range(30)], 2),
    }


def test_scores_per_finding_and_their_mean(made: dict[str, np.ndarray]) -> None:
    scores = score_teacher(made["logits"], made["labels"], None, made["patients"], FINDINGS, replicates=200)
    for k, finding in enumerate(FINDINGS):
        row = scores["findings"][finding]
        assert row["auroc"] == pytest.approx(roc_auc_score(made["labels"][:, k], made["logits"][:, k]), abs=1e-12)
        assert row["auroc_low"] < row["auroc"] < row["auroc_high"]
        p = 1 / (1 + np.exp(-made["logits"][:, k]))
        assert row["brier"] == pytest.approx(np.mean((p - made["labels"][:, k]) ** 2))
        assert row["entropy_bits"] == pytest.approx(np.mean(-p * np.log2(p) - (1 - p) * np.log2(1 - p)))
        assert (row["cases"], row["positives"]) == (60, made["labels"][:, k].sum())
        assert row["reference_auroc"] is row["reference_auroc_low"] is None
    for name in ("auroc", "brier", "calibration_error", "entropy_bits"):
        assert scores["macro"][name] == pytest.approx(np.mean([scores["findings"][f][name] for f in FINDINGS]))


def test_reference_labels_are_scored_where_they_exist(made: dict[str, np.ndarray]) -> None:
    reference = 1 - made["labels"]
    reference[:, 1] = np.nan
    scores = score_teacher(made["logits"], made["labels"], reference, made["patients"], FINDINGS, replicates=50)
    nodule = scores["findings"]["nodule"]
    assert nodule["reference_auroc"] == pytest.approx(1 - nodule["auroc"])
    assert scores["findings"]["mass"]["reference_auroc"] is None
    assert scores["macro"]["reference_auroc"] == nodule["reference_auroc"]


def test_cases_the_teacher_knows_nothing_of_are_left_out(made: dict[str, np.ndarray]) -> None:
    logits = made["logits"].copy()
    logits[:20, 0] = np.nan
    row = score_teacher(logits, made["labels"], None, made["patients"], FINDINGS, replicates=20)["findings"]["nodule"]
    rest = made["labels"][20:, 0], made["logits"][20:, 0]
    assert row["cases"] == 40
    assert row["auroc"] == pytest.approx(roc_auc_score(*rest), abs=1e-12)


def test_the_record_is_json_even_where_nothing_is_defined() -> None:
    nothing = np.full((4, 2), np.nan)
    scores = score_teacher(nothing, np.ones((4, 2)), None, list("aabb"), FINDINGS, replicates=10)
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    assert scores["findings"]["mass"]["auroc"] is None
    assert scores["macro"]["entropy_bits"] is None


@pytest.mark.parametrize("cases", [0, 3])
def test_without_two_patients_there_is_no_interval(cases: int) -> None:
    logits, labels = np.array([[0.3], [-0.2], [1.0]]), np.array([[0.0], [0.0], [1.0]])
    scores = score_teacher(logits[:cases], labels[:cases], None, ["a"] * cases, ["nodule"], replicates=10)
    assert scores["findings"]["nodule"]["auroc"] == (1.0 if cases else None)
    assert scores["findings"]["nodule"]["auroc_low"] is None


def test_multi_class_logits_are_log_probabilities() -> None:
    logits = np.log(np.array([[0.5, 0.5], [0.25, 0.75]]))
    scores = score_teacher(
        logits, np.array([[1.0, 0.0], [0.0, 1.0]]), None, ["a", "b"], FINDINGS, replicates=10, task="multi-class"
    )
    assert scores["findings"]["nodule"]["brier"] == pytest.approx((0.25 + 0.0625) / 2)
    # Entropy of 1/2 is 1 bit, of 1/4: 2 - .75 log2 3.
    assert scores["findings"]["mass"]["entropy_bits"] == pytest.approx((1 + 2 - 0.75 * np.log2(3)) / 2)


def test_entropy_of_hard_labels_is_nothing() -> None:
    assert entropy_bits(np.array([0.0, 1.0])) == 0.0
    assert entropy_bits(np.array([0.5, 1.0])) == 0.5


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match=r"shapes .*\(3, 2\).* give \(cases, findings\) everywhere"):
        score_teacher(np.zeros((4, 2)), np.zeros((3, 2)), None, list("abcd"), FINDINGS, replicates=10)
