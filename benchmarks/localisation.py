"""Speed of all localisation metrics and policies beside a plain loop over maps, in one process and on one thread.

    python benchmarks/localisation.py [--maps 10000] [--side 64] [--looped 200]

The loop is what one writes first: scikit-learn for AUROC and average precision, NumPy for the rest, one map at a
time. It scores only the first ``--looped`` maps; its time for all is that time scaled up, and the table says so. The
largest difference between the two is printed. Maps are noise around a bump, so that hardly any two pixels tie, which
is the slow case; ROIs are boxes. Times are process CPU time, so other work on the machine disturbs them little.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

from mmpkd.evaluate.localisation import localisation_scores
from mmpkd.evaluate.tuning import DEFAULT_GRID, tune_top_area

POLICIES = ("top-area=0.1", "matched-area", "otsu", "max-fraction=0.5")


def main() -> None:
    """Time both ways and print one table."""
    parser = argparse.ArgumentParser(description="All localisation metrics against a loop over maps.")
    parser.add_argument("--maps", type=int, default=10_000)
    parser.add_argument("--side", type=int, default=64)
    parser.add_argument("--looped", type=int, default=200, help="maps that the loop really scores")
    given = parser.parse_args()
    maps, masks = make_maps(given.maps, given.side)

    start = time.process_time()
    scores = localisation_scores(maps, masks, POLICIES)
    ours = time.process_time() - start
    start = time.process_time()
    tune_top_area(maps, masks)
    tuning = time.process_time() - start

    looped = min(given.looped, given.maps)
    start = time.process_time()
    plain = [score_plainly(heat, mask) for heat, mask in zip(maps[:looped], masks[:looped], strict=True)]
    loop = (time.process_time() - start) * given.maps / looped
    worst = max(np.abs(scores[key][:looped] - [one[key] for one in plain]).max() for key in plain[0])

    size = f"{given.side} x {given.side}"
    print(f"{given.maps} maps of {size}, {len(scores)} scores each ({', '.join(POLICIES)}), one thread, CPU time")
    print(f"  mmpkd                                      {ours:9.2f} s")
    print(f"  loop over scikit-learn and NumPy           {loop:9.2f} s  (scaled from {looped} maps)")
    print(f"  ratio                                      {loop / ours:9.1f} x")
    print(f"  largest difference                         {worst:9.1e}")
    print(f"  tuning the top area over {len(DEFAULT_GRID):2d} shares         {tuning:9.2f} s")


def make_maps(count: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Return single-precision maps, noise around a bump near the ROI, and box masks."""
    rng = np.random.default_rng(0)
    maps = rng.random((count, side, side), dtype=np.float32)
    masks = np.zeros((count, side, side), bool)
    axis = 6 * np.arange(side) / side
    for index in range(count):
        height, width = rng.integers(side // 16, side // 3, 2)
        top, left = rng.integers(0, side - height), rng.integers(0, side - width)
        masks[index, top : top + height, left : left + width] = True
        row, column = 6 * (np.array([top + height / 2, left + width / 2]) / side + rng.normal(0, 1 / 8, 2))
        maps[index] += np.outer(np.exp(-((axis - row) ** 2)), np.exp(-((axis - column) ** 2)))
    return maps, masks


def score_plainly(heat: np.ndarray, mask: np.ndarray) -> dict[tuple[str, str], float]:
    """Score one map as a loop would, for maps without ties."""
    a, inside = heat.ravel().astype(float), mask.ravel()
    falling = np.sort(a)[::-1]
    roi, pixels = int(inside.sum()), len(a)
    thresholds = {
        "matched-area": falling[roi - 1],
        "otsu": _otsu(falling),
        "max-fraction=0.5": 0.5 * falling[0],
    }
    scores: dict[tuple[str, str], float] = {}
    for policy, threshold in thresholds.items():
        attended = a >= threshold
        hit, area = int((attended & inside).sum()), int(attended.sum())
        scores[policy, "iou"] = hit / (area + roi - hit)
        scores[policy, "precision"] = hit / area
        scores[policy, "recall"] = hit / roi
        scores[policy, "fdr"] = 1 - hit / area
        scores[policy, "fpr"] = (area - hit) / (pixels - roi)
        scores[policy, "attended_area"] = area / pixels
    scores["", "pointing"] = float(inside[a.argmax()])
    scores["", "energy_enrichment"] = a[inside].sum() / a.sum() / (roi / pixels)
    scores["", "rank_accuracy"] = scores["matched-area", "precision"]
    scores["", "pixel_auroc"] = roc_auc_score(inside, a)
    scores["", "pixel_auprc"] = average_precision_score(inside, a)
    noise = np.sqrt(a[inside].var() + a[~inside].var())
    scores["", "cnr"] = (a[inside].mean() - a[~inside].mean()) / noise
    return scores


def _otsu(falling: np.ndarray) -> float:
    above = np.arange(1, len(falling))
    high, low = np.cumsum(falling)[:-1] / above, np.cumsum(falling[::-1])[-2::-1] / (len(falling) - above)
    return float(falling[np.argmax(above * (len(falling) - above) * (high - low) ** 2)])


if __name__ == "__main__":
    main()
