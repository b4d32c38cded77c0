"""How much of each token's area a zone covers, for zones that are rectangles of the original image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float16, Int

from mmpkd.cohort.geometry import Geometry

if TYPE_CHECKING:
    from mmpkd.cohort.image_set import ImageSet


def box_coverage(
    boxes: Float[np.ndarray, "zones 4"], geometry: Geometry, grid: tuple[int, int]
) -> Float[np.ndarray, "zones rows columns"]:
    """Return the share of each token's area that lies in each box, exactly.

    Args:
        boxes: x_min, y_min, x_max, y_max as shares of the original image's width and height.
        geometry: Of the image.
        grid: Rows and columns of tokens that cover the whole canvas. Bars of ``pad`` belong to no zone.
    """
    size = np.array([geometry.width, geometry.height], float)
    low, high = (geometry.to_student(corner * size) for corner in (boxes[:, :2], boxes[:, 2:]))
    placed = np.array(geometry.placed, float)
    low, high = np.maximum(low, placed[:2]), np.minimum(high, placed[2:])
    rows, columns = grid
    across = _overlap(low[:, 0], high[:, 0], geometry.size_px, columns)
    down = _overlap(low[:, 1], high[:, 1], geometry.size_px, rows)
    return down[:, :, None] * across[:, None, :]


def fixed_coverage(
    boxes: Float[np.ndarray, "zones 4"], images: ImageSet, positions: Int[np.ndarray, " cases"], grid: tuple[int, int]
) -> Float16[np.ndarray, "sets zones rows columns"]:
    """Return :func:`box_coverage` for cases: one set if all their images lie alike on the canvas, else one a case."""
    sizes, which = np.unique(images.sizes_px[positions], axis=0, return_inverse=True)
    geometries = [Geometry(int(height), int(width), images.size_px, images.fit) for height, width in sizes]
    sets = np.stack([box_coverage(boxes, geometry, grid) for geometry in geometries]).astype(np.float16)
    return sets if len(sets) == 1 else sets[which.reshape(-1)]


def _overlap(
    low: Float[np.ndarray, " zones"], high: Float[np.ndarray, " zones"], size_px: int, tokens: int
) -> Float[np.ndarray, "zones tokens"]:
    """Return the share of each of equal tokens along a side that lies between ``low`` and ``high``."""
    edges = np.linspace(0.0, size_px, tokens + 1)
    inside = np.minimum(high[:, None], edges[1:]) - np.maximum(low[:, None], edges[:-1])
    return np.clip(inside, 0.0, None) * tokens / size_px
