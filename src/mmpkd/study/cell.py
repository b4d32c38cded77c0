"""One cell of the plan, one arm with one seed: train, predict, map, score. Each step is skipped once it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pandas as pd

from mmpkd.attribute.attribute import TokenMaps
from mmpkd.cohort.cohort import Cohort
from mmpkd.cohort.image_set import ImageSet
from mmpkd.errors import InputError
from mmpkd.files import write_table
from mmpkd.folder import CellFolder
from mmpkd.progress import SILENT, Progress
from mmpkd.study.arm import arm_rois, arm_targets, arm_training
from mmpkd.study.inputs import check_arms, evaluation_positions, localised_positions
from mmpkd.study.localise import COLUMNS, Target, roi_targets, score_maps
from mmpkd.study.settings import StudySettings

if TYPE_CHECKING:
    from mmpkd.distil.student import Student
    from mmpkd.distil.trained import Shelf, TrainedStudent


@dataclass(frozen=True)
class CellWork:
    """All that the cells of a study share. It holds no privileged information: only the soft labels' logits.

    Args:
        study: Resolved settings.
        cohort: The cohort without text and metadata.
        images: Decoded images in the cohort's order.
        soft_logits: (cases, findings), NaN where the teacher says nothing; ``None`` before `teach` has run.
        provenance: What a student's file says of its making.
        located: (cases, findings, regions), NaN where the teacher says nothing; ``None`` if it says nothing of places.
        embeddings: (cases, dims) of privileged information, rows of NaN where there is none; ``None`` if not asked for.
        shelf: Where students are kept that several studies have in common; ``None`` keeps none.
    """

    study: StudySettings
    cohort: Cohort
    images: ImageSet
    soft_logits: np.ndarray | None
    provenance: Mapping[str, object]
    located: np.ndarray | None = None
    embeddings: np.ndarray | None = None
    shelf: Shelf | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Send the decoded images to a worker as a file name, not as their pixels."""
        state = dict(self.__dict__)
        pixels: Any = self.images.pixels
        if isinstance(pixels, np.memmap):
            state["images"] = replace(self.images, pixels=pixels[:0])
            state["mapped"] = (str(pixels.filename), pixels.shape, pixels.offset)
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        mapped = state.pop("mapped", None)
        self.__dict__.update(state)
        if mapped is not None:
            filename, shape, offset = cast(tuple[str, tuple[int, ...], int], mapped)
            pixels = np.memmap(filename, np.uint8, mode="r", offset=offset, shape=shape)
            self.__dict__["images"] = replace(self.images, pixels=pixels)

    @cached_property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the student's tokens."""
        from mmpkd.distil.student import build_student

        offline = self.study.student.model_copy(update={"pretrained": False, "weights": None})
        return build_student(offline, self.cohort.findings, self.cohort.task).grid

    @cached_property
    def targets(self) -> list[Target]:
        """The ROIs to be found in the test split."""
        positions = localised_positions(self.cohort)
        return list(roi_targets(self.cohort, self.images, positions, self.study.evaluate.max_side_px))


def run_cell(work: CellWork, arm: str, seed: int, folder: CellFolder, progress: Progress = SILENT) -> None:
    """Run what is not yet there of one cell."""
    from mmpkd.study.checks import check_cell

    distil_cell(work, arm, seed, folder, progress)
    predict_cell(work, folder)
    attribute_cell(work, folder)
    evaluate_cell(work, folder)
    check_cell(work, folder)


