"""What a study could have seen: smallest detectable difference, power, and how much more data it would take.

All from one standard error by normal theory, whatever the statistic: DeLong's, a bootstrap's, or a planned one.
Never from the estimate found: power at the observed difference only says p again (Hoenig and Heisey 2001).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from mmpkd.compare.intervals import MIN_DEFINED_SHARE, Interval
from mmpkd.errors import InputError


def smallest_detectable_difference(standard_error: float, power: float = 0.8, alpha: float = 0.05) -> float:
    r"""Return the true difference that a two-sided test at ``alpha`` finds with chance ``power``.

    .. math:: \Delta = (z_{1 - \alpha / 2} + z_{power}) \, SE

    which is 2.80 SE by default. The chance of finding it with the wrong sign is left out (1e-7 there). NaN where
    the standard error is 0 or NaN: a study in which nothing varied has not shown that it could see anything.

    >>> round(smallest_detectable_difference(0.01), 5)
    0.02802
    """
    _check(standard_error, alpha)
    if not alpha < power < 1:
        raise InputError(f"power is above alpha ({alpha:g}) and below 1, not {power:g}; 0.8 is usual.")
    if not standard_error > 0:
        return float("nan")
    return float(norm.ppf(1 - alpha / 2) + norm.ppf(power)) * standard_error


def detectable_by_interval(interval: Interval, level: float = 0.95, power: float = 0.8) -> float:
    r"""Return the smallest detectable difference of a study that gave this interval.

    .. math:: \Delta = \frac{z_{(1 + level) / 2} + z_{power}}{z_{(1 + level) / 2}} \, \frac{high - low}{2}

    The interval's half-width stands for z SE, so that one made with few degrees of freedom is taken as wide as it is.
    """
    quantile = float(norm.ppf((1 + level) / 2))
    half = (interval.high - interval.low) / 2
    return smallest_detectable_difference(half / quantile, power, 1 - level)


def power_of_difference(difference: float, standard_error: float, alpha: float = 0.05) -> float:
    r"""Return the chance that a two-sided test at ``alpha`` rejects when the true difference is this.

    .. math:: \Phi(|\Delta| / SE - z) + \Phi(-|\Delta| / SE - z), \quad z = z_{1 - \alpha / 2}
    """
    _check(standard_error, alpha)
    if not standard_error > 0:
        return float("nan")
    z, shift = norm.ppf(1 - alpha / 2), abs(difference) / standard_error
    return float(norm.cdf(shift - z) + norm.cdf(-shift - z))


def power_of_equivalence(margin: float, standard_error: float, difference: float = 0.0, alpha: float = 0.05) -> float:
    r"""Return the chance that two one-sided tests at ``alpha`` call a true difference equivalent within ±margin.

    .. math:: \Phi((\delta - \Delta) / SE - z) + \Phi((\delta + \Delta) / SE - z) - 1, \quad z = z_{1 - \alpha}

    or 0 where that is negative: the standard error is then too large for the margin, whatever the data say.
    """
    _check(standard_error, alpha)
    if not standard_error > 0:
        return float("nan")
    z = norm.ppf(1 - alpha)
    upper, lower = ((margin + sign * difference) / standard_error - z for sign in (-1, 1))
    return max(0.0, float(norm.cdf(upper) + norm.cdf(lower) - 1))


def sample_size_multiplier(difference: float, standard_error: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return how many times as many units (patients, or seeds and patients) it takes to detect a difference.

    ``(smallest detectable difference / difference)^2``, as the standard error shrinks with the root of their number.
    Below 1 the study was more than large enough. More patients alone do not shrink what varies between seeds.
    """
    if difference == 0:
        raise InputError("no number of patients detects a difference of 0; give the smallest one that matters.")
    return (smallest_detectable_difference(standard_error, power, alpha) / difference) ** 2


def standard_error_of_draws(draws: Float[np.ndarray, " draws"]) -> float:
    """Return the standard deviation of bootstrap replicates (column 0, the sample itself, left out).

    NaN with fewer than two replicates or where more than a tenth are undefined, as for intervals.
    """
    defined = draws[1:][~np.isnan(draws[1:])]
    if len(defined) < max(2, MIN_DEFINED_SHARE * (len(draws) - 1)):
        return float("nan")
    return float(np.std(defined, ddof=1))


def planned_auroc_error(auroc: float, positives: int, negatives: int) -> float:
    r"""Return the standard error that an AUROC will have, before there are data.

    .. math:: SE^2 = \frac{A (1 - A) + (m - 1)(Q_1 - A^2) + (n - 1)(Q_2 - A^2)}{m n},
              \quad Q_1 = \frac{A}{2 - A}, \quad Q_2 = \frac{2 A^2}{1 + A}

    for m positives and n negatives of different patients, with exponential scores; near enough for other scores to
    plan by.

    Source: Hanley and McNeil 1982, Radiology 143:29, equation 1.
    """
    if not 0 < auroc < 1 or positives < 1 or negatives < 1:
        raise InputError(
            f"planning needs an AUROC between 0 and 1 and cases of both kinds, not {auroc:g} with {positives} and "
            f"{negatives}."
        )
    beats_two, beaten_twice = auroc / (2 - auroc), 2 * auroc**2 / (1 + auroc)
    variance = auroc * (1 - auroc) + (positives - 1) * (beats_two - auroc**2)
    variance += (negatives - 1) * (beaten_twice - auroc**2)
    return float(np.sqrt(variance / (positives * negatives)))


def planned_difference_error(first: float, second: float, correlation: float) -> float:
    r"""Return the standard error of a paired difference: :math:`\sqrt{a^2 + b^2 - 2 r a b}` of the two errors.

    r of two students' AUROCs on the same cases is often 0.5 or more; pairing is what makes small differences visible.
    """
    if min(first, second) < 0 or not -1 <= correlation <= 1:
        raise InputError(
            "standard errors are not negative and a correlation is within ±1, "
            f"not {first:g}, {second:g} and {correlation:g}."
        )
    return float(np.sqrt(first**2 + second**2 - 2 * correlation * first * second))


def _check(standard_error: float, alpha: float) -> None:
    if standard_error < 0:
        raise InputError(f"a standard error is not negative as {standard_error:g} is.")
    if not 0 < alpha < 1:
        raise InputError(f"alpha is between 0 and 1, not {alpha:g}; 0.05 is usual.")
