"""Bias-corrected and accelerated bootstrap intervals, for statistics whose replicates lean to one side.

Beside :func:`mmpkd.compare.intervals.percentile_interval`, over the same draws. The acceleration comes from leaving
out one patient (or seed) at a time, which is one more set of counts to the vectorised statistics.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, UInt8
from scipy.stats import norm

from mmpkd.compare.intervals import MIN_DEFINED_SHARE, Interval
from mmpkd.errors import InputError


def jackknife_counts(units: int) -> UInt8[np.ndarray, "units units_and_sample"]:
    """Return counts that leave out one unit (patient or seed) at a time, all others once.

    Shaped as :func:`mmpkd.compare.resample.draw_counts` and read by the same statistics: (units, 1 + units), column 0
    all ones. That is ``units`` squared bytes: 100 MB for 10,000 patients.
    """
    if units < 2:
        raise InputError(f"leaving one out needs at least two units, not {units}.")
    counts = np.ones((units, 1 + units), dtype=np.uint8)
    counts[np.arange(units), np.arange(units) + 1] = 0
    return counts


def bca_interval(
    draws: Float[np.ndarray, " draws"], *left_out: Float[np.ndarray, " _"], level: float = 0.95
) -> Interval:
    r"""Return the estimate (column 0) and its BCa interval.

    .. math:: \alpha_\pm = \Phi\Big(z_0 + \frac{z_0 \pm z}{1 - a (z_0 \pm z)}\Big), \qquad
              z_0 = \Phi^{-1}\big(P[\theta^* < \hat\theta] + \tfrac12 P[\theta^* = \hat\theta]\big)

    .. math:: a = \frac16 \frac{\sum_l \sum_i U_{li}^3 / n_l^3}{(\sum_l \sum_i U_{li}^2 / n_l^2)^{3/2}}, \qquad
              U_{li} = (n_l - 1)(\bar\theta_{l(\cdot)} - \theta_{l(i)})

    the quantiles of the replicates :math:`\theta^*` at :math:`\alpha_\pm` being the limits. NaN where the estimate
    is undefined, where more than a tenth of the replicates are, or where all of them lie on one side of it.

    Args:
        draws: (1 + replicates,), the sample's value first.
        left_out: For each level that was resampled (patients; seeds over patients), the statistic without each of its
            units: all but the first column of the statistic under :func:`jackknife_counts`.
        level: Coverage aimed at.

    Source: Efron 1987, JASA 82:171; several levels as several samples, Efron and Tibshirani 1993, chapters 14 and 8.
    """
    if not 0 < level < 1:
        raise InputError(f"an interval's level is between 0 and 1, not {level:g}; 0.95 is usual.")
    if not left_out:
        raise InputError("a BCa interval needs the statistic without each patient; see `jackknife_counts`.")
    estimate, replicates = float(draws[0]), draws[1:]
    defined = replicates[~np.isnan(replicates)]
    undefined = Interval(estimate, float("nan"), float("nan"))
    if np.isnan(estimate) or len(defined) < max(1, MIN_DEFINED_SHARE * len(replicates)):
        return undefined
    below = (np.count_nonzero(defined < estimate) + 0.5 * np.count_nonzero(defined == estimate)) / len(defined)
    if not 0 < below < 1:
        return undefined
    bias = norm.ppf(below)
    shifted = bias + norm.ppf([(1 - level) / 2, (1 + level) / 2])
    acceleration = _acceleration(left_out)
    if np.isnan(acceleration) or np.any(acceleration * shifted >= 1):
        return undefined
    low, high = np.quantile(defined, norm.cdf(bias + shifted / (1 - acceleration * shifted)))
    return Interval(estimate, float(low), float(high))


def _acceleration(left_out: tuple[np.ndarray, ...]) -> float:
    cubes = squares = 0.0
    for level in left_out:
        values = level[~np.isnan(level)]
        if len(values) < max(2, MIN_DEFINED_SHARE * len(level)):
            return float("nan")
        u = (len(level) - 1) * (values.mean() - values)
        cubes += float((u**3).sum()) / len(level) ** 3
        squares += float((u**2).sum()) / len(level) ** 2
    return cubes / (6 * squares**1.5) if squares > 0 else 0.0
