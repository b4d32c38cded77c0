"""The pixel file of an image cache, and the processes that fill it.

Workers write decoded rows straight into the file and send back a few numbers an image; the index is told of rows only
after their pixels are on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing as mp
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmpkd.cohort.cache_index import CacheIndex, Entry, FileStamp
from mmpkd.cohort.geometry import Fit
from mmpkd.cohort.images import BrokenImageError, Channels, decode_fitted, read_bytes

_DECODER_VERSION = 1  # raise it whenever the same file would decode to other pixels
_CHUNK_IMAGES = 64
_CHUNKS_AHEAD = 4  # chunks in flight a worker: bounds the memory, whatever the cohort's size
_FEW_IMAGES, _FEW_BYTES = 200, 16 * 2**20  # below either the start of workers costs more than it saves


class Found(NamedTuple):
    """What became of the file at one position."""

    position: int
    stamp: FileStamp | None
    entry: Entry


@dataclass(frozen=True)
class Store:
    """One pixel file: rows of (channels, size, size) uint8."""

    folder: Path
    size_px: int
    channels: Channels
    fit: Fit

    @property
    def key(self) -> str:
        """What decides the pixels, besides a file's content."""
        return f"{self.fit}-{self.size_px}-{self.channels}-v{_DECODER_VERSION}"

    @property
    def index(self) -> Path:
        """The index, shared by all pixel files of the folder."""
        return self.folder / "index.sqlite"

    @property
    def pixels(self) -> Path:
        """The pixel file."""
        return self.folder / f"{self.key}.u8"

    @property
    def row_shape(self) -> tuple[int, int, int]:
        """Shape of one image."""
        return (self.channels, self.size_px, self.size_px)

    @property
    def row_bytes(self) -> int:
        """Size of one image."""
        return self.channels * self.size_px**2

    def check_pixels(self, index: CacheIndex) -> None:
        """Forget the entries of a pixel file that was deleted or cut short."""
        there = self.pixels.stat().st_size if self.pixels.is_file() else 0
        if there < index.next_row(self.key) * self.row_bytes:
            index.forget(self.key)

    def open_pixels(self) -> np.ndarray:
        """Map all whole rows, read-only."""
        rows = self.pixels.stat().st_size // self.row_bytes if self.pixels.is_file() else 0
        if not rows:
            return np.zeros((0, *self.row_shape), np.uint8)
        return np.memmap(self.pixels, np.uint8, mode="r", shape=(rows, *self.row_shape))

    def write(self, first_row: int, rows: Sequence[np.ndarray]) -> None:
        """Write consecutive rows and see them to the disk."""
        with self.pixels.open("r+b") as stream:
            stream.seek(first_row * self.row_bytes)
            for row in rows:
                stream.write(row.tobytes())
            stream.flush()
            os.fsync(stream.fileno())


def fill(
    store: Store, index: CacheIndex, jobs: Sequence[tuple[int, Path]], workers: int | None = None
) -> Iterator[Found]:
    """Decode the files of ``jobs`` (position, path) into new rows and yield what became of each, chunk by chunk."""
    store.pixels.touch()
    next_row = index.next_row(store.key)
    chunks = [
        (store, next_row + start, jobs[start : start + _CHUNK_IMAGES]) for start in range(0, len(jobs), _CHUNK_IMAGES)
    ]
    count = min(workers or _usable_cores(), len(chunks))
    if count < 2 or len(jobs) < _FEW_IMAGES or not _reaches(jobs, _FEW_BYTES):
        for chunk in chunks:
            yield from _noted(store, index, _decode_chunk(*chunk))
        return
    with ProcessPoolExecutor(count, mp.get_context("spawn")) as pool:
        ahead = count * _CHUNKS_AHEAD
        running = [pool.submit(_decode_chunk, *chunk) for chunk in chunks[:ahead]]
        for position in range(len(chunks)):
            found = running.pop(0).result()
            if position + ahead < len(chunks):
                running.append(pool.submit(_decode_chunk, *chunks[position + ahead]))
            yield from _noted(store, index, found)


def _reaches(jobs: Sequence[tuple[int, Path]], least_bytes: int) -> bool:
    """Whether the files hold so many bytes together; looks at no more files than it takes to know."""
    total = 0
    for _, path in jobs:
        with contextlib.suppress(OSError):
            total += path.stat().st_size
        if total >= least_bytes:
            return True
    return False


def _noted(store: Store, index: CacheIndex, found: list[Found]) -> list[Found]:
    files = [(one.stamp, one.entry.digest) for one in found if one.stamp is not None]
    index.add(store.key, files, [one.entry for one in found if one.stamp is not None])
    return found


def _decode_chunk(store: Store, first_row: int, jobs: Sequence[tuple[int, Path]]) -> list[Found]:
    """Decode some files into the rows from ``first_row`` on (broken ones leave their row unused)."""
    found, pixels = [], []
    for offset, (position, path) in enumerate(jobs):
        blank = np.zeros(store.row_shape, np.uint8)
        stamp, digest = None, b""
        try:
            stamp = FileStamp.of(path) if path.is_file() else None
            data = read_bytes(path)
            digest = hashlib.blake2b(data, digest_size=16).digest()
            fitted = decode_fitted(data, store.size_px, store.channels, store.fit)
            pixels.append(fitted.pixels)
            entry = Entry(digest, first_row + offset, *fitted.size_px)
        except BrokenImageError as error:
            pixels.append(blank)
            entry = Entry(digest, -1, 0, 0, str(error))
        found.append(Found(position, stamp, entry))
    store.write(first_row, pixels)
    return found


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
