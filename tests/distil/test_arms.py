import numpy as np
import pytest

from mmpkd import registry
from mmpkd.distil.arms import Targets, hard, mmpkd
from mmpkd.distil.settings import ObjectiveSettings
from mmpkd.errors import InputError

LABELS = np.array([[1.0, np.nan], [0.0, 1.0]])
SOFT = np.array([[2.0, -1.0], [np.nan, 0.5]])
RNG = np.random.default_rng(0)


def test_arms_resolve_by_name():
    assert registry.load("arms", "hard") is hard
    assert registry.load("arms", "mmpkd") is mmpkd


def test_hard_lets_no_soft_label_through_and_sets_lambda_to_zero():
    targets = hard(LABELS, SOFT, ObjectiveSettings(), RNG)
    np.testing.assert_array_equal(targets.hard, LABELS)
    assert np.isnan(targets.soft_logits).all()
    assert targets.objective.weights(["a", "b"], 0, 1).tolist() == [0.0, 0.0]


def test_hard_needs_no_teacher():
    assert len(hard(LABELS, None, ObjectiveSettings(), RNG)) == 2


def test_mmpkd_hands_both_on():
    targets = mmpkd(LABELS, SOFT, ObjectiveSettings(), RNG)
    np.testing.assert_array_equal(targets.soft_logits, SOFT)
    np.testing.assert_array_equal(targets.take(np.array([1])).hard, [[0.0, 1.0]])


def test_mmpkd_without_soft_labels_is_told():
    with pytest.raises(InputError, match="run `mmpkd teach` first"):
        mmpkd(LABELS, None, ObjectiveSettings(), RNG)


def test_targets_of_different_shapes_or_infinite_logits_are_refused():
    with pytest.raises(ValueError, match="differ in shape"):
        Targets(LABELS, SOFT[:1], ObjectiveSettings())
    with pytest.raises(ValueError, match="finite"):
        Targets(LABELS, np.full_like(LABELS, np.inf), ObjectiveSettings())
