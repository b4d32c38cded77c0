"""Scikit-learn classifiers over a cohort's labels: one a finding (multi-label), or one for all classes.

Missing labels are left out finding by finding. What cannot be learned becomes a constant, and a warning.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Self, TypeAlias

import numpy as np
from jaxtyping import Float

from mmpkd.cohort.cohort import Task

if TYPE_CHECKING:
    import pandas as pd
    import scipy.sparse as sp

    Features: TypeAlias = np.ndarray | sp.csr_matrix | pd.DataFrame


class FindingModels:
    """One estimator a finding, or a multinomial one.

    Args:
        task: ``multi-label`` or ``multi-class``.
        findings: Names of the label columns.
        make: Returns a fresh scikit-learn classifier with ``predict_proba``.

    A finding with one class only is given its rate, smoothed by the rule of succession, (positives + 1) /
    (cases + 2), so that it does not claim certainty; a finding without any label gives NaN.
    """

    def __init__(self, task: Task, findings: Sequence[str], make: Callable[[], Any]) -> None:
        self.task = task
        self.findings = tuple(findings)
        self.warnings: list[str] = []
        self._make = make
        self._models: list[Any] = []
        self._classes = np.zeros(0, dtype=np.int64)

    def fit(self, features: Features, labels: Float[np.ndarray, "rows findings"]) -> Self:
        """Fit on the observed labels (1, 0, NaN) of each finding."""
        if self.task == "multi-class":
            return self._fit_classes(features, labels)
        self._models = [
            self._fit_finding(features, labels[:, column], name) for column, name in enumerate(self.findings)
        ]
        return self

    def predict_proba(self, features: Features) -> Float[np.ndarray, "rows findings"]:
        """Return probabilities, rows summing to 1 in a multi-class task."""
        count = features.shape[0]
        out = np.empty((count, len(self.findings)))
        if self.task == "multi-class":
            model = self._models[0]
            out[:] = 0.0
            out[:, self._classes] = model if isinstance(model, np.ndarray) else model.predict_proba(features)
            return out
        for column, model in enumerate(self._models):
            out[:, column] = model if isinstance(model, float) else model.predict_proba(features)[:, 1]
        return out

    def _fit_finding(self, features: Features, labels: np.ndarray, name: str) -> Any:
        observed = np.flatnonzero(~np.isnan(labels))
        targets = labels[observed].astype(np.int64)
        positives = int(targets.sum())
        if not len(observed):
            self.warnings.append(f"'{name}' has no label to learn from, so the teacher says nothing of it")
            return float("nan")
        if positives in (0, len(observed)):
            value = 1 if positives else 0
            self.warnings.append(f"'{name}' is {value} in every case to learn from; its soft labels are constant")
            return (positives + 1) / (len(observed) + 2)
        return self._fit_one(_rows(features, observed), targets, f"'{name}'")

    def _fit_classes(self, features: Features, labels: np.ndarray) -> Self:
        observed = np.flatnonzero(~np.isnan(labels).any(axis=1))
        targets = labels[observed].argmax(axis=1)
        self._classes = np.unique(targets)
        absent = sorted(set(range(len(self.findings))) - set(self._classes.tolist()))
        self.warnings += [
            f"the class '{self.findings[index]}' is absent from the cases to learn from; its soft labels are near 0"
            for index in absent
        ]
        if len(self._classes) == 1:
            counts = np.bincount(targets, minlength=len(self.findings))
            self._classes = np.arange(len(self.findings))
            self._models = [(counts + 1) / (counts.sum() + len(counts))]
        else:
            self._models = [self._fit_one(_rows(features, observed), targets, "the classes")]
        return self

    def _fit_one(self, features: Features, targets: np.ndarray, what: str) -> Any:
        from sklearn.exceptions import ConvergenceWarning

        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            model = self._make().fit(features, targets)
        if any(issubclass(item.category, ConvergenceWarning) for item in caught):
            self.warnings.append(f"the fit for {what} did not converge; a smaller C makes it easier")
        return model


def _rows(features: Features, positions: np.ndarray) -> Features:
    if hasattr(features, "iloc"):
        return features.iloc[positions]
    return features[positions]
