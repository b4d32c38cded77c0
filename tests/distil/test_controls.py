"""What each control arm teaches: worked by hand on few cases, or held against the objective's own mixed targets."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from mmpkd import registry
from mmpkd.distil import controls, objective
from mmpkd.distil.arms import LONGER_FACTOR, WITHOUT_SOFT_LABELS, LabelSpace, Targets, epochs_of
from mmpkd.distil.criterion import build_criterion
from mmpkd.distil.settings import ObjectiveSettings
from mmpkd.errors import InputError
from mmpkd.teach.logits import LOGIT_BOUND

NAN = np.nan
TWO = LabelSpace(("a", "b"))
CLASSES = LabelSpace(("x", "y", "z"), "multi-class")
KINDS = ("longer", "label-smoothing", "self", "shuffled", "permuted", "constant")


def settings(**data) -> ObjectiveSettings:
    return ObjectiveSettings.from_data(data, "study.yaml")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def many(cases: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Labels and soft labels of two findings, each missing here and there."""
    draw = np.random.default_rng(7)
    labels = (draw.random((cases, 2)) < [0.5, 0.3]).astype(float)
    soft = draw.normal(size=(cases, 2)) + 2 * labels - 1
    labels[draw.random((cases, 2)) < 0.2] = NAN
    soft[draw.random(cases) < 0.25] = NAN
    soft[::9, 1] = NAN
    return labels, soft


def classes(cases: int = 40) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(3)
    labels = np.eye(3)[draw.integers(0, 3, cases)]
    soft = np.log(draw.dirichlet([2, 1, 1], size=cases))
    labels[:5] = NAN
    soft[3:12] = NAN
    return labels, soft


def mixed(targets: Targets, space: LabelSpace, epoch: int = 0, epochs: int = 1) -> np.ndarray:
    """Targets as the loss sees them, NaN where they carry no weight."""
    weights, temperatures = (
        targets.objective.weights(space.findings, epoch, epochs),
        targets.objective.temperatures(space.findings),
    )
    terms = objective.weigh(
        *(torch.tensor(array, dtype=torch.float64) for array in (targets.hard, targets.soft_logits)),
        *(torch.tensor(array, dtype=torch.float64) for array in (weights, temperatures)),
        targets.objective.preset,
        space.task,
    )
    target, weight = objective.mixed_target(terms)
    return np.where(weight.numpy() > 0, target.numpy(), NAN)


def binary_entropy(p: np.ndarray) -> np.ndarray:
    return -sum(np.where(q > 0, q * np.log(np.where(q > 0, q, 1.0)), 0.0) for q in (p, 1 - p))


def test_every_control_resolves_by_name():
    assert {kind: registry.load("arms", kind) for kind in KINDS} == {
        "longer": controls.longer,
        "label-smoothing": controls.label_smoothing,
        "self": controls.self_distilled,
        "shuffled": controls.shuffled,
        "permuted": controls.permuted,
        "constant": controls.constant,
    }


@pytest.mark.parametrize("kind", ["label-smoothing", "shuffled", "permuted", "constant"])
def test_controls_made_of_soft_labels_are_told_that_there_are_none(kind):
    with pytest.raises(InputError) as caught:
        registry.load("arms", kind)(np.zeros((3, 2)), None, ObjectiveSettings(), rng(), TWO)
    assert list(caught.value.problems) == [f"the arm {kind!r} needs soft labels; run `mmpkd teach` first."]


def test_self_without_soft_labels_says_whose_they_would_be():
    with pytest.raises(InputError, match="needs soft labels of image-only students"):
        controls.self_distilled(np.zeros((3, 2)), None, ObjectiveSettings(), rng(), TWO)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("make", "space"), [(many, TWO), (classes, CLASSES)])
