"""Occlusion by leaving tokens out: no gradient, one forward pass a patch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor

from mmpkd.attribute.contract import Images, Maps
from mmpkd.attribute.vit import Vit

_CASES_AT_ONCE = 256


@final
class TokenOcclusion:
    r"""What the logit loses when one patch's token is left out.

    .. math:: a_n = \left( y_k(x) - y_k(x \setminus n) \right)^+

    The token is dropped after position embedding, so nothing is put in its place: no grey square that the model has
    never seen. Cost: one forward pass a patch.

    Source: Zeiler and Fergus 2014 (arXiv 1311.2901), by token dropping as in Naseer et al. 2021 (arXiv 2105.10497).
    What it cannot show: evidence that several patches carry alike, since leaving out one of them costs nothing.
    """

    name = "occlusion"
    class_specific = True

    def refuse(self, vit: Vit) -> str | None:
        """Refuse positions that are relative to a whole grid: a sequence with a gap has none."""
        from timm.models.vision_transformer import VisionTransformer

        if not isinstance(vit.backbone, VisionTransformer):
            return (
                f"the map 'occlusion' leaves tokens out, and {vit.name!r} has positions of whole grids only; "
                "choose a ViT with position embeddings."
            )
        return None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of the chosen classes."""
        columns = list(classes)
        with torch.no_grad():
            tokens = embedded(vit, images)
            whole = logits_of_tokens(vit, tokens)[:, columns]
            patches = range(vit.prefix_tokens, vit.tokens)
            keep = torch.tensor([[n for n in range(vit.tokens) if n != left_out] for left_out in patches])
            at_once = max(1, _CASES_AT_ONCE // len(images))
            lost = []
            for some in keep.to(tokens.device).split(at_once):
                shortened = tokens[:, some].flatten(0, 1)  # (batch x some, tokens - 1, width)
                without = logits_of_tokens(vit, shortened)[:, columns].unflatten(0, (len(images), len(some)))
                lost.append(whole[:, None] - without)
        return torch.cat(lost, dim=1).transpose(1, 2).clamp(min=0).unflatten(-1, vit.grid)


def embedded(vit: Vit, images: Images) -> Float[Tensor, "batch tokens dim"]:
    """Return the tokens that enter the first block of a VisionTransformer."""
    backbone = cast(Any, vit.backbone)
    tokens: Tensor = backbone.norm_pre(backbone.patch_drop(backbone._pos_embed(backbone.patch_embed(images))))
    return tokens


def logits_of_tokens(vit: Vit, tokens: Float[Tensor, "batch some dim"]) -> Float[Tensor, "batch classes"]:
    """Return the logits of a sequence of tokens, whole or with some left out."""
    for block in vit.blocks:
        tokens = block(tokens)
    return vit.read_out(tokens)
