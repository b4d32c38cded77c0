"""Random changes of training images: one affine resampling and a change of grey values, on the device.

What is drawn depends on (seed, epoch) and the image's place in the epoch only, never on the device, the
number of processes or what ran before.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from jaxtyping import Bool, Float
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
    brightness, contrast = (parameters[:, column].view(-1, 1, 1, 1) for column in (4, 5))
    grid = functional.affine_grid(_to_original(parameters), list(images.shape), align_corners=False)
    moved = functional.grid_sample(images, grid, align_corners=False)
    mean = moved.mean((1, 2, 3), keepdim=True)
    return torch.addcmul(mean + brightness - contrast * mean, moved, contrast).clamp_(0.0, 1.0)


def apply_views(
    images: Float[Tensor, "batch channels size size"], parameters: Float[Tensor, "views batch 7"]
) -> Float[Tensor, "views_batch channels size size"]:
    """Return each view of all images, changed by its own parameters, one view after the other."""
    views = [apply(images, one) for one in parameters]
    return views[0] if len(views) == 1 else torch.cat(views)


def move(
    maps: Float[Tensor, "batch maps rows columns"], parameters: Float[Tensor, "batch 7"]
) -> Float[Tensor, "batch maps rows columns"]:
    """Return maps of the picture as it was, at any resolution, moved as :func:`apply` moves it; what enters is 0.

    Bilinear between cell centres, so whole cells and flips move exactly.
    """
    values, inside = _resample(maps, _to_original(parameters))
    return values * inside


def undo(
    maps: Float[Tensor, "batch maps rows columns"], parameters: Float[Tensor, "batch 7"]
) -> tuple[Float[Tensor, "batch maps rows columns"], Bool[Tensor, "batch 1 rows columns"]]:
    """Return maps of what :func:`apply` made, taken back to where the picture was, and which cells it still shows.

    The inverse of :func:`move`, in the same way. Cells that the change pushed out of view hold values of the
    border, not of the picture.
    """
    return _resample(maps, _to_changed(parameters))


def _to_original(parameters: Float[Tensor, "batch 7"]) -> Float[Tensor, "batch 2 3"]:
    """Return the map from places of the changed picture to places of the original, both in [-1, 1]."""
    shift, scale, angle = parameters[:, :2], parameters[:, 2], parameters[:, 3]
    cosine, sine = angle.cos() / scale, angle.sin() / scale
    rows = torch.stack([torch.stack([cosine, sine], 1), torch.stack([-sine, cosine], 1)], 1)
    rows = torch.cat([rows, -rows @ (2.0 * shift).unsqueeze(2)], 2)
    rows[:, 0] *= parameters[:, 6].view(-1, 1)
    return rows


def _to_changed(parameters: Float[Tensor, "batch 7"]) -> Float[Tensor, "batch 2 3"]:
    """Return the inverse of :func:`_to_original`: flip, turn, resize, shift."""
    shift, scale, angle, flip = parameters[:, :2], parameters[:, 2], parameters[:, 3], parameters[:, 6]
    cosine, sine = angle.cos() * scale, angle.sin() * scale
    rows = torch.stack([torch.stack([cosine * flip, -sine], 1), torch.stack([sine * flip, cosine], 1)], 1)
    return torch.cat([rows, (2.0 * shift).unsqueeze(2)], 2)


def _resample(
    maps: Float[Tensor, "batch maps rows columns"], affine: Float[Tensor, "batch 2 3"]
) -> tuple[Float[Tensor, "batch maps rows columns"], Bool[Tensor, "batch 1 rows columns"]]:
    """Return the maps' values at places moved by ``affine``, and whether these lie within the maps.

    Beyond the outermost centres a cell keeps its value, so that nothing fades within half a cell of the edge.
    """
    places = functional.affine_grid(affine, list(maps.shape), align_corners=False)
    values = functional.grid_sample(maps, places, padding_mode="border", align_corners=False)
    return values, (places.abs() <= 1.0).all(3).unsqueeze(1)
