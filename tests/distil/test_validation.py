import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from mmpkd.distil.validation import macro_auroc


def test_auroc_agrees_with_scikit_learn_under_ties():
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (200, 3)).astype(float)
    scores = np.round(rng.normal(size=(200, 3)) + labels, 1)
    expected = roc_auc_score(labels, scores, average="macro")
    assert macro_auroc(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_missing_labels_are_left_out():
    labels = np.array([[1.0], [0.0], [np.nan], [0.0]])
    # the positive (0.5) beats one negative (0.1) and ties with the other: (1 + 1/2) / 2
    assert macro_auroc(labels, np.array([[0.5], [0.1], [9.0], [0.5]])) == 0.75


def test_a_finding_with_one_class_does_not_enter_the_mean():
    labels = np.array([[1.0, 1.0], [0.0, 1.0]])
    assert macro_auroc(labels, np.array([[0.2, 0.3], [0.8, 0.1]])) == 0.0


def test_without_any_defined_finding_it_is_nan():
    assert np.isnan(macro_auroc(np.ones((3, 1)), np.zeros((3, 1))))
    assert np.isnan(macro_auroc(np.full((3, 2), np.nan), np.zeros((3, 2))))
