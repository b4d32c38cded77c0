"""Speed of the exact bootstrap of AUROC beside a loop over scikit-learn, in one process and on one thread.

    python benchmarks/bootstrap.py [--cases 10000] [--findings 14] [--replicates 2000] [--looped 20]

The loop scores the same draws (the counts are its case weights), but only the first ``--looped`` of them; its
time for all is that time scaled up, and the table says so. The largest difference between the two is printed.
Times are process CPU time, so other work on the machine disturbs them little.
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from mmpkd.compare.resample import discrimination_draws, draw_counts


def main() -> None:
    """Time both ways and print one table."""
    parser = argparse.ArgumentParser(description="Exact AUROC bootstrap against a loop over scikit-learn.")
    parser.add_argument("--cases", type=int, default=10_000)
    parser.add_argument("--findings", type=int, default=14)
    parser.add_argument("--replicates", type=int, default=2_000)
    parser.add_argument("--looped", type=int, default=20, help="replicates that the loop really scores")
    parser.add_argument("--prevalence", type=float, default=0.15)
    given = parser.parse_args()

    rng = np.random.default_rng(0)
    labels = rng.random((given.cases, given.findings)) < given.prevalence
    scores = labels + rng.normal(size=labels.shape)
    patients = np.arange(given.cases)

    start = time.process_time()
    counts = draw_counts(given.cases, given.replicates, rng)
    drawing = time.process_time() - start

    start = time.process_time()
    draws, _ = discrimination_draws(scores, labels, patients, counts)
    ours = time.process_time() - start

    looped = np.empty((given.findings, given.looped))
    start = time.process_time()
    for finding in range(given.findings):
        for draw in range(given.looped):
            weights = counts[:, 1 + draw]
            looped[finding, draw] = roc_auc_score(labels[:, finding], scores[:, finding], sample_weight=weights)
    loop = (time.process_time() - start) * given.replicates / given.looped
    worst = np.abs(looped - draws[:, 1 : 1 + given.looped]).max()

    print(f"{given.replicates} replicates x {given.findings} findings x {given.cases} cases, one thread, CPU time")
    print(f"  drawing patients (once a study)            {drawing:9.2f} s")
    print(f"  mmpkd, AUROC and average precision         {ours:9.2f} s")
    print(f"  scikit-learn loop, AUROC only              {loop:9.2f} s  (scaled from {given.looped} replicates)")
    print(f"  ratio                                      {loop / ours:9.0f} x")
    print(f"  largest difference over {given.looped:4d} replicates    {worst:9.1e}")


if __name__ == "__main__":
    main()
