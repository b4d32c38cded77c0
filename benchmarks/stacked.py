"""What training students together gains over one after another, on one device, in one run.

    python benchmarks/stacked.py [--model micro|small|tiny|all] [--members 1 4 12] [--repeats N] [--threads N]

For each size of a stack it prints the throughput (images a second, over all members) as a ratio to the plain loop's,
on the same random images, each in the same recipe, augmentation included. The first epoch of each training is left out.
On a GPU the plain loop trains the cells one after another; on a CPU the plan would run one-thread workers instead, so
start the script with ``--threads 1`` there and compare with the number of cores.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.arms import mmpkd
from mmpkd.distil.loop import train
from mmpkd.distil.settings import ObjectiveSettings, StudentSettings, TrainingSettings
from mmpkd.distil.stacked import Member, train_stacked
from mmpkd.progress import Progress

FINDINGS = tuple(f"finding-{index}" for index in range(5))
VALIDATION_CASES = 2


@dataclass(frozen=True)
class Model:
    """A student and its batch."""

    name: str
    student: StudentSettings
    batch_size: int


MODELS = {
    "micro": Model(
        "micro (64 px, patch 8, width 96, depth 4)",
        StudentSettings(image_size_px=64, patch_px=8, width=96, depth=4, heads=3, head="patch"),
        128,
    ),
    "small": Model(
        "small (64 px, patch 8, width 128, depth 6)",
        StudentSettings(image_size_px=64, patch_px=8, width=128, depth=6, heads=4, head="patch"),
        128,
    ),
    "tiny": Model("ViT-Tiny 224", StudentSettings(), 64),
}


class EpochClock(Progress):
    """Notes when each epoch ends."""

    def __init__(self) -> None:
        super().__init__(quiet=True)
        self.ends: list[float] = []

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator:
        """Yield ``advance``."""

        def advance(count: int) -> None:
            if count:
                if torch.cuda.is_available():
                    torch.cuda.synchronize()
                self.ends.append(time.perf_counter())

        yield advance

    @property
    def epoch_s(self) -> float:
        """Median seconds an epoch, without the first."""
        return statistics.median(np.diff(self.ends).tolist())


def main() -> None:
    """Print one row a model and size of the stack."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", choices=[*MODELS, "all"], default="micro")
    parser.add_argument("--members", type=int, nargs="+", default=[1, 4, 12])
    parser.add_argument("--steps", type=int, default=15, help="an epoch")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--recorded", action="store_true", help="replay each step as a CUDA graph")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {options.threads} thread(s)"
    print(f"{device}, torch {torch.__version__}")
    for model in MODELS.values() if options.model == "all" else [MODELS[options.model]]:
        rng = np.random.default_rng(0)
        cases, size = model.batch_size * options.steps, model.student.image_size_px
        pixels = rng.integers(0, 256, (cases + VALIDATION_CASES, 1, size, size), dtype=np.uint8)
        images = ImageSet(pixels, np.arange(len(pixels)), np.full((len(pixels), 2), size))
        labels = rng.integers(0, 2, (len(pixels), len(FINDINGS))).astype(float)
        targets = mmpkd(labels, rng.normal(0, 2, labels.shape), ObjectiveSettings(), rng)
        learn, val = np.arange(cases), np.arange(cases, len(pixels))
        training = TrainingSettings(epochs=options.epochs, batch_size=model.batch_size)
        alone, together = [], {count: [] for count in options.members}
        for _ in range(options.repeats):
            clock = EpochClock()
            train(model.student, training, targets, images, learn, val, labels[val], FINDINGS, seed=0, progress=clock)
            alone.append(cases / clock.epoch_s)
            for count in options.members:
                members = [Member(training, targets, learn, seed) for seed in range(count)]
                clock = EpochClock()
                train_stacked(
                    model.student, members, images, val, labels[val], FINDINGS, clock, recorded=options.recorded
                )
                together[count].append(count * cases / clock.epoch_s)
        print(f"{model.name}, batch {model.batch_size}: alone {statistics.median(alone):,.0f} images/s")
        for count, rates in together.items():
            ratio = statistics.median(rate / base for rate, base in zip(rates, alone, strict=True))
            print(
                f"  {count:3} together: {statistics.median(rates):,.0f} images/s, {ratio:.2f} times one after another"
            )


if __name__ == "__main__":
    main()
