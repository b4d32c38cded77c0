"""Few seeds over the same patients: an interval whose seed part is neither shrunk nor taken for known.

Redrawing S seeds with replacement understates their variance by (S - 1) / S, and a percentile interval then treats it
as known, where it rests on S - 1 degrees of freedom. With 3 to 5 seeds and a statistic that varies between seeds as
maps do, that leaves the hierarchical bootstrap too narrow; here is the remedy, from the same draws of patients
or from DeLong's covariance.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import chi2, t

from mmpkd.compare.intervals import MIN_DEFINED_SHARE, Interval
from mmpkd.errors import InputError

SEEDS_BOUND = 2 / 3
"""Confidence of the upper bound of the seeds' variance that degrees of freedom are taken from."""


class Crossed(NamedTuple):
    """A mean over seeds with its standard error over other patients and other seeds; NaN where undefined.

    ``df`` are its effective degrees of freedom: what :func:`mmpkd.compare.equivalence.tost` takes.
    """

    estimate: float
    standard_error: float
    df: float

    def interval(self, level: float = 0.95) -> Interval:
        """Return the estimate with ``estimate ± t SE``."""
        if not 0 < level < 1:
            raise InputError(f"an interval's level is between 0 and 1, not {level:g}; 0.95 is usual.")
        width = float(t.ppf((1 + level) / 2, self.df)) * self.standard_error
        return Interval(self.estimate, self.estimate - width, self.estimate + width)

    def p(self, null: float = 0.0) -> float:
        """Return the two-sided p-value against ``null``; NaN where nothing varied."""
        if not self.standard_error > 0:
            return float("nan")
        return float(2 * t.sf(abs(self.estimate - null) / self.standard_error, self.df))


def seeds_by_patients(draws: Float[np.ndarray, "seeds draws"], patients: int) -> Crossed:
    """Return the mean over seeds, its standard error and degrees of freedom, from bootstrap draws of the patients.

    Args:
        draws: One statistic of each seed under shared draws of patients (:mod:`mmpkd.compare.resample`), the sample
            first: an arm's, or the difference of two arms trained from the same seeds. Draws undefined in any seed
            are left out, up to a tenth; with more of them the standard error is NaN.
        patients: How many patients were redrawn.

    Source: see :func:`combine_seeds`; the covariance is the draws', times n / (n - 1) for n patients.
    """
    return combine_seeds(draws[:, 0], covariance_over_patients(draws, patients), patients)


def covariance_over_patients(draws: Float[np.ndarray, "rows draws"], patients: int) -> Float[np.ndarray, "rows rows"]:
    """Return how statistics vary together over other patients, from :func:`seeds_by_patients`'s kind of draws.

    NaN where more than a tenth of the draws is undefined in some row.
    """
    replicates = draws[:, 1:]
    defined = replicates[:, ~np.isnan(replicates).any(axis=0)]
    if defined.shape[1] < max(2, MIN_DEFINED_SHARE * replicates.shape[1]):
        return np.full((len(draws), len(draws)), np.nan)
    return np.atleast_2d(np.cov(defined)) * patients / max(patients - 1, 1)


def combine_seeds(
    values: Float[np.ndarray, " seeds"], covariance: Float[np.ndarray, "seeds seeds"], patients: int
) -> Crossed:
    r"""Return the mean over seeds, its standard error and degrees of freedom, seeds and patients both random.

    .. math:: SE^2 = \frac{s^2}{S} + \max(c, 0), \qquad
              df = \frac{(u^2 / S + \max(c, 0))^2}{(u^2 / S)^2 / (S - 1) + \max(c, 0)^2 / (n - 1)}, \qquad
              u^2 = s^2 \frac{S - 1}{\chi^2_{S - 1}(1 - \beta)}

    with :math:`s^2` the variance between the seeds' values on the sample, and c the mean covariance of two different
    seeds over patients: what patients give to all seeds alike. What a seed makes of a patient is in :math:`s^2`
    already and not counted twice. :math:`u^2` is its upper bound of confidence :math:`\beta = 2/3`
    (:data:`SEEDS_BOUND`): with :math:`s^2` itself, three seeds that agree by chance would claim the patients' many
    degrees of freedom just where the error is too small, and 95% intervals cover 92% (``benchmarks/calibration.py``).

    Args:
        values: One statistic of each seed: an arm's, or the difference of two arms trained from the same seeds.
        covariance: Over patients, as AUROCs have from :func:`mmpkd.compare.structural.auroc_covariance` (for a
            difference of arms, L C L' with L = [I, -I]).
        patients: Number of patients n behind it.

    Returns:
        With one seed the standard error over patients alone, for this student and no other.

    Source: Hillis 2007, Statistics in Medicine 26:596 (after Obuchowski and Rockette 1995), one treatment, readers
    being seeds. In df the term of n (Satterthwaite), for few patients, and :math:`u^2`, for few seeds, are ours.
    """
    seeds = len(values)
    if patients < 2 or seeds < 1:
        raise InputError(f"an interval needs at least two patients and one seed, not {patients} and {seeds}.")
    estimate = float(values.mean())
    if np.isnan(estimate) or np.isnan(covariance).any():
        return Crossed(estimate, float("nan"), float("nan"))
    if seeds == 1:
        return Crossed(estimate, float(np.sqrt(covariance[0, 0])), float(patients - 1))
    shared = max(0.0, float((covariance.sum() - np.trace(covariance)) / (seeds * (seeds - 1))))
    own = float(values.var(ddof=1)) / seeds
    bound = own * _bound_over_variance(seeds - 1)
    uncertain = bound**2 / (seeds - 1) + shared**2 / (patients - 1)
    df = (bound + shared) ** 2 / uncertain if uncertain > 0 else float("nan")
    return Crossed(estimate, float(np.sqrt(own + shared)), df)


@cache
def _bound_over_variance(df: int) -> float:
    return df / float(chi2.ppf(1 - SEEDS_BOUND, df))
