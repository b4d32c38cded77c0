"""Tables as archives hold them, ragged headers included, and columns read with every bad row told."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.table import Source, Table, is_missing
from mmpkd.errors import InputError, did_you_mean


def read_ragged(path: Path) -> Table:
    """Read a comma-separated table whose rows and header may differ in length.

    A field without a name in the header (or with one given before) is called ``column 8`` by its place; short rows end
    in blanks. Names and values lose outer blanks.

    Raises:
        InputError: The file cannot be read, or has no row.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            header = [name.strip() for name in next(reader, [])]
            rows, lines, start = [], [], reader.line_num + 1
            for row in reader:
                if any(row):
                    rows.append(row)
                    lines.append(start)
                start = reader.line_num + 1
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}); check the path.") from None
    except (UnicodeDecodeError, csv.Error):
        raise InputError(f"{path.name}: is no table of UTF-8 text; download it anew.") from None
    if not rows:
        raise InputError(f"{path.name}: the table has no rows; download it anew.")
    width = max(len(header), *(len(row) for row in rows))
    names = [
        name if name and name not in header[:i] else f"column {i + 1}"
        for i, name in enumerate(header + [""] * (width - len(header)))
    ]
    cells = pd.DataFrame([row + [""] * (width - len(row)) for row in rows], columns=names, dtype=str)
    source = Source(path.name, lambda: lines)
    return Table(cells, (source,), np.zeros(len(rows), np.int64), np.arange(len(rows)))


def need_columns(table: Table, names: Sequence[str]) -> None:
    """Do nothing if all columns are there.

    Raises:
        InputError: A sentence for each that is not.
    """
    known = table.cells.columns
    lacking = [name for name in names if name not in known]
    if lacking:
        raise InputError(
            [f"{table.shown}, row 1: there is no column {name!r}{did_you_mean(name, known)}" for name in lacking]
        )


def read_numbers(table: Table, column: str, problems: Problems) -> Float[np.ndarray, " rows"]:
    """Return a column as numbers, NaN where it is blank; what is no finite number is a problem."""
    values = table.column(column)
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    problems.add_rows(
        np.flatnonzero(~np.isfinite(numbers) & ~is_missing(values)),
        lambda i: f"{table.place(i, column)}: {values.iloc[i][:20]!r} is no number; mend it or leave it blank.",
    )
    return numbers


def need_unique(table: Table, column: str, problems: Problems) -> None:
    """Add a problem for each row whose value of a column is blank or stands in an earlier row; no value is quoted."""
    values = table.column(column)
    bad = (values.duplicated() | is_missing(values)).to_numpy(bool)
    problems.add_rows(
        np.flatnonzero(bad),
        lambda i: f"{table.place(i, column)}: is blank or stands in an earlier row; keep one row an image.",
    )
