"""CheXpert's tables: paths, labels with uncertain and blank ones, and what they say of a patient."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mmpkd.cohort.converters.archive_table import need_columns, read_numbers
from mmpkd.cohort.converters.label_policy import Policy, column_of, meaning_of, read_labels
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.table import is_missing, read_table_file

METADATA = {"Sex": "sex", "Age": "age", "AP/PA": "view"}
_PATH = r"(?:^|/)(?P<patient>patient\d+)/(?P<study>study\d+)(?:/(?P<file>view\d+_(?:frontal|lateral)\.\w+))?/?$"


def read_chexpert(path: Path, findings: Sequence[str], uncertain: Policy, blank: Policy) -> pd.DataFrame:
    """Return ``patient``, ``study``, ``file`` (missing where rows are studies), metadata, and labels.

    Args:
        path: ``train.csv`` and its like, with a column ``Path``, or ``Study`` where rows are studies.
        findings: Columns to read as labels: 1.0, 0.0, -1.0 (uncertain) or blank (not mentioned).
        uncertain, blank: What these become, for all findings or by finding.
    """
    table = read_table_file(path, path.name)
    place = "Study" if "Study" in table.cells.columns and "Path" not in table.cells.columns else "Path"
    columns = [column_of(finding, table) for finding in findings]
    need_columns(table, [place, *columns])
    problems = Problems()
    parts = table.column(place).str.extract(_PATH)
    lost = parts["patient"].isna() | (parts["file"].isna() if place == "Path" else False)
    problems.add_rows(
        np.flatnonzero(lost),
        lambda i: f"{table.place(i, place)}: is no path of CheXpert; write .../patient1/study1/view1_frontal.jpg.",
    )
    for column, finding in zip(columns, findings, strict=True):
        meanings = meaning_of(uncertain, finding), meaning_of(blank, finding)
        parts[finding] = read_labels(table, column, *meanings, problems)
    for column, name in METADATA.items():
        if column in table.cells.columns and name == "age":
            parts[name] = read_numbers(table, column, problems)
        else:
            values = table.column(column) if column in table.cells.columns else pd.Series("", parts.index)
            parts[name] = values.mask(is_missing(values))
    problems.raise_any()
    return parts
