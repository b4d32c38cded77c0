"""What training leaves on disk: the deployable student, and the state from which a killed training goes on.

Weights are safetensors, documents JSON; nothing is pickled. A state is one file, replaced whole.
"""

from __future__ import annotations

import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from mmpkd import __version__
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import Student, build_student
from mmpkd.distil.weights import DOCUMENT
from mmpkd.errors import InputError
from mmpkd.files import read_json, write_json, written_whole

FORMAT = 1
WEIGHTS, STATE = "weights.safetensors", "state.safetensors"


def save_student(student: Student, folder: Path, provenance: Mapping[str, object] | None = None) -> None:
    """Write ``weights.safetensors`` and ``student.json``: all that is needed to use the student elsewhere.

    Args:
        student: The student.
        folder: Made if missing. The document is written last, so a folder that has one is complete.
        provenance: What made it (plain data), kept under ``provenance``.
    """
    save_tensors(folder / WEIGHTS, student.state_dict())
    document = {
        "format": FORMAT,
        "settings": student.settings.to_data(),
        "findings": list(student.findings),
        "task": student.task,
        "image": {
            "size_px": student.settings.image_size_px,
            "channels": student.settings.channels,
            "fit": student.fit,
            "mean": student.mean.flatten().tolist(),
            "std": student.std.flatten().tolist(),
        },
        "versions": {"mmpkd": __version__, **{name: version(name) for name in ("torch", "timm")}},
        "provenance": dict(provenance or {}),
    }
    write_json(folder / DOCUMENT, document)


def load_student(folder: Path) -> Student:
    """Read a student that :func:`save_student` wrote, on the CPU and in evaluation mode.

    Raises:
        InputError: The folder holds no student, one of a later format, or damaged weights.
    """
    try:
        document = read_json(folder / DOCUMENT)
        state = load_file(folder / WEIGHTS)
    except (OSError, json.JSONDecodeError, SafetensorError) as error:
        raise InputError(
            f"{folder}: no student can be read here ({type(error).__name__}); it needs {WEIGHTS} and {DOCUMENT}."
        ) from None
    if document.get("format") != FORMAT:
        raise InputError(
            f"{folder / DOCUMENT}: format {document.get('format')!r} is not known to mmpkd {__version__}; update mmpkd."
        )
    settings = StudentSettings.from_data(document["settings"], str(folder / DOCUMENT))
    offline = settings.model_copy(update={"pretrained": False, "weights": None})
    student = build_student(offline, document["findings"], document["task"], document["image"]["fit"])
    student.settings = settings
    for name in ("mean", "std"):
        getattr(student, name).copy_(torch.tensor(document["image"][name]).view(1, -1, 1, 1))
    try:
        student.load_state_dict(state)
    except RuntimeError:
        raise InputError(
            f"{folder / WEIGHTS}: the weights are not those of the student in {DOCUMENT}; copy both files together."
        ) from None
    return student.eval()


@dataclass(frozen=True)
class TrainingState:
    """A training at the end of an epoch.

    Args:
        epoch: Epochs done.
        best_epoch: The epoch (from 1) whose weights are the best so far; 0 before the first.
        best: Those weights.
        history: One row an epoch, by column name.
    """

    epoch: int
    best_epoch: int
    best: dict[str, Tensor]
    history: list[dict[str, float]]

    def after(
        self, row: dict[str, float], metric: str, weights: Mapping[str, Tensor], keep_last: bool = False
    ) -> TrainingState:
        """Return the state after one more epoch, which ended with these weights.

        The latest epoch counts as the best with ``keep_last``, until one has a metric, and among those that reached an
        AUROC of 1: it cannot rise, while the student's probabilities and maps go on getting better.
        """
        history, epoch = [*self.history, row], self.epoch + 1
        before = self.history[self.best_epoch - 1][metric] if self.best_epoch else math.nan
        if not (keep_last or math.isnan(before) or row[metric] > before or row[metric] >= 1.0):
            return TrainingState(epoch, self.best_epoch, self.best, history)
        best = {name: value.detach().cpu().clone() for name, value in weights.items()}
        return TrainingState(epoch, epoch, best, history)

    def is_done(self, epochs: int, patience: int | None) -> bool:
        """Return whether all epochs are trained, or none of the last ``patience`` was better."""
        stale = patience is not None and self.epoch - self.best_epoch >= patience
        return self.epoch >= epochs or stale


Moments = Mapping[int, Mapping[str, Tensor]]
"""AdamW's state: step and moments of each parameter, by its number."""


def save_state(
    folder: Path, fingerprint: str, state: TrainingState, weights: Mapping[str, Tensor], moments: Moments
) -> None:
    """Write everything that the next epoch depends on, as one file."""
    tensors = {f"student/{name}": value for name, value in weights.items()}
    tensors |= {f"best/{name}": value for name, value in state.best.items()}
    for index, of_one in moments.items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in of_one.items()}
    document = {
        "fingerprint": fingerprint,
        "epoch": state.epoch,
        "best_epoch": state.best_epoch,
        "history": [{key: None if math.isnan(value) else value for key, value in row.items()} for row in state.history],
    }
    save_tensors(folder / STATE, tensors, {"mmpkd": json.dumps(document)})


def load_state(
    folder: Path, fingerprint: str, student: nn.Module, optimizer: torch.optim.Optimizer
) -> TrainingState | None:
    """Put a saved state back into ``student`` and ``optimizer``; ``None`` where there is none.

    Raises:
        InputError: The state is of another training, or damaged.
    """
    saved = read_state(folder, fingerprint)
    if saved is None:
        return None
    state, weights, moments = saved
    student.load_state_dict(weights)
    optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
    return state


def read_state(folder: Path, fingerprint: str) -> tuple[TrainingState, dict[str, Tensor], Moments] | None:
    """Return a saved state with its weights and moments; ``None`` where there is none.

    Raises:
        InputError: The state is of another training, or damaged.
    """
    path = folder / STATE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            document = json.loads((file.metadata() or {})["mmpkd"])
        tensors = load_file(path)
    except (OSError, KeyError, json.JSONDecodeError, SafetensorError) as error:
        raise InputError(f"{path}: the checkpoint is damaged ({type(error).__name__}); remove it.") from None
    if document["fingerprint"] != fingerprint:
        raise InputError(
            f"{path}: the checkpoint is of a training with other settings, targets or versions; remove it or "
            "choose another folder."
        )
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in _under("optimizer", tensors).items():
        index, _, key = name.partition("/")
        moments.setdefault(int(index), {})[key] = value
    history = [{key: math.nan if value is None else value for key, value in row.items()} for row in document["history"]]
    state = TrainingState(document["epoch"], document["best_epoch"], _under("best", tensors), history)
    return state, _under("student", tensors), moments


def discard_state(folder: Path) -> None:
    """Remove the checkpoint of a finished training."""
    shutil.rmtree(folder, ignore_errors=True)


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None) -> None:
    """Write tensors as safetensors, whole or not at all."""
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with written_whole(path) as temporary:
        save_file(on_cpu, temporary, metadata)


def _under(prefix: str, tensors: Mapping[str, Any]) -> dict[str, Any]:
    start = f"{prefix}/"
    return {name.removeprefix(start): value for name, value in tensors.items() if name.startswith(start)}
