"""Last-block attention: the map of the paper. It is not class-specific."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mmpkd.attribute.capture import attention_matrices, block_calls
from mmpkd.attribute.closed import can_close, close_block, closed_logits
from mmpkd.attribute.contract import Images, Maps
from mmpkd.attribute.vit import Vit
from mmpkd.errors import InputError


@final
class LastBlockAttention:
    r"""Attention from what the logits read to each patch in the last block, heads fused.

    .. math:: a_n = \mathrm{fuse}_h\; \mathrm{mean}_{r}\; \mathrm{softmax}_m(q^h_r \cdot k^h_m / \sqrt{d})_n

    over patches :math:`n`; the softmax runs over all tokens, prefix tokens included, and the map keeps the patches.
    The rows :math:`r` are those that the logits read: the class token's (and the distillation token's where both
    classify), or the mean over the patches' rows where patches are read.

    Args:
        fusion: ``mean`` over heads (default), ``max``, or the number of one head.

    Source: Caron et al. 2021 (arXiv 2104.14294) for the display; Baur et al. 2025 (arXiv 2508.06558) for its use.
    What it cannot show: which finding the attention served, or whether the value it carried spoke for or against.
    """

    name = "attention"
    class_specific = False

    def __init__(self, fusion: str = "mean") -> None:
        if fusion not in ("mean", "max") and not fusion.isdecimal():
            raise InputError(f"the map 'attention' fuses heads by 'mean', 'max' or a head's number, not by {fusion!r}.")
        self.fusion = fusion

    def refuse(self, vit: Vit) -> str | None:
        """Refuse the patch head, whose logits read no attention row of their own."""
        if vit.head == "patch":
            return (
                "the map 'attention' is not offered for a student with the patch head: its logits do not read the "
                "class token; use the map 'patch'."
            )
        heads = int(vit.backbone.blocks[-1].attn.num_heads)
        if self.fusion.isdecimal() and int(self.fusion) >= heads:
            return f"the last block of {vit.name!r} has {heads} heads, numbered from 0; there is no head {self.fusion}."
        return None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps; every class of a case gets the same one."""
        return self._fused(vit, last_rows(vit, images)).unsqueeze(1).expand(-1, len(classes), -1, -1)

    def with_logits(self, vit: Vit, images: Images) -> tuple[Float[Tensor, "batch classes"], Maps]:
        """Return logits and map for less than a plain forward pass, where the last block can be closed."""
        if not can_close(vit):
            return vit.logits(images), self(vit, images, [0])
        with torch.no_grad():
            (call,) = block_calls(vit, images, last_only=True)
            closed = close_block(vit, call)
            return closed_logits(vit, call, closed), self._fused(vit, closed.attention).unsqueeze(1)

    def _fused(self, vit: Vit, rows: Tensor) -> Float[Tensor, "batch rows columns"]:
        by_head = rows.mean(dim=2)
        if self.fusion == "mean":
            fused = by_head.mean(dim=1)
        elif self.fusion == "max":
            fused = by_head.amax(dim=1)
        else:
            fused = by_head[:, int(self.fusion)]
        return vit.on_grid(fused)


@torch.no_grad()
def last_rows(vit: Vit, images: Images) -> Float[Tensor, "batch heads read tokens"]:
    """Return the last block's attention rows of the tokens that the logits read."""
    (call,) = block_calls(vit, images, last_only=True)
    if can_close(vit):
        return close_block(vit, call).attention
    with attention_matrices(vit, [call.block]) as found:
        call(call.tokens)
    return found[0][:, :, vit.read]
