"""How fast mmpkd trains, in ratios to loops that anyone could write, on this machine, in one run.

    python benchmarks/training.py [--model micro|tiny|all] [--repeats N] [--threads N]

It prints ratios of images a second (above 1: the first named is the faster):

- our loop, MMPKD objective, against a bare PyTorch loop on hard labels: same model, batch, precision,
  attention
- our loop with its own choice of precision, against a bare eager single-precision loop (fused attention)
- an epoch from a memory-mapped cache on disk, against the same loop on one synthetic batch that is never read
- the four ways to run the bare loop (precision x attention), which `mmpkd.distil.precision` chooses from

Repeats alternate, so that a slow minute of the machine meets all of them; the figures are medians of the
ratios within a repeat. On a CPU with one thread, process CPU time is measured, which other load on the
machine disturbs least.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.arms import mmpkd
from mmpkd.distil.loop import train
from mmpkd.distil.precision import Precision, choose_precision
from mmpkd.distil.settings import AugmentSettings, ObjectiveSettings, StudentSettings, TrainingSettings
from mmpkd.distil.student import build_student, explicit_attention
from mmpkd.progress import Progress

FINDINGS = [f"finding-{index}" for index in range(5)]
VALIDATION_CASES = 2


@dataclass(frozen=True)
class Model:
    """A student, a batch and an epoch to time."""

    name: str
    student: StudentSettings
    batch_size: int
    steps: int


MODELS = {
    "micro": Model(
        "micro (64 px, patch 8, width 96, depth 6)",
        StudentSettings(image_size_px=64, patch_px=8, width=96, depth=6, heads=3),
        batch_size=128,
        steps=24,
    ),
    "tiny": Model("ViT-Tiny 224", StudentSettings(), batch_size=32, steps=4),
}


class SyntheticBatch(ImageSet):
    """Never reads a pixel: every batch is whatever the buffer holds."""

    def batch(self, positions: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """Return ``out`` as it is."""
        return np.zeros((len(positions), *self.pixels.shape[1:]), np.uint8) if out is None else out


class EpochClock(Progress):
    """Notes when each epoch ends."""

    def __init__(self, clock: Callable[[], float]) -> None:
        super().__init__(quiet=True)
        self._clock = clock
        self.ends: list[float] = []

    @contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield ``advance``."""
        yield lambda count: self.ends.extend([self._clock()] * count)


def clock_for(device: torch.device, threads: int) -> Callable[[], float]:
    """Return process CPU time where it tells the truth, else wall time."""
    if device.type == "cpu":
        return time.process_time if threads == 1 else time.perf_counter

    def after_the_device() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return after_the_device


def time_ours(model: Model, images: ImageSet, labels: np.ndarray, precision: str, clock: Callable[[], float]) -> float:
    """Return seconds an epoch of mmpkd's loop under the MMPKD objective, the first epoch left out."""
    rng = np.random.default_rng(0)
    soft = rng.normal(0, 2, labels.shape)
    watch = EpochClock(clock)
    cases = np.arange(len(images))
    training = TrainingSettings(
        epochs=2,
        batch_size=model.batch_size,
        augment=AugmentSettings.off(),
        precision=precision,
        warmup_epochs=0,
    )
    train(
        model.student,
        training,
        mmpkd(labels, soft, ObjectiveSettings(), rng),
        images,
        cases[:-VALIDATION_CASES],
        cases[-VALIDATION_CASES:],
        labels[-VALIDATION_CASES:],
        FINDINGS,
        seed=0,
        progress=watch,
    )
    return watch.ends[1] - watch.ends[0]


def time_bare(
    model: Model,
    pixels: np.ndarray,
    labels: np.ndarray,
    how: Precision,
    device: torch.device,
    clock: Callable[[], float],
) -> float:
    """Return seconds an epoch of a loop as one writes it in a notebook: hard labels, data in memory."""
    torch.manual_seed(0)
    student = build_student(model.student, FINDINGS).to(device).train()
    optimizer = torch.optim.AdamW(student.parameters(), lr=1e-3, weight_decay=0.05, fused=True)
    images, targets = torch.from_numpy(pixels).to(device), torch.from_numpy(labels).float().to(device)
    seconds = 0.0
    with explicit_attention(student, how.explicit_attention):
        for _ in range(2):
            begin = clock()
            order = torch.randperm(model.batch_size * model.steps, device=device)
            for rows in order.split(model.batch_size):
                inputs = (images[rows].float() / 255 - 0.5) / 0.25
                with how.autocast(device):
                    logits = student(inputs)
                loss = torch.nn.functional.binary_cross_entropy_with_logits(logits, targets[rows])
                optimizer.zero_grad()
                loss.backward()
                torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
                optimizer.step()
            seconds = clock() - begin
    return seconds


