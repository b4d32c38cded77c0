"""AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101) with decay only where it belongs."""

from __future__ import annotations

import torch
from torch import Tensor

from mmpkd.distil.settings import TrainingSettings
from mmpkd.distil.student import Student

_FUSED_ON = ("cpu", "cuda")


def build_optimizer(student: Student, training: TrainingSettings) -> torch.optim.AdamW:
    """Return AdamW over the student; biases, norms, position embeddings and tokens do not decay."""
    skip: set[str] = getattr(student.backbone, "no_weight_decay", set)()
    decayed: list[Tensor] = []
    kept: list[Tensor] = []
    for name, parameter in student.named_parameters():
        if parameter.requires_grad:
            spared = parameter.ndim <= 1 or name.removeprefix("backbone.") in skip
            (kept if spared else decayed).append(parameter)
    groups = [
        {"params": decayed, "weight_decay": training.weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
    fused = next(student.parameters()).device.type in _FUSED_ON
    return torch.optim.AdamW(groups, lr=training.learning_rate, fused=fused)
