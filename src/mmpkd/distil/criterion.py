"""The objective made ready for a training: targets on the device, mixed once, looked up batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmpkd.cohort.cohort import Task
from mmpkd.distil import objective
from mmpkd.distil.arms import Targets
from mmpkd.errors import InputError


class Criterion:
    """The loss of a batch of training cases, for one value of λ.

    Args:
        exact: Targets and weights of all training cases, in double precision (:func:`epoch_terms`).
        device: Where the student computes.
        processes: How many processes share a batch.
    """

    def __init__(
        self,
        exact: objective.Terms,
        device: torch.device,
        processes: int = 1,
    ) -> None:
        self._terms = exact.to(device, torch.float32)
        self._weight = self._terms.hard_weight + self._terms.soft_weight
        self._mixed: tuple[Tensor, Tensor] | None = None
        if not exact.is_tempered:
            target, weight = objective.mixed_target(exact)
            self._mixed = (target.to(device, torch.float32), weight.to(device, torch.float32))
        self._processes = processes

    def loss(
        self, logits: Float[Tensor, "own findings"], own: Int[Tensor, " own"], batch: Int[Tensor, " batch"]
    ) -> Float[Tensor, ""]:
        """Return this process's share of the batch's loss; the mean over processes is the loss.

        Args:
            logits: Student logits of the rows ``own``.
            own: Rows of the targets that this process computed.
            batch: Rows of the whole batch, over all processes.
        """
        count = objective.count_cells(self._weight[batch], self._terms.task)
        if self._mixed is not None:
            target, weight = self._mixed
            total = objective.cross_entropy(logits, target[own], weight[own], self._terms.task)
        else:
            total = objective.weighted_sum(logits, self._terms.take(own))
        return total * self._processes / count

    def parts(self, logits: Float[Tensor, "own findings"], own: Int[Tensor, " own"]) -> Float[Tensor, " 2"]:
        """Return the hard and the soft part of the loss (:func:`mmpkd.distil.objective.parts`)."""
        parts = objective.parts(logits, self._terms.take(own))
        return torch.stack([parts["hard"], parts["soft"]])


def epoch_terms(targets: Targets, findings: tuple[str, ...], task: Task, epoch: int, epochs: int) -> objective.Terms:
    """Return the targets and weights of both terms in one epoch, in double precision.

    Raises:
        InputError: λ or T differ by finding where a loss is over classes.
    """
    settings = targets.objective
    if task == "multi-class" and (isinstance(settings.lambda_, dict) or isinstance(settings.temperature, dict)):
        raise InputError(
            "objective: a multi-class loss is one number a case, so 'lambda' and 'temperature' cannot differ "
            "by finding; give one number each."
        )
    weights, temperatures = settings.weights(findings, epoch, epochs), settings.temperatures(findings)
    arrays = (targets.hard, targets.soft_logits, weights, temperatures)
    labels, soft, lam, temper = (torch.tensor(np.asarray(array), dtype=torch.float64) for array in arrays)
    return objective.weigh(labels, soft, lam, temper, settings.preset, task)


def build_criterion(
    targets: Targets,
    findings: tuple[str, ...],
    task: Task,
    epoch: int,
    epochs: int,
    device: torch.device,
    processes: int = 1,
) -> Criterion:
    """Return the criterion of one epoch (:func:`epoch_terms`)."""
    return Criterion(epoch_terms(targets, findings, task, epoch, epochs), device, processes)
