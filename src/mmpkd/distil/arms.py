"""Arms: the ways to train a student that a study compares, each a few lines that make training targets.

An arm is a function ``(labels, soft_logits, objective, rng, space) -> Targets`` registered under its name
(``mmpkd.registry``, kind ``arms``). It sees labels and never an image, so whatever it does to the targets,
the loop stays the same, and the loop reads the rows of training cases only. Where ROIs teach, an arm gives them
their weight; they come to the loop by themselves. The control arms are in :mod:`mmpkd.distil.controls`. This module
imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float

from mmpkd.cohort.cohort import Task
from mmpkd.distil.settings import AttentionTerms, EmbeddingTerms, ObjectiveSettings
from mmpkd.distil.zone_arms import ZONE_KINDS
from mmpkd.distil.zone_labels import ZoneLabels
from mmpkd.errors import InputError

EMBEDDED = ("feature", "relational", "contrastive")
"""Kinds that are taught by embeddings of privileged information."""

NO_EMBEDDINGS = (
    "objective.embedding: there are no embeddings of privileged information; give 'teach' its 'embedding', or leave "
    "the term (or the arm) out."
)

WITHOUT_SOFT_LABELS = ("hard", "longer", "self", "roi-supervised", "random-labels", "zone-truth", *EMBEDDED)
"""Kinds that read no soft label of the teacher's, so that a study of these alone needs no teacher."""

LONGER_FACTOR = 2.0
"""Epochs of the arm `longer`, as a multiple of the others', unless the study file says otherwise."""


@dataclass(frozen=True)
class LabelSpace:
    """What the columns of labels and soft labels mean.

    Args:
        findings: Their names, in order.
        task: ``multi-label`` or ``multi-class``.
    """

    findings: tuple[str, ...] = ()
    task: Task = "multi-label"


_ANY = LabelSpace()


@dataclass(frozen=True)
class Targets:
    """What one arm teaches, one row a case of the cohort (training reads the rows of training cases only).

    Args:
        hard: Labels 1, 0, or NaN where missing. In a multi-class cohort one-hot rows, NaN as a whole row.
        soft_logits: The teacher's logits (log-probabilities in a multi-class cohort), NaN where it is silent.
        objective: How the two are weighed, and the attention terms.
        zones: Located soft labels of the same cases, where an arm is taught by zones.
        embeddings: Of the same cases' privileged information, where an arm is taught by these; rows of NaN where a case
            has none.
        keep_last_epoch: Deploy the weights of the last epoch, not of the best one on validation cases.
    """

    hard: Float[np.ndarray, "cases findings"]
    soft_logits: Float[np.ndarray, "cases findings"]
    objective: ObjectiveSettings
    keep_last_epoch: bool = False
    zones: ZoneLabels | None = None
    embeddings: Float[np.ndarray, "cases dims"] | None = None

    def __post_init__(self) -> None:
        if self.hard.shape != self.soft_logits.shape:
            raise ValueError(f"labels {self.hard.shape} and soft logits {self.soft_logits.shape} differ in shape")
        if np.isinf(self.soft_logits).any():
            raise ValueError("soft logits must be finite, or NaN where missing")
        if self.zones is not None and len(self.zones) != len(self.hard):
            raise ValueError(f"located labels of {len(self.zones)} cases beside {len(self.hard)} cases")

    def __len__(self) -> int:
        return len(self.hard)

    def take(self, positions: np.ndarray) -> Targets:
        """Return the targets of the cases at integer ``positions``."""
        zones = None if self.zones is None else self.zones.take(positions)
        embeddings = None if self.embeddings is None else self.embeddings[positions]
        hard, soft_logits = self.hard[positions], self.soft_logits[positions]
        return replace(self, hard=hard, soft_logits=soft_logits, zones=zones, embeddings=embeddings)


def hard(
    labels: Float[np.ndarray, "cases findings"],
    soft_logits: Float[np.ndarray, "cases findings"] | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace = _ANY,
) -> Targets:
    """Hard labels only: λ = 0, and no soft label can reach the loss."""
    return Targets(labels, np.full(labels.shape, np.nan), objective.model_copy(update={"lambda_": 0.0}))


def mmpkd(
    labels: Float[np.ndarray, "cases findings"],
    soft_logits: Float[np.ndarray, "cases findings"] | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace = _ANY,
) -> Targets:
    """The paper's arm: the teacher's soft labels beside the hard labels."""
    return Targets(labels, required("mmpkd", soft_logits), objective)


