"""Maps with their pixels sorted once, from the highest down: what every policy and rank metric reads.

Tied pixels form one group and count as their expectation, so that nothing depends on the order in which a sort
leaves them. Everything is exact: there are no bins.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import final

import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from mmpkd.errors import InputError

CHUNK_PIXELS = 2**17  # sorted pieces of 1 MiB stay in a core's cache


@final
@dataclass(frozen=True)
class Ranked:
    """Maps of one size and their ROIs, pixels from the highest down.

    The groups of all maps lie one after another; a map's groups are consecutive.

    Args:
        values: (maps, pixels), each row falling.
        coverage: (maps, pixels), the ROI's share of each of those pixels.
        ends: (groups,), position after each group's last pixel, counted through all rows.
        covered_px: (groups,), ROI pixels from the row's start to there.
    """

    values: Float[np.ndarray, "maps pixels"]
    coverage: Float[np.ndarray, "maps pixels"]
    ends: Int[np.ndarray, " groups"]
    covered_px: Float[np.ndarray, " groups"]

    @property
    def image_px(self) -> int:
        """N, the pixels of one map."""
        return self.values.shape[1]

    @cached_property
    def roi_px(self) -> Float[np.ndarray, " maps"]:
        """|M|."""
        return self.covered_px[np.append(self.first_groups, len(self.ends))[1:] - 1]

    @cached_property
    def first_groups(self) -> Int[np.ndarray, " maps"]:
        """Position of each map's first group, that of its maximum."""
        return np.searchsorted(self.ends, self._row_starts, side="right")

    @cached_property
    def group_maps(self) -> Int[np.ndarray, " groups"]:
        """The map of each group."""
        return np.repeat(np.arange(len(self.values)), np.diff(np.append(self.first_groups, len(self.ends))))

    @cached_property
    def ranked_px(self) -> Float[np.ndarray, " groups"]:
        """Pixels of the map down to each group's end: as many as are at least as high."""
        return (self.ends - self._row_starts[self.group_maps]).astype(np.float64)

    @cached_property
    def relative(self) -> Float[np.ndarray, "maps pixels"]:
        """Values over the map's maximum, in double precision; a zero map stays zero."""
        highest = self.values[:, :1].astype(np.float64)
        relative: np.ndarray = self.values / np.where(highest > 0, highest, 1.0)
        return relative

    def before(self, ends: Float[np.ndarray, " groups"]) -> Float[np.ndarray, " groups"]:
        """Return a quantity counted to the groups' starts, given to their ends."""
        starts = np.empty_like(ends)
        starts[1:] = ends[:-1]
        starts[self.first_groups] = 0.0
        return starts

    def inside_px(self, area_px: Float[np.ndarray, " maps"]) -> Float[np.ndarray, " maps"]:
        """Return the ROI pixels expected among each map's highest ``area_px``, which need not be whole."""
        last = np.clip(np.ceil(area_px).astype(np.int64), 1, self.image_px)
        group = np.searchsorted(self.ends, self._row_starts + last, side="left")
        opening = group == self.first_groups
        start_px = np.where(opening, 0, self.ends[group - 1] - self._row_starts)
        before = np.where(opening, 0.0, self.covered_px[group - 1])
        size_px = self.ends[group] - self._row_starts - start_px
        # q x N can overshoot a whole number by one rounding; the part is a share whatever happens there.
        part = np.clip((area_px - start_px) / size_px, 0.0, 1.0)
        inside: np.ndarray = before + part * (self.covered_px[group] - before)
        return inside

    def total(self, values: Float[np.ndarray, " groups"]) -> Float[np.ndarray, " maps"]:
        """Return the sum over each map's groups."""
        totals: np.ndarray = np.add.reduceat(values, self.first_groups) if len(values) else np.zeros(0)
        return totals

    @cached_property
    def _row_starts(self) -> Int[np.ndarray, " maps"]:
        return np.arange(len(self.values), dtype=np.int64) * self.image_px


def rank(maps: Real[np.ndarray, "maps pixels"], coverage: Float[np.ndarray, "maps pixels"]) -> Ranked:
    """Sort each map's pixels from the highest down, their coverage by the ROI with them.

    Half precision is sorted as single, whole numbers as double: exact, and much faster.
    """
    if maps.dtype not in (np.float32, np.float64):
        maps = maps.astype(np.float32 if maps.dtype == np.float16 else np.float64)
    count, pixels = maps.shape
    order = np.argsort(maps, axis=1)[:, ::-1] + np.arange(count, dtype=np.int64)[:, None] * pixels
    values, sorted_coverage = maps.ravel().take(order), coverage.ravel().take(order)
    is_end = np.ones((count, pixels), dtype=bool)
    np.not_equal(values[:, 1:], values[:, :-1], out=is_end[:, :-1])
    last = np.flatnonzero(is_end)
    return Ranked(values, sorted_coverage, last + 1, np.cumsum(sorted_coverage, axis=1).ravel()[last])


def ranked_pieces(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
) -> Iterator[Ranked]:
    """Yield checked and sorted pieces of bounded size, at least one; masks become coverage in double precision.

    Raises:
        InputError: Shapes that differ; a map with negative, NaN or infinite values; a mask outside 0 to 1.
    """
    if maps.ndim != 3 or maps.shape != masks.shape or 0 in maps.shape[1:]:
        raise InputError(f"maps are {maps.shape} and masks {masks.shape}; give both as (maps, height, width).")
    count, pixels = len(maps), maps.shape[1] * maps.shape[2]
    step = max(1, CHUNK_PIXELS // pixels)
    for start in range(0, max(count, 1), step):
        piece = maps[start : start + step].reshape(-1, pixels)
        _require_map(piece, start, maps.shape[2])
        mask = masks[start : start + step].reshape(-1, pixels)
        if mask.dtype != bool and not ((mask >= 0) & (mask <= 1)).all():
            raise InputError("a mask holds a value outside 0 to 1; give booleans, or coverage as a share.")
        yield rank(piece, mask.astype(np.float64))


def _require_map(maps: np.ndarray, first: int, width: int) -> None:
    right = np.isfinite(maps) & (maps >= 0)
    if not right.all():
        row, pixel = np.argwhere(~right)[0]
        value = maps[row, pixel]
        remedy = "take its positive part first" if value < 0 and np.isfinite(value) else "look for the cause first"
        raise InputError(
            f"map {first + row} holds {value:g} at row {pixel // width}, column {pixel % width}; "
            f"a map has finite values from 0 up: {remedy}."
        )
