"""Random changes of training images: one affine resampling and a change of grey values, on the device.

What is drawn depends on (seed, epoch) and the image's place in the epoch only, never on the device, the
number of processes or what ran before.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmpkd.distil.settings import AugmentSettings

COLUMNS = 7  # shift x, shift y, scale, rotation, brightness, contrast, flip


def draw(settings: AugmentSettings, cases: int, generator: np.random.Generator) -> Float[np.ndarray, "cases 7"] | None:
    """Draw the parameters of ``cases`` images; ``None`` when the settings change nothing.

    Columns: shift x and y (share of the side), factor of size, rotation (radians), brightness (added to grey
    values in [0, 1]), factor of contrast, and 1 or -1 for flip.
    """
    if settings == AugmentSettings.off():
        return None
    uniform = generator.uniform(-1.0, 1.0, (cases, COLUMNS)).astype(np.float32)
    sizes = (
        settings.shift,
        settings.shift,
        settings.scale,
        math.radians(settings.rotate_deg),
        settings.brightness,
        settings.contrast,
        0.0,
    )
    parameters = uniform * np.array(sizes, np.float32)
    parameters[:, [2, 5]] += 1.0
    parameters[:, 6] = np.where((uniform[:, 6] < 0) & settings.flip, -1.0, 1.0)
    return parameters


def apply(
    images: Float[Tensor, "batch channels size size"], parameters: Float[Tensor, "batch 7"]
) -> Float[Tensor, "batch channels size size"]:
    """Return images in [0, 1] moved, resized, rotated, brightened and flipped; what enters is black.

    A positive shift moves the picture right and down, a positive rotation turns it clockwise as seen, a
    factor of size above 1 enlarges it. Values stay within [0, 1].
    """
    shift, scale, angle = parameters[:, :2], parameters[:, 2], parameters[:, 3]
    brightness, contrast, flip = (parameters[:, column].view(-1, 1, 1, 1) for column in (4, 5, 6))
    # affine_grid maps output to input coordinates (in [-1, 1]): the inverse of what the picture does
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    rows = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
    rows = torch.cat([rows, -rows @ (2.0 * shift).unsqueeze(2)], 2)
    rows[:, 0] *= flip.view(-1, 1)
    grid = functional.affine_grid(rows, list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, align_corners=False)
    mean = moved.mean((1, 2, 3), keepdim=True)
    return torch.addcmul(mean + brightness - contrast * mean, moved, contrast).clamp_(0.0, 1.0)