def roi_supervised(
    labels: Float[np.ndarray, "cases findings"],
    soft_logits: Float[np.ndarray, "cases findings"] | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace = _ANY,
) -> Targets:
    """The upper bound: hard labels, and the training cases' ROIs say where (:mod:`attention_terms`, ``roi``).

    No arm that is not shown ROIs is expected to find them better; what it reaches is how far a student of this size,
    with this many cases, can go. The term's weight is the objective's, or 1 where that is 0.
    """
    supervised = objective.model_copy(update={"attention": attention_of("roi-supervised", objective)})
    return hard(labels, soft_logits, supervised, rng)


def spatial(
    labels: Float[np.ndarray, "cases findings"],
    soft_logits: Float[np.ndarray, "cases findings"] | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace = _ANY,
) -> Targets:
    """The teacher's soft labels, and zones that say where (:mod:`zone_arms` decides what they say, kind by kind).

    The zone term's weight is the objective's, or 1 where that is 0.
    """
    located = objective.model_copy(update={"attention": attention_of("spatial", objective)})
    return Targets(labels, required("spatial", soft_logits), located)


def embedded(
    labels: Float[np.ndarray, "cases findings"],
    soft_logits: Float[np.ndarray, "cases findings"] | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace = _ANY,
) -> Targets:
    """Hard labels, and a term on embeddings of privileged information (``feature``, ``relational``, ``contrastive``).

    The arm's kind is the term; its weight is the objective's, or 1 where that is 0 (:func:`embedding_of`).
    """
    return hard(labels, soft_logits, objective, rng)


def embedding_of(kind: str, objective: ObjectiveSettings) -> EmbeddingTerms:
    """Return the embedding terms that an arm of this kind trains with."""
    terms = objective.embedding
    if kind in EMBEDDED and not getattr(terms, kind):
        return terms.model_copy(update={kind: 1.0})
    return terms


def zone_truth(
    labels: Float[np.ndarray, "cases findings"],
    soft_logits: Float[np.ndarray, "cases findings"] | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace = _ANY,
) -> Targets:
    """Hard labels, and the zones that the training cases' ROIs lie in: what perfect located labels would teach."""
    located = objective.model_copy(update={"attention": attention_of("zone-truth", objective)})
    return hard(labels, soft_logits, located, rng)


def random_labels(
    labels: Float[np.ndarray, "cases findings"],
    soft_logits: Float[np.ndarray, "cases findings"] | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
    space: LabelSpace = _ANY,
) -> Targets:
    """Hard labels that belong to other cases: the data-randomisation check of Adebayo et al. 2018, arXiv 1810.03292.

    Whole rows are permuted over the cases that have any label, so that prevalences and co-occurrences stay; give it the
    labels of training cases alone. A map of this student that still finds ROIs shows the picture, not what was learnt.
    Validation cases could only choose an epoch by chance, so the last one is kept, when the labels are learnt best.

    Raises:
        InputError: The objective has a ``roi`` term, which would give the true labels away.
    """
    attention_of("random-labels", objective)
    labelled = np.flatnonzero(~np.isnan(labels).all(axis=1))
    permuted = labels.copy()
    permuted[labelled] = labels[rng.permutation(labelled)]
    return replace(hard(permuted, soft_logits, objective, rng), keep_last_epoch=True)


def attention_of(kind: str, objective: ObjectiveSettings) -> AttentionTerms:
    """Return the attention terms that an arm of this kind trains with.

    Raises:
        InputError: The arm cannot have one of them.
    """
    terms = objective.attention
    if kind == "random-labels" and terms.roi:
        raise InputError(
            "objective.attention.roi: the arm 'random-labels' trains on permuted labels, which ROIs would contradict; "
            "leave the term out."
        )
    if kind == "roi-supervised":
        return terms.model_copy(update={"roi": terms.roi or 1.0})
    return terms.model_copy(update={"zones": terms.zones or 1.0}) if kind in ZONE_KINDS else terms


def epochs_of(kind: str, factor: float | None, epochs: int) -> int:
    """Return an arm's epochs: ``factor`` times the study's; without one twice as many for `longer`, else the same."""
    if factor is None:
        factor = LONGER_FACTOR if kind == "longer" else 1.0
    return max(1, round(factor * epochs))


def required(kind: str, soft_logits: Float[np.ndarray, "cases findings"] | None) -> Float[np.ndarray, "cases findings"]:
    """Return the soft labels of an arm that cannot do without.

    Raises:
        InputError: There are none.
    """
    if soft_logits is None:
        raise InputError(f"the arm {kind!r} needs soft labels; run `mmpkd teach` first.")
    return soft_logits
