"""A teacher made worse on purpose, in measured doses: how good must a teacher be before it helps?"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field, PrivateAttr

from mmpkd.cohort.cohort import Privileged, Task
from mmpkd.errors import InputError
from mmpkd.teach.base import Teacher, TokenCount
from mmpkd.teach.settings import TeacherData, build_teacher


class WeakenedTeacher(Teacher):
    """Another teacher that learns from fewer patients, reads fewer words, or is taught wrong labels.

    Args:
        teacher: The teacher itself, as in ``teach.teacher``.
        patients: Share of the patients that it learns from, drawn at random.
        words: Share of the words of each text that it sees, when it learns and when it answers; the same words each
            time.
        flipped: Share of the labels that it learns the wrong way round; multi-label only.
    """

    needs: ClassVar[str] = "what the weakened teacher reads"

    teacher: TeacherData = Field(default="tfidf", validate_default=True)
    patients: float = Field(default=1.0, gt=0.0, le=1.0)
    words: float = Field(default=1.0, gt=0.0, le=1.0)
    flipped: float = Field(default=0.0, ge=0.0, lt=0.5)

    _inner: Teacher | None = PrivateAttr(default=None)

    def fit(
        self,
        privileged: Privileged,
        labels: Float[np.ndarray, "cases findings"],
        task: Task,
        findings: Sequence[str],
        seed: int = 0,
    ) -> Self:
        """Fit the teacher on what is left; see :meth:`Teacher.fit`."""
        if self.flipped and task == "multi-class":
            raise InputError("teacher.flipped: labels can be turned round in a multi-label cohort only.")
        rng = np.random.default_rng([seed, 1])
        names = np.unique(privileged.patients)
        kept = rng.choice(names, max(1, round(self.patients * len(names))), replace=False)
        rows = np.flatnonzero(np.isin(privileged.patients, kept))
        turned = rng.random(labels.shape) < self.flipped
        taught = np.where(turned, 1.0 - labels, labels)
        self._part().fit(self._read(privileged.take(rows)), taught[rows], task, findings, seed)
        return self

    def predict_proba(self, privileged: Privileged) -> Float[np.ndarray, "cases findings"]:
        """Return the weakened teacher's probabilities; see :meth:`Teacher.predict_proba`."""
        return self._part().predict_proba(self._read(privileged))

    def informed(self, privileged: Privileged) -> Bool[np.ndarray, " cases"]:
        """Say which cases the teacher can read."""
        return self._part().informed(privileged)

    def metadata_columns(self, privileged: Privileged) -> list[str]:
        """Return the metadata columns that it reads."""
        return self._part().metadata_columns(privileged)

    @property
    def tokens(self) -> TokenCount | None:
        """Tokens that it read."""
        return self._part().tokens

    @property
    def warnings(self) -> list[str]:
        """Its warnings."""
        return self._part().warnings

    def _part(self) -> Teacher:
        if self._inner is None:
            self._inner = build_teacher(self.teacher, self._root)
        return self._inner

    def _read(self, privileged: Privileged) -> Privileged:
        if self.words == 1.0 or privileged.text is None:
            return privileged
        seen = privileged.text.copy()
        for row, (case, text) in enumerate(privileged.text.items()):
            if isinstance(text, str):
                seen.iloc[row] = _mask(text, self.words, str(case))
        return replace(privileged, text=seen)


def _mask(text: str, share: float, case: str) -> str:
    """Leave words out, as drawn from the case's name."""
    seed = int.from_bytes(hashlib.blake2b(case.encode(), digest_size=8).digest(), "big")
    words = text.split()
    kept = np.random.default_rng(seed).random(len(words)) < share
    return " ".join(word for word, stays in zip(words, kept, strict=True) if stays)
