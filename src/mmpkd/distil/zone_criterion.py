"""The zone term made ready for a training: located labels and zones on the device, looked up batch by batch."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmpkd.distil import augment
from mmpkd.distil.pooling import Pooling
from mmpkd.distil.zone_labels import ZoneLabels
from mmpkd.distil.zone_terms import zone_cross_entropy

_LEAST_IN_VIEW = 0.5  # of a zone's area on the canvas; with less in view its label may speak of what is not there


class ZoneCriterion:
    """The zone term of a batch (:mod:`mmpkd.distil.zone_terms`), for a student with the ``patch`` head.

    Args:
        zones: Of the training cases.
        pooling: Of the head.
        device: Where the student computes.
    """

    def __init__(self, zones: ZoneLabels, pooling: Pooling, device: torch.device) -> None:
        self._target = torch.from_numpy(zones.logits).to(device, torch.float32).sigmoid()
        self._coverage = torch.from_numpy(zones.coverage).to(device)
        self._pooling = pooling

    def __call__(
        self,
        patch_logits: Float[Tensor, "own findings rows columns"],
        moves: Float[Tensor, "own 7"] | None,
        own: Int[Tensor, " own"],
        batch: Int[Tensor, " batch"],
    ) -> Float[Tensor, ""]:
        """Return this process's share of the term: the sum over processes is the term.

        Args:
            patch_logits: Of the rows ``own``.
            moves: Parameters of their augmentation. Zones move with the picture, a flip included: what the report calls
                left stays on that side of the body.
            own: Training rows that this process computed.
            batch: Training rows of the whole batch, over all processes.
        """
        sets = self._coverage[own] if len(self._coverage) > 1 else self._coverage.expand(len(own), -1, -1, -1)
        coverage, target = sets.float(), self._target[own]
        if moves is not None:
            moved = augment.move(coverage, moves)
            in_view = moved.sum((2, 3)) >= _LEAST_IN_VIEW * coverage.sum((2, 3))
            coverage, target = moved, torch.where(in_view.unsqueeze(1), target, torch.nan)
        pooled = self._pooling.zones(patch_logits.flatten(2), coverage.flatten(2))
        present, absent = zone_cross_entropy(pooled, target)
        whole = self._target[batch]
        most, least = whole.nansum().clamp_min(1.0), (1.0 - whole).nansum().clamp_min(1.0)
        return 0.5 * (present / most + absent / least)

    def is_silent(self, batch: Int[Tensor, " batch"]) -> Tensor:
        """Return whether nothing is known of any zone of a batch."""
        return self._target[batch].isnan().all()
