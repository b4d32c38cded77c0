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
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from jaxtyping import Bool, Int, Shaped, UInt8

from mmpkd.cohort.cache_index import CacheIndex, Entry, FileStamp, open_for_reading
from mmpkd.cohort.cache_store import Found, Store, fill
from mmpkd.cohort.geometry import Fit, Geometry
from mmpkd.cohort.image_set import ImageSet
from mmpkd.cohort.images import BrokenImageError, Channels, check_file
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
        steps: By which steps each DICOM file became an image, with blanks between them; empty for other formats. See
            :class:`~mmpkd.cohort.dicom.DicomImage`.
    """

    pixels: UInt8[np.ndarray, "rows channels size size"]
    rows: Int[np.ndarray, " paths"]
    sizes_px: Int[np.ndarray, "paths 2"]
    digests: Shaped[np.ndarray, " paths"]
    problems: list[str]
    fit: Fit
    steps: Shaped[np.ndarray, " paths"]

    @property
    def kept(self) -> Bool[np.ndarray, " paths"]:
        """Whether each path has an image."""
        return self.rows >= 0

    def count_steps(self) -> dict[str, int]:
        """Return for how many paths each sequence of steps was taken, the most frequent first; {} without DICOM."""
        return dict(Counter(steps for steps in self.steps if steps).most_common())

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
    shown: Sequence[str] | None = None,
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
        max_broken_share: Broken or missing images are listed and left out up to this share of all (or 5, if that is
            more, but never all); 1 leaves out any number.
        shown: What sentences call each image, by default its path.

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
    state = _State(root, files, paths if shown is None else shown)
    everything = range(len(paths))
    with progress.bar("images", len(paths)) as advance:
        with _explained(cache_dir), open_for_reading(store.index) as index:
            usable = index is not None and store.is_whole(index)
            missing = state.look_up(index if usable else None, store, everything)
        advance(len(paths) - len(missing))
        if missing:
            with _explained(cache_dir), _locked(cache_dir, progress), CacheIndex(store.index) as index:
                if not store.is_whole(index):
                    index.forget(store.key)
                still = state.look_up(index, store, missing)
                advance(len(missing) - len(still))
                with contextlib.closing(fill(store, index, still, state.file, workers)) as results:
                    for found in results:
                        state.take(found)
                        advance(1)
    state.refuse_too_many(max_broken_share)
    return CachedImages(
        pixels=store.open_pixels(rows=int(state.rows.max(initial=-1)) + 1),
        rows=state.rows,
        sizes_px=state.sizes_px,
        digests=state.digests,
        problems=state.problems(),
        fit=fit,
        steps=state.steps,
    )


class _State:
    """What is known of each path so far."""

    def __init__(self, root: Path, files: Sequence[str], shown: Sequence[str]) -> None:
        self._root, self._files, self._shown = root, files, shown
        self.rows = np.full(len(files), -1, np.int64)
        self.sizes_px = np.zeros((len(files), 2), np.int64)
        self.digests = np.full(len(files), "", dtype=object)
        self.steps = np.full(len(files), "", dtype=object)
        self._reasons: dict[int, str] = {}

    def file(self, position: int) -> Path:
        """Return the file at a position."""
        return self._root / self._files[position]

    def take(self, found: Found) -> None:
        """Take what became of one file."""
        self.rows[found.position] = found.entry.row
        self.sizes_px[found.position] = found.entry.height, found.entry.width
        self.digests[found.position] = found.entry.digest.hex()
        if found.entry.row < 0:
            self._reasons[found.position] = found.entry.note
        else:
            self.steps[found.position] = found.entry.note

    def look_up(self, index: CacheIndex | None, store: Store, positions: Sequence[int]) -> list[int]:
        """Take what the file system and the index know, and return the positions that must be decoded."""
        missing = []
        for position in positions:
            path = self.file(position)
            try:
                stamp = FileStamp.of(path, check_file(path))
            except BrokenImageError as error:
                reason = str(error) if self._files[position] else "has no path"
                self.take(Found(position, None, Entry(b"", -1, 0, 0, reason)))
                continue
            digest = None if index is None else index.digest_of(stamp)
            entry = None if index is None or digest is None else index.entry(store.key, digest)
            if entry is None:
                missing.append(position)
            else:
                self.take(Found(position, None, entry))
        return missing

    def problems(self) -> list[str]:
        """Return one sentence for each image that is left out."""
        return [
            f"{self._shown[position] or f'image {position + 1}'}: the image {reason}; it is left out."
            for position, reason in sorted(self._reasons.items())
        ]

    def refuse_too_many(self, share: float) -> None:
        """Raise when more images are broken than the user allows."""
        broken, allowed = len(self._reasons), max(_HANDFUL, share * len(self._files))
        if share < 1 and broken and (broken > allowed or broken == len(self._files)):
            listed = self.problems()
            more = [f"... and {len(listed) - _LISTED} more like it."] if len(listed) > _LISTED else []
            told = (
                f"{broken} of {len(self._files)} images are broken or missing, more than "
                f"max_broken_share = {share:g}; mend them, drop their rows, or raise the share."
            )
            raise InputError([told, *listed[:_LISTED], *more])


@contextlib.contextmanager
def _locked(cache_dir: Path, progress: Progress) -> Iterator[None]:
    """Hold the cache folder for writing, after any other run that fills it."""
    cache_dir.mkdir(parents=True, exist_ok=True)
    lock = FileLock(cache_dir / ".lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress.say(f"{cache_dir}: another run is filling the image cache; waiting for it.")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


@contextlib.contextmanager
def _explained(cache_dir: Path) -> Iterator[None]:
    """Tell a folder that cannot be used, a full disk or a lost worker in a sentence."""
    try:
        yield
    except (OSError, sqlite3.OperationalError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{cache_dir}: the image cache cannot be written ({reason}); free some space there, or set images.cache "
            "to another folder."
        ) from error
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"{cache_dir}: the image cache is damaged ({error}); delete the folder and run again."
        ) from error
    except BrokenProcessPool as error:
        raise InputError(
            "a process that decodes images was lost, most likely for want of memory (or, in a script of your own, of "
            "an `if __name__ == '__main__':` guard); free some memory and run again: what is decoded is kept."
        ) from error
