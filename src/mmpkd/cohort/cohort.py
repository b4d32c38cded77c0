"""The cohort: the cases of a study in memory, tables only. Pixels stay in the image cache.

`Privileged` is all that a teacher ever receives. It has no image, as the student's input has no text: the
types keep the two apart.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

Task = Literal["multi-label", "multi-class"]
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Privileged:
    """What only training sees, one row a case.

    Args:
        cases: Case ids, in order.
        patients: Patient of each case (the unit of splitting).
        text: Report or caption; ``None`` where a case has none. ``None`` as a whole: the cohort has no text.
        metadata: Typed columns (numbers as float, categories as pandas ``category``), NaN where missing.
            ``None`` as a whole: the cohort has no metadata.
    """

    cases: pd.Index[str]
    patients: np.ndarray
    text: pd.Series[str] | None = None
    metadata: pd.DataFrame | None = None

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, positions: np.ndarray) -> Privileged:
        """Return the cases at integer ``positions`` (or a boolean mask), in that order."""
        return replace(
            self,
            cases=self.cases[positions],
            patients=self.patients[positions],
            text=None if self.text is None else self.text.iloc[_positions(positions)],
            metadata=None if self.metadata is None else self.metadata.iloc[_positions(positions)],
        )

    @property
    def has_text(self) -> np.ndarray:
        """Boolean (cases,): whether the case has a text."""
        if self.text is None:
            return np.zeros(len(self), bool)
        return self.text.notna().to_numpy()

    @property
    def has_metadata(self) -> np.ndarray:
        """Boolean (cases,): whether the case has at least one metadata value."""
        if self.metadata is None:
            return np.zeros(len(self), bool)
        return self.metadata.notna().any(axis=1).to_numpy()


@dataclass(frozen=True)
class Cohort:
    """The cases of a study.

    Args:
        name: For people.
        task: ``multi-label`` (each finding present or not) or ``multi-class`` (findings are classes, one a case).
        findings: Names of the label columns, in order.
        cases: Table indexed by unique case id (string) with the columns ``patient`` (string), ``split``
            (``train``, ``val`` or ``test``) and ``image`` (path relative to ``files``; missing without images).
        labels: (cases, findings), 1, 0 or NaN for missing: what training learns from.
        reference: The same shape, labels by a better reader, used for evaluation only; ``None`` if there are none.
        text: As in :class:`Privileged`.
        metadata: As in :class:`Privileged`.
        rois: One row a box or mask: ``case``, ``finding``, ``x_min``, ``y_min``, ``x_max``, ``y_max`` (pixels of
            the original image, half-open, top-left origin; NaN for masks), ``mask`` (path relative to ``files``, or
            missing), ``mask_value`` (pixel value that counts as inside; NaN means any non-zero) and ``rle`` (COCO run
            lengths, or missing).
        zones: One row a box or mask of a zone, as ``rois``, with the zone's name in ``finding``; ``None`` where zones
            are fixed shares of the picture, or there are none.
        root: Folder of the cohort's tables.
        image_root: Folder of its images and masks, where it is another; paths may not leave it.
    """

    name: str
    task: Task
    findings: tuple[str, ...]
    cases: pd.DataFrame
    labels: Float[np.ndarray, "cases findings"]
    root: Path
    reference: Float[np.ndarray, "cases findings"] | None = None
    text: pd.Series[str] | None = None
    metadata: pd.DataFrame | None = None
    rois: pd.DataFrame | None = None
    zones: pd.DataFrame | None = None
    image_root: Path | None = None

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def files(self) -> Path:
        """The folder that paths of images and masks are relative to."""
        return self.root if self.image_root is None else self.image_root

    @property
    def privileged(self) -> Privileged:
        """The teacher's view: no image, no label."""
        return Privileged(
            cases=self.cases.index,
            patients=self.cases["patient"].to_numpy(),
            text=self.text,
            metadata=self.metadata,
        )

    @property
    def evaluation_labels(self) -> Float[np.ndarray, "cases findings"]:
        """Reference labels where they exist, else the labels: what scores are computed against."""
        if self.reference is None:
            return self.labels
        return np.where(np.isnan(self.reference), self.labels, self.reference)

    def in_split(self, split: str) -> np.ndarray:
        """Boolean (cases,): membership of ``train``, ``val`` or ``test``."""
        return (self.cases["split"] == split).to_numpy()

    def take(self, positions: np.ndarray) -> Cohort:
        """Return the cohort restricted to integer ``positions`` (or a boolean mask), ROIs included."""
        positions = _positions(positions)
        cases = self.cases.iloc[positions]
        return replace(
            self,
            cases=cases,
            labels=self.labels[positions],
            reference=None if self.reference is None else self.reference[positions],
            text=None if self.text is None else self.text.iloc[positions],
            metadata=None if self.metadata is None else self.metadata.iloc[positions],
            rois=None if self.rois is None else self.rois[self.rois["case"].isin(cases.index)],
            zones=None if self.zones is None else self.zones[self.zones["case"].isin(cases.index)],
        )


def _positions(positions: np.ndarray) -> np.ndarray:
    return np.flatnonzero(positions) if positions.dtype == bool else positions
