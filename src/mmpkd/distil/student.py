"""The student: a timm vision transformer with a head, from a uint8 image batch to one logit a finding.

It sees images only. Everything about tokens (grid, prefix tokens) is read from the backbone, never assumed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import timm
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from mmpkd.cohort.cohort import Task
from mmpkd.distil.heads import build_head
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.weights import load_backbone_weights, own_normalisation
from mmpkd.errors import InputError, did_you_mean

FROM_SCRATCH_MEAN, FROM_SCRATCH_STD = 0.5, 0.25  # grey levels in [0, 1], when no pretraining dictates others


class Student(nn.Module):
    """A backbone and a head. Build one with :func:`build_student`.

    Attributes:
        settings: What it was built from.
        findings: Names of the logits, in order.
        task: ``multi-label`` (a sigmoid each) or ``multi-class`` (a softmax).
        fit: How images are fitted into the square (``pad``, ``stretch`` or ``crop``), as in training.
        backbone: The timm model; its own classifier is not used.
        head: See :mod:`mmpkd.distil.heads`.
        grid: Rows and columns of the patch tokens.
        prefix_tokens: Tokens before the patch tokens (class token, registers).
    """

    mean: Tensor
    std: Tensor
    backbone: Any  # a timm model: its attributes are not typed

    def __init__(
        self,
        settings: StudentSettings,
        findings: Sequence[str],
        backbone: Any,
        task: Task = "multi-label",
        fit: str = "pad",
    ) -> None:
        super().__init__()
        self.settings, self.findings, self.task, self.fit = settings, tuple(findings), task, fit
        self.backbone = backbone
        self.prefix_tokens = int(backbone.num_prefix_tokens)
        rows, columns = backbone.patch_embed.grid_size
        self.grid = (int(rows), int(columns))
        has_class_token = getattr(backbone, "cls_token", None) is not None
        width = int(backbone.embed_dim)
        patches = self.grid[0] * self.grid[1]
        self.head = build_head(settings, width, len(self.findings), self.prefix_tokens, has_class_token, patches)
        mean, std = _normalisation(settings, backbone)
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, -1, 1, 1), persistent=False)

    def prepare(self, pixels: UInt8[Tensor, "batch channels size size"]) -> Float[Tensor, "batch channels size size"]:
        """Return ``(pixels / 255 - mean) / std`` in single precision, on the device of ``pixels``."""
        return self.normalise(pixels.float().div_(255.0))

    def normalise(self, images: Float[Tensor, "batch channels size size"]) -> Float[Tensor, "batch channels size size"]:
        """Return ``(images - mean) / std`` for images in [0, 1], writing over them."""
        return images.sub_(self.mean).div_(self.std)

    def tokens(self, images: Float[Tensor, "batch channels size size"]) -> Float[Tensor, "batch tokens width"]:
        """Return the backbone's last normed tokens: prefix tokens first, then patches in row-major order."""
        tokens: Tensor = self.backbone.forward_features(images)
        if isinstance(self.backbone.norm, nn.Identity) and hasattr(self.backbone, "fc_norm"):
            tokens = self.backbone.fc_norm(tokens)  # average-pooling ViTs norm last
        return tokens

    def forward(self, images: Float[Tensor, "batch channels size size"]) -> Float[Tensor, "batch findings"]:
        """Return a logit per image and finding. The head runs in single precision whatever the autocast.

        Half-precision logits would tie cases that differ, which costs AUROC.
        """
        tokens = self.tokens(images)
        with torch.autocast(tokens.device.type, enabled=False):
            logits: Tensor = self.head(tokens.float())
        return logits


def build_student(
    settings: StudentSettings, findings: Sequence[str], task: Task = "multi-label", fit: str = "pad"
) -> Student:
    """Build a student, drawing fresh weights from torch's random state unless the settings name others.

    Raises:
        InputError: The backbone is unknown, has no tokens or cannot take these settings, or its weights
            cannot be had.
    """
    student = Student(settings, findings, _backbone(settings), task, fit)
    if settings.weights is not None:
        load_backbone_weights(student.backbone, settings.weights)
    return student


