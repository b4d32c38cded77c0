"""Correction of p-values for several hypotheses at once."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Real

from mmpkd.errors import InputError


def holm(p: Real[np.ndarray, "... hypotheses"]) -> Float[np.ndarray, "... hypotheses"]:
    r"""Return Holm's adjusted p-values over the last axis; reject where at most alpha.

    .. math:: \tilde p_{(k)} = \max_{j \le k} \min(1, (m - j + 1) \, p_{(j)})

    The chance of any false rejection is at most alpha, however the hypotheses depend on each other. NaN (an
    undefined test) stays NaN and does not count as a hypothesis.

    >>> holm(np.array([0.01, 0.02, 0.03, 0.04, 0.05])).round(3).tolist()
    [0.05, 0.08, 0.09, 0.09, 0.09]

    Source: Holm 1979, Scandinavian Journal of Statistics 6:65.
    """
    p = np.asarray(p, dtype=np.float64)
    wrong = p[(p < 0) | (p > 1)]
    if wrong.size:
        raise InputError(f"a p-value is {wrong[0]:g}; p-values are between 0 and 1, or NaN where undefined.")
    order = np.argsort(p, axis=-1, kind="stable")  # NaN last
    ordered = np.take_along_axis(p, order, axis=-1)
    hypotheses = np.count_nonzero(~np.isnan(p), axis=-1, keepdims=True)
    left = hypotheses - np.arange(p.shape[-1])
    adjusted = np.minimum(1.0, np.maximum.accumulate(left * ordered, axis=-1))
    result = np.empty_like(p)
    np.put_along_axis(result, order, adjusted, axis=-1)
    return result
