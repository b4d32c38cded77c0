"""The patch head: is the image logit the stated pooling of its patch logits, and what does the map cost?

    python benchmarks/patch_head.py

For each rule the largest difference between the image logit and the stated pooling of the patch logits, and the
time of probability and map together over that of a plain forward pass, both in turns: medians of pairs, one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor

from mmpkd.distil.pooling import Pooling
from mmpkd.distil.settings import PoolName, StudentSettings
from mmpkd.distil.student import Student, build_student

BATCH, TURNS, FINDINGS = 16, 40, 14


def main() -> None:
    """Print one row a rule."""
    torch.set_num_threads(1)
    images = torch.randn(BATCH, 1, 224, 224, generator=torch.Generator().manual_seed(0))
    print("ViT-Tiny, 224 px, batches of 16, 14 findings\n")
    print("| rule | largest difference of a logit | probability and map, over a plain forward pass |\n|---|---|---|")
    for rule in get_args(PoolName):
        settings = StudentSettings(head="patch", patch_pooling=rule)
        student = build_student(settings, [str(finding) for finding in range(FINDINGS)]).eval()
        with torch.inference_mode():
            patch_logits = student.head.patch_logits(student.tokens(images))
            difference = (student(images) - Pooling.of(settings).image(patch_logits)).abs().max().item()
            ratio = _ratio(lambda model=student: model(images).sigmoid(), lambda model=student: _both(model, images))
        print(f"| {rule} | {difference:.1e} | {ratio:.3f} |")


def _both(student: Student, images: Tensor) -> tuple[Tensor, Tensor]:
    patch_logits = student.head.patch_logits(student.tokens(images))
    probabilities = Pooling.of(student.settings).image(patch_logits).sigmoid()
    return probabilities, patch_logits.sigmoid().mT.unflatten(-1, student.grid)


def _ratio(plain: Callable[[], object], both: Callable[[], object]) -> float:
    ratios = []
    for turn in range(TURNS):
        order = (plain, both) if turn % 2 else (both, plain)
        seconds = {}
        for work in order:
            begin = time.perf_counter()
            work()
            seconds[work] = time.perf_counter() - begin
        ratios.append(seconds[both] / seconds[plain])
    return statistics.median(ratios[2:])


if __name__ == "__main__":
    main()