def _backbone(settings: StudentSettings) -> Any:
    name = settings.backbone
    if not timm.is_model(name):
        known = timm.list_models(pretrained=False)
        raise InputError(f"student.backbone: timm has no model {name!r}{_near(name, known)}")
    overrides = {
        "patch_size": settings.patch_px,
        "embed_dim": settings.width,
        "depth": settings.depth,
        "num_heads": settings.heads,
        "drop_path_rate": settings.drop_path or None,
    }
    given = {key: value for key, value in overrides.items() if value is not None}
    size = settings.image_size_px
    try:
        backbone: Any = timm.create_model(
            name,
            pretrained=settings.pretrained,
            num_classes=0,
            img_size=size,
            in_chans=settings.channels,
            **given,
        )
    except TypeError:
        raise InputError(
            f"student.backbone: {name!r} does not take {', '.join(['img_size', *given])}; it is not a vision "
            "transformer with tokens. Choose a ViT, for example 'vit_tiny_patch16_224'."
        ) from None
    except AssertionError as error:
        shown = ", ".join(f"{key}={value}" for key, value in {"img_size": size, **given}.items())
        raise InputError(
            f"student: {name!r} cannot be built with {shown} ({error or 'sizes that do not divide'}); "
            "the width must divide by the number of heads and the image by the patch."
        ) from None
    except (OSError, RuntimeError) as error:
        if not settings.pretrained:
            raise
        raise InputError(
            f"student.pretrained: the published weights of {name!r} cannot be had ({type(error).__name__}); "
            "fill the Hugging Face cache on a machine with network, or name a local file with 'weights'."
        ) from None
    _check_tokens(backbone, settings)
    return backbone


def _near(name: str, known: list[str]) -> str:
    hint = did_you_mean(name, known)
    return hint if hint.startswith("; did you mean") else "; list the names with timm.list_models('vit*')."


def _check_tokens(backbone: Any, settings: StudentSettings) -> None:
    """Refuse a backbone that does not yield prefix tokens and a grid of patch tokens."""
    name, size = settings.backbone, settings.image_size_px
    no_tokens = InputError(
        f"student.backbone: {name!r} does not yield one token a patch, so it can have no map; choose a ViT, "
        "for example 'vit_tiny_patch16_224'."
    )
    grid = getattr(getattr(backbone, "patch_embed", None), "grid_size", None)
    if grid is None or not hasattr(backbone, "num_prefix_tokens") or not hasattr(backbone, "blocks"):
        raise no_tokens
    if size % grid[0] or size % grid[1] or any(size % side for side in _patch_px(backbone)):
        raise InputError(
            f"student.image_size_px: {size} px does not divide into patches of {_patch_px(backbone)[0]} px; "
            "change 'image_size_px' or 'patch_px'."
        )
    was_training = backbone.training
    with torch.no_grad():
        tokens = backbone.eval().forward_features(torch.zeros(1, settings.channels, size, size))
    backbone.train(was_training)
    if tokens.ndim != 3 or tokens.shape[1] != int(backbone.num_prefix_tokens) + grid[0] * grid[1]:
        raise no_tokens


def _patch_px(backbone: Any) -> tuple[int, ...]:
    size = backbone.patch_embed.patch_size
    return (size, size) if isinstance(size, int) else tuple(size)


def _normalisation(settings: StudentSettings, backbone: Any) -> tuple[list[float], list[float]]:
    """Return mean and standard deviation per channel: those of the weights' own training, else the stated constants."""
    if not settings.pretrained and settings.weights is None:
        return [FROM_SCRATCH_MEAN] * settings.channels, [FROM_SCRATCH_STD] * settings.channels
    if settings.weights is not None and (own := own_normalisation(settings.weights, settings.channels)):
        return own
    config = backbone.pretrained_cfg
    mean, std = list(config["mean"]), list(config["std"])
    if settings.channels == 1:
        mean, std = [sum(mean) / len(mean)], [sum(std) / len(std)]
    return mean, std


@contextmanager
def explicit_attention(student: Student, explicit: bool) -> Iterator[None]:
    """Let this student's own blocks compute attention step by step inside the block; timm's switch stays.

    The same function either way; on CPUs the fused kernel's backward pass is the slower one in bf16.
    """
    attentions = [
        block.attn for block in student.backbone.blocks if hasattr(getattr(block, "attn", None), "fused_attn")
    ]
    before = [attention.fused_attn for attention in attentions]
    try:
        if explicit:
            for attention in attentions:
                attention.fused_attn = False
        yield
    finally:
        for attention, fused in zip(attentions, before, strict=True):
            attention.fused_attn = fused
