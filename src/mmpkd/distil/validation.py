"""The number that chooses the best epoch: macro AUROC on validation cases, and nothing finer.

Scores with intervals belong to ``mmpkd.evaluate``; imports run leftwards, so the loop has this small one.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import rankdata


def macro_auroc(labels: Float[np.ndarray, "cases findings"], scores: Float[np.ndarray, "cases findings"]) -> float:
    """Return the mean over findings of the AUROC, ties counting half and missing labels left out.

    A finding with one class only has none and does not enter the mean; NaN when no finding has one.
    """
    columns = (_auroc(labels[:, finding], scores[:, finding]) for finding in range(labels.shape[1]))
    defined = [value for value in columns if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _auroc(labels: Float[np.ndarray, " cases"], scores: Float[np.ndarray, " cases"]) -> float:
    observed = ~np.isnan(labels)
    positive = labels[observed] == 1
    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return float("nan")
    ranks = rankdata(scores[observed])
    return float((ranks[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives))
