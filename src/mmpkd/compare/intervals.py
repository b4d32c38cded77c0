"""From draws to an estimate with its interval: percentiles, seeds over patients, mean over findings.

In every array column 0 is the sample itself, the others are replicates (``mmpkd.compare.resample``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from mmpkd.errors import InputError

MIN_DEFINED_SHARE = 0.9


class Interval(NamedTuple):
    """An estimate and the limits of its interval; NaN where undefined."""

    estimate: float
    low: float
    high: float


def percentile_interval(draws: Float[np.ndarray, " draws"], level: float = 0.95) -> Interval:
    """Return the estimate (column 0) and the percentile bootstrap interval over the other columns.

    Replicates in which the statistic is undefined are left out; when they are more than a tenth, the data
    hold too few cases of one kind for an interval (two patients with the finding, say) and it is NaN.

    Args:
        draws: (1 + replicates,).
        level: Coverage aimed at, as 0.95.

    Source: Efron and Tibshirani 1993, chapter 13.
    """
    if not 0 < level < 1:
        raise InputError(f"an interval's level is between 0 and 1, not {level:g}; 0.95 is usual.")
    estimate, replicates = float(draws[0]), draws[1:]
    defined = replicates[~np.isnan(replicates)]
    if np.isnan(estimate) or len(defined) < max(1, MIN_DEFINED_SHARE * len(replicates)):
        return Interval(estimate, float("nan"), float("nan"))
    low, high = np.quantile(defined, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high))


def mean_over_seeds(
    values: Float[np.ndarray, "seeds draws"], seed_counts: UInt8[np.ndarray, "seeds draws"]
) -> Float[np.ndarray, " draws"]:
    """Return the mean over the seeds each replicate drew: the upper level of the hierarchical bootstrap.

    ``values`` come from patient draws, so a replicate redraws seeds and patients, both with replacement. NaN
    where a drawn seed's value is NaN. With one seed only patients are redrawn.
    """
    mean: np.ndarray = np.where(seed_counts > 0, seed_counts * values, 0.0).sum(axis=0) / len(values)
    return mean


def mean_over_findings(values: Float[np.ndarray, "findings draws"]) -> Float[np.ndarray, " draws"]:
    """Return the macro mean: over findings defined in the sample, and in each replicate over those left."""
    kept = values[~np.isnan(values[:, 0])]
    defined = ~np.isnan(kept)
    number = defined.sum(axis=0)
    total = np.where(defined, kept, 0.0).sum(axis=0)
    mean: np.ndarray = np.divide(total, number, out=np.full(values.shape[1], np.nan), where=number > 0)
    return mean
