"""Where a pixel of the original image lies on the student's square canvas, and the way back.

All coordinates are pixel *edges*: the image covers [0, width] x [0, height], and the centre of pixel
(row i, column j) is x = j + 0.5, y = i + 0.5. Decoding and resizing of image files is `images`' work.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from PIL import Image

from mmpkd.errors import InputError, did_you_mean

Fit = Literal["pad", "stretch", "crop"]
"""How an image of any shape fills the square: whole with black bars, distorted, or its central square."""

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Geometry:
    """The affine map between one original image and the student's canvas.

    Args:
        height: Of the original image, in pixels.
        width: Of the original image, in pixels.
        size_px: Side of the student's square canvas.
        fit: ``pad`` keeps the whole image and its proportions, with bars of value 0; ``stretch`` fills the
            canvas; ``crop`` keeps the central square.

    The rectangle ``box`` of the original lands exactly on the rectangle ``placed`` of the canvas, both with
    whole-pixel edges: x_student = (x - box.x_min) * scale_x + placed.x_min, and y alike. With ``pad`` the
    shorter side is rounded to a whole pixel (at least one), so the two scales differ by that rounding.

    >>> Geometry(height=100, width=200, size_px=64, fit="pad").placed
    (0, 16, 64, 48)
    """

    height: int
    width: int
    size_px: int
    fit: Fit = "pad"

    def __post_init__(self) -> None:
        """Refuse an unknown fit and sides below one pixel."""
        if self.fit not in get_args(Fit):
            raise InputError(f"fit is {self.fit!r}{did_you_mean(str(self.fit), get_args(Fit))}.")
        if min(self.height, self.width, self.size_px) < 1:
            raise InputError(
                f"an image of {self.width} x {self.height} px cannot be put on a canvas of {self.size_px} px;"
                " every side must be at least 1."
            )

    @property
    def box(self) -> tuple[int, int, int, int]:
        """The part of the original that the student sees: x_min, y_min, x_max, y_max."""
        if self.fit != "crop":
            return 0, 0, self.width, self.height
        side = min(self.height, self.width)
        x_min, y_min = (self.width - side) // 2, (self.height - side) // 2
        return x_min, y_min, x_min + side, y_min + side

    @property
    def placed(self) -> tuple[int, int, int, int]:
        """Where that part lies on the canvas: x_min, y_min, x_max, y_max."""
        if self.fit != "pad":
            return 0, 0, self.size_px, self.size_px
        longer = max(self.height, self.width)
        width = max(1, round(self.width * self.size_px / longer))
        height = max(1, round(self.height * self.size_px / longer))
        x_min, y_min = (self.size_px - width) // 2, (self.size_px - height) // 2
        return x_min, y_min, x_min + width, y_min + height

    @property
    def scale(self) -> tuple[float, float]:
        """Canvas pixels per original pixel, along x and along y."""
        box, placed = self.box, self.placed
        return (placed[2] - placed[0]) / (box[2] - box[0]), (placed[3] - placed[1]) / (box[3] - box[1])

    def to_student(self, xy: Float[np.ndarray, "*points 2"]) -> Float[np.ndarray, "*points 2"]:
        """Map points (x, y) of the original image onto the canvas; points off the canvas stay off it."""
        return np.asarray((xy - np.array(self.box[:2])) * np.array(self.scale) + np.array(self.placed[:2]))

    def to_original(self, xy: Float[np.ndarray, "*points 2"]) -> Float[np.ndarray, "*points 2"]:
        """Map points (x, y) of the canvas to the original image; points on the bars fall outside it."""
        return np.asarray((xy - np.array(self.placed[:2])) / np.array(self.scale) + np.array(self.box[:2]))

    def map_to_original(
        self, values: Float[np.ndarray, "*maps rows columns"], max_side_px: int | None = None
    ) -> Float[np.ndarray, "*maps height width"]:
        """Undo crop, bars and resizing: bring maps on the canvas to the pixels of the original image.

        Args:
            values: Maps that cover the whole canvas, at any resolution: canvas pixels or the token grid.
            max_side_px: Answer on a reduced original whose longer side has at most this many pixels (see
                :func:`reduced_px`); ``None`` means the original's own pixels.

        Returns:
            float32 maps, interpolated bilinearly between the centres of the given cells. Where the student
            saw nothing (outside the crop) they are 0; the bars are dropped and do not bleed in.
        """
        rows, columns = values.shape[-2:]
        height, width = reduced_px(self.height, self.width, max_side_px)
        per_x, per_y = width / self.width, height / self.height
        x_min, y_min = (math.ceil(self.box[i] * per - _ROUNDING) for i, per in ((0, per_x), (1, per_y)))
        x_max, y_max = (math.floor(self.box[i] * per + _ROUNDING) for i, per in ((2, per_x), (3, per_y)))
        x_max, y_max = max(x_max, x_min + 1), max(y_max, y_min + 1)
        corners = np.array([[x_min / per_x, y_min / per_y], [x_max / per_x, y_max / per_y]])
        to_cells = np.array([columns, rows]) / self.size_px
        limits = np.array([self.placed[:2], self.placed[2:]]) * to_cells
        seen = np.clip(self.to_student(corners) * to_cells, limits[0], limits[1])
        # Pillow's filter reaches beyond its box: only the cells that hold some of the picture are given to it.
        first = np.floor(limits[0] + _ROUNDING).astype(int)
        last = np.ceil(limits[1] - _ROUNDING).astype(int)
        cells = values[..., first[1] : last[1], first[0] : last[0]]
        low, high = np.maximum(seen[0] - first, 0), np.minimum(seen[1] - first, last - first)
        source = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))

        out = np.zeros((*values.shape[:-2], height, width), np.float32)
        for index in np.ndindex(values.shape[:-2]):
            one = Image.fromarray(np.ascontiguousarray(cells[index], dtype=np.float32))
            part = one.resize((x_max - x_min, y_max - y_min), Image.Resampling.BILINEAR, box=source)
            out[(*index, slice(y_min, y_max), slice(x_min, x_max))] = np.asarray(part)
        return out


def picture_tokens(geometry: Geometry, grid: tuple[int, int]) -> tuple[slice, slice]:
    """Return the rows and the columns of the tokens that hold the picture; the others lie on the bars of ``pad``.

    A token holds the picture if at least half of its area lies inside ``geometry.placed``. Of a picture that is
    thinner than that, the one row (or column) that holds most of it; of equals, the first.

    Args:
        geometry: Of the image.
        grid: Rows and columns of tokens that cover the whole canvas.

    Raises:
        InputError: A grid without tokens.

    >>> picture_tokens(Geometry(height=100, width=200, size_px=64, fit="pad"), (4, 4))
    (slice(1, 3, None), slice(0, 4, None))
    """
    if min(grid) < 1:
        raise InputError(f"a grid of {grid[0]} x {grid[1]} tokens holds no picture; give at least one each way.")
    x_min, y_min, x_max, y_max = geometry.placed
    # Bars lie along one side only, so that the share of a token's area is its share along that side.
    return (
        _half_inside(y_min, y_max, geometry.size_px, grid[0]),
        _half_inside(x_min, x_max, geometry.size_px, grid[1]),
    )


def _half_inside(low: int, high: int, size_px: int, tokens: int) -> slice:
    """Return those of equal tokens along a side that lie at least half between ``low`` and ``high``."""
    starts = np.arange(tokens) * size_px  # in whole parts of a pixel, ``tokens`` of them to one: no rounding
    overlap = np.minimum(starts + size_px, high * tokens) - np.maximum(starts, low * tokens)
    inside = np.flatnonzero(2 * overlap >= size_px)
    first, last = (inside[0], inside[-1]) if len(inside) else (overlap.argmax(),) * 2
    return slice(int(first), int(last) + 1)


def reduced_px(height: int, width: int, max_side_px: int | None) -> tuple[int, int]:
    """Return (height, width) shrunk so that the longer side has at most ``max_side_px``; never enlarged.

    >>> reduced_px(3000, 2000, 512)
    (512, 341)
    """
    if max_side_px is None or max(height, width) <= max_side_px:
        return height, width
    longer = max(height, width)
    return max(1, round(height * max_side_px / longer)), max(1, round(width * max_side_px / longer))