def test_no_control_changes_a_label_its_inputs_or_the_map_terms(kind, make, space):
    labels, soft = make()
    before = labels.copy(), soft.copy()
    asked = settings(attention={"entropy": 0.1})
    targets = registry.load("arms", kind)(labels, soft, asked, rng(), space)
    np.testing.assert_array_equal(targets.hard, before[0])
    np.testing.assert_array_equal(labels, before[0])
    np.testing.assert_array_equal(soft, before[1])
    assert targets.objective.attention == asked.attention
    silent = np.isnan(soft).all(axis=1)
    assert silent.any()
    assert np.isnan(targets.soft_logits[silent]).all()


def test_longer_is_hard_labels_for_more_epochs():
    labels, soft = many()
    targets = controls.longer(labels, soft, ObjectiveSettings(), rng(), TWO)
    assert np.isnan(targets.soft_logits).all()
    assert targets.objective.lambda_ == 0.0
    assert LONGER_FACTOR == 2.0
    assert [epochs_of("longer", None, 30), epochs_of("longer", 2.5, 30), epochs_of("hard", None, 30)] == [60, 75, 30]
    assert [epochs_of("mmpkd", 0.5, 31), epochs_of("hard", 0.01, 10)] == [16, 1]


def test_a_label_smoothed_to_the_entropy_of_a_fair_quarter_is_by_hand():
    # λ = 1/2 and s = 1/2: the mixed targets are 1/4 and 3/4, which is ε / 2 = 1/4
    labels, soft = np.array([[0.0], [1.0], [1.0]]), np.array([[0.0], [0.0], [NAN]])
    targets = controls.label_smoothing(labels, soft, ObjectiveSettings(), rng(), LabelSpace(("a",)))
    np.testing.assert_allclose(mixed(targets, LabelSpace(("a",))), [[0.25], [0.75], [1.0]], atol=1e-12)


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"lambda": 0.9, "temperature": 3.0},
        {"lambda": {"b": 0.2, "a": 0.7}, "temperature": {"b": 1.0, "a": 4.0}},
        {"lambda": 0.6, "temperature": 2.0, "preset": "lopez-paz"},
    ],
)
def test_smoothed_labels_are_as_uncertain_as_the_mixed_targets_of_each_finding(asked):
    labels, soft = many()
    own = registry.load("arms", "mmpkd")(labels, soft, settings(**asked), rng(), TWO)
    smoothed = controls.label_smoothing(labels, soft, settings(**asked), rng(), TWO)
    both = ~np.isnan(labels) & ~np.isnan(soft)
    mine, theirs = mixed(smoothed, TWO), mixed(own, TWO)
    for finding in range(2):
        cells = both[:, finding]
        wanted = binary_entropy(theirs[cells, finding]).mean()
        assert wanted > 0.1
        np.testing.assert_allclose(binary_entropy(mine[cells, finding]), wanted, atol=1e-9)
        # one ε on both sides, and hard labels where the teacher is silent
        assert len(np.unique(np.round(np.abs(mine[cells, finding] - labels[cells, finding]), 12))) == 1
    only_hard = ~np.isnan(labels) & np.isnan(soft)
    np.testing.assert_array_equal(mine[only_hard], labels[only_hard])
    assert np.isnan(mine[np.isnan(labels)]).all()


def test_a_schedule_of_lambda_counts_with_its_mean_entropy_over_the_epochs():
    labels, soft = many()
    asked = settings(**{"lambda": {"kind": "linear", "start": 0.9, "end": 0.3}})
    own = registry.load("arms", "mmpkd")(labels, soft, asked, rng(), TWO)
    both = ~np.isnan(labels) & ~np.isnan(soft)
    over_epochs = [binary_entropy(mixed(own, TWO, epoch, 101))[both[:, 0], 0].mean() for epoch in range(101)]
    smoothed = mixed(controls.label_smoothing(labels, soft, asked, rng(), TWO), TWO)
    np.testing.assert_allclose(binary_entropy(smoothed)[both[:, 0], 0], np.mean(over_epochs), atol=1e-9)


