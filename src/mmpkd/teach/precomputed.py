"""Soft labels from elsewhere: a table of logits or probabilities, checked against the cohort and taken as it is.

Nothing is fitted, cross-fitted or calibrated here: whoever made the table answers for how.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from pydantic import PrivateAttr

from mmpkd.cohort.cohort import Cohort, Privileged, Task
from mmpkd.errors import InputError, did_you_mean
from mmpkd.teach.base import Teacher
from mmpkd.teach.logits import LOGIT_BOUND, to_logits, to_probabilities
from mmpkd.teach.soft_labels import ALL_TRAINING_CASES, COLUMNS, WHOLE_IMAGE, SoftLabels

_MAX_TOLD = 5


class PrecomputedTeacher(Teacher):
    """A table with one row a (case, finding): ``case``, ``finding`` and ``logit`` or ``probability``.

    Args:
        table: CSV, TSV, Parquet or JSON Lines; relative to the cohort's root. May also have ``region`` (default
            ``image``) and ``fold`` (default -1). A table that `mmpkd teach` wrote is such a table.

    A ``logit`` is log-odds for findings; for classes any log-score, which is normalised over the classes.
    """

    needs: ClassVar[str] = "a row in the table"
    learns: ClassVar[bool] = False

    table: Path

    _findings: tuple[str, ...] = PrivateAttr(default=())
    _task: Task = PrivateAttr(default="multi-label")
    _read: SoftLabels | None = PrivateAttr(default=None)

    def fit(
        self,
        privileged: Privileged,
        labels: Float[np.ndarray, "cases findings"],
        task: Task,
        findings: Sequence[str],
        seed: int = 0,
    ) -> Self:
        """Read and check the table; cases are checked by :meth:`soft_labels`, which knows the whole cohort."""
        self._task, self._findings = task, tuple(findings)
        self._read = SoftLabels(self._checked(task, tuple(findings), None))
        return self

    def predict_proba(self, privileged: Privileged) -> Float[np.ndarray, "cases findings"]:
        """Return the table's probabilities of the whole image, NaN where it has none."""
        if self._read is None:
            raise RuntimeError("call fit before predict_proba")
        return to_probabilities(self._read.matrix(privileged.cases, self._findings), self._task)

    def informed(self, privileged: Privileged) -> Bool[np.ndarray, " cases"]:
        """Say which cases the table names."""
        return np.asarray(privileged.cases.isin(self._table()["case"]), dtype=bool)

    def soft_labels(self, cohort: Cohort) -> SoftLabels:
        """Return the table as soft labels of the cohort, every case and finding checked."""
        return SoftLabels(self._checked(cohort.task, cohort.findings, cohort.cases.index))

    def _checked(self, task: Task, findings: tuple[str, ...], cases: pd.Index[str] | None) -> pd.DataFrame:
        table = self._table()
        source = self.table
        lacking = [name for name in ("case", "finding") if name not in table.columns]
        values = [name for name in ("logit", "probability") if name in table.columns]
        if lacking or len(values) != 1:
            raise InputError(
                f"{source}: needs the columns 'case', 'finding' and one of 'logit' and 'probability'; it has "
                f"{', '.join(map(repr, table.columns))}."
            )
        value = pd.to_numeric(table[values[0]], errors="coerce")
        given = table[values[0]].notna()
        wrong = {
            "names a case that the cohort lacks": np.zeros(len(table), bool)
            if cases is None
            else ~table["case"].isin(cases).to_numpy(),
            f"has a {values[0]} that is no number": (given & value.isna()).to_numpy(),
            f"has an infinite {values[0]}": np.isinf(value.to_numpy(float)),
        }
        if values[0] == "probability":
            wrong["has a probability outside 0 to 1"] = ((value < 0) | (value > 1)).to_numpy()
        problems = [
            f"{source}: row {row + 1} {what}{_more(mask)}; mend or remove it."
            for what, mask in wrong.items()
            for row in np.flatnonzero(mask)[:1]
        ]
        unknown = [str(name) for name in table["finding"].unique() if name not in findings]
        problems += [
            f"{source}: there is no finding {name!r}{did_you_mean(name, findings)}" for name in unknown[:_MAX_TOLD]
        ]
        problems += _fold_problems(table, str(source))
        if problems:
            raise InputError(problems)
        out = pd.DataFrame(
            {
                "case": table["case"],
                "finding": table["finding"].astype(str),
                "region": table["region"].astype(str) if "region" in table.columns else WHOLE_IMAGE,
                "logit": value.astype("float64"),
                "fold": table["fold"].astype("int64") if "fold" in table.columns else ALL_TRAINING_CASES,
            }
        )
        return _as_logits(out, findings, task, values[0] == "probability", str(source))

    def _table(self) -> pd.DataFrame:
        path = self._root / self.table
        name = path.name.lower()
        try:
            if name.endswith((".csv", ".csv.gz")):
                table = pd.read_csv(path, dtype={"case": str})
            elif name.endswith((".tsv", ".tsv.gz")):
                table = pd.read_csv(path, sep="\t", dtype={"case": str})
            elif name.endswith((".jsonl", ".jsonl.gz")):
                table = pd.read_json(path, lines=True, dtype={"case": str})
            elif name.endswith(".parquet"):
                table = pd.read_parquet(path)
            else:
                raise InputError(f"{self.table}: not a table; give .csv, .tsv, .parquet or .jsonl.")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not such a table"
            raise InputError(f"{self.table}: cannot be read ({reason}); check teacher.table.") from None
        if "case" in table.columns:
            table["case"] = table["case"].astype(str)
        return table


