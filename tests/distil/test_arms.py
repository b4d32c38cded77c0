import numpy as np
import pytest

from mmpkd import registry
from mmpkd.distil.arms import Targets, attention_of, hard, mmpkd, random_labels, roi_supervised
from mmpkd.distil.settings import ObjectiveSettings
from mmpkd.errors import InputError

LABELS = np.array([[1.0, np.nan], [0.0, 1.0]])
SOFT = np.array([[2.0, -1.0], [np.nan, 0.5]])
RNG = np.random.default_rng(0)


def test_arms_resolve_by_name():
    assert registry.load("arms", "hard") is hard
    assert registry.load("arms", "mmpkd") is mmpkd
    assert registry.load("arms", "roi-supervised") is roi_supervised
    assert registry.load("arms", "random-labels") is random_labels


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


def _objective(**data):
    return ObjectiveSettings.from_data(data, "study.yaml")


def test_roi_supervised_is_hard_with_a_roi_term_of_weight_1():
    targets = roi_supervised(LABELS, SOFT, _objective(attention={"entropy": 0.2}), RNG)
    np.testing.assert_array_equal(targets.hard, LABELS)
    assert np.isnan(targets.soft_logits).all()
    assert targets.objective.lambda_ == 0.0
    assert targets.objective.attention.to_data() == {
        "entropy": 0.2,
        "total_variation": 0.0,
        "consistency": 0.0,
        "roi": 1.0,
        "zones": 0.0,
    }
    assert not targets.keep_last_epoch


def test_roi_supervised_keeps_a_weight_that_is_given():
    assert roi_supervised(LABELS, None, _objective(attention={"roi": 0.3}), RNG).objective.attention.roi == 0.3


def test_other_arms_keep_the_terms_of_the_objective():
    objective = _objective(attention={"consistency": 0.4})
    for arm in (hard, mmpkd, random_labels):
        assert arm(LABELS, SOFT, objective, RNG).objective.attention.consistency == 0.4
    assert attention_of("mmpkd", objective) == objective.attention


MANY = np.stack([np.arange(40) % 2, np.arange(40) % 5 == 0], axis=1).astype(float)


def test_random_labels_are_whole_rows_of_other_cases():
    targets = random_labels(MANY, np.zeros_like(MANY), ObjectiveSettings(), np.random.default_rng(1))
    assert not np.array_equal(targets.hard, MANY)
    assert sorted(map(tuple, targets.hard)) == sorted(map(tuple, MANY))
    assert np.isnan(targets.soft_logits).all()
    assert targets.objective.lambda_ == 0.0
    assert targets.keep_last_epoch
    assert targets.take(np.arange(3)).keep_last_epoch


def test_random_labels_depend_on_the_generator_alone_and_leave_the_labels_whole():
    before = MANY.copy()
    first, again, other = (
        random_labels(MANY, None, ObjectiveSettings(), np.random.default_rng(seed)).hard for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(MANY, before)


def test_random_labels_stay_among_the_labelled_cases_gaps_included():
    labels = MANY.copy()
    labels[::4] = np.nan
    labels[1::4, 0] = np.nan
    permuted = random_labels(labels, None, ObjectiveSettings(), np.random.default_rng(0)).hard
    assert np.isnan(permuted[::4]).all()
    rest = np.arange(40) % 4 != 0
    np.testing.assert_array_equal(np.sort(permuted[rest], axis=0), np.sort(labels[rest], axis=0))
    assert (np.isnan(permuted[rest]).sum(1) <= 1).all()


def test_random_labels_with_rois_would_be_given_away():
    with pytest.raises(InputError, match="'random-labels' trains on permuted labels, which ROIs would contradict"):
        random_labels(MANY, None, _objective(attention={"roi": 1.0}), RNG)
