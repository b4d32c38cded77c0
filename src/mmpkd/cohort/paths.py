"""Paths in a table: whether they stay under the root and whether a file is there. Opens no file.

Hundreds of thousands of paths cost one ``lstat`` each; folders are resolved once.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Sequence
from pathlib import Path

import numpy as np

INSIDE, OUTSIDE, ABSENT = 0, 1, 2


def locate(paths: Sequence[str], root: Path) -> tuple[list[str], np.ndarray]:
    """Return each path relative to ``root``, and (paths,) ``INSIDE``, ``OUTSIDE`` or ``ABSENT``.

    A path is outside when it leads out of the root, be it by ``..``, as an absolute path, or over a symbolic
    link. A blank path, or one that is no regular file, is absent.
    """
    base = os.path.realpath(root)
    folders: dict[str, str] = {}
    relative: list[str] = []
    states = np.zeros(len(paths), np.int8)
    for position, path in enumerate(paths):
        if not path:
            states[position] = ABSENT
            relative.append(path)
            continue
        folder, name = os.path.split(os.path.normpath(os.path.join(base, path)))
        if folder not in folders:
            folders[folder] = os.path.realpath(folder)
        full = os.path.join(folders[folder], name)
        states[position], full = _state(full, base)
        relative.append(os.path.relpath(full, base) if os.path.isabs(path) and not states[position] else path)
    return relative, states


def _state(full: str, base: str) -> tuple[int, str]:
    try:
        mode = os.lstat(full).st_mode
        if stat.S_ISLNK(mode):
            full = os.path.realpath(full)
            mode = os.lstat(full).st_mode
        there = stat.S_ISREG(mode)
    except (OSError, ValueError):  # ValueError: a path with a NUL in it
        there = False
    if full != base and not full.startswith(base.rstrip(os.sep) + os.sep):
        return OUTSIDE, full
    return (INSIDE if there else ABSENT), full
