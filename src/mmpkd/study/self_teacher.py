"""Soft labels for the arm `self`: students of the images and hard labels, in the place of the privileged teacher.

They are made as the teacher's are, so that the two arms differ in what the teacher saw and in nothing else: out of fold
over the same folds of patients, calibrated alike, or in sample where the study says so. Each finished fold is kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mmpkd.distil.arms import LabelSpace, Targets, hard
from mmpkd.distil.settings import ObjectiveSettings, TrainingSettings
from mmpkd.files import read_table
from mmpkd.folder import CellFolder
from mmpkd.progress import SILENT, Progress
from mmpkd.study.arm import arm_training
from mmpkd.teach.calibrate import calibrate
from mmpkd.teach.crossfit import held_out_folds
from mmpkd.teach.logits import to_logits
from mmpkd.teach.soft_labels import ALL_TRAINING_CASES, SoftLabels

if TYPE_CHECKING:
    from mmpkd.distil.student import Student
    from mmpkd.study.cell import CellWork

_SELF = 0x5E1F  # keeps the fold students' random numbers apart from those of the student that learns from them


@dataclass(frozen=True)
class FoldStudent:
    """The student that labels one fold's cases, with the study's settings and the arm's epochs, hard labels and no term
    on its map.

    The cell's own student must not start from its weights, or it would be taught what it is about to do; so its seed is
    another.

    Args:
        work: What the cells share.
        arm: Whose training to use.
        cell_seed: Of the cell.
        folder: Of the fold, in the cell's folder; soft labels are left there and nothing else.
        fold: Its number.
        learn: Positions of the cases it learns from.
        answer: Positions of the cases it labels.
    """

    work: CellWork
    arm: str
    cell_seed: int
    folder: CellFolder
    fold: int
    learn: np.ndarray
    answer: np.ndarray

    @property
    def training(self) -> TrainingSettings:
        """Its recipe."""
        return arm_training(self.work.study, self.arm)

    @property
    def seed(self) -> int:
        """Its own seed."""
        return int(np.random.SeedSequence([self.cell_seed, _SELF, self.fold + 1]).generate_state(1)[0])

    @property
    def targets(self) -> Targets:
        """Hard labels of the cases it learns from."""
        cohort = self.work.cohort
        labels = np.full(cohort.labels.shape, np.nan)
        labels[self.learn] = cohort.labels[self.learn]
        space = LabelSpace(cohort.findings, cohort.task)
        return hard(labels, None, ObjectiveSettings(), np.random.default_rng(0), space)

    @property
    def path(self) -> Path:
        """Where its soft labels are kept."""
        return self.folder.path / "soft_labels.parquet"

    def read(self) -> np.ndarray:
        """Return its logits of the cases it labels, once :meth:`label` has written them."""
        cohort = self.work.cohort
        return SoftLabels(read_table(self.path)).matrix(cohort.cases.index[self.answer], cohort.findings)

    def train(self, progress: Progress) -> Student:
        """Train it, or go on with a killed training."""
        from mmpkd.distil.loop import train

        cohort = self.work.cohort
        validated = np.flatnonzero(cohort.in_split("val"))
        return train(
            self.work.study.student,
            self.training,
            self.targets,
            self.work.images,
            train_positions=self.learn,
            val_positions=validated,
            val_labels=cohort.labels[validated],
            findings=cohort.findings,
            seed=self.seed,
            folder=self.folder,
            progress=progress,
            task=cohort.task,
            shelf=self.work.shelf,
            cpu=self.work.study.execution.device == "cpu",
        ).student

    def label(self, student: Student) -> None:
        """Write the trained student's logits of the cases it labels, and remove the checkpoint."""
        from mmpkd.distil.checkpoint import discard_state
        from mmpkd.distil.predict import predict_probabilities

        cohort = self.work.cohort
        probabilities = predict_probabilities(student, self.work.images, self.answer).astype(np.float64)
        logits, cases = to_logits(probabilities, cohort.task), cohort.cases.index[self.answer]
        fold = np.full(len(cases), self.fold)
        SoftLabels.from_matrix(cases, cohort.findings, logits, fold).write(self.path)
        discard_state(self.folder.checkpoint)


def fold_students(work: CellWork, arm: str, seed: int, folder: CellFolder) -> list[FoldStudent]:
    """Return the students that label the folds of a cell: a single one, of its own cases, where labels are in sample.

    Raises:
        InputError: There are fewer training patients than folds.
    """
    train, fold = _folds(work)
    students = []
    for number in np.unique(fold).tolist():
        answer = fold == number
        learn = answer if number == ALL_TRAINING_CASES else ~answer
        own = folder.self_fold(number)
        students.append(FoldStudent(work, arm, seed, own, number, train[learn], train[answer]))
    return students


def _folds(work: CellWork) -> tuple[np.ndarray, np.ndarray]:
    train = np.flatnonzero(work.cohort.in_split("train"))
    if work.study.teach.out_of_fold:
        return train, held_out_folds(work.cohort, work.study.teach)
    return train, np.full(len(train), ALL_TRAINING_CASES)


def self_soft_logits(
    work: CellWork, arm: str, seed: int, folder: CellFolder, progress: Progress = SILENT
) -> np.ndarray:
    """Return (cases, findings) logits of image-only students (:class:`FoldStudent`), NaN outside the training split.

    Args:
        work: What the cells share.
        arm: Whose training to use.
        seed: Of the cell.
        folder: Of the cell.
        progress: Advances once an epoch.

    Raises:
        InputError: There are fewer training patients than folds.
    """
    cohort, settings = work.cohort, work.study.teach
    if not folder.self_soft_labels.is_file():
        train, fold = _folds(work)
        all_logits = np.full((len(cohort), len(cohort.findings)), np.nan)
        for student in fold_students(work, arm, seed, folder):
            if not student.path.is_file():
                student.label(student.train(progress))
            all_logits[student.answer] = student.read()
        logits = all_logits[train]
        if settings.out_of_fold and settings.calibrate:
            logits = calibrate(logits, cohort.labels[train], fold, cohort.task, cohort.findings).logits
        cases = cohort.cases.index[train]
        SoftLabels.from_matrix(cases, cohort.findings, logits, fold, work.provenance).write(folder.self_soft_labels)
    return SoftLabels(read_table(folder.self_soft_labels)).matrix(cohort.cases.index, cohort.findings)
