import numpy as np

from mmpkd.teach.logits import bounded, to_logits, to_probabilities


def test_findings_become_log_odds():
    np.testing.assert_allclose(to_logits(np.array([[0.5, 0.75]]), "multi-label"), [[0, np.log(3)]])


def test_classes_become_log_probabilities():
    np.testing.assert_allclose(to_logits(np.array([[0.25, 0.75]]), "multi-class"), np.log([[0.25, 0.75]]))


def test_certainty_is_clipped_to_ten():
    np.testing.assert_array_equal(to_logits(np.array([[0.0, 1.0]]), "multi-label"), [[-10, 10]])


def test_a_certain_class_stays_a_distribution():
    logits = to_logits(np.array([[1.0, 0.0, 0.0]]), "multi-class")
    np.testing.assert_allclose(np.exp(logits).sum(), 1)
    np.testing.assert_allclose(logits[0, 1] - logits[0, 0], -10)


def test_unknown_stays_unknown_in_both_directions():
    row = np.array([[np.nan, 0.5]])
    assert np.isnan(to_logits(row, "multi-label")).tolist() == [[True, False]]
    assert np.isnan(to_probabilities(row, "multi-label")).tolist() == [[True, False]]
    assert np.isnan(bounded(np.full((1, 2), np.nan), "multi-class")).all()


def test_probabilities_come_back():
    rows = np.array([[0.2, 0.3, 0.5]])
    for task in ("multi-label", "multi-class"):
        np.testing.assert_allclose(to_probabilities(to_logits(rows, task), task), rows)
