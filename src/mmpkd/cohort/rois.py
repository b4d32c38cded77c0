"""ROIs as pixel masks in the geometry of the original image, and the checks that need the image's size."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Bool
from PIL import Image

from mmpkd.cohort.geometry import reduced_px
from mmpkd.cohort.images import BrokenImageError, decode_mask, read_bytes
from mmpkd.errors import InputError

_ROUNDING_PX = 1.0
_SHOWN = 20


def roi_mask(
    rois: pd.DataFrame, size_px: tuple[int, int], root: Path, max_side_px: int | None = None
) -> Bool[np.ndarray, "height width"]:
    """Return the union of the boxes and masks of one case and finding.

    A pixel belongs to a box when its centre does (x_min <= x + 1/2 < x_max); a box that holds no centre, because the
    canvas is reduced, takes the pixel that it lies in. A mask is reduced by nearest neighbour.

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
            if inside.shape != union.shape:
                inside = np.asarray(Image.fromarray(inside).resize((width, height), Image.Resampling.NEAREST))
            union |= inside
        else:
            x_min, y_min, x_max, y_max = np.array([row.x_min, row.y_min, row.x_max, row.y_max], float) * scale
            union[_span(y_min, y_max, height), _span(x_min, x_max, width)] = True
    return union


def _span(low: float, high: float, limit: int) -> slice:
    first, last = int(np.ceil(low - 0.5)), int(np.ceil(high - 0.5))
    if last <= first:
        first = int(np.floor((low + high) / 2))
        last = first + 1
    first = min(max(first, 0), limit - 1)
    return slice(first, min(max(last, first + 1), limit))


def _mask_file(path: Path, shown: str, value: float, size_px: tuple[int, int]) -> np.ndarray:
    try:
        pixels = decode_mask(read_bytes(path))
    except BrokenImageError as error:
        raise InputError(f"{shown}: the mask {error}; mend the file or leave its row out.") from None
    if pixels.shape != tuple(size_px):
        raise InputError(
            f"{shown}: the mask has {pixels.shape[1]} x {pixels.shape[0]} px but its image has "
            f"{size_px[1]} x {size_px[0]}; give a mask in the original image's pixels."
        )
    return pixels != 0 if pd.isna(value) else pixels == int(value)


def check_rois(rois: pd.DataFrame, sizes_px: Mapping[str, tuple[int, int]], root: Path) -> list[str]:
    """Return a sentence for each box outside its image and each mask that is missing or of the wrong size.

    Boxes may leave the image by up to one pixel, as rounding does. Only the header of a mask file is read.
    """
    boxes = rois[rois["x_min"].notna() & rois["case"].isin(list(sizes_px))]
    sizes = np.array([sizes_px[case] for case in boxes["case"]], float).reshape(-1, 2)
    corner = boxes[["x_min", "y_min", "x_max", "y_max"]].to_numpy(float)
    outside = (corner[:, :2] < -_ROUNDING_PX).any(1) | (corner[:, 2:] > sizes[:, ::-1] + _ROUNDING_PX).any(1)
    problems = [
        f"ROI of case {boxes['case'].iloc[at]!r}, finding {boxes['finding'].iloc[at]!r}: the box {corner[at].tolist()} "
        f"leaves the image of {sizes[at, 1]:.0f} x {sizes[at, 0]:.0f} px; give pixels of the original image."
        for at in np.flatnonzero(outside)
    ]
    masks = rois[rois["mask"].notna() & rois["case"].isin(list(sizes_px))]
    for case, mask in zip(masks["case"], masks["mask"], strict=True):
        problem = _mask_problem(root / mask, sizes_px[case])
        if problem:
            problems.append(f"{mask}: the mask {problem}; give a mask in the original image's pixels.")
    if len(problems) > _SHOWN:
        problems = [*problems[:_SHOWN], f"... and {len(problems) - _SHOWN} more like it."]
    return problems


def _mask_problem(path: Path, size_px: tuple[int, int]) -> str | None:
    try:
        with Image.open(path) as image:
            width, height = image.size
    except FileNotFoundError:
        return "does not exist"
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return "is not an image that can be read"
    if (height, width) != tuple(size_px):
        return f"has {width} x {height} px but its image has {size_px[1]} x {size_px[0]}"
    return None
