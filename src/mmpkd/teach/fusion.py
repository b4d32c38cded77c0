"""Late fusion: a teacher on text and a teacher on metadata, their logits averaged where both know a case."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field, PrivateAttr, field_validator
from scipy.special import expit, softmax

from mmpkd.cohort.cohort import Privileged, Task
from mmpkd.errors import InputError
from mmpkd.teach.base import Teacher, TokenCount
from mmpkd.teach.logits import to_logits
from mmpkd.teach.settings import TeacherData, build_teacher


class FusionTeacher(Teacher):
    """Mean of the logits of two teachers, or of the one that knows the case.

    Args:
        text: The teacher that reads text, as in ``teach.teacher``.
        metadata: The teacher that reads metadata.

    Multi-label: sigmoid of the mean log-odds. Multi-class: softmax of the mean log-probability.
    """

    needs: ClassVar[str] = "text or metadata"

    text: TeacherData = Field(default="tfidf", validate_default=True)
    metadata: TeacherData = Field(default="tabular", validate_default=True)

    _task: Task = PrivateAttr(default="multi-label")
    _parts: list[Teacher] = PrivateAttr(default_factory=list)
    _fitted: list[Teacher] = PrivateAttr(default_factory=list)

    @field_validator("text", "metadata")
    @classmethod
    def _must_learn(cls, data: dict[str, object]) -> dict[str, object]:
        if not build_teacher(data).learns:
            raise ValueError("a part of a fusion must be a teacher that learns; use it as the teacher itself.")
        return data

    def fit(
        self,
        privileged: Privileged,
        labels: Float[np.ndarray, "cases findings"],
        task: Task,
        findings: Sequence[str],
        seed: int = 0,
    ) -> Self:
        """Fit each part on the cases it can read; a part that can read none is left out, with a warning."""
        self._rows_to_learn_from(privileged, labels)
        self._task = task
        self._fitted, self._warnings = [], []
        has_label = ~np.isnan(labels).all(axis=1)
        for part in self._both():
            if (part.informed(privileged) & has_label).any():
                self._fitted.append(part.fit(privileged, labels, task, findings, seed))
                self._warnings += [f"{part.needs}: {warning}" for warning in part.warnings]
            else:
                self._warnings.append(f"no labelled case has {part.needs}, so that part of the fusion is left out")
        return self

    def predict_proba(self, privileged: Privileged) -> Float[np.ndarray, "cases findings"]:
        """Return fused probabilities; see :meth:`Teacher.predict_proba`."""
        if not self._fitted:
            raise RuntimeError("call fit before predict_proba")
        logits = np.stack([to_logits(part.predict_proba(privileged), self._task) for part in self._fitted])
        known = ~np.isnan(logits)
        mean = np.where(known, logits, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        fused = expit(mean) if self._task == "multi-label" else softmax(mean, axis=1)
        return np.asarray(np.where(known.any(axis=0), fused, np.nan))

    def informed(self, privileged: Privileged) -> Bool[np.ndarray, " cases"]:
        """Say which cases at least one part can read."""
        return np.any([part.informed(privileged) for part in self._both()], axis=0)

    @property
    def tokens(self) -> TokenCount | None:
        """Tokens of the parts that read any."""
        counts = [part.tokens for part in self._fitted if part.tokens is not None]
        if not counts:
            return None
        return TokenCount(sum(count.seen for count in counts), sum(count.cut for count in counts))

    def metadata_columns(self, privileged: Privileged) -> list[str]:
        """Return the metadata columns that the parts read."""
        return [name for part in self._both() for name in part.metadata_columns(privileged)]

    def _both(self) -> list[Teacher]:
        if not self._parts:
            self._parts = [build_teacher(data, self._root) for data in (self.text, self.metadata)]
            for part, wanted in zip(self._parts, ("text", "metadata"), strict=True):
                if part.needs != wanted:
                    raise InputError(f"teacher.{wanted}: this part of a fusion reads {part.needs}, not {wanted}.")
        return self._parts
