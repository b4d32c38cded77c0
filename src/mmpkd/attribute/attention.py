"""Last-block attention, heads averaged: the map of the paper. It is not class-specific.

Fused attention stays on: the one attention row that the map needs is recomputed from the last block's own
queries and keys (timm's hooks see no attention matrix while fused attention is on, its default).
"""

from __future__ import annotations

from typing import cast, final

import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional

from mmpkd.distil.student import Student


@final
class LastBlockAttention:
    r"""Attention from the class token to each patch in the last block, averaged over heads.

    .. math:: a_n = \frac{1}{H} \sum_h \mathrm{softmax}_m\!\left(q^h_{cls} \cdot k^h_m / \sqrt{d}\right)_n

    over patches :math:`n` (the softmax runs over all tokens, prefix tokens included; the map keeps the patches).
    For a student with the ``mean`` head, which reads every patch token and no class token, the row of the class
    token is replaced by the mean of the rows of all patches: the attention each patch receives from what is read.

    Source: Caron et al. 2021 (arXiv 2104.14294) for the display; Baur et al. 2025 (arXiv 2508.06558) for its use.
    What it cannot show: which finding the attention served, or whether the value it carried spoke for or against.
    """

    name = "attention"
    class_specific = False

    def refuse(self, student: Student) -> str | None:
        """Refuse a head that does not read the attended tokens, and attention without separable q and k."""
        if student.settings.head == "patch":
            return (
                "the map 'attention' is not offered for a student with the patch head: its logits do not read the "
                "class token; use the map 'patch'."
            )
        attention = _last_attention(student)
        if attention is None or not isinstance(getattr(attention, "qkv", None), nn.Linear):
            return (
                f"the map 'attention' needs the queries and keys of the last block, which the backbone "
                f"{student.settings.backbone!r} does not expose as one qkv layer; choose a plain ViT."
            )
        return None

    def __call__(
        self, student: Student, images: Float[torch.Tensor, "batch channels size size"]
    ) -> Float[torch.Tensor, "batch findings rows columns"]:
        """Return the maps; every finding of a case gets the same one."""
        attention = _last_attention(student)
        if attention is None:
            raise TypeError("call refuse() first: this student has no attention in its last block")
        captured: list[torch.Tensor] = []
        handle = attention.register_forward_pre_hook(lambda _module, inputs: captured.append(inputs[0]))
        try:
            with torch.no_grad():
                student.tokens(images)
        finally:
            handle.remove()
        with torch.no_grad():
            rows = _attention_rows(attention, captured[0].float(), from_class=student.settings.head == "class-token")
        height, width = student.grid
        if student.settings.head != "class-token":
            rows = rows[:, :, student.prefix_tokens :]
        patches = rows.mean(dim=(1, 2))[:, student.prefix_tokens :]  # (batch, patches)
        maps = patches.reshape(len(images), 1, height, width)
        return maps.expand(-1, len(student.findings), -1, -1)


def _last_attention(student: Student) -> nn.Module | None:
    blocks = getattr(student.backbone, "blocks", None)
    attention = getattr(blocks[-1], "attn", None) if isinstance(blocks, nn.Sequential | nn.ModuleList) else None
    return attention if isinstance(attention, nn.Module) else None


def _attention_rows(
    attention: nn.Module, tokens: Float[torch.Tensor, "batch tokens width"], from_class: bool
) -> Float[torch.Tensor, "batch heads queries tokens"]:
    """Return softmax attention rows of the class token, or of every token but the prefix ones."""
    qkv = attention.get_submodule("qkv")
    if not isinstance(qkv, nn.Linear):
        raise TypeError("call refuse() first: this attention has no qkv layer")
    heads = int(cast(int, attention.num_heads))
    inner = qkv.out_features // 3  # timm's head width times heads; may differ from the token width
    weight, bias = qkv.weight.float(), None if qkv.bias is None else qkv.bias.float()
    queries = tokens[:, :1] if from_class else tokens

    def project(x: torch.Tensor, part: int) -> torch.Tensor:
        rows = slice(part * inner, (part + 1) * inner)
        y = functional.linear(x, weight[rows], None if bias is None else bias[rows])
        return y.unflatten(-1, (heads, inner // heads)).transpose(1, 2)  # (batch, heads, tokens, head width)

    q = attention.get_submodule("q_norm")(project(queries, 0))
    k = attention.get_submodule("k_norm")(project(tokens, 1))
    return (q * cast(float, attention.scale) @ k.transpose(-2, -1)).softmax(dim=-1)
