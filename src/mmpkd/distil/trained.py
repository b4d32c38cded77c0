"""Trained students, and a shelf that keeps them by what made them.

Variants of a study often differ in what the teacher reads alone; then their arms without a teacher are the same
trainings, seed by seed, and are done once.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.checkpoint import load_student, save_student
from mmpkd.distil.student import Student
from mmpkd.distil.weights import DOCUMENT
from mmpkd.files import fingerprint, read_json, read_table, write_table

_CHUNK = 256


@dataclass(frozen=True)
class TrainedStudent:
    """What :func:`mmpkd.distil.loop.train` returns.

    Args:
        student: With the weights of the best epoch, in evaluation mode.
        history: One row an epoch: ``epoch`` (from 1), ``train_loss``, ``train_hard``, ``train_soft`` (the
            parts without their weights, NaN where there are none), so each further term that is on
            (``train_entropy``), ``learning_rate`` (at its end) and ``val_auroc``.
        best_epoch: The epoch with the best validation metric; the last one where it is undefined throughout, or
            where the arm keeps that.
    """

    student: Student
    history: pd.DataFrame
    best_epoch: int


@dataclass(frozen=True)
class Shelf:
    """A folder of trained students, one subfolder a training.

    Args:
        path: Made with the first student.
    """

    path: Path

    def find(self, key: str) -> TrainedStudent | None:
        """Return what was trained under ``key``, on the CPU; ``None`` where nothing was."""
        folder = self.path / key
        history = folder / "history.parquet"
        if not history.is_file():
            return None
        best_epoch = int(read_json(folder / DOCUMENT)["provenance"]["best_epoch"])
        return TrainedStudent(load_student(folder), read_table(history), best_epoch)

    def keep(self, key: str, trained: TrainedStudent) -> None:
        """Keep a trained student; the history is written last, so a folder that has one is complete."""
        folder = self.path / key
        save_student(trained.student, folder, {"training": key, "best_epoch": trained.best_epoch})
        write_table(folder / "history.parquet", trained.history, {"training": key})


def shelf_key(training: str, student: Student, images: ImageSet, positions: np.ndarray, device: torch.device) -> str:
    """Return a hash of everything that a training's result depends on.

    Args:
        training: :func:`mmpkd.distil.identity.training_fingerprint`, which leaves out the pixels and the contents of
            files of weights.
        student: As it is before training.
        images: The cohort's images.
        positions: The cases that train or choose the best epoch.
        device: What computes: another, or another number of threads, rounds otherwise.
    """
    digest = hashlib.blake2b(digest_size=16)
    for name, value in student.state_dict().items():
        digest.update(name.encode() + value.cpu().contiguous().numpy().tobytes())
    for start in range(0, len(positions), _CHUNK):
        digest.update(images.batch(positions[start : start + _CHUNK]).tobytes())
    return fingerprint([training, digest.hexdigest(), device.type, torch.get_num_threads()])
