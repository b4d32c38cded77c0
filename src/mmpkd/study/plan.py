"""What a run would do, and about what it would cost: `mmpkd run --dry-run`."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mmpkd.progress import duration
from mmpkd.study.arm import arm_cost
from mmpkd.study.execute import share_machine
from mmpkd.study.settings import StudySettings

_WARM_UP_STEPS, _TIMED_STEPS = 1, 3


@dataclass(frozen=True)
class Plan:
    """Cells, training images and an estimate of the time that training takes.

    ``costs`` says of each arm how much it trains, as a multiple of `hard` (:func:`mmpkd.study.arm.arm_cost`).
    """

    cells: list[tuple[str, int]]
    train_cases: int
    epochs: int
    workers: int
    threads: int
    images_per_second: float
    costs: Mapping[str, float] = field(default_factory=dict)

    @property
    def training_s(self) -> float:
        """Upper bound of the students' training time in seconds (early stopping shortens it)."""
        costs = [self.costs.get(arm, 1.0) for arm, _ in self.cells]
        busiest = max(math.ceil(len(costs) / self.workers) * statistics.mean(costs), *costs)
        return busiest * self.train_cases * self.epochs / self.images_per_second

    def lines(self) -> list[str]:
        """Return the plan in words."""
        arms = list(dict.fromkeys(arm for arm, _ in self.cells))
        seeds = list(dict.fromkeys(seed for _, seed in self.cells))
        dearer = ", ".join(f"{arm} {cost:g} times that" for arm in arms if (cost := self.costs.get(arm, 1.0)) != 1.0)
        return [
            f"cells: {len(self.cells)} ({len(arms)} arms: {', '.join(arms)}; seeds {', '.join(map(str, seeds))})",
            f"training: {self.train_cases} cases x {self.epochs} epochs a cell{f' ({dearer})' if dearer else ''}; "
            f"{self.workers} at a time, {self.threads} threads each",
            f"speed: about {self.images_per_second:.0f} images/s a cell (measured now on {_TIMED_STEPS} steps)",
            f"students' training: at most about {duration(self.training_s)}; teacher, maps and report come on top",
        ]


def make_plan(study: StudySettings, train_cases: int) -> Plan:
    """Measure a few training steps of the study's student on random pixels and extrapolate."""
    cells = [(arm, seed) for seed in study.seeds for arm in study.arms]
    shares = share_machine(study.execution, len(cells))
    speed = _measure_speed(study, shares.threads)
    costs = {arm: arm_cost(study, arm) for arm in study.arms}
    return Plan(cells, train_cases, study.training.epochs, shares.workers, shares.threads, speed, costs)


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
