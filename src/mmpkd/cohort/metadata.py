"""Metadata columns, typed: numbers as float, categories as pandas ``category``; by inference unless told."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.settings import MetadataType
from mmpkd.cohort.table import Table, is_missing

_FEW = 8  # whole numbers with no more distinct values than this are codes or grades, not measurements
_MOSTLY = 0.9


def read_metadata(
    table: Table,
    types: Mapping[str, MetadataType],
    index: pd.Index[str],
    problems: Problems,
) -> pd.DataFrame | None:
    """Read the metadata columns, indexed by case.

    A column of type ``auto`` is a number if every value that is not missing is a finite number and there are
    more than eight distinct ones or some are fractions; else it is a category.

    Args:
        table: The cases.
        types: Column -> ``auto``, ``number`` or ``category``; empty: the cohort has no metadata.
        index: Case ids.
        problems: Told of values that are no numbers in columns said to hold numbers; warned of columns that
            say nothing or look mistyped.
    """
    if not types:
        return None
    columns = {name: _read_column(table, name, kind, problems) for name, kind in types.items()}
    frame = pd.DataFrame(columns)
    frame.index = index
    if len(frame) and frame.isna().to_numpy().all():
        problems.add(f"{table.shown}: every metadata column is blank in every row; leave out 'metadata' or fill it.")
    return frame


def _read_column(
    table: Table,
    name: str,
    kind: MetadataType,
    problems: Problems,
) -> pd.Series[float] | pd.Series[str]:
    values = table.column(name)
    missing = is_missing(values)
    numbers = pd.to_numeric(values.where(~missing), errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~missing & ~np.isfinite(numbers)
    if kind == "auto":
        kind = _infer(table, name, numbers[~missing], wrong, problems)
    if kind == "number":
        problems.add_rows(
            np.flatnonzero(wrong),
            lambda i: (
                f"{table.place(i, name)}: {values.iloc[i][:40]!r} is no number; mend it, leave it blank, "
                f"or set 'metadata: {{{name}: category}}'."
            ),
        )
        column: pd.Series[float] | pd.Series[str] = pd.Series(np.where(wrong, np.nan, numbers))
    else:
        levels = sorted(values[~missing].unique())
        column = pd.Series(pd.Categorical(values.where(~missing), categories=levels))
    _warn_if_useless(table, name, column, missing, problems)
    return column


def _infer(
    table: Table,
    name: str,
    present: np.ndarray,
    wrong: np.ndarray,
    problems: Problems,
) -> MetadataType:
    numbers = present[np.isfinite(present)]
    distinct = np.unique(numbers)
    numeric = len(distinct) > _FEW or (distinct % 1 != 0).any()
    if not len(numbers) or not numeric:
        return "category"
    if not wrong.any():
        return "number"
    if len(numbers) >= _MOSTLY * len(present):
        first = int(np.flatnonzero(wrong)[0])
        problems.warn(
            f"{table.place(first, name)}: {wrong.sum()} of {len(present)} values are no numbers, so the column is "
            f"read as a category; mend them and set 'metadata: {{{name}: number}}'."
        )
    return "category"


def _warn_if_useless(
    table: Table,
    name: str,
    column: pd.Series[float] | pd.Series[str],
    missing: np.ndarray,
    problems: Problems,
) -> None:
    present, distinct = int((~missing).sum()), int(column.nunique())
    if not present:
        problems.warn(f"{table.shown}, column {name!r}: blank in every row; it teaches nothing.")
    elif distinct == 1:
        problems.warn(f"{table.shown}, column {name!r}: holds one value only; it teaches nothing but its blanks.")
    elif isinstance(column.dtype, pd.CategoricalDtype) and present >= 20 and distinct > 0.9 * present:
        problems.warn(
            f"{table.shown}, column {name!r}: {distinct} categories in {present} cases; it looks like an identifier."
        )
