"""ROIs as pixel masks in the geometry of the original image, and the checks that need the image's size.

Reading the table of ROIs is `roi_table`'s work; scoring maps against them is `mmpkd.evaluate`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mmpkd.cohort.geometry import Geometry, reduced_px
from mmpkd.cohort.images import BrokenImageError, decode_mask, read_bytes, read_size
from mmpkd.cohort.rle import check_rle, decode_rle
from mmpkd.errors import InputError

_ROUNDING_PX = 1.0
_SHOWN = 20


def roi_mask(
    rois: pd.DataFrame, size_px: tuple[int, int], root: Path, max_side_px: int | None = None
) -> Bool[np.ndarray, "height width"]:
    """Return the union of the boxes and masks of one case and finding.

    A pixel belongs to a box when its centre does: x_min <= j + 1/2 < x_max for column j, and rows alike. A mask file
    counts where it has ``mask_value``, or anything but 0; on a reduced canvas a pixel belongs to it when at least half
    of its area does. Neither may vanish: a box that holds no centre takes the pixel that its own centre lies in, a mask
    that fills no pixel by half the pixels that it fills most.

    Args:
        rois: Rows of :attr:`Cohort.rois`.
        size_px: Height and width of the original image.
        root: Folder that mask paths are relative to.
        max_side_px: Return the mask on a reduced original (see :func:`mmpkd.cohort.geometry.reduced_px`).

    Raises:
        InputError: A mask file that cannot be read, or of another size than the image.
    """
    height, width = reduced_px(*size_px, max_side_px)
    union = np.zeros((height, width), bool)
    scale = np.array([width / size_px[1], height / size_px[0]] * 2)
    for row in rois.itertuples(index=False):
        if isinstance(row.mask, str):
            inside = _mask_file(root / row.mask, row.mask, getattr(row, "mask_value", np.nan), size_px)
            union |= _reduced(inside, height, width)
        elif isinstance(getattr(row, "rle", None), str):
            union |= _reduced(_run_lengths(str(row.rle), str(row.case), size_px), height, width)
        else:
            x_min, y_min, x_max, y_max = np.array([row.x_min, row.y_min, row.x_max, row.y_max], float) * scale
            union[_span(y_min, y_max, height), _span(x_min, x_max, width)] = True
    return union


def token_coverage(
    mask: Bool[np.ndarray, "height width"], geometry: Geometry, grid: tuple[int, int]
) -> Float[np.ndarray, "rows columns"]:
    """Return the share of each token's area that an ROI covers, exactly.

    Args:
        mask: The ROI at original pixels, see :func:`roi_mask`.
        geometry: Of the same image.
        grid: Rows and columns of the token grid, which covers the whole canvas.

    Returns:
        Values in [0, 1]. A token that lies partly on the bars counts them as not covered.
    """
    rows, columns = grid
    corners = np.stack([np.linspace(0, geometry.size_px, columns + 1)] * 2, axis=-1)
    x = geometry.to_original(corners)[:, 0]
    y = geometry.to_original(np.stack([np.linspace(0, geometry.size_px, rows + 1)] * 2, axis=-1))[:, 1]
    return _area(mask, y, x) / np.outer(np.diff(y), np.diff(x))


def check_rois(
    rois: pd.DataFrame,
    sizes_px: Mapping[str, tuple[int, int]],
    root: Path,
    what: Literal["finding", "zone"] = "finding",
) -> list[str]:
    """Return a sentence for each box outside its image and each mask that is missing or of the wrong size.

    Boxes may leave the image by up to one pixel, as rounding does. Only the header of a mask file is read.

    Args:
        rois: As in :attr:`Cohort.rois`; cases without a size are passed over.
        sizes_px: Height and width of each case's original image.
        root: Folder that mask paths are relative to.
        what: What the rows are of, for the sentences.
    """
    rois = rois[rois["case"].isin(list(sizes_px))]
    boxes = rois[rois["x_min"].notna()]
    sizes = np.array([sizes_px[case] for case in boxes["case"]], float).reshape(-1, 2)
    corner = boxes[["x_min", "y_min", "x_max", "y_max"]].to_numpy(float)
    outside = (corner[:, :2] < -_ROUNDING_PX).any(1) | (corner[:, 2:] > sizes[:, ::-1] + _ROUNDING_PX).any(1)
    of = "ROI of" if what == "finding" else "zone of"
    problems = [
        f"{of} case {boxes['case'].iloc[at]!r}, {what} {boxes['finding'].iloc[at]!r}: the box {corner[at].tolist()} "
        f"leaves the image of {sizes[at, 1]:.0f} x {sizes[at, 0]:.0f} px; give pixels of the original image."
        for at in np.flatnonzero(outside)
    ]
    runs = rois[rois["rle"].notna()] if "rle" in rois else rois.iloc[:0].assign(rle="")
    for case, finding, rle in zip(runs["case"], runs["finding"], runs["rle"], strict=True):
        try:
            check_rle(rle, sizes_px[case])
        except ValueError as error:
            problems.append(
                f"{of} case {case!r}, {what} {finding!r}: the run lengths {error}; give those of the original image."
            )
    masks = rois[rois["mask"].notna()].drop_duplicates(["case", "mask"])
    for case, mask in zip(masks["case"], masks["mask"], strict=True):
        try:
            _check_mask_size(read_size(root / mask), sizes_px[case])
        except BrokenImageError as error:
            problems.append(f"{mask}: the mask {error}; give a mask in the original image's pixels.")
    if len(problems) > _SHOWN:
        problems = [*problems[:_SHOWN], f"... and {len(problems) - _SHOWN} more like it."]
    return problems


def _span(low: float, high: float, limit: int) -> slice:
    first, last = int(np.ceil(low - 0.5)), int(np.ceil(high - 0.5))
    if last <= first:
        first = int(np.floor((low + high) / 2))
        last = first + 1
    first = min(max(first, 0), limit - 1)
    return slice(first, min(max(last, first + 1), limit))


def _mask_file(path: Path, shown: str, value: float, size_px: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    try:
        pixels = decode_mask(read_bytes(path))
        _check_mask_size(pixels.shape, size_px)
    except BrokenImageError as error:
        raise InputError(f"{shown}: the mask {error}; give a mask in the original image's pixels.") from None
    return pixels != 0 if pd.isna(value) else pixels == int(value)


def _run_lengths(rle: str, case: str, size_px: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    try:
        return decode_rle(rle, size_px)
    except ValueError as error:
        raise InputError(f"ROI of case {case!r}: the run lengths {error}; give those of the original image.") from None


def _check_mask_size(found: tuple[int, ...], wanted: tuple[int, int]) -> None:
    if tuple(found) != tuple(wanted):
        raise BrokenImageError(f"has {found[1]} x {found[0]} px but its image has {wanted[1]} x {wanted[0]}")


def _reduced(mask: Bool[np.ndarray, "height width"], height: int, width: int) -> Bool[np.ndarray, "rows columns"]:
    if mask.shape == (height, width) or not mask.any():
        return np.zeros((height, width), bool) if mask.shape != (height, width) else mask
    covered = _area(mask, np.linspace(0, mask.shape[0], height + 1), np.linspace(0, mask.shape[1], width + 1))
    half = 0.5 * mask.size / (height * width)
    return covered >= min(half, float(covered.max())) * (1 - 1e-9)


def _area(
    mask: Bool[np.ndarray, "height width"], y: Float[np.ndarray, " rows1"], x: Float[np.ndarray, " columns1"]
) -> Float[np.ndarray, "rows columns"]:
    """Return the covered area, in pixels, of each cell between the edges ``y`` and ``x``.

    The running sum of a mask over rows and columns, interpolated linearly, is the exact integral up to any edge.
    """
    return _integral(_integral(mask.astype(float), y).T, x).T


def _integral(values: Float[np.ndarray, "pixels others"], edges: Float[np.ndarray, " edges"]) -> np.ndarray:
    """Integrate along the first axis between consecutive edges, taking the values as constant within a pixel."""
    total = np.concatenate([np.zeros((1, values.shape[1])), np.cumsum(values, axis=0)])
    at = np.clip(edges, 0, len(values))
    below = np.minimum(at.astype(int), len(values) - 1)
    upto = total[below] + (at - below)[:, None] * values[below]
    return np.diff(upto, axis=0)
