"""Two one-sided tests: is a difference so small that it counts as none, by a margin named before the run?

"No significant difference" is no evidence of equality; an interval inside the margin is.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import norm, t

from mmpkd.compare.intervals import MIN_DEFINED_SHARE, Interval
from mmpkd.errors import InputError


class Equivalence(NamedTuple):
    """The outcome of two one-sided tests against ±``margin``.

    ``p`` is the larger of the two one-sided p-values; ``equivalent`` where it is at most alpha, which is where
    ``interval``, of level 1 - 2 alpha, lies inside the margin. NaN and False where undefined.
    """

    margin: float
    p: float
    interval: Interval
    equivalent: bool


def tost(estimate: float, standard_error: float, margin: float, alpha: float = 0.05, df: float = np.inf) -> Equivalence:
    r"""Test from an estimate and its standard error, by the normal distribution or by t.

    .. math:: p = \max(P[T \ge (d + \delta) / SE], P[T \le (d - \delta) / SE])

    Args:
        estimate: Difference d.
        standard_error: SE of the difference.
        margin: Largest difference :math:`\delta` that counts as none, in the difference's own unit.
        alpha: Chance of calling two unlike things equivalent, at the margin itself.
        df: Degrees of freedom; infinity for the normal distribution.

    Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657.
    """
    _check(margin, alpha)
    if standard_error < 0 or df <= 0:
        raise InputError(f"a standard error is not {standard_error:g} nor are degrees of freedom {df:g}.")
    known = norm if np.isinf(df) else t(df)
    if not standard_error > 0:  # nothing varies (AUROC of 1, identical arms): that is no evidence
        return Equivalence(margin, float("nan"), Interval(estimate, float("nan"), float("nan")), False)
    p = max(
        float(known.sf((estimate + margin) / standard_error)), float(known.cdf((estimate - margin) / standard_error))
    )
    width = float(known.ppf(1 - alpha)) * standard_error
    return Equivalence(margin, p, Interval(estimate, estimate - width, estimate + width), p <= alpha)


def equivalence_of_interval(interval: Interval, margin: float) -> bool:
    """Say whether a whole interval lies strictly inside ±``margin``; False where it is undefined.

    At level 1 - 2 alpha (0.90 for alpha = 0.05) that is the two one-sided tests at alpha; at 0.95 it is stricter.
    """
    _check(margin)
    return bool(-margin < interval.low and interval.high < margin)


def equivalence_of_draws(draws: Float[np.ndarray, " draws"], margin: float, alpha: float = 0.05) -> Equivalence:
    """Test from bootstrap replicates of a difference: the percentile interval at level 1 - 2 alpha.

    The one-sided p-values are the shares of replicates beyond either end of the margin, as (b + 1) / (m + 1), so
    that finitely many replicates never prove p = 0. Undefined replicates are treated as by
    :func:`mmpkd.compare.intervals.percentile_interval`.

    Args:
        draws: (1 + replicates,), the sample's value first.
        margin: As for :func:`tost`.
        alpha: As for :func:`tost`.
    """
    _check(margin, alpha)
    estimate, replicates = float(draws[0]), draws[1:]
    defined = np.sort(replicates[~np.isnan(replicates)])
    if np.isnan(estimate) or len(defined) < max(1, MIN_DEFINED_SHARE * len(replicates)):
        return Equivalence(margin, float("nan"), Interval(estimate, float("nan"), float("nan")), False)
    beyond = max(np.count_nonzero(defined <= -margin), np.count_nonzero(defined >= margin))
    p = float((beyond + 1) / (len(defined) + 1))
    low, high = np.quantile(defined, [alpha, 1 - alpha])
    return Equivalence(margin, p, Interval(estimate, float(low), float(high)), p <= alpha)


def _check(margin: float, alpha: float = 0.05) -> None:
    if not 0 < margin < np.inf:
        raise InputError(f"a margin of equivalence is a number above 0, not {margin:g}; name it before the run.")
    if not 0 < alpha < 0.5:
        raise InputError(f"alpha of two one-sided tests is between 0 and 0.5, not {alpha:g}; 0.05 is usual.")
