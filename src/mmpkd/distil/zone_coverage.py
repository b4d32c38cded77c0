"""How much of each token's area a zone covers: zones that are fixed shares of the picture, or given image by image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Float16, Int

from mmpkd.cohort.cohort import Cohort
from mmpkd.cohort.geometry import Geometry
from mmpkd.cohort.rois import roi_mask, token_coverage
from mmpkd.cohort.zones import ZoneScheme
from mmpkd.errors import InputError

if TYPE_CHECKING:
    from mmpkd.cohort.image_set import ImageSet

_FINENESS = 2  # a large original is reduced to so many pixels a canvas pixel before its zones are measured


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


def zone_coverage(
    cohort: Cohort,
    scheme: ZoneScheme,
    images: ImageSet,
    positions: Int[np.ndarray, " cases"],
    grid: tuple[int, int],
) -> Float16[np.ndarray, "sets regions rows columns"]:
    """Return the share of each token that each region of a scheme covers, unions included; one set where all are alike.

    Args:
        cohort: Its ``zones`` say where they lie on each image; without them they are the scheme's fixed shares.
        scheme: Names and unions.
        images: The cohort's images: they know how originals lie on the canvas.
        positions: Cases of the cohort.
        grid: Rows and columns of the student's tokens.

    Raises:
        InputError: No zone is given for any of these cases, or a mask cannot be read.
    """
    own = (
        fixed_coverage(scheme.box_array, images, positions, grid)
        if cohort.zones is None
        else _given_coverage(cohort, scheme, images, positions, grid)
    )
    union = np.einsum("rz,szij->srij", scheme.members.astype(np.float32), own.astype(np.float32))
    return np.clip(union, 0.0, 1.0).astype(np.float16)


def _given_coverage(
    cohort: Cohort, scheme: ZoneScheme, images: ImageSet, positions: Int[np.ndarray, " cases"], grid: tuple[int, int]
) -> Float16[np.ndarray, "cases zones rows columns"]:
    if cohort.zones is None:
        raise ValueError("the cohort gives no zones")
    row_of = {str(cohort.cases.index[position]): row for row, position in enumerate(positions)}
    found = np.zeros((len(positions), len(scheme.zones), *grid), np.float16)
    zones = cohort.zones[cohort.zones["case"].isin(list(row_of))]
    for (case, zone), rows in zones.groupby(["case", "finding"], sort=False):
        row = row_of[str(case)]
        geometry = images.geometry(int(positions[row]))
        if len(rows) == 1 and not np.isnan(rows["x_min"].iloc[0]):
            size = np.array([geometry.width, geometry.height] * 2)
            box = rows[["x_min", "y_min", "x_max", "y_max"]].to_numpy(float) / size
            found[row, scheme.zones.index(str(zone))] = box_coverage(box, geometry, grid)[0]
            continue
        mask = roi_mask(rows, (geometry.height, geometry.width), cohort.files, max_side_px=_FINENESS * geometry.size_px)
        on_canvas = replace(geometry, height=mask.shape[0], width=mask.shape[1])
        found[row, scheme.zones.index(str(zone))] = token_coverage(mask, on_canvas, grid).clip(0, 1)
    if not found.any():
        raise InputError(
            "cohort.zones: no training case has a zone; check the zone table's case ids, or leave 'table' out for "
            "fixed shares of the picture."
        )
    return found


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
