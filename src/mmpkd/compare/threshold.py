"""How good a teacher must be before distilling from it helps: where a line through the gains of several meets 0."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from mmpkd.compare.intervals import Interval
from mmpkd.errors import InputError


class Threshold(NamedTuple):
    """The line ``gain = intercept + slope x`` and where it meets 0.

    Args:
        intercept: At x = 0.
        slope: Gain for each unit of x, with its interval.
        crossing: The x at which the line is 0; its limits are NaN where the slope may be 0, since then any x is
            possible.
    """

    intercept: float
    slope: Interval
    crossing: Interval


def helping_threshold(
    quality: Float[np.ndarray, " teachers"],
    gain: Float[np.ndarray, " teachers"],
    standard_error: Float[np.ndarray, " teachers"],
    level: float = 0.95,
) -> Threshold:
    r"""Fit a weighted line and return the teacher's quality at which the gain is 0.

    .. math:: \hat\beta = (X' W X)^{-1} X' W g, \quad W = \operatorname{diag}(SE^{-2}), \qquad
              \{x : (\hat a + \hat b x)^2 \le z^2 \operatorname{Var}(\hat a + \hat b x)\}

    The second is Fieller's interval. The gains' errors are taken as known and independent: teachers tested on the same
    cases with the same students of hard labels share some of theirs, which makes the interval rather too wide.

    Args:
        quality: Of each teacher, as its AUROC.
        gain: Of the students that it taught over those of hard labels.
        standard_error: Of each gain.
        level: Coverage of the intervals.

    Raises:
        InputError: There are fewer than three teachers, or all are equally good.

    Source: Fieller 1954, Journal of the Royal Statistical Society B 16:175.
    """
    if len(quality) < 3 or np.ptp(quality) == 0:
        raise InputError("a threshold needs at least three teachers that are not equally good.")
    if not (standard_error > 0).all():
        raise InputError("a gain without a standard error above 0 cannot be weighed.")
    z = float(norm.ppf((1 + level) / 2))
    design = np.stack([np.ones_like(quality), quality], axis=1)
    covariance = np.linalg.inv(design.T @ (design / standard_error[:, None] ** 2))
    a, b = covariance @ (design.T @ (gain / standard_error**2))
    width = z * float(np.sqrt(covariance[1, 1]))
    crossing = -a / b if b else float("nan")
    return Threshold(float(a), Interval(float(b), b - width, b + width), _fieller(a, b, covariance, z, crossing))


def _fieller(a: float, b: float, covariance: np.ndarray, z: float, crossing: float) -> Interval:
    square = b**2 - z**2 * covariance[1, 1]
    linear = 2 * (a * b - z**2 * covariance[0, 1])
    constant = a**2 - z**2 * covariance[0, 0]
    discriminant = linear**2 - 4 * square * constant
    if square <= 0:  # the slope may be 0: the set is unbounded
        return Interval(float(crossing), float("nan"), float("nan"))
    roots = (-linear + np.array([-1, 1]) * np.sqrt(max(0.0, discriminant))) / (2 * square)
    return Interval(float(crossing), float(roots[0]), float(roots[1]))
