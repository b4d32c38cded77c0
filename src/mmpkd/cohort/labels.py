"""Label columns to 1, 0 and missing. Knows nothing of images, text or splits."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.settings import ClassColumn, LabelColumn, Scalar
from mmpkd.cohort.table import Table, is_missing

_POSITIVE = frozenset({"1", "true", "yes", "y", "t", "positive", "present"})
_NEGATIVE = frozenset({"0", "false", "no", "n", "f", "negative", "absent"})
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?")


def value_key(value: Scalar) -> str:
    """Return what makes two spellings of one value equal: ``1``, ``1.0`` and ``" 1"``; ``Yes`` and ``yes``."""
    text = str(value).strip().casefold()
    return f"{float(text) + 0.0:.17g}" if _NUMBER.fullmatch(text) else text


def value_keys(values: Iterable[Scalar]) -> frozenset[str]:
    """Return the keys of values from a settings file, where YAML has turned ``yes`` and ``no`` into booleans."""
    keys: set[str] = set()
    for value in values:
        if isinstance(value, bool):
            keys |= (_POSITIVE - {"1"}) if value else (_NEGATIVE - {"0"})
        else:
            keys.add(value_key(value))
    return frozenset(keys)


def read_findings(
    table: Table, columns: Mapping[str, LabelColumn], findings: Sequence[str], problems: Problems
) -> Float[np.ndarray, "cases findings"]:
    """Read one column a finding; a value that is neither 1, 0 nor missing is a problem.

    Args:
        table: The cases.
        columns: Finding -> how its column is read; a finding without one is missing throughout.
        findings: Names, in order.
        problems: Where unreadable values are told, by file, row, column and value.
    """
    labels = np.full((len(table), len(findings)), np.nan)
    for finding, setting in columns.items():
        labels[:, findings.index(finding)] = _read_finding(table, setting, problems)
    return labels


def _read_finding(table: Table, setting: LabelColumn, problems: Problems) -> Float[np.ndarray, " cases"]:
    missing = value_keys(setting.missing)
    positive = _POSITIVE if setting.positive is None else value_keys(setting.positive)
    rest = setting.negative == "rest"
    negative = _NEGATIVE if rest or setting.negative is None else value_keys(setting.negative)

    def read(key: str) -> float | None:
        if key in missing:
            return np.nan
        if key in positive:
            return 1.0
        return 0.0 if rest or key in negative else None

    remedy = "write 1, 0 or leave it blank, or list it under 'positive', 'negative' or 'missing' of this label"
    return _read_values(table, setting.column, read, remedy, problems)


def read_classes(table: Table, setting: ClassColumn, problems: Problems) -> Float[np.ndarray, "cases findings"]:
    """Read one column as one-hot rows over the classes; a missing class is a row of NaN."""
    class_of = {key: float(i) for i, values in enumerate(setting.classes.values()) for key in value_keys(values)}
    remedy = f"write one of {', '.join(setting.classes)} or leave it blank"
    codes = _read_values(table, setting.column, class_of.get, remedy, problems)
    one_hot = (codes[:, None] == np.arange(len(setting.classes))).astype(np.float64)
    one_hot[np.isnan(codes)] = np.nan
    return one_hot


def _read_values(
    table: Table, column: str, read: Callable[[str], float | None], remedy: str, problems: Problems
) -> Float[np.ndarray, " cases"]:
    values = table.column(column)
    codes, distinct = pd.factorize(values)
    blank = is_missing(pd.Series(distinct, dtype=str))
    meanings = np.full(len(distinct), np.nan)
    bad = np.zeros(len(distinct), bool)
    for i, value in enumerate(distinct):
        if not blank[i]:
            meaning = read(value_key(value))
            bad[i] = meaning is None
            meanings[i] = np.nan if meaning is None else meaning
    problems.add_rows(
        np.flatnonzero(bad[codes]),
        lambda i: f"{table.place(i, column)}: {_short(distinct[codes[i]])} is no label; {remedy}.",
    )
    return meanings[codes]


def _short(value: str, limit: int = 40) -> str:
    return repr(value if len(value) <= limit else value[: limit - 3] + "...")
