r"""The distillation objective as pure functions of tensors. It holds no state and knows no model.

For a label ``y``, a teacher logit ``t``, a student logit ``z``, weight λ and temperature T, with
``s = σ(t / T)`` and ℓ(target, logit) the cross-entropy (binary per finding, or over classes σ a softmax):

=============  ====================================  =============================================
preset         loss of one cell                      source
=============  ====================================  =============================================
``paper``      (1 - λ) ℓ(y, z) + λ ℓ(s, z)           Baur et al. 2025, arXiv 2508.06558, Eq. 1-2
``hinton``     (1 - λ) ℓ(y, z) + λ T² ℓ(s, z / T)    Hinton et al. 2015, arXiv 1503.02531, Sec. 2
``lopez-paz``  (1 - λ) ℓ(y, z) + λ T² ℓ(s, z)        Lopez-Paz et al. 2016, arXiv 1511.03643
=============  ====================================  =============================================

A missing label drops the hard term only, so that the soft term still teaches there with its weight. A missing
soft label drops the soft term, and the hard term then has full weight. The loss is the mean over the cells
(cases in a multi-class cohort) that carry any weight.

ℓ is linear in its target, so without student temper the two terms are *one* cross-entropy on a mixed target
(:func:`mixed_target`): distilling then costs what plain training costs.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmpkd.cohort.cohort import Task
from mmpkd.distil.settings import PresetName


@dataclass(frozen=True)
class Terms:
    """Targets and weights of the two terms, cell by cell, with missing cells at target 0 and weight 0.

    In a multi-class cohort the weights are equal along a row.
    """

    hard: Float[Tensor, "cases findings"]
    hard_weight: Float[Tensor, "cases findings"]
    soft: Float[Tensor, "cases findings"]
    soft_weight: Float[Tensor, "cases findings"]
    student_temperature: Float[Tensor, " findings"]
    task: Task

    def take(self, positions: Tensor) -> Terms:
        """Return the terms of the cases at ``positions``."""
        return Terms(
            self.hard[positions],
            self.hard_weight[positions],
            self.soft[positions],
            self.soft_weight[positions],
            self.student_temperature,
            self.task,
        )

    def to(self, device: torch.device, dtype: torch.dtype) -> Terms:
        """Return the terms on another device, in another precision."""
        return Terms(
            self.hard.to(device, dtype),
            self.hard_weight.to(device, dtype),
            self.soft.to(device, dtype),
            self.soft_weight.to(device, dtype),
            self.student_temperature.to(device, dtype),
            self.task,
        )

    @property
    def is_tempered(self) -> bool:
        """Whether the soft term sees tempered student logits, so that the terms cannot be mixed into one."""
        return bool((self.student_temperature != 1.0).any() and self.soft_weight.any())


def weigh(
    labels: Float[Tensor, "cases findings"],
    soft_logits: Float[Tensor, "cases findings"],
    weights: Float[Tensor, " findings"],
    temperatures: Float[Tensor, " findings"],
    preset: PresetName = "paper",
    task: Task = "multi-label",
) -> Terms:
    """Return the targets and weights of both terms.

    Args:
        labels: 1, 0, or NaN where missing.
        soft_logits: Teacher logits, NaN where missing.
        weights: λ of each finding, in [0, 1].
        temperatures: T of each finding, above 0.
        preset: See the table above.
        task: A multi-class loss is one number a case, so λ and T must be the same for all classes there.
    """
    has_label, has_soft = ~labels.isnan(), ~soft_logits.isnan()
    tempered = soft_logits / temperatures
    if task == "multi-class":
        if bool((weights != weights[0]).any() or (temperatures != temperatures[0]).any()):
            raise ValueError("a multi-class objective has one lambda and one temperature for all classes")
        has_label = has_label.all(1, keepdim=True).expand_as(labels)
        has_soft = has_soft.all(1, keepdim=True).expand_as(labels)
        soft = tempered.softmax(1)
    else:
        soft = tempered.sigmoid()
    scale = torch.ones_like(temperatures) if preset == "paper" else temperatures**2
    nothing = torch.zeros_like(labels)
    return Terms(
        hard=torch.where(has_label, labels, nothing),
        hard_weight=torch.where(has_soft, 1.0 - weights, torch.ones_like(labels)) * has_label,
        soft=torch.where(has_soft, soft, nothing),
        soft_weight=weights * scale * has_soft,
        student_temperature=temperatures if preset == "hinton" else torch.ones_like(temperatures),
        task=task,
    )


def mixed_target(terms: Terms) -> tuple[Float[Tensor, "cases findings"], Float[Tensor, "cases findings"]]:
    """Return ``(target, weight)`` with ``weight ℓ(target, z)`` equal to the two weighted terms.

    With hard weight a and soft weight b, ``a ℓ(y, z) + b ℓ(s, z) = (a + b) ℓ((a y + b s) / (a + b), z)``,
    because ℓ is linear in its target. It holds for any λ and T as long as the student is not tempered.
    """
    if terms.is_tempered:
        raise ValueError("a tempered student sees two different logits; its terms cannot be mixed")
    weight = terms.hard_weight + terms.soft_weight
    total = terms.hard_weight * terms.hard + terms.soft_weight * terms.soft
    return torch.where(weight > 0, total / weight.clamp_min(torch.finfo(weight.dtype).tiny), 0.0), weight


def cross_entropy(
    logits: Float[Tensor, "cases findings"],
    target: Float[Tensor, "cases findings"],
    weight: Float[Tensor, "cases findings"],
    task: Task,
) -> Float[Tensor, ""]:
    """Return the weighted sum of ℓ(target, logits), in single precision or better whatever the autocast."""
    logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
    if task == "multi-class":
        return -(weight * target * logits.log_softmax(1)).sum()
    return functional.binary_cross_entropy_with_logits(logits, target, weight, reduction="sum")


def count_cells(weight: Float[Tensor, "cases findings"], task: Task) -> Float[Tensor, ""]:
    """Return how many cells (cases in a multi-class cohort) carry any weight; 1 where none does."""
    cells = weight[:, 0] if task == "multi-class" else weight
    return (cells != 0).sum().clamp_min(1).to(weight.dtype)


def loss(logits: Float[Tensor, "cases findings"], terms: Terms) -> Float[Tensor, ""]:
    """Return the objective: the two weighted terms, averaged over the cells that carry any weight."""
    return weighted_sum(logits, terms) / count_cells(terms.hard_weight + terms.soft_weight, terms.task)


def weighted_sum(logits: Float[Tensor, "cases findings"], terms: Terms) -> Float[Tensor, ""]:
    """Return the sum of the two weighted terms over all cells."""
    hard = cross_entropy(logits, terms.hard, terms.hard_weight, terms.task)
    return hard + cross_entropy(logits / terms.student_temperature, terms.soft, terms.soft_weight, terms.task)


def parts(logits: Float[Tensor, "cases findings"], terms: Terms) -> dict[str, Float[Tensor, ""]]:
    """Return the loss and its parts by name.

    ``loss`` is :func:`loss`. ``hard`` and ``soft`` are the means of ℓ(y, z) and ℓ(s, z or z / T) over the
    cells that have them, *without* their weights, so that arms with different λ can be compared; NaN where
    there are none.
    """
    hard, soft = (terms.hard_weight > 0).to(terms.hard), (terms.soft_weight > 0).to(terms.soft)
    soft_logits = logits / terms.student_temperature
    return {
        "loss": loss(logits, terms),
        "hard": _mean(cross_entropy(logits, terms.hard, hard, terms.task), hard, terms.task),
        "soft": _mean(cross_entropy(soft_logits, terms.soft, soft, terms.task), soft, terms.task),
    }


def _mean(total: Tensor, weight: Tensor, task: Task) -> Tensor:
    return torch.where(weight.any(), total / count_cells(weight, task), torch.nan)
