"""Every image of a cohort decoded once, into one memory-mapped array that later runs share.

A cache folder holds one pixel file per (fit, size, channels, decoder version), rows of uint8, and one index
(`cache_index`) that knows which file content, by its hash, lies in which row. Rows are only ever added, so
readers need no lock. A row counts once the index has it, which is after its pixels are on disk: a killed run
loses seconds of work and never leaves half an image behind.

What one image file becomes is `images`' work; reading batches is `image_set`'s.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock
from jaxtyping import Bool, Int, Shaped, UInt8

from mmpkd.cohort.cache_index import CacheIndex, FileStamp, open_for_reading
from mmpkd.cohort.cache_store import Found, Store, fill
from mmpkd.cohort.geometry import Fit, Geometry
from mmpkd.cohort.image_set import ImageSet
from mmpkd.cohort.images import Channels
from mmpkd.cohort.paths import OUTSIDE, locate
from mmpkd.errors import InputError
from mmpkd.progress import SILENT, Progress

_HANDFUL = 5
_LISTED = 20


@dataclass(frozen=True)
class CachedImages:
    """The images of a list of paths, in the order of the paths.

    Args:
        pixels: (rows, channels, size, size) uint8, memory-mapped, read-only.
        rows: Row of each path; -1 where the image is broken or missing and therefore left out.
        sizes_px: Height and width of each original; 0 where left out.
        digests: Hash of each file's content as 32 hexadecimal digits, equal for identical files; empty where a
            file could not be read.
        problems: One sentence for each image that is left out.
        fit: How the originals were fitted to the canvas.
    """

    pixels: UInt8[np.ndarray, "rows channels size size"]
    rows: Int[np.ndarray, " paths"]
    sizes_px: Int[np.ndarray, "paths 2"]
    digests: Shaped[np.ndarray, " paths"]
    problems: list[str]
    fit: Fit

    @property
    def kept(self) -> Bool[np.ndarray, " paths"]:
        """Whether each path has an image."""
        return self.rows >= 0

    def image_set(self) -> ImageSet:
        """Return the images for training; those left out must be dropped (``take(kept)``) before a batch."""
        return ImageSet(self.pixels, self.rows, self.sizes_px, self.fit)


def cache_images(
    paths: Sequence[str],
    root: Path,
    size_px: int,
    channels: Channels,
    fit: Fit,
    cache_dir: Path,
    workers: int | None = None,
    progress: Progress = SILENT,
    max_broken_share: float = 0.01,
) -> CachedImages:
    """Decode the images that the cache does not have yet, and return all of them.

    Args:
        paths: Image paths relative to ``root``, which they may not leave; repeats are allowed.
        root: The cohort's folder.
        size_px: Side of the student's square canvas.
        channels: 1 for grey, 3 for RGB.
        fit: How an image fills the canvas, see :class:`~mmpkd.cohort.geometry.Geometry`.
        cache_dir: Folder of the cache; several cohorts, sizes and runs may share one.
        workers: Decoding processes; ``None`` means one a usable core. Few or small images are decoded without.
            A script that allows more than one needs the usual ``if __name__ == "__main__":`` guard.
        progress: Where to show a bar.
        max_broken_share: Broken or missing images are listed and left out up to this share of all (or
            5, if that is more).

    Raises:
        InputError: A path leaves the root, too many images are broken, or the cache folder cannot be written.
    """
    Geometry(height=1, width=1, size_px=size_px, fit=fit)
    if channels not in (1, 3):
        raise InputError(f"channels is {channels!r}; it must be 1 (grey) or 3 (RGB).")
    files, states = locate(paths, root)
    outside = [
        f"{path}: the path leaves the cohort's folder; move the image into it."
        for path in np.asarray(paths, dtype=object)[states == OUTSIDE]
    ]
    if outside:
        raise InputError(outside)
    store = Store(cache_dir, size_px, channels, fit)
    state = _State([root / file for file in files], list(paths))
    with progress.bar("images", len(paths)) as advance:
        with open_for_reading(store.index) as index:
            missing = list(range(len(paths))) if index is None else state.look_up(index, store)
        advance(len(paths) - len(missing))
        if missing:
            with _locked(cache_dir), CacheIndex(store.index) as index:
                store.check_pixels(index)
                jobs = [(position, state.files[position]) for position in state.look_up(index, store)]
                for found in fill(store, index, jobs, workers):
                    state.take(found)
                    advance(1)
    state.refuse_too_many(max_broken_share)
    return CachedImages(
        pixels=store.open_pixels(),
        rows=state.rows,
        sizes_px=state.sizes_px,
        digests=state.digests,
        problems=state.problems(),
        fit=fit,
    )


class _State:
    """What is known of each path so far."""

    def __init__(self, files: Sequence[Path], shown: Sequence[str]) -> None:
        self.files, self._shown = files, shown
        self.rows = np.full(len(files), -1, np.int64)
        self.sizes_px = np.zeros((len(files), 2), np.int64)
        self.digests = np.full(len(files), "", dtype=object)
        self._reasons: dict[int, str] = {}

    def take(self, found: Found) -> None:
        """Take what decoding one file gave."""
        self.rows[found.position] = found.entry.row
        self.sizes_px[found.position] = found.entry.height, found.entry.width
        self.digests[found.position] = found.entry.digest.hex()
        if found.entry.row < 0:
            self._reasons[found.position] = found.entry.reason

    def look_up(self, index: CacheIndex, store: Store) -> list[int]:
        """Take what the index knows, and return the positions that must be decoded."""
        missing = []
        for position, file in enumerate(self.files):
            try:
                digest = index.digest_of(FileStamp.of(file))
            except (OSError, ValueError):
                digest = None
            entry = None if digest is None else index.entry(store.key, digest)
            if entry is None:
                missing.append(position)
            else:
                self.take(Found(position, None, entry))
        return missing

    def problems(self) -> list[str]:
        """Return one sentence for each image that is left out."""
        return [
            f"{self._shown[position]}: the image {reason}; it is left out."
            for position, reason in sorted(self._reasons.items())
        ]

    def refuse_too_many(self, share: float) -> None:
        """Raise when more images are broken than the user allows."""
        broken, allowed = len(self._reasons), max(_HANDFUL, share * len(self.files))
        if broken > allowed or (broken and broken == len(self.files)):
            listed = self.problems()
            more = [f"... and {len(listed) - _LISTED} more like it."] if len(listed) > _LISTED else []
            told = (
                f"{broken} of {len(self.files)} images are broken or missing, more than max_broken_share = {share:g}."
            )
            raise InputError([told, *listed[:_LISTED], *more])


@contextlib.contextmanager
def _locked(cache_dir: Path) -> Iterator[None]:
    """Hold the cache folder for writing; tell a folder or disk that cannot be written in a sentence."""
    try:
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir / ".lock"):
            yield
    except (OSError, sqlite3.OperationalError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{cache_dir}: the image cache cannot be written ({reason}); free some space there, or set images.cache to "
            "another folder."
        ) from error
