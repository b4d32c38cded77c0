"""A model asked with part of its patches: which logits, if the others are withheld?

Patches are withheld in one of two ways:

- ``tokens``: they leave the sequence after position embedding, so that nothing is put in their place (Naseer et al.
  2021, arXiv 2105.10497). Prefix tokens stay. For a VisionTransformer, whose positions are absolute. Where nothing
  but patch tokens reaches the logits (the mean and patch heads), no patch at all is no question: the answer is NaN.
- ``blur``: they are replaced by the same patches of the blurred image. For every backbone.

Which patches to withhold, and why, is :mod:`mmpkd.attribute.perturb`'s matter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from mmpkd.attribute.contract import Images
from mmpkd.attribute.occlusion import embedded, logits_of_tokens
from mmpkd.attribute.vit import Vit
from mmpkd.errors import InputError, did_you_mean

BLUR_SHARE = 0.05  # of the shorter side: 11 px at 224, near the 10 of Fong and Vedaldi 2017 (arXiv 1704.03296)
WAYS = ("tokens", "blur")

Patches = Bool[Tensor, "rows patches"]
Logits = Float[Tensor, "rows classes"]
Question = Callable[[Patches], Logits]


def require_way(vit: Vit, by: str, sigma_px: float | None) -> None:
    """Raise an :class:`InputError` for an unknown way, one that the model does not allow, or a blur of no width."""
    from timm.models.vision_transformer import VisionTransformer

    if by not in WAYS:
        raise InputError(f"patches cannot be withheld by {by!r}{did_you_mean(by, WAYS)}")
    if by == "tokens" and not isinstance(vit.backbone, VisionTransformer):
        raise InputError(
            f"tokens cannot be left out of {vit.name!r}, which has positions of whole grids only; withhold patches by "
            "'blur', or choose a ViT with position embeddings."
        )
    if sigma_px is not None and not 0 < sigma_px < float("inf"):
        raise InputError(f"the blur's sigma_px is {sigma_px:g}; give a standard deviation over 0, in pixels.")


def question(vit: Vit, images: Images, by: str = "tokens", sigma_px: float | None = None) -> Question:
    """Return the question "which logits, with these patches alone?" about a batch of images.

    What does not depend on the patches (token embedding, blurred images) is computed once. Call it in evaluation mode
    (:func:`evaluating`) and without gradients, after :func:`require_way`.

    Args:
        vit: The model.
        images: Prepared (normalised) images, (rows, channels, height, width).
        by: ``tokens`` or ``blur``, see the top of the module.
        sigma_px: Standard deviation of the Gaussian ``blur``; 0.05 of the shorter side by default.

    Returns:
        A function of the patches to keep, (rows, patches) in row-major order, to logits, (rows, classes). By
        ``tokens``, rows that keep equally many patches make one forward pass.
    """
    if by == "tokens":
        return _by_tokens(vit, images)
    return _by_blur(vit, images, BLUR_SHARE * min(images.shape[-2:]) if sigma_px is None else sigma_px)


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Set evaluation mode, then give each part its own mode back (parts may be frozen in a model that trains)."""
    modes = [(part, part.training) for part in model.modules()]
    try:
        model.eval()
        yield
    finally:
        for part, training in modes:
            part.training = training


def _by_tokens(vit: Vit, images: Images) -> Question:
    prefix, patches = embedded(vit, images).tensor_split([vit.prefix_tokens], dim=1)

    def ask(keep: Patches) -> Logits:
        keep, counts = keep.to(patches.device), keep.sum(dim=1)
        logits = patches.new_full((len(keep), len(vit.classes)), torch.nan)
        for count in counts.unique().tolist():
            if count == 0 and not _prefix_alone_answers(vit):
                continue
            rows = torch.nonzero(counts == count)[:, 0].to(patches.device)
            kept = patches[rows][keep[rows]].view(len(rows), count, patches.shape[2])
            logits[rows] = logits_of_tokens(vit, torch.cat([prefix[rows], kept], dim=1)).to(logits.dtype)
        return logits

    return ask


def _prefix_alone_answers(vit: Vit) -> bool:
    """Say whether prefix tokens reach the logits without a patch."""
    if vit.head == "pool":
        return vit.prefix_tokens > 0 and bool(vit.backbone.pool_include_prefix)
    return vit.prefix_tokens > 0 and vit.read.start == 0


def _by_blur(vit: Vit, images: Images, sigma_px: float) -> Question:
    height, width = images.shape[-2:]
    down, across = vit.backbone.patch_embed.patch_size
    blurred = gaussian_blur(images, sigma_px)
    beyond = (0, width - across * vit.grid[1], 0, height - down * vit.grid[0])  # pixels that belong to no patch

    def ask(keep: Patches) -> Logits:
        pixels = keep.to(images.device).unflatten(1, vit.grid)
        pixels = functional.pad(pixels.repeat_interleave(down, dim=1).repeat_interleave(across, dim=2), beyond)
        return vit.logits(torch.where(pixels[:, None], images, blurred))

    return ask


def gaussian_blur(images: Images, sigma_px: float) -> Images:
    """Return images under a Gaussian, cut off at three standard deviations, with borders replicated.

    torchvision's blur reflects borders and so refuses a Gaussian wider than the image.
    """
    radius = int(3 * sigma_px + 0.5)
    distance = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    weights = torch.exp(-0.5 * (distance / sigma_px) ** 2)
    weights = weights / weights.sum()
    planes = functional.pad(images.flatten(0, 1)[:, None], (radius,) * 4, mode="replicate")
    planes = functional.conv2d(functional.conv2d(planes, weights.view(1, 1, -1, 1)), weights.view(1, 1, 1, -1))
    return planes.view_as(images)
