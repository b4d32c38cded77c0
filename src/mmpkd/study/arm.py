"""What one arm of a study trains with: its targets, its epochs, and what it costs beside the plain one."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mmpkd import registry
from mmpkd.distil.arms import NO_EMBEDDINGS, LabelSpace, Targets, embedding_of, epochs_of
from mmpkd.distil.controls import moved_rows
from mmpkd.distil.settings import TrainingSettings
from mmpkd.errors import InputError
from mmpkd.progress import SILENT, Progress
from mmpkd.study.settings import StudySettings

if TYPE_CHECKING:
    from mmpkd.cohort.cohort import Cohort
    from mmpkd.folder import CellFolder
    from mmpkd.study.cell import CellWork


def arm_training(study: StudySettings, arm: str) -> TrainingSettings:
    """Return the recipe of an arm: the study's, with its own number of epochs.

    Raises:
        InputError: So few epochs are left that the warm-up does not fit.
    """
    chosen, training = study.arms[arm], study.training
    epochs = epochs_of(chosen.kind, chosen.epochs_factor, training.epochs)
    return TrainingSettings.from_data({**training.to_data(), "epochs": epochs}, f"training, {epochs} epochs")


def arm_targets(work: CellWork, arm: str, seed: int, folder: CellFolder, progress: Progress = SILENT) -> Targets:
    """Return what an arm teaches in one cell; for `self`, the students that label its cases are trained first."""
    chosen, cohort = work.study.arms[arm], work.cohort
    in_train = cohort.in_split("train")[:, None]
    # an arm may move labels from case to case, so it is given those of training cases alone
    labels = np.where(in_train, cohort.labels, np.nan)
    soft_logits = None if work.soft_logits is None else np.where(in_train, work.soft_logits, np.nan)
    if chosen.kind == "self":
        from mmpkd.study.self_teacher import self_soft_logits

        soft_logits = self_soft_logits(work, arm, seed, folder, progress)
    rng = np.random.default_rng([seed, 0x5EED])
    make_targets = registry.load("arms", chosen.kind)
    targets: Targets = make_targets(
        labels, soft_logits, chosen.objective, rng, LabelSpace(cohort.findings, cohort.task)
    )
    if targets.objective.attention.zones:
        from mmpkd.study.located import zone_labels

        targets = replace(targets, zones=zone_labels(work, chosen, labels, rng, work.grid))
    return with_embeddings(work, chosen.kind, targets, rng)


def with_embeddings(work: CellWork, kind: str, targets: Targets, rng: np.random.Generator) -> Targets:
    """Add the training cases' embeddings where the arm has a term on them; `shuffled` and `permuted` move them too.

    Raises:
        InputError: There are none.
    """
    terms = embedding_of(kind, targets.objective)
    if not terms.names:
        return targets
    if work.embeddings is None:
        raise InputError(NO_EMBEDDINGS)
    own = np.where(work.cohort.in_split("train")[:, None], work.embeddings, np.nan)
    objective = targets.objective.model_copy(update={"embedding": terms})
    return replace(targets, embeddings=moved_rows(kind, targets.hard, own, rng), objective=objective)


def arm_rois(work: CellWork, arm: str, seed: int) -> Cohort:
    """Return the cohort with the ROIs that an arm may learn from: all, or those of as many training cases as it has."""
    cohort, most = work.cohort, work.study.arms[arm].boxes
    if most is None or cohort.rois is None:
        return cohort
    trains = cohort.cases.index[cohort.in_split("train")]
    with_roi = np.sort(cohort.rois.loc[cohort.rois["case"].isin(trains), "case"].unique())
    chosen = np.random.default_rng([seed, 0xB0C5]).permutation(with_roi)[:most]
    return replace(cohort, rois=cohort.rois[cohort.rois["case"].isin(chosen)])


def arm_cost(study: StudySettings, arm: str) -> float:
    """Return how often an arm's cell passes each training image through a student, as a multiple of `hard`'s cell.

    A term that compares two views counts twice. The k students that label the folds for `self` see k - 1 folds each,
    and no term on their maps.
    """
    chosen, teach = study.arms[arm], study.teach
    passes = 2.0 if chosen.objective.attention.consistency else 1.0
    if chosen.kind == "self":
        passes += teach.folds - 1 if teach.out_of_fold else 1
    return passes * arm_training(study, arm).epochs / study.training.epochs


def arm_steps(study: StudySettings, arm: str) -> int:
    """Return the epochs that an arm's cell reports, those of the students that label the folds for `self` included."""
    trainings = 1
    if study.arms[arm].kind == "self":
        trainings += study.teach.folds if study.teach.out_of_fold else 1
    return trainings * arm_training(study, arm).epochs
