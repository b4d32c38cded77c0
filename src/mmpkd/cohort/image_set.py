"""The images of a cohort's cases as training and evaluation read them: rows of one uint8 array on disk.

Filling that array is `cache`'s work; augmenting and normalising a batch happens on the device, in `distil`.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int, UInt8

from mmpkd.cohort.geometry import Fit, Geometry

_RESIDENT_BYTES = 32 * 2**20


@dataclass(frozen=True)
class ImageSet:
    """The image of each case, fitted to the student's canvas.

    Args:
        pixels: (rows, channels, size, size) uint8, usually memory-mapped; rows are shared by identical files.
        rows: Row of each case.
        sizes_px: Height and width of each case's original image.
        fit: How the originals were fitted to the canvas.
    """

    pixels: UInt8[np.ndarray, "rows channels size size"]
    rows: Int[np.ndarray, " cases"]
    sizes_px: Int[np.ndarray, "cases 2"]
    fit: Fit = "pad"

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.rows)

    @property
    def size_px(self) -> int:
        """Side of the square canvas."""
        return int(self.pixels.shape[-1])

    @property
    def channels(self) -> int:
        """1 for grey, 3 for RGB."""
        return int(self.pixels.shape[1])

    def batch(
        self,
        positions: Int[np.ndarray, " batch"],
        out: UInt8[np.ndarray, "batch channels size size"] | None = None,
    ) -> UInt8[np.ndarray, "batch channels size size"]:
        """Gather the images of the cases at ``positions``, in that order.

        Args:
            positions: Indices into the set (not rows of ``pixels``); out of range raises ``IndexError``.
            out: A contiguous buffer to fill and return, so that an epoch allocates nothing.
        """
        rows = self.rows[positions]
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self.pixels):
            raise IndexError("a case has no image in this set; leave it out first")
        # numpy copies through a second buffer when it may have to raise midway; the range is checked above.
        found = np.take(self.pixels, rows, axis=0, out=out, mode="clip")
        self._release()
        return np.asarray(found)

    def take(self, positions: np.ndarray) -> ImageSet:
        """Return the set restricted to integer ``positions`` (or a boolean mask); the pixels are shared."""
        return replace(self, rows=self.rows[positions], sizes_px=self.sizes_px[positions])

    def geometry(self, position: int) -> Geometry:
        """Return the map between the original image of one case and the canvas."""
        height, width = (int(side) for side in self.sizes_px[position])
        return Geometry(height=height, width=width, size_px=self.size_px, fit=self.fit)

    def _release(self) -> None:
        """Let go of mapped pages of a large file, so that resident memory does not grow with the cohort.

        They stay in the operating system's file cache, from which the next batch maps them again.
        """
        mapping = getattr(self.pixels, "_mmap", None)
        advice = getattr(mmap, "MADV_DONTNEED", None)  # Windows has none, and trims by itself
        if advice is not None and isinstance(mapping, mmap.mmap) and self.pixels.nbytes > _RESIDENT_BYTES:
            mapping.madvise(advice)
