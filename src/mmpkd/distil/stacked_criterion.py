"""The objective of several models at once: :mod:`mmpkd.distil.objective` itself, mapped over a model axis."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmpkd.cohort.cohort import Task
from mmpkd.distil import objective


@dataclass(frozen=True)
class StackedTerms:
    """:class:`mmpkd.distil.objective.Terms` of several models, each tensor with a leading model axis."""

    hard: Float[Tensor, "models cases findings"]
    hard_weight: Float[Tensor, "models cases findings"]
    soft: Float[Tensor, "models cases findings"]
    soft_weight: Float[Tensor, "models cases findings"]
    student_temperature: Float[Tensor, "models findings"]
    task: Task

    @classmethod
    def of(cls, terms: Sequence[objective.Terms]) -> StackedTerms:
        """Stack the terms of the models."""
        rows = [(one.hard, one.hard_weight, one.soft, one.soft_weight, one.student_temperature) for one in terms]
        hard, hard_weight, soft, soft_weight, temperature = (torch.stack(column) for column in zip(*rows, strict=True))
        return cls(hard, hard_weight, soft, soft_weight, temperature, terms[0].task)

    def replace(self, other: StackedTerms) -> None:
        """Overwrite all tensors with another's, where they are (a recorded step reads them there)."""
        for name in ("hard", "hard_weight", "soft", "soft_weight", "student_temperature"):
            getattr(self, name).copy_(getattr(other, name))

    def take(self, rows: Int[Tensor, "models batch"]) -> StackedTerms:
        """Return the terms of each model's own cases."""
        models = torch.arange(len(rows), device=rows.device).unsqueeze(1)
        return StackedTerms(
            self.hard[models, rows],
            self.hard_weight[models, rows],
            self.soft[models, rows],
            self.soft_weight[models, rows],
            self.student_temperature,
            self.task,
        )

    def losses(self, logits: Float[Tensor, "models batch findings"]) -> Float[Tensor, " models"]:
        """Return :func:`mmpkd.distil.objective.loss` of each model."""
        return self._each(objective.loss, logits)

    def parts(self, logits: Float[Tensor, "models batch findings"]) -> Float[Tensor, "models 2"]:
        """Return the hard and the soft part of each model's loss (:func:`mmpkd.distil.objective.parts`)."""

        def of_one(own: Tensor, terms: objective.Terms) -> Tensor:
            parts = objective.parts(own, terms)
            return torch.stack([parts["hard"], parts["soft"]])

        return self._each(of_one, logits)

    def _each(self, function: Callable[[Tensor, objective.Terms], Tensor], logits: Tensor) -> Tensor:
        def of_one(own: Tensor, *terms: Tensor) -> Tensor:
            hard, hard_weight, soft, soft_weight, temperature = terms
            return function(own, objective.Terms(hard, hard_weight, soft, soft_weight, temperature, self.task))

        values: Tensor = torch.vmap(of_one)(
            logits, self.hard, self.hard_weight, self.soft, self.soft_weight, self.student_temperature
        )
        return values
