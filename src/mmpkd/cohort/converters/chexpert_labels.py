"""CheXpert's tables: paths, labels with uncertain and blank ones, and what they say of a patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from mmpkd.cohort.converters.archive_table import need_columns, read_numbers
from mmpkd.cohort.labels import value_key
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.table import Table, is_missing, read_table_file

Meaning = Literal["missing", 0, 1]
Policy = Meaning | dict[str, Meaning]

DEFAULT = "default"
METADATA = {"Sex": "sex", "Age": "age", "AP/PA": "view"}
_PATH = r"(?:^|/)(?P<patient>patient\d+)/(?P<study>study\d+)(?:/(?P<file>view\d+_(?:frontal|lateral)\.\w+))?/?$"
_OTHER_NAMES = {"Lung Opacity": "Airspace Opacity"}


def read_chexpert(path: Path, findings: Sequence[str], uncertain: Policy, blank: Policy) -> pd.DataFrame:
    """Return ``patient``, ``study``, ``file`` (missing where rows are studies), metadata, and labels.

    Args:
        path: ``train.csv`` and its like, with a column ``Path``, or ``Study`` where rows are studies.
        findings: Columns to read as labels: 1.0, 0.0, -1.0 (uncertain) or blank (not mentioned).
        uncertain, blank: What these become, for all findings or by finding.
    """
    table = read_table_file(path, path.name)
    place = "Study" if "Study" in table.cells.columns and "Path" not in table.cells.columns else "Path"
    names = {
        finding: other
        for finding in findings
        if (other := _OTHER_NAMES.get(finding)) in table.cells.columns and finding not in table.cells.columns
    }
    columns = [str(names.get(finding, finding)) for finding in findings]
    need_columns(table, [place, *columns])
    problems = Problems()
    parts = table.column(place).str.extract(_PATH)
    lost = parts["patient"].isna() | (parts["file"].isna() if place == "Path" else False)
    problems.add_rows(
        np.flatnonzero(lost),
        lambda i: f"{table.place(i, place)}: is no path of CheXpert; write .../patient1/study1/view1_frontal.jpg.",
    )
    for column, finding in zip(columns, findings, strict=True):
        meanings = {"-1": _meaning(uncertain, finding), "": _meaning(blank, finding)}
        parts[finding] = _read_labels(table, column, meanings, problems)
    for column, name in METADATA.items():
        if column in table.cells.columns and name == "age":
            parts[name] = read_numbers(table, column, problems)
        else:
            values = table.column(column) if column in table.cells.columns else pd.Series("", parts.index)
            parts[name] = values.mask(is_missing(values))
    problems.raise_any()
    return parts


def _meaning(policy: Policy, finding: str) -> float:
    meaning = policy.get(finding, policy.get(DEFAULT, "missing")) if isinstance(policy, dict) else policy
    return np.nan if meaning == "missing" else float(meaning)


def _read_labels(
    table: Table, column: str, meanings: dict[str, float], problems: Problems
) -> Float[np.ndarray, " rows"]:
    values = table.column(column)
    codes, distinct = pd.factorize(values.mask(is_missing(values), ""))
    known = {"1": 1.0, "0": 0.0, **meanings}
    keys = [value_key(value) if value else "" for value in distinct]
    problems.add_rows(
        np.flatnonzero(np.array([key not in known for key in keys], bool)[codes]),
        lambda i: f"{table.place(i, column)}: {values.iloc[i][:20]!r} is no label; write 1.0, 0.0, -1.0 or nothing.",
    )
    return np.array([known.get(key, np.nan) for key in keys])[codes]
