"""One view of a vision transformer for all map methods: its blocks, its token grid, and what its logits read.

Any timm ViT will do, a :class:`mmpkd.distil.student.Student` too. The model's own code runs the forward pass; methods
look at it through hooks (:mod:`mmpkd.attribute.capture`), so nothing of an architecture is written out twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, cast, final

from jaxtyping import Float
from torch import Tensor, nn

from mmpkd.distil.student import Student
from mmpkd.errors import InputError

_SUPPORTED = "choose a plain ViT (timm's VisionTransformer, DeiT, BEiT, EVA or relative-position ViT)."


@final
@dataclass(frozen=True)
class Vit:
    """What map methods know of a model.

    Args:
        backbone: The timm model; ``backbone.blocks`` are its transformer blocks.
        name: For error sentences.
        grid: Rows and columns of the patch tokens.
        prefix_tokens: Tokens before the patch tokens (class, distillation, registers).
        head: What the logits read: ``class-token`` (prefix tokens only), ``mean`` or ``patch`` (patch tokens), or
            ``pool`` (attention pooling over all tokens).
        read: Slice of the tokens that the logits read.
        finish: From normed tokens (batch, tokens, width) to logits (batch, classes).
        classes: Names of the logits, in order.
        patch_logits: For the ``patch`` head, from normed tokens to logits of each patch; else ``None``.
    """

    backbone: Any
    name: str
    grid: tuple[int, int]
    prefix_tokens: int
    head: str
    read: slice
    finish: Callable[[Tensor], Tensor]
    classes: tuple[str, ...]
    patch_logits: Callable[[Tensor], Tensor] | None = None

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer blocks, first to last."""
        return list(self.backbone.blocks)

    @property
    def tokens(self) -> int:
        """Tokens of an image, prefix tokens included."""
        return self.prefix_tokens + self.grid[0] * self.grid[1]

    def features(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch tokens dim"]:
        """Run the backbone's own forward pass to its normed tokens."""
        return cast(Tensor, self.backbone.forward_features(images))

    def logits(self, images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch classes"]:
        """Return the model's logits."""
        return self.finish(self.features(images))

    def read_out(self, tokens: Float[Tensor, "batch some_tokens dim"]) -> Float[Tensor, "batch classes"]:
        """Return the logits that tokens of any depth would give: final norm, then head."""
        return self.finish(self.backbone.norm(tokens))

    def on_grid(self, values: Float[Tensor, "*any tokens"]) -> Float[Tensor, "*any rows columns"]:
        """Drop the prefix tokens and lay the patch tokens out."""
        return values[..., self.prefix_tokens :].unflatten(-1, self.grid)


def vit_of(model: Student | nn.Module, classes: Sequence[str] | None = None) -> Vit:
    """Return the view of a student or of a timm ViT.

    Args:
        model: Its mode and device are left as they are.
        classes: Names of a timm model's logits; their numbers by default.

    Raises:
        InputError: The backbone has no grid of tokens that attend to each other (Swin, hybrids, windows).
    """
    if isinstance(model, Student):
        return _of_student(model)
    reason = refuse_backbone(model)
    if reason is not None:
        raise InputError(reason)
    backbone = cast(Any, model)
    head, read = _what_timm_reads(backbone)
    rows, columns = backbone.patch_embed.grid_size
    count = int(getattr(backbone, "num_classes", 0) or 0)
    if count == 0:
        raise InputError(f"the backbone {_name(model)!r} has no classifier, so it has no logits to explain.")
    return Vit(
        backbone,
        _name(model),
        (int(rows), int(columns)),
        int(backbone.num_prefix_tokens),
        head,
        read,
        backbone.forward_head,
        tuple(classes) if classes is not None else tuple(str(number) for number in range(count)),
    )


def refuse_backbone(backbone: nn.Module) -> str | None:
    """Return one sentence why no map can be made of this backbone, else ``None``."""
    from timm.models.beit import Beit
    from timm.models.eva import Eva
    from timm.models.vision_transformer import VisionTransformer
    from timm.models.vision_transformer_relpos import VisionTransformerRelPos

    name = _name(backbone)
    if not isinstance(backbone, VisionTransformer | Eva | Beit | VisionTransformerRelPos):
        return (
            f"maps of the backbone {name!r} are not offered: its tokens do not all attend to each other; {_SUPPORTED}"
        )
    if hasattr(backbone.patch_embed, "backbone"):
        return f"maps of the hybrid backbone {name!r} are not offered: its tokens see more than a patch; {_SUPPORTED}"
    if any(not hasattr(getattr(block, "attn", None), "attn_drop") for block in backbone.blocks):
        return f"maps of the backbone {name!r} are not offered: its blocks have no single attention; {_SUPPORTED}"
    return None


def _of_student(student: Student) -> Vit:
    from mmpkd.distil.heads import PatchHead

    backbone, head = student.backbone, student.head
    read = slice(0, 1) if student.settings.head == "class-token" else slice(student.prefix_tokens, None)
    late_norm = backbone.fc_norm if isinstance(backbone.norm, nn.Identity) and hasattr(backbone, "fc_norm") else None
    return Vit(
        backbone,
        student.settings.backbone,
        student.grid,
        student.prefix_tokens,
        student.settings.head,
        read,
        partial(_finish, late_norm, head),
        student.findings,
        partial(_finish, late_norm, head.patch_logits) if isinstance(head, PatchHead) else None,
    )


def _finish(late_norm: nn.Module | None, head: Callable[[Tensor], Tensor], tokens: Tensor) -> Tensor:
    return head(tokens if late_norm is None else late_norm(tokens))


def _what_timm_reads(backbone: Any) -> tuple[str, slice]:
    """Return which tokens timm's own classifier reads."""
    if getattr(backbone, "attn_pool", None) is not None:
        return "pool", slice(None)
    pooling = getattr(backbone, "global_pool", "token")
    if pooling == "token":
        return "class-token", slice(0, 2 if getattr(backbone, "dist_token", None) is not None else 1)
    everything = getattr(backbone, "pool_include_prefix", False)
    return "mean", slice(0 if everything else int(backbone.num_prefix_tokens), None)


def _name(backbone: nn.Module) -> str:
    config = getattr(backbone, "pretrained_cfg", None) or {}
    return str(config.get("architecture") or type(backbone).__name__)