def compare(runs: dict[str, Callable[[], float]], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of each run in each repeat, taking turns."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for repeat in range(repeats):
        order = list(runs.items())
        for name, run in order if repeat % 2 == 0 else reversed(order):
            seconds[name].append(run())
    return seconds


def ratio(seconds: dict[str, list[float]], slow: str, fast: str) -> float:
    """Return the median over repeats of the seconds of ``slow`` over those of ``fast``."""
    return statistics.median(a / b for a, b in zip(seconds[slow], seconds[fast], strict=True))


def bench(model: Model, repeats: int, threads: int, folder: Path) -> None:
    """Print the ratios of one model."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clock, images_an_epoch = clock_for(device, threads), model.batch_size * model.steps
    cases, size = images_an_epoch + VALIDATION_CASES, model.student.image_size_px
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (cases, len(FINDINGS))).astype(float)
    path = folder / f"{size}.npy"
    np.save(path, rng.integers(0, 256, (cases, 1, size, size), dtype=np.uint8))
    rows, sizes = np.arange(cases), np.full((cases, 2), size)
    cached = ImageSet(np.load(path, mmap_mode="r"), rows, sizes)
    synthetic = SyntheticBatch(np.zeros((1, 1, size, size), np.uint8), np.zeros(cases, int), sizes)
    pixels = np.load(path)
    chosen = choose_precision("auto", device)
    ways = {
        f"{name}, {'explicit' if explicit else 'fused'} attention": Precision(name, explicit)
        for name in ("fp32", "bf16")
        for explicit in (False, True)
    }

    def bare(model: Model, how: Precision) -> Callable[[], float]:
        return lambda: time_bare(model, pixels, labels, how, device, clock)

    def ours(images: ImageSet) -> Callable[[], float]:
        return lambda: time_ours(model, images, labels, "auto", clock)

    runs = {"cached": ours(cached), "synthetic": ours(synthetic), "bare": bare(model, chosen)}
    seconds = compare(runs, repeats)
    short = replace(model, steps=max(2, model.steps // 6))
    by_way = compare({name: bare(short, way) for name, way in ways.items()}, max(1, repeats // 2))
    fp32, named = "fp32, fused attention", next(name for name, way in ways.items() if way == chosen)
    same = ratio(seconds, "bare", "cached")

    def line(label: str, value: float, goal: str = "") -> None:
        print(f"  {label:<58} {value:6.2f}  {goal}".rstrip())

    print(f"{model.name}, batch {model.batch_size}, {device.type}, {threads} thread(s), chosen: {named}")
    print(f"  {'images a second':<58} {images_an_epoch / statistics.median(seconds['cached']):6.0f}")
    line("ours / bare loop, same precision and attention", same, "goal >= 0.98")
    line(
        "ours / bare loop, fp32, fused attention",
        same * ratio(by_way, fp32, named),
        "goal >= 1.8 with bf16 units",
    )
    line("epoch from the cache / one synthetic batch", ratio(seconds, "synthetic", "cached"), "goal >= 0.98")
    for name in ways:
        line(f"bare loop: {name} / {fp32}", ratio(by_way, fp32, name))


def main() -> None:
    """Read the arguments and print the tables."""
    parser = argparse.ArgumentParser(description="Training throughput, in ratios to bare loops.")
    parser.add_argument("--model", choices=[*MODELS, "all"], default="all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    chosen = MODELS.values() if arguments.model == "all" else [MODELS[arguments.model]]
    with tempfile.TemporaryDirectory() as folder:
        for model in chosen:
            bench(model, arguments.repeats, arguments.threads, Path(folder))


if __name__ == "__main__":
    main()
