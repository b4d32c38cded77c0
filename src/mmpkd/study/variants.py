"""Variants: several studies in one file that differ in a few settings, each with a run folder of its own.

For questions about the study itself, such as how good a teacher must be. What arms can answer belongs in arms,
which share test cases, seeds and intervals.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from mmpkd.errors import InputError, did_you_mean
from mmpkd.files import read_table, write_text
from mmpkd.folder import RunFolder
from mmpkd.settings import read_yaml

KEY = "variants"
_SHARED = ("cache", "cohorts")  # folders that the variants' own stand beside


def variant_names(path: Path) -> tuple[str, ...]:
    """Return the names of a study file's variants, in order; none for an ordinary study.

    Raises:
        InputError: Variants that are no mapping from name to settings, or names that are no folder names, or are
            those of folders that variants share.
    """
    data = read_yaml(path)
    given = data.get(KEY) if isinstance(data, Mapping) else None
    if given is None:
        return ()
    if not isinstance(given, Mapping) or not given:
        raise InputError(f"{path}: 'variants' maps names to the settings that differ, such as {{clean: {{seeds: 5}}}}.")
    for name, changes in given.items():
        if not str(name).replace("-", "").replace("_", "").replace(".", "").isalnum() or str(name).startswith("."):
            raise InputError(f"{path}: the variant {name!r} names a folder: use letters, digits, '-', '_' and '.'.")
        if str(name).lower() in _SHARED:
            raise InputError(f"{path}: the variant {name!r} would lie in a folder that all share; call it otherwise.")
        if not isinstance(changes, Mapping | None):
            raise InputError(
                f"{path}: the variant {name!r} is {changes!r}; give a mapping of the settings that differ."
            )
    return tuple(str(name) for name in given)


def vary(data: Mapping[str, Any], variant: str | None, path: Path) -> dict[str, Any]:
    """Return one variant's study: mappings are merged at every depth, anything else is replaced.

    Raises:
        InputError: There is no such variant, or none is named where there are some.
    """
    names = variant_names(path)
    if variant is None and names:
        raise InputError(f"{path}: holds the variants {', '.join(names)}; name one with --variant.")
    if variant is not None and variant not in names:
        hint = did_you_mean(variant, names)
        raise InputError(f"{path}: has no variant {variant!r}{hint or '; it is an ordinary study.' * (not names)}")
    plain = {key: value for key, value in data.items() if key != KEY}
    if variant is None:
        return plain
    changes = {str(name): value for name, value in data[KEY].items()}[variant]
    named = {"name": f"{data.get('name', path.stem)}-{variant}"}
    return _merged(plain, {**named, **(changes or {})})


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(base.get(key), Mapping)
        merged[key] = _merged(base[key], value) if both else value
    return merged


def write_variants(out: Path, names: Sequence[str]) -> Path:
    """Write ``variants.csv``: the comparisons of all variants in one table, the variant's name first."""
    tables = {name: read_table(RunFolder(out / name).comparison) for name in names}
    together = pd.concat(tables, names=["variant", None]).reset_index(level=0).reset_index(drop=True)
    write_text(out / "variants.csv", together.to_csv(index=False, lineterminator="\n"))
    return out / "variants.csv"
