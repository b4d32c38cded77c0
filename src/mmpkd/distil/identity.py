"""What makes two trainings the same one, so that a checkpoint is never continued by another."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from importlib.metadata import version

import numpy as np

from mmpkd import __version__
from mmpkd.distil.arms import Targets
from mmpkd.distil.roi_coverage import RoiCoverage
from mmpkd.distil.settings import StudentSettings, TrainingSettings
from mmpkd.files import fingerprint

_NO_INFLUENCE = {"checkpoint_every_s"}


def training_fingerprint(
    student: StudentSettings,
    training: TrainingSettings,
    targets: Targets,
    rois: RoiCoverage | None,
    train_positions: np.ndarray,
    val_positions: np.ndarray,
    val_labels: np.ndarray,
    findings: Sequence[str],
    task: str,
    seed: int,
) -> str:
    """Return a hash of everything that the trained weights depend on, except the pixels themselves."""
    arrays = [targets.hard, targets.soft_logits, train_positions, val_positions, val_labels]
    if rois is not None:
        arrays += [rois.cases, rois.findings, rois.share]
    if targets.zones is not None:
        arrays += [targets.zones.logits, targets.zones.coverage]
    if targets.embeddings is not None and targets.objective.embedding.names:
        arrays.append(targets.embeddings)
    return fingerprint(
        {
            "student": student.to_data(),
            "training": {key: value for key, value in training.to_data().items() if key not in _NO_INFLUENCE},
            "objective": targets.objective.to_data(),
            "keep_last_epoch": targets.keep_last_epoch,
            "arrays": [hashlib.blake2b(np.ascontiguousarray(array).tobytes()).hexdigest() for array in arrays],
            "findings": list(findings),
            "task": task,
            "seed": seed,
            "versions": {"mmpkd": __version__, **{name: version(name) for name in ("torch", "timm")}},
        }
    )
