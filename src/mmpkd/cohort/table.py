"""Tables as the user wrote them: every value a string, every row traceable to its place in its file.

Nothing is interpreted here. Blank stays the empty string; what counts as missing, a number or a label is said
by the modules that read columns.
"""

from __future__ import annotations

import contextlib
import csv
import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
import pandas as pd

from mmpkd.cohort.problems import Problems
from mmpkd.errors import InputError, did_you_mean

_MISSING = frozenset({"", "na", "n/a", "nan", "null", "<na>"})
_DELIMITERS = {".csv": ",", ".tsv": "\t"}
SUFFIXES = (".csv", ".tsv", ".jsonl", ".csv.gz", ".tsv.gz", ".jsonl.gz", ".parquet")


def is_missing(values: pd.Series[str]) -> np.ndarray:
    """Boolean (rows,): blank, NA, N/A, NaN or null, in any case."""
    codes, distinct = pd.factorize(values)
    return np.fromiter((str(value).strip().casefold() in _MISSING for value in distinct), bool, len(distinct))[codes]


@dataclass(frozen=True)
class Source:
    """One file and how to find a record's place in it again."""

    shown: str
    find_rows: Callable[[], Sequence[int]]

    @cached_property
    def rows(self) -> Sequence[int]:
        """Row of each record as a person counts it: line of a text file, 1-based row of a Parquet file."""
        return self.find_rows()


@dataclass(frozen=True)
class Table:
    """Rows of one or several files, stacked.

    Args:
        cells: Strings; blank where there is nothing.
        sources: The files.
        file_of: (rows,) index into ``sources``.
        record_of: (rows,) 0-based record in its file.
    """

    cells: pd.DataFrame
    sources: tuple[Source, ...]
    file_of: np.ndarray
    record_of: np.ndarray

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.cells)

    @property
    def shown(self) -> str:
        """The files, for sentences about all rows."""
        first, *others = (source.shown for source in self.sources)
        return f"{first} and {len(others)} more" if len(others) > 1 else " and ".join([first, *others])

    def column(self, name: str) -> pd.Series[str]:
        """Return a column, outer blanks removed."""
        return self.cells[name].str.strip()

    def row(self, position: int) -> int:
        """Return the row in the file that the row at ``position`` came from."""
        return self.sources[self.file_of[position]].rows[self.record_of[position]]

    def place(self, position: int, column: str | None = None) -> str:
        """Return ``file, row 12, column 'x'`` for a sentence."""
        where = f"{self.sources[self.file_of[position]].shown}, row {self.row(position)}"
        return where if column is None else f"{where}, column {column!r}"

    def take(self, positions: np.ndarray) -> Table:
        """Return the rows at integer ``positions`` or under a boolean mask."""
        values = self.cells[positions] if positions.dtype == bool else self.cells.iloc[positions]
        return Table(values.reset_index(drop=True), self.sources, self.file_of[positions], self.record_of[positions])


def read_table_file(path: Path, shown: str) -> Table:
    """Read one table; ``shown`` names it in sentences.

    Raises:
        InputError: The file cannot be read, is empty, or is not the format its name says.
    """
    suffix = "".join(path.suffixes[-2:] if path.suffix == ".gz" else path.suffixes[-1:]).lower()
    if suffix not in SUFFIXES:
        raise InputError(f"{shown}: the table's format is not known by its name; use {', '.join(SUFFIXES)}.")
    try:
        if suffix == ".parquet":
            values, find_rows = _read_parquet(path, shown)
        elif suffix.startswith(".jsonl"):
            values, find_rows = _read_json_lines(path, shown)
        else:
            values, find_rows = _read_delimited(path, shown, _DELIMITERS[suffix[:4]])
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or "it is damaged"
        raise InputError(f"{shown}: cannot be read ({reason[:1].lower() + reason[1:]}); check the path.") from None
    except UnicodeDecodeError:
        raise InputError(f"{shown}: is not UTF-8 text; save it as UTF-8.") from None
    record_of = np.arange(len(values))
    blank = _blank_rows(values)
    if blank.any():
        values, record_of = values[~blank].reset_index(drop=True), record_of[~blank]
    if values.empty:
        raise InputError(f"{shown}: the table has no rows; give one row a case.")
    return Table(values, (Source(shown, find_rows),), np.zeros(len(values), np.int64), record_of)


def _blank_rows(values: pd.DataFrame) -> np.ndarray:
    blank = np.ones(len(values), bool)
    for name in values.columns:
        blank[blank] = (values.loc[blank, name] == "").to_numpy()
        if not blank.any():
            break
    return blank


def _open(path: Path) -> IO[str]:
    if path.suffix == ".gz":
        return gzip.open(path, "rt", encoding="utf-8-sig", newline="")
    return path.open(encoding="utf-8-sig", newline="")


