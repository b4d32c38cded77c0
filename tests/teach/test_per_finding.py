import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mmpkd.teach.per_finding import FindingModels

FEATURES = np.array([[0.0], [1.0], [2.0], [3.0]])


def fitted(labels, task="multi-label"):
    findings = [f"f{column}" for column in range(labels.shape[1])]
    return FindingModels(task, findings, lambda: LogisticRegression(C=1.0)).fit(FEATURES, labels)


def test_each_finding_learns_from_its_own_observed_labels():
    labels = np.array([[0, np.nan], [0, 0], [1, 1], [1, np.nan]])
    found = fitted(labels).predict_proba(FEATURES)
    oracle = LogisticRegression(C=1.0).fit(FEATURES[1:3], [0, 1]).predict_proba(FEATURES)[:, 1]
    np.testing.assert_allclose(found[:, 1], oracle)


@pytest.mark.parametrize(("value", "rate"), [(0.0, 1 / 5), (1.0, 4 / 5)])
def test_a_finding_of_one_class_gets_its_smoothed_rate_and_a_warning(value, rate):
    # three labelled cases: (0 + 1) / (3 + 2), or (3 + 1) / (3 + 2)
    labels = np.array([[0, value], [0, value], [1, value], [1, np.nan]])
    models = fitted(labels)
    np.testing.assert_allclose(models.predict_proba(FEATURES)[:, 1], rate)
    assert models.warnings == [f"'f1' is {value:.0f} in every case to learn from; its soft labels are constant"]


def test_a_finding_without_labels_is_unknown_and_warned_of():
    models = fitted(np.array([[0, np.nan], [0, np.nan], [1, np.nan], [1, np.nan]]))
    assert np.isnan(models.predict_proba(FEATURES)[:, 1]).all()
    assert "'f1' has no label" in models.warnings[0]


def test_an_absent_class_gets_nothing_and_a_warning():
    models = fitted(np.array([[1, 0, 0], [1, 0, 0], [0, 0, 1], [0, 0, 1]]), "multi-class")
    found = models.predict_proba(FEATURES)
    np.testing.assert_array_equal(found[:, 1], 0)
    np.testing.assert_allclose(found.sum(1), 1)
    assert found[0, 0] > found[0, 2]
    assert found[3, 2] > found[3, 0]
    assert "the class 'f1' is absent" in models.warnings[0]


def test_a_single_class_gives_smoothed_rates():
    # four cases of the first of two classes: (4 + 1) / (4 + 2) and (0 + 1) / (4 + 2)
    found = fitted(np.array([[1, 0]] * 4), "multi-class").predict_proba(FEATURES)
    np.testing.assert_allclose(found, np.tile([5 / 6, 1 / 6], (4, 1)))


def test_a_fit_that_does_not_converge_is_collected_not_shown():
    models = FindingModels("multi-label", ["f"], lambda: LogisticRegression(C=1e6, max_iter=1))
    models.fit(FEATURES * [[1.0]], np.array([[0.0], [1], [0], [1]]))
    assert "the fit for 'f' did not converge" in models.warnings[0]
