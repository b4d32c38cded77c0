"""The folders of an archive, and its files found in them by name, wherever a download has put them."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path

from mmpkd.errors import InputError

_DEPTH = 4


class Roots:
    """One or several folders in which an archive's files lie.

    Args:
        folders: As the user gave them.
        skip: Names of folders that are not looked into.

    Raises:
        InputError: A root that is no folder.
    """

    def __init__(self, folders: Sequence[Path], skip: Sequence[str] = ()) -> None:
        if not folders:
            raise InputError("no folder of the archive is given; name one or several.")
        for folder in folders:
            if not folder.is_dir():
                raise InputError(f"{folder}: there is no such folder; give the one that holds the archive.")
        self.folders = tuple(folder.resolve() for folder in folders)
        self._skip = tuple(skip)

    @cached_property
    def _entries(self) -> list[Path]:
        """Files and folders down to a few levels, the nearest to a root first."""
        found: list[Path] = []
        level = list(self.folders)
        for _ in range(_DEPTH):
            below = sorted(entry for folder in level for entry in self._listed(folder))
            found += below
            level = [entry for entry in below if entry.is_dir() and not self._skipped(entry.name)]
        return found

    def _listed(self, folder: Path) -> Iterator[Path]:
        try:
            with os.scandir(folder) as entries:
                yield from (folder / entry.name for entry in entries)
        except OSError as error:  # the folder is not named: its name may hold an identifier
            root = next(root for root in self.folders if root == folder or root in folder.parents)
            raise InputError(
                f"{root}: a folder in it cannot be read ({error.strerror}); mend the permissions."
            ) from None

    def _skipped(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self._skip)

    def all(self, *patterns: str) -> list[Path]:
        """Return every file or folder whose name (or last parts, as ``csv/info.csv``) matches one of the patterns."""
        return [path for path in self._entries if any(_matches(path, pattern) for pattern in patterns)]

    def find(self, *patterns: str) -> Path | None:
        """Return the match of the earliest pattern that has one: the nearest to a root, of these the last by name.

        The last by name is the newest version (``...-2.1.0-...`` after ``...-2.0.0-...``).
        """
        for pattern in patterns:
            found = self.all(pattern)
            if found:
                depth = min(len(path.parts) for path in found)
                return max((path for path in found if len(path.parts) == depth), key=lambda path: path.name)
        return None

    def need(self, *patterns: str) -> Path:
        """Return what :meth:`find` does.

        Raises:
            InputError: Nothing matches; the sentence names what was looked for and where.
        """
        found = self.find(*patterns)
        if found is None:
            where = ", ".join(str(folder) for folder in self.folders)
            raise InputError(f"{where}: holds no {' or '.join(patterns)}; give the folder that it lies in as well.")
        return found

    def common(self) -> Path:
        """Return the deepest folder that holds all roots."""
        return Path(os.path.commonpath(self.folders))


def _matches(path: Path, pattern: str) -> bool:
    parts = pattern.split("/")
    return all(fnmatchcase(*pair) for pair in zip(path.parts[-len(parts) :], parts, strict=True))
