"""Generated archives: each ``tree_<archive>.py`` beside writes a small tree of the true shape."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Tree:
    """A generated archive.

    Args:
        archive: Name of the converter.
        roots: Folders to give it.
        options: Of the converter, beside its defaults.
        canaries: Strings planted in it that must be found nowhere but where they belong: patient ids, words of
            reports, values of headers.
        cases, rois: How many of each the conversion must yield, worked out by hand where the tree is written.
        study: Settings of a study over it, beside the tiny ones of the test.
    """

    archive: str
    roots: Sequence[Path]
    options: Mapping[str, Any] = field(default_factory=dict)
    canaries: Sequence[str] = ()
    cases: int = 0
    rois: int = 0
    study: Mapping[str, Any] = field(default_factory=dict)


def tree_module(name: str) -> ModuleType:
    """Return the module ``tree_<name>.py``."""
    key = f"mmpkd_tree_{name}"
    if key not in sys.modules:
        spec = importlib.util.spec_from_file_location(key, HERE / f"tree_{name}.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[key] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[key])
    return sys.modules[key]


def tree_names() -> list[str]:
    return sorted(path.stem.removeprefix("tree_") for path in HERE.glob("tree_*.py"))


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[..., Tree]:
    """Return a function from a tree's name to the tree, written below ``tmp_path``."""

    def write(name: str, **how: Any) -> Tree:
        return Tree(**tree_module(name).write_tree(tmp_path / "archive", **how))

    return write


@pytest.fixture(params=tree_names())
def tree(request: pytest.FixtureRequest, write_tree: Callable[..., Tree]) -> Tree:
    """Every generated archive in turn."""
    return write_tree(request.param)


@pytest.fixture
def tree_archives() -> set[str]:
    """Names of the archives that have a tree."""
    return {name.replace("_", "-") for name in tree_names()}