def _read_delimited(path: Path, shown: str, delimiter: str) -> tuple[pd.DataFrame, Callable[[], Sequence[int]]]:
    try:
        with _open(path) as file:
            header = next(csv.reader(file, delimiter=delimiter), [])
    except csv.Error:
        raise InputError(f"{shown}, row 1: the header cannot be read; check the file's quotes.") from None
    _check_header(header, shown, delimiter)
    try:
        values = pd.read_csv(
            path,
            sep=delimiter,
            dtype=str,
            na_filter=False,
            skip_blank_lines=False,
            low_memory=False,
            encoding="utf-8-sig",
        )
    except pd.errors.ParserError as error:
        raise InputError(_explain_parser_error(str(error), shown)) from None
    if not isinstance(values.index, pd.RangeIndex):
        raise InputError(f"{shown}: the rows have more fields than the header has names; mend the header.")
    return values.fillna(""), lambda: _record_lines(path, delimiter, len(values))


def _check_header(header: Sequence[str], shown: str, delimiter: str) -> None:
    names = [name for name in header if name.strip()]
    if not names:
        raise InputError(f"{shown}, row 1: the header is empty; give the columns' names in the first line.")
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise InputError(f"{shown}, row 1: the column {min(twice)!r} is named twice; rename one of them.")
    other = {",": ";", "\t": ","}[delimiter]
    if len(header) == 1 and other in header[0]:
        kind = "a comma" if delimiter == "," else "a tab"
        raise InputError(f"{shown}, row 1: the fields are parted by {other!r}; part them by {kind}.")


def _explain_parser_error(message: str, shown: str) -> str:
    fields = re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", message)
    if fields:
        expected, line, saw = fields.groups()
        return f"{shown}, row {line}: has {saw} fields where the header has {expected}; quote fields with commas."
    row = re.search(r"EOF inside string starting at row (\d+)", message)
    if row:
        return f"{shown}, row {int(row.group(1)) + 1}: a quoted field is never closed; add the closing quote."
    return f"{shown}: is not a table of separated fields; check how it was written."


def _record_lines(path: Path, delimiter: str, count: int) -> Sequence[int]:
    """Return the line that each record starts in; quoted fields may hold line breaks."""
    lines, start = [], 1
    with contextlib.suppress(csv.Error), _open(path) as file:
        reader = csv.reader(file, delimiter=delimiter)
        for _ in reader:
            lines.append(start)
            start = reader.line_num + 1
    return lines[1:] if len(lines) == count + 1 else range(2, count + 2)


def _read_json_lines(path: Path, shown: str) -> tuple[pd.DataFrame, Callable[[], Sequence[int]]]:
    records: list[Mapping[str, object]] = []
    rows: list[int] = []
    with _open(path) as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError:
                record = None
            if not isinstance(record, dict):
                raise InputError(f"{shown}, row {number}: is not a JSON object; write one object a line.")
            records.append(record)
            rows.append(number)
    names = list(dict.fromkeys(name for record in records for name in record))
    columns = {name: pd.Series([_as_text(record.get(name)) for record in records], dtype=str) for name in names}
    return pd.DataFrame(columns), lambda: rows


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    return json.dumps(value)


def _read_parquet(path: Path, shown: str) -> tuple[pd.DataFrame, Callable[[], Sequence[int]]]:
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    try:
        arrow = pq.read_table(path)
    except pa.ArrowInvalid:
        raise InputError(f"{shown}: is not a Parquet file; check how it was written.") from None
    columns: dict[str, Any] = {}
    for name, column in zip(arrow.column_names, arrow.columns, strict=True):
        try:
            columns[name] = pc.fill_null(column.cast(pa.large_string()), "").to_pandas().astype(str)
        except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
            continue  # lists, structs, bytes: no setting can name such a column, so it counts as absent
    return pd.DataFrame(columns), lambda: range(1, arrow.num_rows + 1)


def stack(tables: Sequence[Table]) -> Table:
    """Stack tables; a column that one of them lacks is blank there."""
    values = pd.concat([table.cells for table in tables], ignore_index=True).fillna("")
    offsets = np.cumsum([0, *(len(table.sources) for table in tables[:-1])])
    return Table(
        values,
        tuple(source for table in tables for source in table.sources),
        np.concatenate([table.file_of + offset for table, offset in zip(tables, offsets, strict=True)]),
        np.concatenate([table.record_of for table in tables]),
    )


def check_columns(tables: Iterable[Table], needed: Mapping[str, str], problems: Problems) -> None:
    """Add a problem for each column of ``needed`` (column -> the setting that names it) that a table lacks."""
    for table in tables:
        for column, setting in needed.items():
            if column not in table.cells.columns:
                hint = did_you_mean(column, map(str, table.cells.columns))
                problems.add(f"{table.shown}: there is no column {column!r} (setting '{setting}'){hint}")
