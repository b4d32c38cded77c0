"""Intervals and tests of AUROCs from their covariance: one, two on the same cases, and macro means of findings.

Normal theory over ``mmpkd.compare.structural``. Where AUROC is 1 (or scores are constant) the variance is 0 and
says nothing: results are marked ``degenerate`` and have no interval; use the bootstrap
(``mmpkd.compare.resample``), which needs some misranked pair too, or more cases.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real, Shaped
from scipy.special import expit, logit
from scipy.stats import norm

from mmpkd.compare.intervals import Interval
from mmpkd.compare.structural import Aurocs, auroc_covariance
from mmpkd.errors import InputError

SCALES = ("plain", "logit")
_ROUNDING = 1e-14  # of the summed variances: what is left of an exact 0


class Contrast(NamedTuple):
    """A weighted sum of AUROCs, with its normal-theory test against ``null``.

    ``degenerate``: the standard error is 0 (AUROC of 1, constant scores, identical columns) or undefined, so that
    there is no interval. ``z`` and ``p`` are then 0 and 1 if the estimate is the null itself, else NaN.
    """

    estimate: float
    standard_error: float
    z: float
    p: float
    degenerate: bool

    def interval(self, level: float = 0.95, scale: str = "plain") -> Interval:
        """Return the estimate with ``estimate ± z SE``, or the same on the logit scale, which stays within 0 and 1.

        The logit scale is for an AUROC, not for a difference. Limits are NaN where the contrast is degenerate.
        """
        if not 0 < level < 1:
            raise InputError(f"an interval's level is between 0 and 1, not {level:g}; 0.95 is usual.")
        if scale not in SCALES:
            raise InputError(f"an interval's scale is 'plain' or 'logit', not {scale!r}.")
        if self.degenerate:
            return Interval(self.estimate, float("nan"), float("nan"))
        width = float(norm.ppf((1 + level) / 2)) * self.standard_error
        if scale == "plain":
            return Interval(self.estimate, self.estimate - width, self.estimate + width)
        if not 0 < self.estimate < 1:
            raise InputError(f"{self.estimate:g} has no logit; the logit scale is for one AUROC, not for a difference.")
        middle, width = float(logit(self.estimate)), width / (self.estimate * (1 - self.estimate))
        return Interval(self.estimate, float(expit(middle - width)), float(expit(middle + width)))


def contrast(aurocs: Aurocs, weights: Real[np.ndarray, " columns"], null: float = 0.0) -> Contrast:
    r"""Return the weighted sum of AUROCs with its standard error :math:`\sqrt{w' C w}` and two-sided test.

    Columns of weight 0 do not enter, defined or not.

    >>> two = Aurocs(np.array([0.8, 0.7]), np.array([[4e-4, 0], [0, 5e-4]]))
    >>> round(contrast(two, np.array([1, -1])).z, 3)
    3.333
    """
    weights = np.asarray(weights, dtype=np.float64)
    if weights.shape != aurocs.auroc.shape:
        raise InputError(f"{weights.size} weights were given for {aurocs.auroc.size} AUROCs; give one a column.")
    used = np.flatnonzero(weights)
    w, covariance = weights[used], aurocs.covariance[np.ix_(used, used)]
    estimate, variance = float(w @ aurocs.auroc[used]), float(w @ covariance @ w)
    if variance <= _ROUNDING * float(w**2 @ np.diag(covariance)):
        variance = 0.0
    error, gap = float(np.sqrt(variance)), estimate - null
    if error > 0:
        z = gap / error
        return Contrast(estimate, error, z, float(2 * norm.sf(abs(z))), False)
    same = abs(gap) <= _ROUNDING and error == 0
    return Contrast(estimate, error, 0.0 if same else float("nan"), 1.0 if same else float("nan"), True)


def delong(
    scores: Real[np.ndarray, " cases"],
    labels: Shaped[np.ndarray, " labels"],
    patients: Shaped[np.ndarray, " patients"] | None = None,
) -> Contrast:
    """Return one AUROC with its standard error and its test against 0.5.

    By DeLong, or by Obuchowski with several cases a patient (``patients``). NaN where one class is missing.

    Source: see :func:`mmpkd.compare.structural.auroc_covariance`.
    """
    return contrast(auroc_covariance(np.asarray(scores)[:, None], labels, patients), np.ones(1), null=0.5)


def delong_difference(
    first: Real[np.ndarray, " cases"],
    second: Real[np.ndarray, " second"],
    labels: Shaped[np.ndarray, " labels"],
    patients: Shaped[np.ndarray, " patients"] | None = None,
) -> Contrast:
    """Return the difference ``AUROC(first) - AUROC(second)`` of two scores of the same cases, and its test against 0.

    By DeLong, or by Obuchowski with several cases a patient (``patients``).
    """
    return contrast(auroc_covariance(_beside(first, second), labels, patients), np.array([1.0, -1.0]))


def macro_auroc(
    scores: Real[np.ndarray, "cases findings"],
    labels: Shaped[np.ndarray, "labels label_findings"],
    patients: Shaped[np.ndarray, " patients"] | None = None,
) -> Contrast:
    """Return the mean AUROC over the findings where it is defined, tested against 0.5.

    The covariance between findings counts: a patient hard to read for one is hard for others. A finding whose
    AUROC is defined but whose variance is not (one positive patient) makes the standard error NaN.
    """
    aurocs = auroc_covariance(scores, labels, patients)
    return contrast(aurocs, _mean_weights(~np.isnan(aurocs.auroc)), null=0.5)


def macro_difference(
    first: Real[np.ndarray, "cases findings"],
    second: Real[np.ndarray, "second_cases second_findings"],
    labels: Shaped[np.ndarray, "labels label_findings"],
    patients: Shaped[np.ndarray, " patients"] | None = None,
) -> Contrast:
    """Return the difference ``first - second`` of macro AUROCs over the same cases, and its test against 0.

    Findings without both classes enter neither side.
    """
    aurocs = auroc_covariance(_beside(first, second), np.concatenate([labels, labels], axis=1), patients)
    findings = len(aurocs.auroc) // 2
    weights = _mean_weights(~np.isnan(aurocs.auroc[:findings]))
    return contrast(aurocs, np.concatenate([weights, -weights]))


def _beside(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    if np.shape(first) != np.shape(second):
        raise InputError(f"the scores to compare are {np.shape(first)} and {np.shape(second)}; give the same cases.")
    sides = [np.asarray(side).reshape(len(side), -1) for side in (first, second)]
    return np.concatenate(sides, axis=1)


def _mean_weights(defined: Shaped[np.ndarray, " columns"]) -> Float[np.ndarray, " columns"]:
    return defined / defined.sum() if defined.any() else np.full(len(defined), np.nan)
