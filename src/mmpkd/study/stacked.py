"""Training a study's cells of one shape together, where that pays: on a GPU, which one small student leaves idle.

Only training is shared. Each cell's student, history and checkpoint lie where they lie when it trains alone, and what
is left of the cell is done cell by cell. So is all of a cell that cannot be stacked, or that failed in the stack: alone
it fails again and says why.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from mmpkd.errors import InputError
from mmpkd.progress import SILENT, Progress
from mmpkd.study.arm import arm_targets, arm_training
from mmpkd.study.cell import keep_student
from mmpkd.study.self_teacher import FoldStudent, fold_students

if TYPE_CHECKING:
    import torch

    from mmpkd.distil.stacked import Member
    from mmpkd.distil.student import Student
    from mmpkd.distil.trained import TrainedStudent
    from mmpkd.folder import CellFolder
    from mmpkd.study.cell import CellWork
    from mmpkd.study.settings import StudySettings

_MOST = 32  # beyond it a stack of small students gains nothing more
_SHARE_OF_MEMORY = 0.5
_BYTES_A_TOKEN_NUMBER = 60  # activations kept for the backward pass, a block, token and number of the width


@dataclass(frozen=True)
class _Entry:
    """A training of the stack and what becomes of its student."""

    member: Member
    keep: Callable[[TrainedStudent], None]


@dataclass(frozen=True)
class StackedJob:
    """The trainings of many cells, for :func:`mmpkd.study.execute.run_jobs`.

    Args:
        work: What the cells share.
        cells: Arm, seed and folder of each.
        size: Most models in one stack.
    """

    work: CellWork
    cells: Sequence[tuple[str, int, CellFolder]]
    size: int

    def __call__(self, progress: Progress = SILENT) -> None:
        """Train what is not yet trained: first the students that label folds for `self`, then the cells' own."""
        missing = [cell for cell in self.cells if not cell[2].history.is_file()]
        self._train([entry for cell in missing for entry in self._folds(*cell)], progress)
        self._train([entry for cell in missing if (entry := self._cell(*cell))], progress)

    def _folds(self, arm: str, seed: int, folder: CellFolder) -> list[_Entry]:
        if self.work.study.arms[arm].kind != "self" or folder.self_soft_labels.is_file():
            return []
        try:
            students = fold_students(self.work, arm, seed, folder)
        except InputError:
            return []  # the cell fails alone, with this sentence
        return [_fold_entry(student) for student in students if not student.path.is_file()]

    def _cell(self, arm: str, seed: int, folder: CellFolder) -> _Entry | None:
        from mmpkd.distil.stacked import Member

        if self.work.study.arms[arm].kind == "self" and not folder.self_soft_labels.is_file():
            folds = self._folds(arm, seed, folder)
            if folds:  # one of them failed
                return None
        try:
            targets = arm_targets(self.work, arm, seed, folder)
            training = arm_training(self.work.study, arm)
        except InputError:
            return None
        if targets.objective.attention.names or targets.objective.embedding.names:
            return None
        train = np.flatnonzero(self.work.cohort.in_split("train"))
        keep = partial(keep_student, self.work, arm, seed, folder)
        return _Entry(Member(training, targets, train, seed, folder), keep)

    def _train(self, entries: Sequence[_Entry], progress: Progress) -> None:
        shapes: dict[tuple[object, ...], list[_Entry]] = {}
        for entry in entries:
            shapes.setdefault(entry.member.shape, []).append(entry)
        for alike in shapes.values():
            for start in range(0, len(alike), self.size):
                self._train_together(alike[start : start + self.size], progress)

    def _train_together(self, entries: Sequence[_Entry], progress: Progress) -> None:
        import torch

        from mmpkd.distil.stacked import train_stacked

        work, cohort = self.work, self.work.cohort
        val = np.flatnonzero(cohort.in_split("val"))
        members = [entry.member for entry in entries]
        try:
            trained = train_stacked(
                work.study.student,
                members,
                work.images,
                val,
                cohort.labels[val],
                cohort.findings,
                progress,
                cohort.task,
            )
        except torch.OutOfMemoryError:
            if len(entries) == 1:
                raise
            torch.cuda.empty_cache()
            half = len(entries) // 2
            self._train_together(entries[:half], progress)
            self._train_together(entries[half:], progress)
            return
        for entry, student in zip(entries, trained, strict=True):
            if student is not None:
                entry.keep(student)


def _fold_entry(student: FoldStudent) -> _Entry:
    from mmpkd.distil.stacked import Member

    member = Member(student.training, student.targets, student.learn, student.seed, student.folder)
    return _Entry(member, lambda trained: student.label(trained.student))


def stack_size(study: StudySettings, device: torch.device) -> int:
    """Return how many cells to train in one stack on a device; 1 where each should train alone.

    ``auto`` stacks on a GPU as many as half of its free memory holds by a rough count, at most 32. On a CPU it does
    not: one-thread workers side by side keep every core busy, and a stack's larger matrices gain less than that.
    """
    import torch
    from accelerate import PartialState

    from mmpkd.distil.stacked_modules import can_stack
    from mmpkd.distil.student import build_student

    wanted = study.execution.stack
    if PartialState().num_processes > 1:
        return 1
    if wanted == 1 or (wanted == "auto" and device.type != "cuda"):
        return 1
    offline = study.student.model_copy(update={"pretrained": False, "weights": None})
    student = build_student(offline, study.cohort.findings)
    if not can_stack(student):
        return 1
    if wanted != "auto":
        return wanted
    free, _ = torch.cuda.mem_get_info(device)
    return max(1, min(_MOST, int(_SHARE_OF_MEMORY * free / _bytes_a_member(student, study.training.batch_size))))


def _bytes_a_member(student: Student, batch: int) -> int:
    tokens = student.prefix_tokens + student.grid[0] * student.grid[1]
    activations = batch * tokens * int(student.backbone.embed_dim) * len(student.backbone.blocks)
    weights = sum(parameter.numel() for parameter in student.parameters())
    return activations * _BYTES_A_TOKEN_NUMBER + weights * 4 * 8  # weights, gradient, moments and their passing copies
