"""Scripts outside the package, imported by their path."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """Return a function that imports the script at a path below the repository's root."""

    def load(path: str) -> ModuleType:
        file = ROOT / path
        specification = importlib.util.spec_from_file_location(file.stem, file)
        assert specification is not None
        assert specification.loader is not None
        module = sys.modules[file.stem] = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        return module

    return load
