"""The student's own map while it trains: differentiable, and from the same forward pass as its logits.

Maps of a trained student, by any method and in the original's geometry, are `mmpkd.attribute`'s.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmpkd.distil.heads import PatchHead
from mmpkd.distil.student import Student
from mmpkd.errors import InputError

_LEAST_SHARE = 1e-6  # of attention, spread evenly: a class token that looks at itself alone still has a map


class MappedLogits(NamedTuple):
    """What one forward pass gives.

    Args:
        logits: The student's, as without the map.
        maps: Non-negative, each of sum 1: one a finding with the ``patch`` head, else one for all findings; none if not
            asked for.
        patch_logits: The ``patch`` head's logits before pooling; ``None`` with other heads.
        features: What the head reads of the whole image: the class token, or the mean of the patch tokens.
    """

    logits: Float[Tensor, "batch findings"]
    maps: Float[Tensor, "batch maps rows columns"]
    patch_logits: Float[Tensor, "batch findings rows columns"] | None
    features: Float[Tensor, "batch width"]


@final
class MappedStudent(nn.Module):
    r"""A student that returns its features and its map beside its logits.

    With the ``patch`` head the map of finding k is the weights with which its rule pools, for log-sum-exp
    :math:`a_{kn} = \mathrm{softmax}_n(z_{nk} / \tau) = \partial y_k / \partial z_{nk}`. With the other heads it is the
    last block's attention from the tokens that the head reads (the class token, or the mean over patches) to the
    patches, heads averaged, as a share of what goes to patches; so prefix tokens may keep attention without being
    pulled to a patch (where nothing at all goes to patches, the map is uniform). Only the last block computes its
    attention explicitly, and only in here.

    Args:
        student: Shared, not copied.
        maps: Whether to make the map.

    Raises:
        InputError: The grid has one patch, or the last block has no attention to read.
    """

    def __init__(self, student: Student, maps: bool = True) -> None:
        super().__init__()
        self.student, self.maps = student, maps
        if not maps:
            return
        if student.grid[0] * student.grid[1] < 2:
            raise InputError(
                "objective.attention: the student has a single patch, so it has no map; lower student.patch_px."
            )
        if not isinstance(student.head, PatchHead):
            _last_attention(student)

    def forward(self, images: Float[Tensor, "batch channels size size"]) -> MappedLogits:
        """Return logits and maps, in single precision whatever the autocast."""
        head = self.student.head
        if not self.maps:
            return self._plain(images)
        return self._pooled(images, head) if isinstance(head, PatchHead) else self._attended(images)

    def _plain(self, images: Float[Tensor, "batch channels size size"]) -> MappedLogits:
        tokens = self.student.tokens(images)
        with torch.autocast(tokens.device.type, enabled=False):
            features = self._features(tokens)
            no_maps = features.new_empty(len(features), 0, *self.student.grid)
            return MappedLogits(self.student.head(tokens.float()), no_maps, None, features)

    def _features(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch width"]:
        if self.student.settings.head == "class-token":
            return tokens[:, 0].float()
        return tokens[:, self.student.prefix_tokens :].float().mean(1)

    def _pooled(self, images: Float[Tensor, "batch channels size size"], head: PatchHead) -> MappedLogits:
        tokens = self.student.tokens(images)
        with torch.autocast(tokens.device.type, enabled=False):
            patch_logits = head.patch_logits(tokens.float())
            logits, maps = head.pooling.image(patch_logits), head.pooling.map(patch_logits)
            features = self._features(tokens)
        return MappedLogits(logits, self._on_grid(maps.mT), self._on_grid(patch_logits.mT), features)

    def _attended(self, images: Float[Tensor, "batch channels size size"]) -> MappedLogits:
        student, prefix = self.student, self.student.prefix_tokens
        with _matrices(_last_attention(student)) as found:
            tokens = student.tokens(images)
        with torch.autocast(tokens.device.type, enabled=False):
            logits = student.head(tokens.float())
            read = slice(0, 1) if student.settings.head == "class-token" else slice(prefix, None)
            rows = found[0][:, :, read, prefix:].float().mean((1, 2))
            maps = (rows + _LEAST_SHARE / rows.shape[1]) / (rows.sum(1, keepdim=True) + _LEAST_SHARE)
            features = self._features(tokens)
        return MappedLogits(logits, self._on_grid(maps.unsqueeze(1)), None, features)

    def _on_grid(self, values: Float[Tensor, "batch maps patches"]) -> Float[Tensor, "batch maps rows columns"]:
        return values.unflatten(2, self.student.grid)


def _last_attention(student: Student) -> nn.Module:
    attention = getattr(student.backbone.blocks[-1], "attn", None)
    if not hasattr(attention, "attn_drop") or not hasattr(attention, "fused_attn"):
        raise InputError(
            f"objective.attention: the last block of {student.settings.backbone!r} has no single attention to read; "
            "choose a plain ViT, or the head 'patch'."
        )
    return cast(nn.Module, attention)


@contextmanager
def _matrices(attention: Any) -> Iterator[list[Float[Tensor, "batch heads tokens tokens"]]]:
    """Collect the softmax attention of each forward pass inside the block of code, before dropout."""
    found: list[Tensor] = []
    handle = attention.attn_drop.register_forward_pre_hook(lambda _module, inputs: found.append(inputs[0]))
    fused = attention.fused_attn
    try:
        attention.fused_attn = False
        yield found
    finally:
        attention.fused_attn = fused
        handle.remove()
