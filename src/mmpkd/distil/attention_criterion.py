"""The attention terms made ready for a training: weights and ROIs on the device, looked up batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmpkd.distil import attention_terms, augment
from mmpkd.distil.own_map import MappedLogits
from mmpkd.distil.roi_coverage import NO_ROIS, RoiCoverage
from mmpkd.distil.settings import AttentionTerms, AugmentSettings, HeadName, TrainingSettings
from mmpkd.distil.zone_criterion import ZoneCriterion
from mmpkd.errors import InputError

_OF_ONE_VIEW = {"entropy": attention_terms.entropy, "total_variation": attention_terms.total_variation}
NO_ZONES = (
    "objective.attention.zones: there are no located soft labels; give 'teach' its 'located' labels, or leave the term "
    "(or the arm) out."
)
_LEAST_IN_VIEW = 0.01  # of an ROI's area on the canvas; with less the augmentation has moved it out of view


def check_attention(
    terms: AttentionTerms, training: TrainingSettings, head: HeadName, has_rois: bool, has_zones: bool
) -> None:
    """Refuse attention terms that this training cannot compute.

    Raises:
        InputError: One sentence for each reason.
    """
    problems = []
    if terms.names and training.compile:
        problems.append(
            "training.compile: the attention terms read the student's map from inside its last block, which "
            "torch.compile does not allow; set 'compile' to false."
        )
    if terms.consistency and training.augment == AugmentSettings.off():
        problems.append(
            "objective.attention.consistency: it compares two augmented views, and training.augment changes nothing; "
            "give the augmentation a shift, scale or rotation."
        )
    if terms.roi and not has_rois:
        problems.append(NO_ROIS)
    if terms.zones and head != "patch":
        problems.append(
            f"objective.attention.zones: a zone's logit is pooled from patch logits, which the head {head!r} has not; "
            "set student.head to 'patch'."
        )
    if terms.zones and not has_zones:
        problems.append(NO_ZONES)
    if problems:
        raise InputError(problems)


class AttentionCriterion:
    """The attention terms of a batch of training cases.

    The ROI term of a student with the ``patch`` head is half the mean of ℓ(1, z) inside over the pairs of case and
    finding with an ROI, and half the mean of ℓ(0, z) outside over these and the pairs whose label is 0, all of whose
    patches are outside. Balanced so, pair by pair and then over the batch, neither the size of an ROI nor their number
    in the cohort decides how loud they are. With other heads it is the mean of ``-log`` mass over the pairs with an
    ROI. Pairs that are present but have no ROI say nothing, nor do missing labels.

    Args:
        terms: Weights; with all of them 0 there is nothing to call.
        labels: 1, 0 or NaN of the training cases.
        rois: Their ROIs, if the ``roi`` term is on.
        device: Where the student computes.
        processes: How many processes share a batch.
        zones: Their located soft labels, if the ``zones`` term is on.

    Attributes:
        names: The terms that are on.
        weights: Of these terms, on the device.
        views: How many augmented views of each image the terms need: 1, or 2.
    """

    def __init__(
        self,
        terms: AttentionTerms,
        labels: Float[np.ndarray, "cases findings"],
        rois: RoiCoverage | None,
        device: torch.device,
        processes: int = 1,
        zones: ZoneCriterion | None = None,
    ) -> None:
        self._zones = zones
        self.names = terms.names
        self.weights = torch.tensor([getattr(terms, name) for name in self.names], device=device)
        self.views = 2 if terms.consistency else 1
        self._processes = processes
        if rois is not None:
            pair = np.full(labels.shape, -1)
            pair[rois.cases, rois.findings] = np.arange(len(rois))
            shares = np.concatenate([rois.share, np.zeros_like(rois.share[:1])])  # -1, without an ROI, finds the zeros
            self._pair, self._shares = torch.from_numpy(pair).to(device), torch.from_numpy(shares).to(device)
            self._speaks = torch.from_numpy((pair >= 0) | (labels == 0)).to(device)

    def __call__(
        self,
        output: MappedLogits,
        moves: Float[Tensor, "views own 7"] | None,
        own: Int[Tensor, " own"],
        batch: Int[Tensor, " batch"],
    ) -> Float[Tensor, " terms"]:
        """Return this process's share of each term, without weights; the mean over processes is the term.

        Args:
            output: Of the first views of the rows ``own``, then of their second views if there are two.
            moves: Parameters of the views' augmentation, if there is any.
            own: Training rows that this process computed.
            batch: Training rows of the whole batch, over all processes.
        """
        first = output.maps[: len(own)]
        values = []
        for name in self.names:
            if name == "consistency":
                values.append(_consistency(output.maps, moves))
            elif name == "roi":
                values.append(self._roi(output, moves, own, batch) * self._processes)
            elif name == "zones":
                values.append(self._located(output, moves, own, batch) * self._processes)
            else:
                values.append(_OF_ONE_VIEW[name](first).mean())
        return torch.stack(values)

    def told(self, values: Float[Tensor, " terms"], batch: Int[Tensor, " batch"]) -> Float[Tensor, " terms"]:
        """Return the terms for the history: NaN for ``roi`` and ``zones`` where no case of the batch has any."""
        silent = {name: torch.zeros((), dtype=torch.bool, device=values.device) for name in self.names}
        if "roi" in silent:
            silent["roi"] = (self._pair[batch] < 0).all()
        if self._zones is not None and "zones" in silent:
            silent["zones"] = self._zones.is_silent(batch)
        return torch.where(torch.stack(list(silent.values())), torch.nan, values) if silent else values

    def _located(self, output: MappedLogits, moves: Tensor | None, own: Tensor, batch: Tensor) -> Tensor:
        if self._zones is None or output.patch_logits is None:
            raise ValueError("the zone term needs located labels and a patch head; check_attention() refuses the rest")
        return self._zones(output.patch_logits[: len(own)], None if moves is None else moves[0], own, batch)

    def _roi(self, output: MappedLogits, moves: Tensor | None, own: Tensor, batch: Tensor) -> Tensor:
        coverage = self._shares[self._pair[own]].float()
        if moves is not None:
            moved = augment.move(coverage, moves[0])
            left = moved.sum((2, 3), keepdim=True) >= _LEAST_IN_VIEW * coverage.sum((2, 3), keepdim=True)
            coverage = moved * left
        with_roi = (self._pair[batch] >= 0).sum().clamp_min(1)
        if output.patch_logits is None:
            return attention_terms.mass_cross_entropy(output.maps[: len(own)], coverage).sum() / with_roi
        inside, outside = attention_terms.patch_cross_entropy(output.patch_logits[: len(own)], coverage)
        speaking = self._speaks[batch].sum().clamp_min(1)
        return 0.5 * (inside.sum() / with_roi + (outside * self._speaks[own]).sum() / speaking)


def _consistency(maps: Float[Tensor, "views_own maps rows columns"], moves: Tensor | None) -> Tensor:
    if moves is None:
        raise ValueError("two views need an augmentation")
    (first, first_seen), (second, second_seen) = (
        augment.undo(view, move) for view, move in zip(maps.chunk(2), moves, strict=True)
    )
    return attention_terms.inconsistency(first, second, first_seen & second_seen).mean()
