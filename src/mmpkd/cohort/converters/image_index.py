"""Where the images of an archive lie, by file name alone: downloads differ in the folders between."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from pathlib import Path


def index_images(folders: Sequence[Path], names: Collection[str], base: Path) -> dict[str, str]:
    """Return name -> path relative to ``base`` for each wanted file that is there.

    Of several files of one name the one nearest to its root is taken, then the first in the order of paths. Folders
    are listed once; no file is opened. Symbolic links to folders are not followed, since a cohort's images may not
    leave its image folder.
    """
    wanted = names if isinstance(names, (set, frozenset)) else set(names)
    found: dict[str, tuple[int, str]] = {}
    for root in folders:
        for folder, below, files in os.walk(root):
            below.sort()
            relative = os.path.relpath(folder, base)
            depth = len(Path(folder).parts) - len(root.parts)
            for name in files:
                if name in wanted:
                    place = (depth, name if relative == "." else f"{relative}/{name}")
                    found[name] = min(found.get(name, place), place)
    return {name: path for name, (_, path) in found.items()}
