"""The pixel file of an image cache, and the processes that fill it.

Workers write decoded rows straight into the file and send back a few numbers an image; the index is told of rows only
after their pixels are on disk.
"""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing as mp
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

import numpy as np

from mmpkd.cohort.cache_index import CacheIndex, Entry, FileStamp
from mmpkd.cohort.geometry import Fit
from mmpkd.cohort.images import DECODER_VERSION, BrokenImageError, Channels, check_file, decode_fitted, read_bytes

_CHUNK_IMAGES = 64
_CHUNKS_AHEAD = 2  # chunks in flight a worker: bounds the memory, and what a killed run loses
_FEW_IMAGES, _FEW_BYTES = 200, 16 * 2**20  # below either the start of workers costs more than it saves

Job = tuple[int, Path]
"""A position in the cohort and its image file."""


class Found(NamedTuple):
    """What became of the file at one position.

    ``stamp`` is missing when the file must be looked at again next time. ``entry`` has no digest when the file could
    not be read at all.
    """

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
        return f"{self.fit}-{self.size_px}-{self.channels}-v{DECODER_VERSION}"

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

    @property
    def rows(self) -> int:
        """Number of rows that the pixel file has room for."""
        return -(-self.pixels.stat().st_size // self.row_bytes) if self.pixels.is_file() else 0

    def is_whole(self, index: CacheIndex) -> bool:
        """Whether the pixel file holds every row of the index: it may have been deleted or cut short."""
        there = self.pixels.stat().st_size if self.pixels.is_file() else 0
        return there >= index.next_row(self.key) * self.row_bytes

    def open_pixels(self, rows: int) -> np.ndarray:
        """Map the first rows, read-only."""
        if not rows:
            return np.zeros((0, *self.row_shape), np.uint8)
        return np.memmap(self.pixels, np.uint8, mode="r", shape=(rows, *self.row_shape))

    def grow(self, rows: int) -> None:
        """Make room for ``rows`` rows in all."""
        if self.rows < rows:
            os.truncate(self.pixels, rows * self.row_bytes)

    def trim(self, rows: int) -> None:
        """Give back the room after the first ``rows`` rows."""
        with contextlib.suppress(OSError):  # Windows refuses while another process reads; the room is spare, not wrong
            os.truncate(self.pixels, rows * self.row_bytes)

    def write(self, rows: dict[int, np.ndarray]) -> None:
        """Write rows and see them to the disk."""
        if not rows:
            return
        with self.pixels.open("r+b") as stream:
            for row, pixels in rows.items():
                stream.seek(row * self.row_bytes)
                stream.write(pixels.tobytes())
            stream.flush()
            os.fsync(stream.fileno())


def fill(
    store: Store,
    index: CacheIndex,
    positions: Sequence[int],
    file_of: Callable[[int], Path],
    workers: int | None = None,
) -> Generator[Found]:
    """Decode the files at ``positions`` into new rows and yield what became of each, chunk by chunk.

    Each chunk has rows of its own, past the end of the file as it was, and the file grows before the chunk is handed
    out: should a killed run's worker outlive it for a moment, the next run's rows are elsewhere.
    """
    store.pixels.touch()
    first_row = max(store.rows, index.next_row(store.key))
    starts = range(0, len(positions), _CHUNK_IMAGES)
    count = min(workers or _usable_cores(), len(starts))

    def chunk(start: int) -> tuple[Store, int, Sequence[Job]]:
        jobs = [(position, file_of(position)) for position in positions[start : start + _CHUNK_IMAGES]]
        store.grow(first_row + start + len(jobs))
        return store, first_row + start, jobs

    try:
        few = len(positions) < _FEW_IMAGES or not _reach(map(file_of, positions), _FEW_BYTES)
        if count < 2 or few:
            for start in starts:
                yield from _noted(store, index, _decode_chunk(*chunk(start)))
        else:
            with _pool(count) as pool:
                running: deque[Future[list[Found]]] = deque()
                for start in starts:
                    running.append(pool.submit(_decode_chunk, *chunk(start)))
                    if len(running) > count * _CHUNKS_AHEAD:
                        yield from _noted(store, index, running.popleft().result())
                while running:
                    yield from _noted(store, index, running.popleft().result())
    finally:
        store.trim(index.next_row(store.key))


@contextlib.contextmanager
def _pool(count: int) -> Iterator[ProcessPoolExecutor]:
    pool = ProcessPoolExecutor(count, mp.get_context("spawn"), initializer=_end_with_parent)
    try:
        yield pool
    finally:
        pool.shutdown(cancel_futures=True)


def _end_with_parent() -> None:
    """Make this worker end with its parent, and only then: left alone it would wait for work for ever."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = mp.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()


def _reach(files: Iterable[Path], least_bytes: int) -> bool:
    """Whether the files hold so many bytes together; looks at no more files than it takes to know."""
    total = 0
    for path in files:
        with contextlib.suppress(OSError):
            total += path.stat().st_size
        if total >= least_bytes:
            return True
    return False


def _noted(store: Store, index: CacheIndex, found: list[Found]) -> list[Found]:
    """Tell the index, and answer with its rows: another chunk may have decoded the same content at the same time."""
    files = [(one.stamp, one.entry.digest) for one in found if one.stamp is not None]
    index.add(store.key, files, [one.entry for one in found if one.entry.digest])
    return [one._replace(entry=index.entry(store.key, one.entry.digest) or one.entry) for one in found]


def _decode_chunk(store: Store, first_row: int, jobs: Sequence[Job]) -> list[Found]:
    """Decode some files into the rows from ``first_row`` on; a broken file, or known content, leaves its row unused."""
    found: list[Found] = []
    pixels: dict[int, np.ndarray] = {}
    here: dict[bytes, Entry] = {}
    with contextlib.closing(CacheIndex(store.index, read_only=True)) as index:
        for row, (position, path) in enumerate(jobs, first_row):
            stamp, digest = None, b""
            try:
                stamp = FileStamp.of(path, check_file(path))
                settled = stamp.is_settled
                data = read_bytes(path)
                digest = hashlib.blake2b(data, digest_size=16).digest()
                entry = here.get(digest) or index.entry(store.key, digest)
                if entry is None:
                    fitted = decode_fitted(data, store.size_px, store.channels, store.fit)
                    pixels[row] = fitted.pixels
                    entry = Entry(digest, row, *fitted.size_px, " ".join(fitted.steps))
            except BrokenImageError as error:
                entry = Entry(digest, -1, 0, 0, str(error))
            here[digest] = entry
            found.append(Found(position, stamp if digest and settled else None, entry))
    store.write(pixels)
    return found


def _usable_cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
