"""The default text teacher: TF-IDF and logistic regression. Seconds on thousands of reports, no model to fetch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field, PrivateAttr

from mmpkd.cohort.cohort import Privileged, Task
from mmpkd.errors import InputError
from mmpkd.teach.base import Teacher, spread
from mmpkd.teach.per_finding import FindingModels


class TfidfTeacher(Teacher):
    """Logistic regression on TF-IDF of words and word sequences, one model a finding (or one over classes).

    Args:
        max_features: At most so many terms, the most frequent first.
        max_ngram: Longest sequence of words that is a term; 2 keeps "no nodule" apart from "nodule".
        min_df: A term must occur in so many texts.
        C: Inverse L2 strength of the logistic regression, per term of unit-length documents.

    Terms are lower-cased words without accents, of one letter upwards ("l", "r", "4"), negations included; counts
    are dampened (1 + log tf), documents have unit length.
    """

    needs: ClassVar[str] = "text"

    max_features: int = Field(default=50_000, ge=1)
    max_ngram: int = Field(default=2, ge=1, le=5)
    min_df: int = Field(default=3, ge=1)
    C: float = Field(default=10.0, gt=0)

    _vectoriser: Any = PrivateAttr(default=None)
    _models: FindingModels | None = PrivateAttr(default=None)

    def fit(
        self,
        privileged: Privileged,
        labels: Float[np.ndarray, "cases findings"],
        task: Task,
        findings: Sequence[str],
        seed: int = 0,
    ) -> Self:
        """Learn terms and weights; see :meth:`Teacher.fit`."""
        from sklearn.feature_extraction.text import TfidfVectorizer
        from sklearn.linear_model import LogisticRegression

        rows = self._rows_to_learn_from(privileged, labels)
        self._vectoriser = TfidfVectorizer(
            ngram_range=(1, self.max_ngram),
            max_features=self.max_features,
            min_df=min(self.min_df, len(rows)),
            sublinear_tf=True,
            strip_accents="unicode",
            token_pattern=r"(?u)\b\w+\b",
        )
        try:
            features = self._vectoriser.fit_transform(texts_at(privileged, rows))
        except ValueError:  # scikit-learn's way to say that there is no term; its message stays inside
            raise InputError(
                f"no word occurs in {self.min_df} or more of the {len(rows)} texts to learn from; lower min_df."
            ) from None
        self._models = FindingModels(task, findings, lambda: LogisticRegression(C=self.C, max_iter=1000))
        self._models.fit(features, labels[rows])
        self._warnings = self._models.warnings
        return self

    def predict_proba(self, privileged: Privileged) -> Float[np.ndarray, "cases findings"]:
        """Return probabilities; see :meth:`Teacher.predict_proba`."""
        if self._models is None:
            raise RuntimeError("call fit before predict_proba")
        known = self.informed(privileged)
        if not known.any():
            return np.full((len(known), len(self._models.findings)), np.nan)
        features = self._vectoriser.transform(texts_at(privileged, np.flatnonzero(known)))
        return spread(known, self._models.predict_proba(features))

    def informed(self, privileged: Privileged) -> Bool[np.ndarray, " cases"]:
        """Say which cases have a text."""
        return np.asarray(privileged.has_text, dtype=bool)


def texts_at(privileged: Privileged, rows: np.ndarray) -> list[str]:
    """Return the texts at integer positions, all of which must have one."""
    if privileged.text is None:
        raise RuntimeError("these cases have no text")
    return [str(text) for text in privileged.text.iloc[rows]]
