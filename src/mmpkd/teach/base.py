"""What a teacher is: settings, `fit` and `predict_proba` on privileged information, and nothing about images.

Cross-fitting, calibration and the soft-label table are not a teacher's business (see ``crossfit``).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
from jaxtyping import Bool, Float
from pydantic import PrivateAttr

from mmpkd.cohort.cohort import Privileged, Task
from mmpkd.errors import InputError
from mmpkd.settings import Settings


@dataclass(frozen=True)
class TokenCount:
    """How many tokens a text encoder was given, and how many of them did not fit into it."""

    seen: int
    cut: int

    @property
    def cut_share(self) -> float:
        """``cut / seen``; 0 for no text at all."""
        return self.cut / self.seen if self.seen else 0.0


class Teacher(Settings, ABC):
    """A classifier of privileged information.

    The fields of a subclass are its settings, as a study file writes them; what it learns is private and is
    forgotten when :meth:`fit` is called again. Register a class of your own under the entry-point group
    ``mmpkd.teachers``.
    """

    needs: ClassVar[str] = "privileged information"
    """What a case must have for this teacher to know anything of it, for people."""

    learns: ClassVar[bool] = True
    """False for a teacher whose answers are given from outside and must not be cross-fitted."""

    _root: Path = PrivateAttr(default_factory=Path)
    _warnings: list[str] = PrivateAttr(default_factory=list)

    @abstractmethod
    def fit(
        self,
        privileged: Privileged,
        labels: Float[np.ndarray, "cases findings"],
        task: Task,
        findings: Sequence[str],
        seed: int = 0,
    ) -> Self:
        """Learn the labels from privileged information, forgetting whatever was learned before.

        Args:
            privileged: Cases to learn from; those without this teacher's kind of information are passed over.
            labels: 1, 0 or NaN for missing. In a multi-class task a row has a single 1, or is all NaN.
            task: ``multi-label`` or ``multi-class``.
            findings: Names of the label columns.
            seed: Seed of whatever is random in the learning.

        Raises:
            InputError: There is nothing to learn from, or the settings do not fit the cohort.
        """

    @abstractmethod
    def predict_proba(self, privileged: Privileged) -> Float[np.ndarray, "cases findings"]:
        """Return probabilities in [0, 1]; in a multi-class task each row sums to 1.

        NaN where the teacher knows nothing: the case lacks its kind of privileged information, or a finding
        had no label to learn from.
        """

    @abstractmethod
    def informed(self, privileged: Privileged) -> Bool[np.ndarray, " cases"]:
        """Say which cases have the kind of privileged information that this teacher reads."""

    @property
    def warnings(self) -> list[str]:
        """Sentences about the last `fit`, without numbers of cases, so that folds can be told together."""
        return list(self._warnings)

    @property
    def tokens(self) -> TokenCount | None:
        """Tokens of the last `predict_proba`; ``None`` for a teacher that reads no tokens."""
        return None

    def metadata_columns(self, privileged: Privileged) -> list[str]:
        """Return the metadata columns this teacher reads."""
        return []

    def rooted(self, root: Path) -> Self:
        """Return a copy that looks up relative paths of its settings from ``root``."""
        copy = self.model_copy()
        copy._root = root
        return copy

    def _rows_to_learn_from(self, privileged: Privileged, labels: Float[np.ndarray, "cases findings"]) -> np.ndarray:
        """Return positions of informed cases with a label, or say that there are none."""
        rows = np.flatnonzero(self.informed(privileged) & ~np.isnan(labels).all(axis=1))
        if not len(rows):
            raise InputError(f"no case to learn from has both {self.needs} and a label; add some, or use fewer folds.")
        return rows


def spread(
    known: Bool[np.ndarray, " cases"], values: Float[np.ndarray, "known findings"]
) -> Float[np.ndarray, "cases findings"]:
    """Put the rows of ``values`` at the ``known`` cases, NaN elsewhere."""
    full = np.full((len(known), values.shape[1]), np.nan)
    full[known] = values
    return full
