"""AUROCs of many columns with their covariance, from structural components: DeLong's, and Obuchowski's by patient.

A column is anything that scores the cases: a marker, an arm, a seed, a finding with labels of its own. What
follows from the covariance (intervals, differences, macro means) is in ``mmpkd.compare.delong``.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real, Shaped
from scipy.stats import rankdata

from mmpkd.errors import InputError
from mmpkd.evaluate.classification import check_labels


class Aurocs(NamedTuple):
    """AUROCs of several columns over the same patients, and how they vary together; NaN where undefined."""

    auroc: Float[np.ndarray, " columns"]
    covariance: Float[np.ndarray, "columns columns"]


def auroc_covariance(
    scores: Real[np.ndarray, "cases columns"],
    labels: Shaped[np.ndarray, "labels ..."],
    patients: Shaped[np.ndarray, " patients"] | None = None,
) -> Aurocs:
    r"""Return the AUROC of every column and their covariance matrix.

    With V10 of a positive the share of negatives that it beats (ties half), V01 of a negative the share of
    positives that beat it, and their sums over the m_i positives and n_i negatives of patient i,

    .. math:: x_i = (V10_i - m_i A) / M, \quad y_i = (V01_i - n_i A) / N

    .. math:: cov(A, B) = \frac{I_+}{I_+ - 1} \sum_i x_i x'_i + \frac{I_-}{I_- - 1} \sum_i y_i y'_i
                          + \frac{I}{I - 1} \sum_i (x_i y'_i + y_i x'_i)

    where :math:`I_+`, :math:`I_-` and :math:`I` count the patients with a positive, with a negative and with
    either. One case a patient makes the last sum vanish and leaves DeLong's estimator. Columns with labels of
    their own (findings) covary by all four sums with the factor I / (I - 1), I being all patients; the matrix
    has no negative eigenvalue either way. Mid-ranks give all components in O(n log n).

    Args:
        scores: Higher for positives; NaN only where the label is NaN.
        labels: (cases,) for all columns or (cases, columns): 1, 0 or NaN (case left out of the column).
        patients: Whom each case is of, any values; each case its own patient by default.

    Returns:
        AUROC and covariance; both NaN where a column has one class only, the covariance also where all its
        positives or all its negatives are of one patient.

    Raises:
        InputError: Shapes do not fit, labels are none, or a labelled case has no score.

    Source: DeLong et al. 1988, Biometrics 44:837; Sun and Xu 2014, IEEE SPL 21:1389 (ranks); Obuchowski 1997,
    Biometrics 53:567, equations 3 to 6 (patients). Different labels are our extension.
    """
    scores = np.asarray(scores, dtype=np.float64)
    labels = check_labels(labels)
    if scores.ndim != 2 or labels.shape not in (scores.shape, scores.shape[:1]):
        raise InputError(
            f"scores are {scores.shape} and labels {labels.shape}; give scores as (cases, columns), "
            "labels alike or as (cases,)."
        )
    cases, columns = scores.shape
    if patients is not None and np.shape(patients) != (cases,):
        raise InputError(f"patients are {np.shape(patients)} for {cases} cases; name one patient a case.")
    row = np.arange(cases) if patients is None else np.unique(patients, return_inverse=True)[1].reshape(-1)
    labels = labels if labels.ndim == 2 else np.broadcast_to(labels[:, None], scores.shape)
    if np.isnan(scores[~np.isnan(labels)]).any():
        raise InputError("a score is NaN where its case has a label; score the case or leave it out.")

    number = int(row.max(initial=-1)) + 1
    auroc = np.full(columns, np.nan)
    positive, negative = np.zeros((number, columns)), np.zeros((number, columns))
    groups = _same_labels(labels)
    for group in groups:
        auroc[group], positive[:, group], negative[:, group] = _components(scores[:, group], labels[:, group[0]], row)
    of_cases = np.bincount(row[~np.isnan(labels).all(axis=1)], minlength=number)
    either = positive + negative
    covariance = _correction(int((of_cases > 0).sum())) * (either.T @ either)
    for group in groups:
        covariance[np.ix_(group, group)] = _of_one_labelling(
            positive[:, group], negative[:, group], labels[:, group[0]], row
        )
    undefined = np.isnan(np.diag(covariance)) | np.isnan(auroc)
    covariance[undefined] = covariance[:, undefined] = np.nan
    return Aurocs(auroc, covariance)


def _same_labels(labels: np.ndarray) -> list[np.ndarray]:
    """Return the columns that share their labels, group by group."""
    coded = np.where(np.isnan(labels), 2, labels).astype(np.int8)
    groups: dict[bytes, list[int]] = {}
    for column in range(coded.shape[1]):
        groups.setdefault(coded[:, column].tobytes(), []).append(column)
    return [np.array(group) for group in groups.values()]


def _components(
    scores: np.ndarray, labels: np.ndarray, row: np.ndarray
) -> tuple[np.ndarray | float, np.ndarray | float, np.ndarray | float]:
    """Return AUROC, and x and y summed by patient, of columns that share their labels."""
    one, none = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    if not len(one) or not len(none):
        return np.nan, 0.0, 0.0
    overall = rankdata(scores[np.concatenate([one, none])], axis=0)
    above = (overall[: len(one)] - rankdata(scores[one], axis=0)) / len(none)
    below = 1 - (overall[len(one) :] - rankdata(scores[none], axis=0)) / len(one)
    auroc = above.mean(axis=0)
    x, y = (np.zeros((int(row.max()) + 1, scores.shape[1])) for _ in range(2))
    np.add.at(x, row[one], (above - auroc) / len(one))
    np.add.at(y, row[none], (below - auroc) / len(none))
    return auroc, x, y


def _of_one_labelling(x: np.ndarray, y: np.ndarray, labels: np.ndarray, row: np.ndarray) -> np.ndarray:
    of_one, of_none = (set(row[labels == value].tolist()) for value in (1, 0))
    cross = x.T @ y
    return (
        _correction(len(of_one)) * (x.T @ x)
        + _correction(len(of_none)) * (y.T @ y)
        + _correction(len(of_one | of_none)) * (cross + cross.T)
    )


def _correction(units: int) -> float:
    return units / (units - 1) if units > 1 else float("nan")
