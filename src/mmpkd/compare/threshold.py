"""How good a teacher must be before distilling from it helps: where a line through the gains of several meets 0."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from mmpkd.compare.crossed import combine_seeds, covariance_over_patients
from mmpkd.compare.intervals import Interval
from mmpkd.errors import InputError

RESOLUTION = 0.002


class Threshold(NamedTuple):
    """The line ``gain = a + b quality`` through several teachers, and where it meets 0.

    Args:
        slope: b, with its interval.
        crossing: -a / b. A limit is NaN where no quality on that side is excluded.
        quality: Points from the least to the greatest quality that was asked for.
        gain: The line at these points: estimate, lower and upper limit.
    """

    slope: Interval
    crossing: Interval
    quality: Float[np.ndarray, " points"]
    gain: Float[np.ndarray, "points 3"]


def helping_threshold(
    quality: Float[np.ndarray, " teachers"],
    gains: Float[np.ndarray, "teachers seeds draws"],
    patients: int,
    within: tuple[float, float] = (0.5, 1.0),
    level: float = 0.95,
) -> Threshold:
    r"""Fit a line of least squares and return the teacher's quality at which the gain is 0.

    .. math:: (\hat a, \hat b) = X^+ g, \qquad \{x : |\hat a + \hat b x| \le t\, SE(\hat a + \hat b x)\}

    The set is the interval of the crossing, as Fieller's is. A point of the line is a sum of the gains with fixed
    weights, so its standard error and degrees of freedom are those of any statistic of several seeds over the same
    patients (:func:`mmpkd.compare.crossed.seeds_by_patients`): that all gains share the students of hard labels, the
    seeds and the test cases is in it. The teachers' qualities are taken as known.

    Args:
        quality: Of each teacher, as its AUROC.
        gains: Of the students that it taught over those of hard labels, each seed under shared draws of patients, the
            sample first.
        patients: How many patients were redrawn.
        within: Least and greatest quality that may be the threshold; an interval's end there is open (NaN).
        level: Coverage of the intervals.

    Raises:
        InputError: There are fewer than three teachers, all are equally good, or a gain is not defined.

    Source: Fieller 1954, Journal of the Royal Statistical Society B 16:175.
    """
    if len(quality) < 3 or np.ptp(quality) == 0:
        raise InputError("a threshold needs at least three teachers that are not equally good.")
    if not np.isfinite(gains[..., 0]).all():
        raise InputError("the gain of a teacher's students is not defined; leave that teacher out.")
    design = np.stack([np.ones_like(quality), quality], axis=1)
    draws = np.einsum("kt,tsd->ksd", np.linalg.pinv(design), gains)
    fitted, seeds = draws[..., 0], gains.shape[1]
    covariance = covariance_over_patients(draws.reshape(2 * seeds, -1), patients).reshape(2, seeds, 2, seeds)

    def weighed(*weights: float) -> Interval:
        """Return the interval of a times the first weight and b times the second."""
        own = np.einsum("k,ksju,j->su", weights, covariance, weights)
        return combine_seeds(np.array(weights) @ fitted, own, patients).interval(level)

    points = np.linspace(*within, 1 + round((within[1] - within[0]) / RESOLUTION))
    line = np.array([weighed(1.0, x) for x in points])
    slope = weighed(0.0, 1.0)
    crossing = -fitted[0].mean() / slope.estimate if slope.estimate else float("nan")
    return Threshold(slope, Interval(float(crossing), *_limits(points, line)), points, line)


def _limits(points: np.ndarray, line: np.ndarray) -> tuple[float, float]:
    possible = np.flatnonzero((line[:, 1] <= 0) & (line[:, 2] >= 0))
    if not len(possible):
        return float("nan"), float("nan")
    low, high = possible[0], possible[-1]
    return (
        float(points[low]) if low > 0 else float("nan"),
        float(points[high]) if high < len(points) - 1 else float("nan"),
    )
