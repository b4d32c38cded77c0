"""Soft labels for the arm `self`: students of the images and hard labels, in the place of the privileged teacher.

They are made as the teacher's are, so that the two arms differ in what the teacher saw and in nothing else: out of fold
over the same folds of patients, calibrated alike, or in sample where the study says so. Each finished fold is kept.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mmpkd.distil.arms import LabelSpace, hard
from mmpkd.distil.settings import ObjectiveSettings
from mmpkd.files import read_table
from mmpkd.folder import CellFolder
from mmpkd.progress import SILENT, Progress
from mmpkd.study.arm import arm_training
from mmpkd.teach.calibrate import calibrate
from mmpkd.teach.crossfit import held_out_folds
from mmpkd.teach.logits import to_logits
from mmpkd.teach.soft_labels import ALL_TRAINING_CASES, SoftLabels

if TYPE_CHECKING:
    from mmpkd.study.cell import CellWork

_SELF = 0x5E1F  # keeps the fold students' random numbers apart from those of the student that learns from them


def self_soft_logits(
    work: CellWork, arm: str, seed: int, folder: CellFolder, progress: Progress = SILENT
) -> np.ndarray:
    """Return (cases, findings) logits of image-only students, NaN outside the training split.

    Each student has the study's settings and the arm's epochs, hard labels and no term on its map. The cell's own
    student must not start from their weights, or it would be taught what it is about to do; so their seeds differ.

    Args:
        work: What the cells share.
        arm: Whose training to use.
        seed: Of the cell.
        folder: Of the cell; fold students leave their soft labels there and nothing else.
        progress: Advances once an epoch.

    Raises:
        InputError: There are fewer training patients than folds.
    """
    cohort, settings = work.cohort, work.study.teach
    train = np.flatnonzero(cohort.in_split("train"))
    if not folder.self_soft_labels.is_file():
        fold = np.full(len(train), ALL_TRAINING_CASES)
        if settings.out_of_fold:
            fold = held_out_folds(cohort, settings)
        logits = np.full((len(train), len(cohort.findings)), np.nan)
        for number in np.unique(fold).tolist():
            answer = fold == number
            learn = answer if number == ALL_TRAINING_CASES else ~answer
            logits[answer] = _label_fold(work, arm, seed, folder, number, train[learn], train[answer], progress)
        if settings.out_of_fold and settings.calibrate:
            logits = calibrate(logits, cohort.labels[train], fold, cohort.task, cohort.findings).logits
        cases = cohort.cases.index[train]
        SoftLabels.from_matrix(cases, cohort.findings, logits, fold, work.provenance).write(folder.self_soft_labels)
    return SoftLabels(read_table(folder.self_soft_labels)).matrix(cohort.cases.index, cohort.findings)


def _label_fold(
    work: CellWork,
    arm: str,
    seed: int,
    folder: CellFolder,
    fold: int,
    learn: np.ndarray,
    answer: np.ndarray,
    progress: Progress,
) -> np.ndarray:
    """Train the student of one fold, unless that was done, and return its logits of the cases at ``answer``."""
    from mmpkd.distil.checkpoint import discard_state
    from mmpkd.distil.loop import train
    from mmpkd.distil.predict import predict_probabilities

    cohort, own = work.cohort, folder.self_fold(fold)
    path, cases = own.path / "soft_labels.parquet", cohort.cases.index[answer]
    if path.is_file():
        return SoftLabels(read_table(path)).matrix(cases, cohort.findings)
    labels = np.full(cohort.labels.shape, np.nan)
    labels[learn] = cohort.labels[learn]
    space = LabelSpace(cohort.findings, cohort.task)
    validated = np.flatnonzero(cohort.in_split("val"))
    own_seed = int(np.random.SeedSequence([seed, _SELF, fold + 1]).generate_state(1)[0])
    trained = train(
        work.study.student,
        arm_training(work.study, arm),
        hard(labels, None, ObjectiveSettings(), np.random.default_rng(0), space),
        work.images,
        train_positions=learn,
        val_positions=validated,
        val_labels=cohort.labels[validated],
        findings=cohort.findings,
        seed=own_seed,
        folder=own,
        progress=progress,
        task=cohort.task,
    )
    probabilities = predict_probabilities(trained.student, work.images, answer).astype(np.float64)
    logits = to_logits(probabilities, cohort.task)
    SoftLabels.from_matrix(cases, cohort.findings, logits, np.full(len(cases), fold)).write(path)
    discard_state(own.checkpoint)
    return logits
