"""What an image cache knows: which file has which content, and in which row that content lies.

SQLite, because it survives a killed process at any moment, serves readers beside one writer, and needs no more
memory for more images. Pixels are not kept here, and no path is: files go by the hash of theirs.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, Self

_SCHEMA = """
CREATE TABLE IF NOT EXISTS files (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, digest BLOB)
    WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS entries (store TEXT, digest BLOB, row INTEGER, height INTEGER, width INTEGER,
    reason TEXT, PRIMARY KEY (store, digest)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS rows ON entries (store, row);
"""
_BUSY_S = 60.0
_SETTLED_NS = 2_000_000_000  # the coarsest clock of a file system in use (FAT): a younger stamp proves nothing


class FileStamp(NamedTuple):
    """Tells, without reading it, whether a file is the one seen before."""

    path: bytes
    size: int
    mtime_ns: int

    @classmethod
    def of(cls, path: Path, status: os.stat_result) -> Self:
        """Stamp a file whose status is known."""
        name = hashlib.blake2b(os.fsencode(path.absolute()), digest_size=16).digest()
        return cls(name, status.st_size, status.st_mtime_ns)

    @property
    def is_settled(self) -> bool:
        """Whether the file has been left alone for some seconds; else it may yet change and keep its stamp."""
        return self.mtime_ns < time.time_ns() - _SETTLED_NS


class Entry(NamedTuple):
    """Where content lies: its row and original size, or row -1.

    ``note`` says of row -1 why it is no image, and else by which steps a DICOM file became one, blanks between them.
    """

    digest: bytes
    row: int
    height: int
    width: int
    note: str = ""


class CacheIndex:
    """The SQLite index of one cache folder.

    Args:
        path: The database file; created unless ``read_only``.
        read_only: Only look; any number of readers may do so while another process writes.

    Raises:
        sqlite3.Error: It cannot be opened, written or is damaged.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        mode = "ro" if read_only else "rwc"
        address = f"{path.absolute().as_uri()}?mode={mode}"
        self._connection = sqlite3.connect(address, uri=True, timeout=_BUSY_S)
        try:
            if not read_only:
                self._connection.executescript(_SCHEMA)
            self.next_row("")  # the first look at the file: a damaged one is told here
        except sqlite3.Error:
            self._connection.close()
            raise

    def __enter__(self) -> Self:
        """Return the index itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the index."""
        self.close()

    def close(self) -> None:
        """Close the database."""
        self._connection.close()

    def digest_of(self, stamp: FileStamp) -> bytes | None:
        """Return the hash of a file's content if the file was seen and has not changed since."""
        query = "SELECT digest FROM files WHERE path = ? AND size = ? AND mtime_ns = ?"
        found = self._connection.execute(query, stamp).fetchone()
        return None if found is None else bytes(found[0])

    def entry(self, store: str, digest: bytes) -> Entry | None:
        """Return where content lies in a store, or that it is broken; ``None`` if it was never decoded."""
        query = "SELECT digest, row, height, width, reason FROM entries WHERE store = ? AND digest = ?"
        found = self._connection.execute(query, (store, digest)).fetchone()
        return None if found is None else Entry(*found)

    def next_row(self, store: str) -> int:
        """Return the number of rows up to the last that is in use."""
        query = "SELECT COALESCE(MAX(row), -1) + 1 FROM entries WHERE store = ?"
        return int(self._connection.execute(query, (store,)).fetchone()[0])

    def add(self, store: str, files: Iterable[tuple[FileStamp, bytes]], entries: Iterable[Entry]) -> None:
        """Add files and entries, all or none; content that a store has already keeps its row."""
        with self._connection:
            self._connection.executemany(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", [(*stamp, digest) for stamp, digest in files]
            )
            self._connection.executemany(
                "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?, ?)", [(store, *one) for one in entries]
            )

    def forget(self, store: str) -> None:
        """Drop a store's entries, because its pixels are gone."""
        with self._connection:
            self._connection.execute("DELETE FROM entries WHERE store = ?", (store,))


@contextlib.contextmanager
def open_for_reading(path: Path) -> Iterator[CacheIndex | None]:
    """Open an index to look at; ``None`` where there is none, or none that can be read without writing to it."""
    index = None
    if path.is_file():
        with contextlib.suppress(sqlite3.Error):
            index = CacheIndex(path, read_only=True)
    try:
        yield index
    finally:
        if index is not None:
            index.close()
