"""What a run would do, and about what it would cost: `mmpkd run --dry-run`."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from mmpkd.study.execute import share_machine
from mmpkd.study.settings import StudySettings

_WARM_UP_STEPS, _TIMED_STEPS = 1, 3


@dataclass(frozen=True)
class Plan:
    """Cells, training images and an estimate of the time that training takes.

    ``passes`` is how often an image passes the student in a step, on average over the cells: twice where an arm asks
    for maps that are consistent over two views.
    """

    cells: list[tuple[str, int]]
    train_cases: int
    epochs: int
    workers: int
    threads: int
    images_per_second: float
    passes: float = 1.0

    @property
    def training_s(self) -> float:
        """Upper bound of the students' training time in seconds (early stopping shortens it)."""
        rounds = -(-len(self.cells) // self.workers)
        return rounds * self.passes * self.train_cases * self.epochs / self.images_per_second

    def lines(self) -> list[str]:
        """Return the plan in words."""
        arms = list(dict.fromkeys(arm for arm, _ in self.cells))
        seeds = list(dict.fromkeys(seed for _, seed in self.cells))
        return [
            f"cells: {len(self.cells)} ({len(arms)} arms: {', '.join(arms)}; seeds {', '.join(map(str, seeds))})",
            f"training: {self.train_cases} cases x {self.epochs} epochs a cell; {self.workers} at a time, "
            f"{self.threads} threads each",
            f"speed: about {self.images_per_second:.0f} images/s a cell (measured now on {_TIMED_STEPS} steps)",
            f"students' training: at most about {_duration(self.training_s)}; teacher, maps and report come on top",
        ]


def make_plan(study: StudySettings, train_cases: int) -> Plan:
    """Measure a few training steps of the study's student on random pixels and extrapolate."""
    cells = [(arm, seed) for seed in study.seeds for arm in study.arms]
    shares = share_machine(study.execution, len(cells))
    speed = _measure_speed(study, shares.threads)
    passes = statistics.mean(2 if study.arms[arm].objective.attention.consistency else 1 for arm, _ in cells)
    return Plan(cells, train_cases, study.training.epochs, shares.workers, shares.threads, speed, passes)


def _measure_speed(study: StudySettings, threads: int) -> float:
    import torch

    from mmpkd.distil.precision import choose_precision
    from mmpkd.distil.student import build_student, explicit_attention

    torch.set_num_threads(threads)
    student = build_student(study.student, study.cohort.findings)
    device = torch.device("cuda" if torch.cuda.is_available() and study.execution.device != "cpu" else "cpu")
    precision = choose_precision(study.training.precision, device)
    student.to(device).train()
    optimiser = torch.optim.AdamW(student.parameters())
    batch, size = study.training.batch_size, study.student.image_size_px
    rng = np.random.default_rng(0)
    pixels = torch.from_numpy(rng.integers(0, 256, (batch, study.student.channels, size, size), dtype=np.uint8))
    seconds = []
    with explicit_attention(student, precision.explicit_attention):
        for _ in range(_WARM_UP_STEPS + _TIMED_STEPS):
            begin = time.perf_counter()
            with precision.autocast(device):
                logits = student(student.prepare(pixels.to(device)))
            torch.nn.functional.binary_cross_entropy_with_logits(
                logits.float(), torch.zeros_like(logits.float())
            ).backward()
            optimiser.step()
            optimiser.zero_grad()
            if device.type == "cuda":
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begin)
    return batch / statistics.median(seconds[_WARM_UP_STEPS:])


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
