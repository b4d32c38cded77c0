"""How well probabilities tell cases with a finding from cases without it, and whether they are calibrated.

AUROC, average precision, Brier score, calibration error: point estimates only; their intervals are in
``mmpkd.compare``. A metric that is undefined (no case, one class only) is NaN, never 0, and enters no mean.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int, Real, Shaped

from mmpkd.errors import InputError

METRICS = ("auroc", "average_precision", "brier", "calibration_error")
MACRO = "macro"
CALIBRATION_BINS = 10


def auroc(
    scores: Real[np.ndarray, " cases"],
    labels: Shaped[np.ndarray, " labels"],
    weights: Real[np.ndarray, " weights"] | None = None,
) -> float:
    """Area under the ROC curve: P(score of a positive > score of a negative) + half of P(equal).

    ``sum_ij w_i w_j [s_i > s_j] + .5 [s_i = s_j]`` over positives ``i`` and negatives ``j``, divided by
    ``sum_i w_i sum_j w_j`` (Hanley and McNeil 1982; the mid-rank form of Mann-Whitney).

    Args:
        scores: Any monotone score (probability or logit).
        labels: 1, 0 or NaN for missing (left out); as long as ``scores``.
        weights: Non-negative case weights, for example bootstrap counts; all 1 by default.

    Returns:
        A value in [0, 1], or NaN if either class has no weight.

    >>> round(auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([0, 0, 1, 1])), 3)
    0.875
    """
    positive, negative = _weight_by_score(*_observed(scores, labels, weights))
    total = positive.sum() * negative.sum()
    if not total > 0:
        return float("nan")
    below = np.cumsum(negative) - negative
    return float(positive @ (below + 0.5 * negative) / total)


def average_precision(
    scores: Real[np.ndarray, " cases"],
    labels: Shaped[np.ndarray, " labels"],
    weights: Real[np.ndarray, " weights"] | None = None,
) -> float:
    """Average precision: ``sum_k (recall_k - recall_(k-1)) precision_k`` over distinct scores, highest first.

    Steps, not trapezoids, which would be too kind (Davis and Goadrich 2006); tied cases enter together.
    Arguments as in :func:`auroc`. NaN if either class has no weight (with positives only, any score gives 1).
    """
    positive, negative = _weight_by_score(*_observed(scores, labels, weights))
    if not positive.sum() * negative.sum() > 0:
        return float("nan")
    positive, negative = positive[::-1], negative[::-1]
    true_positives = np.cumsum(positive)
    called = true_positives + np.cumsum(negative)
    precision = np.divide(true_positives, called, out=np.zeros_like(called), where=called > 0)
    return float(positive @ precision / true_positives[-1])


def brier(
    probabilities: Real[np.ndarray, " cases"],
    labels: Shaped[np.ndarray, " labels"],
    weights: Real[np.ndarray, " weights"] | None = None,
) -> float:
    """Brier score: the weighted mean of ``(p - y)^2`` over cases with a label; 0 is perfect.

    Defined with one class only; NaN if no case has weight.
    """
    p, y, w = _observed(probabilities, labels, weights)
    _require_probabilities(p)
    return float(w @ (p - y) ** 2 / w.sum()) if w.sum() > 0 else float("nan")


def calibration_error(
    probabilities: Real[np.ndarray, " cases"],
    labels: Shaped[np.ndarray, " labels"],
    bins: int = CALIBRATION_BINS,
) -> float:
    """Expected calibration error over equal-mass bins: ``sum_b (n_b / n) |mean p in b - mean y in b|``.

    Bins hold equal numbers of cases as far as ties allow (see :func:`calibration_bins`). The estimate is
    biased upwards in small samples, so it compares students on the same cases better than it describes one
    of them. NaN if no case has a label.
    """
    p, y, _ = _observed(probabilities, labels, None)
    _require_probabilities(p)
    if not len(p):
        return float("nan")
    gaps = np.bincount(calibration_bins(p, bins), weights=p - y)
    return float(np.abs(gaps).sum() / len(p))


def calibration_bins(
    probabilities: Real[np.ndarray, " cases"], bins: int = CALIBRATION_BINS
) -> Int[np.ndarray, " cases"]:
    """Return the equal-mass bin of each case: ``floor(bins x mid-rank / n)``, mid-ranks counted from 0 to n.

    Tied cases share a bin, so the result does not depend on the order of cases.
    """
    if bins < 1:
        raise InputError(f"calibration needs at least one bin, not {bins}.")
    _, inverse, counts = np.unique(probabilities, return_inverse=True, return_counts=True)
    middle = np.cumsum(counts) - 0.5 * counts
    return np.minimum(middle[inverse] * bins / max(len(inverse), 1), bins - 1).astype(np.int64)


def classification_scores(
    probabilities: Real[np.ndarray, "cases findings"],
    labels: Shaped[np.ndarray, "label_cases label_findings"],
    findings: Sequence[str],
) -> pd.DataFrame:
    """Score every finding and their mean.

    Args:
        probabilities: (cases, findings), in [0, 1].
        labels: (cases, findings), 1, 0 or NaN.
        findings: Names of the columns.

    Returns:
        One row a (finding, metric): ``finding``, ``metric``, ``value``, ``cases`` (labelled), ``positives``
        (with label 1) and ``findings`` (how many the value rests on: 0 where it is undefined). The rows
        of the finding ``macro`` hold the mean over the findings where the metric is defined.
    """
    if probabilities.shape != labels.shape or probabilities.shape[1] != len(findings):
        raise InputError(
            f"probabilities are {probabilities.shape}, labels {labels.shape} and findings {len(findings)}; "
            "give (cases, findings) twice and one name a column."
        )
    labels = np.asarray(labels, dtype=np.float64)
    observed = ~np.isnan(labels)
    rows = []
    for metric in METRICS:
        values = [_FUNCTIONS[metric](probabilities[:, k], labels[:, k]) for k in range(len(findings))]
        defined = ~np.isnan(values)
        for k, finding in enumerate(findings):
            seen = observed[:, k]
            counts = int(seen.sum()), int((labels[:, k] == 1).sum())
            rows.append((finding, metric, values[k], *counts, int(defined[k])))
        entering = labels[:, defined]
        mean = float(np.mean(np.asarray(values)[defined])) if defined.any() else float("nan")
        counts = int((~np.isnan(entering)).any(axis=1).sum()), int((entering == 1).any(axis=1).sum())
        rows.append((MACRO, metric, mean, *counts, int(defined.sum())))
    return pd.DataFrame(rows, columns=["finding", "metric", "value", "cases", "positives", "findings"])


_FUNCTIONS: dict[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "auroc": auroc,
    "average_precision": average_precision,
    "brier": brier,
    "calibration_error": calibration_error,
}


def check_labels(labels: Shaped[np.ndarray, " ..."]) -> Float[np.ndarray, " ..."]:
    """Return labels as float64, refusing anything but 1, 0 and NaN."""
    values = np.asarray(labels, dtype=np.float64)
    wrong = values[~(np.isnan(values) | (values == 0) | (values == 1))]
    if wrong.size:
        raise InputError(f"a label is {wrong[0]:g}; labels are 1, 0 or NaN for missing.")
    return values


def _observed(
    scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return scores, labels and weights of the cases with a label, checked."""
    if scores.ndim != 1 or scores.shape != labels.shape or (weights is not None and weights.shape != scores.shape):
        shapes = [scores.shape, labels.shape] + ([] if weights is None else [weights.shape])
        raise InputError(f"scores, labels and weights have the shapes {shapes}; give one value of each a case.")
    labels = check_labels(labels)
    keep = ~np.isnan(labels)
    scores = np.asarray(scores, dtype=np.float64)[keep]
    chosen = np.ones(len(scores)) if weights is None else np.asarray(weights, dtype=np.float64)[keep]
    if np.isnan(scores).any():
        raise InputError(f"{int(np.isnan(scores).sum())} of {len(scores)} scores are NaN; score or leave out the case.")
    if not (chosen >= 0).all():
        raise InputError("a case weight is negative or NaN; weights are counts or other non-negative numbers.")
    return scores, labels[keep], chosen


def _weight_by_score(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of positives and of negatives at each distinct score, lowest first."""
    values, inverse = np.unique(scores, return_inverse=True)
    positive = np.bincount(inverse, weights=weights * labels, minlength=len(values))
    negative = np.bincount(inverse, weights=weights * (1 - labels), minlength=len(values))
    return positive, negative


def _require_probabilities(p: np.ndarray) -> None:
    wrong = p[(p < 0) | (p > 1)]
    if wrong.size:
        raise InputError(f"a probability is {wrong[0]:g}; Brier score and calibration need values from 0 to 1.")