def distil_cell(work: CellWork, arm: str, seed: int, folder: CellFolder, progress: Progress = SILENT) -> None:
    """Train the student of one arm and seed, or go on with a killed training."""
    if folder.history.is_file():
        return
    from mmpkd.distil.loop import train
    from mmpkd.distil.roi_coverage import roi_coverage

    study, cohort = work.study, work.cohort
    check_arms(study)
    trained = train(
        study.student,
        arm_training(study, arm),
        arm_targets(work, arm, seed, folder, progress),
        work.images,
        train_positions=np.flatnonzero(cohort.in_split("train")),
        val_positions=np.flatnonzero(cohort.in_split("val")),
        val_labels=cohort.labels[cohort.in_split("val")],
        findings=cohort.findings,
        seed=seed,
        folder=folder,
        progress=progress,
        task=cohort.task,
        rois=None if cohort.rois is None else partial(roi_coverage, arm_rois(work, arm, seed), work.images),
        shelf=work.shelf,
        cpu=study.execution.device == "cpu",
    )
    keep_student(work, arm, seed, folder, trained)


def keep_student(work: CellWork, arm: str, seed: int, folder: CellFolder, trained: TrainedStudent) -> None:
    """Write a cell's trained student and its history, and remove the checkpoint."""
    from mmpkd.distil.checkpoint import discard_state, save_student

    save_student(trained.student, folder.student, {**work.provenance, "arm": arm, "seed": seed})
    write_table(folder.history, trained.history, work.provenance)
    discard_state(folder.checkpoint)


def predict_cell(work: CellWork, folder: CellFolder) -> None:
    """Write the student's probabilities of validation and test cases."""
    if folder.predictions.is_file():
        return
    from mmpkd.distil.predict import predict_probabilities

    student = load_on_device(work, folder)
    cases = work.cohort.cases
    positions = evaluation_positions(work.cohort)
    probabilities = predict_probabilities(student, work.images, positions)
    findings = list(work.cohort.findings)
    table = pd.DataFrame(
        {
            "case": np.repeat(cases.index.to_numpy()[positions], len(findings)),
            "split": np.repeat(cases["split"].to_numpy()[positions], len(findings)),
            "finding": np.tile(np.asarray(findings, dtype=object), len(positions)),
            "probability": np.asarray(probabilities, np.float32).ravel(),
        }
    )
    write_table(folder.predictions, table, work.provenance)


def attribute_cell(work: CellWork, folder: CellFolder) -> None:
    """Write the student's token maps of the test cases that have an ROI, of the findings that have it."""
    methods = map_methods(work.study)
    positions = localised_positions(work.cohort)
    if not len(positions) or all(folder.maps(method).is_file() for method in methods):
        return
    from mmpkd.study.map_file import write_maps
    from mmpkd.study.roi_maps import roi_maps

    student = load_on_device(work, folder)
    for method in methods:
        maps = roi_maps(student, work.images, work.targets, positions, method)
        write_maps(folder.maps(method), maps, work.provenance)


def evaluate_cell(work: CellWork, folder: CellFolder) -> None:
    """Score the token maps against the ROIs (an empty table where the cohort has none)."""
    if folder.localisation.is_file():
        return
    from mmpkd.study.map_file import read_maps

    positions = localised_positions(work.cohort)
    tables = []
    for method in map_methods(work.study) if len(positions) else ():
        path = folder.maps(method)
        if not path.is_file():
            raise InputError(f"{path}: the maps are missing; run `mmpkd attribute` first.")
        maps: TokenMaps = read_maps(path)
        tables.append(score_maps(work.targets, maps, positions, work.images, work.study.evaluate.policies))
    table = pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=COLUMNS)
    write_table(folder.localisation, table, work.provenance)


def load_on_device(work: CellWork, folder: CellFolder) -> Student:
    """Return a cell's student where the study computes: on a GPU if there is one that ``execution.device`` allows."""
    import torch

    from mmpkd.distil.checkpoint import load_student

    on_gpu = work.study.execution.device != "cpu" and torch.cuda.is_available()
    return load_student(folder.student).to("cuda" if on_gpu else "cpu")


def map_methods(study: StudySettings) -> tuple[str, ...]:
    """Return the map methods of a study: those named, else the one that belongs to the student's head."""
    from mmpkd.attribute.attribute import DEFAULT_METHOD

    return study.evaluate.maps or (DEFAULT_METHOD[study.student.head],)
