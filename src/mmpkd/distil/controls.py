r"""Control arms: what else might have made a student better than `hard`, each `mmpkd` less one ingredient.

===================  ============================================  =========================================
arm                  it keeps                                      `mmpkd` exceeds it only if
===================  ============================================  =========================================
``longer``           hard labels, more epochs                      compute alone does not explain the gain
``label-smoothing``  hard labels, as soft as the teacher's         softer targets alone do not
``self``             soft labels learned from the images           any teacher would not do
``shuffled``         the teacher's soft labels, given the labels   it matters to which case they belong
``permuted``         the teacher's soft labels                     it matters that they agree with the labels
``constant``         their mean a finding                          more than base rates was taught
===================  ============================================  =========================================

Gains of privileged training often vanish against the first and the last: Provodin et al. 2024, arXiv 2408.14319.
Every arm takes what :mod:`mmpkd.distil.arms` says. Cases without soft labels stay without. No torch.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import entr

from mmpkd.cohort.cohort import Task
from mmpkd.distil.arms import LabelSpace, Targets, hard, required
from mmpkd.distil.settings import ObjectiveSettings
from mmpkd.errors import InputError
from mmpkd.teach.logits import to_logits, to_probabilities

_SCHEDULE_POINTS = 101
_HALVINGS = 80

Matrix = Float[np.ndarray, "cases findings"]


def longer(
    labels: Matrix,
    soft_logits: Matrix | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace,
) -> Targets:
    """Hard labels for more epochs (:func:`mmpkd.distil.arms.epochs_of`), the learning rate's decay stretched with them.

    It stands for the compute that a teacher costs. A text teacher has no honest price in epochs of an image student, so
    the factor is a setting of the arm.
    """
    return hard(labels, soft_logits, objective, rng)


def label_smoothing(
    labels: Matrix,
    soft_logits: Matrix | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace,
) -> Targets:
    """Hard labels as uncertain as the teacher leaves them: ``(1 - ε) y + ε / K``.

    K is the number of classes, 2 for a finding. ε, one a finding (or one in all over classes), makes the mean entropy
    of these targets that of `mmpkd`'s mixed ones over the cells with both a label and a soft label. Those cells alone
    are smoothed. In the objective's words: soft labels of 1 / K and λ = ε. Smoothing: Szegedy et al. 2016, arXiv
    1512.00567.
    """
    softs = required("label-smoothing", soft_logits)
    entropy = mixed_entropy(labels, softs, objective, space)
    if space.task == "multi-class":
        taught = ~(np.isnan(labels) | np.isnan(softs)).any(axis=1, keepdims=True) & np.ones(labels.shape, dtype=bool)
        epsilon: float | dict[str, float] = float(smoothing_of(entropy, labels.shape[1])[0])
        uniform = -np.log(labels.shape[1])
    else:
        taught = ~np.isnan(labels) & ~np.isnan(softs)
        epsilon = dict(zip(space.findings, smoothing_of(entropy, 2).tolist(), strict=True))
        uniform = 0.0
    changed = {"lambda_": epsilon, "temperature": 1.0, "preset": "paper"}
    return Targets(labels, np.where(taught, uniform, np.nan), objective.model_copy(update=changed))


def self_distilled(
    labels: Matrix,
    soft_logits: Matrix | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace,
) -> Targets:
    """Soft labels of students trained on the images with hard labels; Furlanello et al. 2018, arXiv 1805.04770.

    An arm sees no image: these soft labels are made for it (:mod:`mmpkd.study.self_teacher`), out of fold as the
    teacher's are, where born-again networks label their own training cases.
    """
    if soft_logits is None:
        raise InputError("the arm 'self' needs soft labels of image-only students; `mmpkd distil` trains them.")
    return Targets(labels, soft_logits, objective)


def shuffled(
    labels: Matrix,
    soft_logits: Matrix | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace,
) -> Targets:
    """Soft labels of another case with the very same labels, missing ones included; whole rows move.

    What soft labels say beyond the hard ones is lost, and nothing else. A case that is alone with its labels keeps its
    own (:func:`lone_share` counts them), so that with many findings this control is weaker than it looks.
    """
    softs = required("shuffled", soft_logits)
    return Targets(labels, _permuted_within(softs, _patterns(labels), rng), objective)


def permuted(
    labels: Matrix,
    soft_logits: Matrix | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace,
) -> Targets:
    """Soft labels of another case, whatever its labels; whole rows move among the cases that have any."""
    softs = required("permuted", soft_logits)
    return Targets(labels, _permuted_within(softs, np.zeros(len(softs), np.int64), rng), objective)


def moved_rows(kind: str, labels: Matrix, rows: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return rows of privileged information as an arm of this kind is given them: another case's for these controls."""
    if kind == "shuffled":
        return _permuted_within(rows, _patterns(labels), rng)
    if kind == "permuted":
        return _permuted_within(rows, np.zeros(len(rows), np.int64), rng)
    return rows


