"""The metadata teacher: gradient boosting on columns of numbers and categories, missing values included."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from pydantic import Field, PrivateAttr

from mmpkd.cohort.cohort import Privileged, Task
from mmpkd.errors import InputError, did_you_mean
from mmpkd.teach.base import Teacher, spread
from mmpkd.teach.per_finding import FindingModels

_MAX_CATEGORIES = 254  # scikit-learn's histogram bins, less the one for missing


class TabularTeacher(Teacher):
    """Histogram gradient boosting, one model a finding (or one over classes).

    Args:
        columns: Metadata columns to read; all if not given.
        exclude: Metadata columns to leave out, such as one that comes close to being the label.
        iterations: Trees.
        learning_rate: Shrinkage of each tree.
        leaves: Leaves of a tree at most.
        min_leaf: Cases in a leaf at least.
        l2: L2 penalty on leaf values.

    Numbers and categories need no preparation; a missing value has its own side of each split, and a category
    that training has not seen counts as missing. There is no early stopping: it would cost a further held-out part.
    """

    needs: ClassVar[str] = "metadata"

    columns: list[str] | None = None
    exclude: list[str] = Field(default_factory=list)
    iterations: int = Field(default=200, ge=1)
    learning_rate: float = Field(default=0.05, gt=0, le=1)
    leaves: int = Field(default=4, ge=2)
    min_leaf: int = Field(default=20, ge=1)
    l2: float = Field(default=10.0, ge=0)

    _categories: dict[str, list[str] | None] = PrivateAttr(default_factory=dict)
    _models: FindingModels | None = PrivateAttr(default=None)

    def fit(
        self,
        privileged: Privileged,
        labels: Float[np.ndarray, "cases findings"],
        task: Task,
        findings: Sequence[str],
        seed: int = 0,
    ) -> Self:
        """Learn categories and trees; see :meth:`Teacher.fit`."""
        from sklearn.ensemble import HistGradientBoostingClassifier

        rows = self._rows_to_learn_from(privileged, labels)
        table = self._selected(privileged).iloc[rows]
        self._categories = {str(name): _categories(table[name]) for name in table.columns}
        self._models = FindingModels(
            task,
            findings,
            lambda: HistGradientBoostingClassifier(
                max_iter=self.iterations,
                learning_rate=self.learning_rate,
                max_leaf_nodes=self.leaves,
                min_samples_leaf=self.min_leaf,
                l2_regularization=self.l2,
                categorical_features="from_dtype",
                early_stopping=False,
                random_state=seed,
            ),
        )
        self._models.fit(self._encoded(table), labels[rows])
        self._warnings = self._models.warnings
        return self

    def predict_proba(self, privileged: Privileged) -> Float[np.ndarray, "cases findings"]:
        """Return probabilities; see :meth:`Teacher.predict_proba`."""
        if self._models is None:
            raise RuntimeError("call fit before predict_proba")
        known = self.informed(privileged)
        if not known.any():
            return np.full((len(known), len(self._models.findings)), np.nan)
        return spread(known, self._models.predict_proba(self._encoded(self._selected(privileged)[known])))

    def informed(self, privileged: Privileged) -> Bool[np.ndarray, " cases"]:
        """Say which cases have a value in at least one of the columns that are read."""
        if privileged.metadata is None:
            return np.zeros(len(privileged), dtype=bool)
        return self._selected(privileged).notna().any(axis=1).to_numpy(dtype=bool)

    def metadata_columns(self, privileged: Privileged) -> list[str]:
        """Return the columns that are read, in the cohort's order."""
        known = [] if privileged.metadata is None else [str(name) for name in privileged.metadata.columns]
        wanted = known if self.columns is None else self.columns
        problems = [
            f"teacher.{setting}: there is no metadata column {name!r}{did_you_mean(name, known)}"
            for setting, names in (("columns", wanted), ("exclude", self.exclude))
            for name in names
            if name not in known
        ]
        if problems:
            raise InputError(problems)
        chosen = [name for name in known if name in wanted and name not in self.exclude]
        if known and not chosen:
            raise InputError("teacher.exclude leaves no metadata column to learn from; exclude fewer.")
        return chosen

    def _selected(self, privileged: Privileged) -> pd.DataFrame:
        if privileged.metadata is None:
            raise RuntimeError("these cases have no metadata")
        return privileged.metadata[self.metadata_columns(privileged)]

    def _encoded(self, table: pd.DataFrame) -> pd.DataFrame:
        """Return numbers as float64 and categories as those that training has seen."""
        columns = {
            name: table[name].astype("float64")
            if known is None
            else pd.Categorical(_only_known(table[name], known), categories=known)
            for name, known in self._categories.items()
        }
        return pd.DataFrame(columns, index=table.index)


def _only_known(column: pd.Series, known: list[str]) -> pd.Series:
    values = column.astype("string").astype(object)
    return values.where(values.isin(known), None)


def _categories(column: pd.Series) -> list[str] | None:
    """Return a column's categories, the most frequent where there are too many; ``None`` for numbers."""
    if pd.api.types.is_numeric_dtype(column.dtype):
        return None
    counts = column.astype("string").value_counts()
    order = sorted(counts.index, key=lambda name: (-counts[name], name))
    return sorted(order[:_MAX_CATEGORIES])
