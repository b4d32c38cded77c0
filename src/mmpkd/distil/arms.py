"""Arms: the ways to train a student that a study compares, each a few lines that make training targets.

An arm is a function ``(labels, soft_logits, objective, rng) -> Targets`` registered under its name
(``mmpkd.registry``, kind ``arms``). It sees labels and never an image, so whatever it does to the targets,
the loop stays the same, and the loop reads the rows of training cases only. This module imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mmpkd.distil.settings import ObjectiveSettings
from mmpkd.errors import InputError


@dataclass(frozen=True)
class Targets:
    """What one arm teaches, one row a case of the cohort (training reads the rows of training cases only).

    Args:
        hard: Labels 1, 0, or NaN where missing. In a multi-class cohort one-hot rows, NaN as a whole row.
        soft_logits: The teacher's logits (log-probabilities in a multi-class cohort), NaN where it is silent.
        objective: How the two are weighed.
    """

    hard: Float[np.ndarray, "cases findings"]
    soft_logits: Float[np.ndarray, "cases findings"]
    objective: ObjectiveSettings

    def __post_init__(self) -> None:
        if self.hard.shape != self.soft_logits.shape:
            raise ValueError(f"labels {self.hard.shape} and soft logits {self.soft_logits.shape} differ in shape")
        if np.isinf(self.soft_logits).any():
            raise ValueError("soft logits must be finite, or NaN where missing")

    def __len__(self) -> int:
        return len(self.hard)

    def take(self, positions: np.ndarray) -> Targets:
        """Return the targets of the cases at integer ``positions``."""
        return Targets(self.hard[positions], self.soft_logits[positions], self.objective)


def hard(
    labels: Float[np.ndarray, "cases findings"],
    soft_logits: Float[np.ndarray, "cases findings"] | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
) -> Targets:
    """Hard labels only: λ = 0, and no soft label can reach the loss."""
    return Targets(labels, np.full(labels.shape, np.nan), objective.model_copy(update={"lambda_": 0.0}))


def mmpkd(
    labels: Float[np.ndarray, "cases findings"],
    soft_logits: Float[np.ndarray, "cases findings"] | None,
    objective: ObjectiveSettings,
    rng: np.random.Generator,
) -> Targets:
    """The paper's arm: the teacher's soft labels beside the hard labels."""
    if soft_logits is None:
        raise InputError("the arm 'mmpkd' needs soft labels; run `mmpkd teach` first.")
    return Targets(labels, soft_logits, objective)