def constant(
    labels: Matrix,
    soft_logits: Matrix | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace,
) -> Targets:
    """The mean soft label of each finding, in probability, for every case that had one.

    It is what a teacher can say whose privileged input is the same for all cases: its base rate. The objective tempers
    it as it tempers any soft label.
    """
    softs = required("constant", soft_logits)
    known = ~np.isnan(softs)
    if space.task == "multi-class":
        known = known.all(axis=1, keepdims=True) & np.ones(softs.shape, dtype=bool)
    mean = _column_means(to_probabilities(softs, space.task), known)
    return Targets(labels, np.where(known, to_logits(mean[None], space.task), np.nan), objective)


def lone_share(labels: Matrix, soft_logits: Matrix) -> float:
    """Return the share of cases with soft labels that are alone with their labels, so that `shuffled` cannot move them.

    NaN where no case has soft labels.
    """
    informed = ~np.isnan(soft_logits).all(axis=1)
    if not informed.any():
        return np.nan
    _, counts = np.unique(_patterns(labels)[informed], return_counts=True)
    return float((counts == 1).sum() / informed.sum())


def mixed_entropy(
    labels: Matrix, soft_logits: Matrix, objective: ObjectiveSettings, space: LabelSpace
) -> Float[np.ndarray, " columns"]:
    """Return the mean entropy in nats of the targets that the objective mixes, over cells with label and soft label.

    The mixed target is ``(a y + b s) / (a + b)`` with a = 1 - λ and b = λ, or λ T² in the presets that have it
    (:func:`mmpkd.distil.objective.mixed_target`; of `hinton`, as if the student were not tempered). A schedule of λ
    counts with its mean over the epochs.

    Returns:
        One value a finding, or one in all over classes; 0 where no cell has both.
    """
    temperatures = objective.temperatures(space.findings)
    points = _SCHEDULE_POINTS if objective.changes_over_epochs else 1
    scale = 1.0 if objective.preset == "paper" else temperatures**2
    soft = to_probabilities(soft_logits / temperatures, space.task)
    both = ~np.isnan(labels) & ~np.isnan(soft_logits)
    if space.task == "multi-class":
        both = both.all(axis=1, keepdims=True)
    entropies = []
    for point in range(points):
        weights = objective.weights(space.findings, point, points)
        a, b = 1.0 - weights, weights * scale
        entropies.append(_column_means(_entropy((a * labels + b * soft) / (a + b), space.task), both))
    return np.nan_to_num(np.mean(entropies, axis=0))


def smoothing_of(entropy: Float[np.ndarray, " columns"], classes: int) -> Float[np.ndarray, " columns"]:
    """Return the ε at which a label ``(1 - ε) y + ε / classes`` has the given entropy in nats, by bisection."""
    low, high = np.zeros(len(entropy)), np.ones(len(entropy))
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        rest = middle / classes
        too_soft = entr(1.0 - middle + rest) + (classes - 1) * entr(rest) > entropy
        low, high = np.where(too_soft, low, middle), np.where(too_soft, middle, high)
    return np.where(entropy > 0, (low + high) / 2, 0.0)


def _entropy(probabilities: np.ndarray, task: Task) -> np.ndarray:
    """Return the entropy of each cell, or of each row as one column over classes; NaN stays NaN."""
    probabilities = np.clip(probabilities, 0.0, 1.0)  # a mean of ones may round to more, whose entropy is -inf
    if task == "multi-class":
        return np.asarray(entr(probabilities).sum(axis=1, keepdims=True))
    return np.asarray(entr(probabilities) + entr(1.0 - probabilities))


def _column_means(values: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Return each column's mean over its chosen cells, NaN where there are none."""
    counts = chosen.sum(axis=0)
    total = np.where(chosen, values, 0.0).sum(axis=0)
    return np.divide(total, counts, out=np.full(len(counts), np.nan), where=counts > 0)


def _patterns(labels: Matrix) -> np.ndarray:
    """Number the rows of labels by what stands in them, a missing label counting as a third value."""
    return np.asarray(np.unique(np.nan_to_num(labels, nan=-1.0), axis=0, return_inverse=True)[1]).ravel()


def _permuted_within(soft_logits: Matrix, groups: np.ndarray, rng: np.random.Generator) -> Matrix:
    """Permute rows among the cases of a group that have any soft label."""
    moved = soft_logits.copy()
    informed = np.flatnonzero(~np.isnan(soft_logits).all(axis=1))
    for group in np.unique(groups[informed]):
        members = informed[groups[informed] == group]
        moved[members] = soft_logits[rng.permutation(members)]
    return moved