def test_smoothed_classes_are_as_uncertain_as_the_mixed_targets():
    labels, soft = classes()
    asked = settings(**{"lambda": 0.4, "temperature": 2.0})
    own = mixed(registry.load("arms", "mmpkd")(labels, soft, asked, rng(), CLASSES), CLASSES)
    smoothed = mixed(controls.label_smoothing(labels, soft, asked, rng(), CLASSES), CLASSES)
    both = ~np.isnan(labels).any(1) & ~np.isnan(soft).any(1)
    entropy = -np.sum(own[both] * np.log(own[both]), axis=1).mean()
    np.testing.assert_allclose(-np.sum(smoothed[both] * np.log(smoothed[both]), axis=1), entropy, atol=1e-9)
    np.testing.assert_allclose(smoothed[both].sum(1), 1.0)
    assert (smoothed[both].argmax(1) == labels[both].argmax(1)).all()
    np.testing.assert_array_equal(smoothed[5:12], labels[5:12])


def test_bisection_finds_epsilon_by_hand_and_its_two_ends():
    quarter = 0.25 * math.log(4) + 0.75 * math.log(4 / 3)
    np.testing.assert_allclose(
        controls.smoothing_of(np.array([0.0, quarter, math.log(2)]), 2), [0.0, 0.5, 1.0], atol=1e-6
    )
    np.testing.assert_allclose(controls.smoothing_of(np.array([math.log(3)]), 3), [1.0], atol=1e-6)


def test_a_finding_that_no_case_has_both_for_is_left_hard():
    labels, soft = np.array([[1.0, NAN], [0.0, NAN]]), np.array([[1.0, 1.0], [-1.0, 1.0]])
    targets = controls.label_smoothing(labels, soft, ObjectiveSettings(), rng(), TWO)
    assert targets.objective.lambda_["b"] == 0.0
    assert np.isnan(targets.soft_logits[:, 1]).all()


def test_shuffled_rows_stay_with_their_label_pattern_gaps_included():
    labels, soft = many()
    targets = controls.shuffled(labels, soft, ObjectiveSettings(), rng(1), TWO)
    assert not np.array_equal(targets.soft_logits, soft, equal_nan=True)
    patterns = [tuple(np.nan_to_num(row, nan=-1)) for row in labels]
    for pattern in set(patterns):
        rows = np.array([p == pattern for p in patterns])
        before, after = (
            sorted(tuple(np.nan_to_num(row, nan=9e9)) for row in array[rows]) for array in (soft, targets.soft_logits)
        )
        assert before == after


def test_a_case_alone_with_its_labels_keeps_its_own_and_is_counted():
    labels = np.array([[1.0], [0.0], [0.0], [NAN], [NAN]])
    soft = np.array([[1.0], [2.0], [3.0], [4.0], [NAN]])
    moved = {
        tuple(controls.shuffled(labels, soft, ObjectiveSettings(), rng(k), TWO).soft_logits[:4, 0]) for k in range(9)
    }
    assert moved == {(1.0, 2.0, 3.0, 4.0), (1.0, 3.0, 2.0, 4.0)}
    assert controls.lone_share(labels, soft) == 0.5  # cases 0 and 3 of the four with soft labels
    assert np.isnan(controls.lone_share(labels, np.full((5, 1), NAN)))


def test_permuted_rows_cross_labels_and_leave_silent_cases_silent():
    labels, soft = many()
    targets = controls.permuted(labels, soft, ObjectiveSettings(), rng(1), TWO)
    informed = ~np.isnan(soft).all(1)
    before, after = (
        sorted(tuple(np.nan_to_num(row, nan=9e9)) for row in array[informed]) for array in (soft, targets.soft_logits)
    )
    assert before == after
    agreement = np.nanmean((targets.soft_logits[:, 0] > 0) == (labels[:, 0] == 1))
    assert agreement < np.nanmean((soft[:, 0] > 0) == (labels[:, 0] == 1))


