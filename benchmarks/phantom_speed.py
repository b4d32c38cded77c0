"""Speed of the phantom on one core: images with masks, reports and metadata, beside the same pixels of plain noise.

    python benchmarks/phantom_speed.py [--patients 500] [--size 64] [--rounds 3]

The plain baseline draws one normal number a pixel and rounds it to 8 bits: what any generator with pixel noise must
do at least. Times are process CPU time of one thread, the best of the rounds; the first round warms up.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before numpy is loaded, which reads it then
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np

from mmpkd.cohort.phantom import PhantomSettings, generate_chunks


def main() -> None:
    """Time the two kinds and the baseline, and print one table."""
    parser = argparse.ArgumentParser(description="Phantom images a second on one core.")
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()

    print(f"{'what':<42}{'images':>8}{'images/s':>12}")
    for kind in ("chest", "breast"):
        settings = PhantomSettings(kind=kind, patients=given.patients, size_px=given.size)
        images, seconds = best(lambda s=settings: sum(len(chunk) for chunk in generate_chunks(s)), given.rounds)
        print(f"{f'phantom, {kind}, with masks, text, metadata':<42}{images:>8}{images / seconds:>12.0f}")
    images, seconds = best(lambda: plain(2 * given.patients, given.size), given.rounds)
    print(f"{'plain noise, pixels only':<42}{images:>8}{images / seconds:>12.0f}")


def plain(images: int, size_px: int) -> int:
    """Draw images of rounded normal noise, a chunk at a time; return how many."""
    rng = np.random.default_rng(0)
    for _ in range(images):
        noise = rng.standard_normal((size_px, size_px), np.float32)
        np.clip(noise * 32.0 + 128.5, 0.0, 255.0).astype(np.uint8)
    return images


def best(run: Callable[[], int], rounds: int) -> tuple[int, float]:
    """Return what ``run`` returns and its least CPU time over the rounds after a warm-up."""
    done, times = run(), []
    for _ in range(rounds):
        start = time.process_time()
        done = run()
        times.append(time.process_time() - start)
    return done, min(times)


if __name__ == "__main__":
    main()