def _fold_problems(table: pd.DataFrame, source: str) -> list[str]:
    problems = []
    keys = [name for name in ("case", "finding", "region") if name in table.columns]
    twice = table.duplicated(keys).to_numpy()
    if twice.any():
        row = int(np.flatnonzero(twice)[0]) + 1
        problems.append(f"{source}: row {row} repeats an earlier row's {', '.join(keys)}; keep one of them.")
    if "fold" in table.columns:
        fold = pd.to_numeric(table["fold"], errors="coerce")
        bad = (fold.isna() | (fold % 1 != 0)).to_numpy()
        if bad.any():
            row = int(np.flatnonzero(bad)[0]) + 1
            problems.append(f"{source}: row {row} has a fold that is no whole number; -1 is 'no fold'.")
    return problems


def _as_logits(
    table: pd.DataFrame, findings: tuple[str, ...], task: Task, probabilities: bool, source: str
) -> pd.DataFrame:
    """Return the table with bounded logits; classes are normalised within each (case, region)."""
    if task == "multi-label":
        value = table["logit"].to_numpy(float)[:, None]
        logits = to_logits(value, task) if probabilities else np.clip(value, -LOGIT_BOUND, LOGIT_BOUND)
        return table.assign(logit=logits[:, 0])[list(COLUMNS)]
    row = table.groupby(["case", "region"], sort=False).ngroup().to_numpy()
    column = pd.Index(findings).get_indexer(pd.Index(table["finding"]))
    matrix = np.full((row.max(initial=-1) + 1, len(findings)), np.nan)
    with np.errstate(divide="ignore"):
        matrix[row, column] = np.log(table["logit"]) if probabilities else table["logit"]
    partial = np.isnan(matrix).any(axis=1) & ~np.isnan(matrix).all(axis=1)
    if partial.any():
        raise InputError(
            f"{source}: {int(partial.sum())} cases have a value for some classes but not for all "
            f"({', '.join(findings)}); give all of them."
        )
    floor = np.fmax.reduce(matrix, axis=1)[:, None] - 4 * LOGIT_BOUND  # a probability of 0 is -inf here
    normalised = to_logits(to_probabilities(np.maximum(matrix, floor), task), task)
    return table.assign(logit=normalised[row, column])[list(COLUMNS)]


def _more(mask: np.ndarray) -> str:
    count = int(mask.sum())
    return f" ({count} such rows)" if count > 1 else ""