@pytest.mark.parametrize("arm", [controls.shuffled, controls.permuted])
def test_permutations_depend_on_the_generator_alone(arm):
    labels, soft = many()
    first, again, other = (arm(labels, soft, ObjectiveSettings(), rng(seed), TWO).soft_logits for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)


def test_constant_is_the_mean_probability_by_hand():
    soft = np.log([[3.0, 1.0], [1.0, NAN], [1 / 3, NAN], [NAN, NAN]])  # probabilities 3/4, 1/2, 1/4 and 1/2
    targets = controls.constant(np.zeros((4, 2)), soft, ObjectiveSettings(), rng(), TWO)
    np.testing.assert_allclose(targets.soft_logits, [[0.0, 0.0], [0.0, NAN], [0.0, NAN], [NAN, NAN]], atol=1e-12)
    soft = np.log([[4.0], [1 / 4], [1 / 4]])  # probabilities 4/5, 1/5, 1/5: their mean 2/5 has the odds 2/3
    targets = controls.constant(np.zeros((3, 1)), soft, ObjectiveSettings(), rng(), LabelSpace(("a",)))
    np.testing.assert_allclose(targets.soft_logits, np.log(np.full((3, 1), 2 / 3)))


def test_constant_classes_are_the_mean_of_their_probabilities():
    labels, soft = classes()
    targets = controls.constant(labels, soft, ObjectiveSettings(), rng(), CLASSES)
    known = ~np.isnan(soft).any(1)
    np.testing.assert_allclose(
        np.exp(targets.soft_logits[known]), np.tile(np.exp(soft[known]).mean(0), (known.sum(), 1))
    )


def test_a_constant_of_certain_soft_labels_is_as_finite_as_a_teachers():
    soft = np.full((3, 2), 800.0) * [1, -1]
    targets = controls.constant(np.ones((3, 2)), soft, ObjectiveSettings(), rng(), TWO)
    np.testing.assert_array_equal(targets.soft_logits, np.full((3, 2), LOGIT_BOUND) * [1, -1])
    soft = np.tile([0.0, -800.0, -800.0], (3, 1))
    targets = controls.constant(np.ones((3, 3)), soft, ObjectiveSettings(), rng(), CLASSES)
    np.testing.assert_allclose(targets.soft_logits, np.tile([0.0, -LOGIT_BOUND, -LOGIT_BOUND], (3, 1)), atol=1e-4)


def test_a_finding_without_any_soft_label_stays_silent():
    soft = np.array([[1.0, NAN], [2.0, NAN]])
    for kind in ("constant", "permuted", "shuffled", "label-smoothing"):
        targets = registry.load("arms", kind)(np.ones((2, 2)), soft, ObjectiveSettings(), rng(), TWO)
        assert np.isnan(targets.soft_logits[:, 1]).all()


def test_only_arms_of_the_teachers_own_words_need_it():
    assert set(KINDS) & set(WITHOUT_SOFT_LABELS) == {"longer", "self"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("make", "space"), [(many, TWO), (classes, CLASSES)])
@pytest.mark.parametrize("preset", ["paper", "hinton", "lopez-paz"])
def test_every_control_makes_a_finite_loss_under_every_preset(kind, make, space, preset):
    labels, soft = make()
    asked = settings(**{"lambda": 0.5, "temperature": 2.0, "preset": preset})
    targets = registry.load("arms", kind)(labels, soft, asked, rng(), space)
    criterion = build_criterion(targets, space.findings, space.task, 0, 1, torch.device("cpu"))
    rows = torch.arange(len(labels))
    loss = criterion.loss(torch.zeros(labels.shape), rows, rows)
    if kind in ("longer", "label-smoothing"):
        # their targets weigh 1 in all: at a logit of 0 a cell costs ln 2, and a case ln K over classes
        assert float(loss) == pytest.approx(math.log(3 if space.task == "multi-class" else 2), rel=1e-6)
    assert math.isfinite(float(loss))
