"""Sign-flip permutation of paired differences, patient by patient: exact for few, Monte Carlo for many.

For means of paired scores (localisation, Brier score, correctness). The difference of two AUROCs is no mean over
cases; it has DeLong (``mmpkd.compare.delong``).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real, Shaped

from mmpkd.errors import InputError

_ROUNDING = 1e-12  # of the sum of absolute values: sums equal but for the order of adding are ties
_BLOCK_CELLS = 2**22


class SignFlip(NamedTuple):
    """Mean differences and their two-sided p-values, shaped as the columns were; NaN where nothing is defined.

    ``smallest_p`` is what the test could reach at best: 2^(1 - n) for n patients when ``exact``, else 1 / (draws + 1).
    """

    estimate: Float[np.ndarray, " ..."]
    p: Float[np.ndarray, " ..."]
    exact: bool
    smallest_p: float


def sign_flip(
    differences: Real[np.ndarray, "cases ..."],
    patients: Shaped[np.ndarray, " patients"] | None = None,
    *,
    exact_limit: int = 2**16,
    draws: int = 9999,
    seed: int = 0,
) -> SignFlip:
    r"""Test whether paired differences are symmetric around 0, all cases of a patient flipped together.

    .. math:: T = \sum_i e_i s_i, \quad e_i = \pm 1, \qquad p = P(|T| \ge |\sum_i s_i|)

    with :math:`s_i` the sum of patient i's differences. If neither arm is better, each patient's differences might
    as well have the other sign. All :math:`2^n` signs are enumerated where they are at most ``exact_limit``; else p is
    (b + 1) / (draws + 1) with b of the random ones as extreme, so that it is valid at any number of draws.

    Seeds: average the differences of each case over seeds first; p then speaks of these trained students on other
    patients. To speak of other seeds of training instead, give one difference a seed (each the mean over cases) and
    no ``patients``: with n seeds p cannot fall below 2^(1 - n), so below 0.05 only from 6 seeds on. No flipping
    speaks of both at once; that takes :mod:`mmpkd.compare.crossed`.

    Args:
        differences: (cases,) or (cases, columns), arm less reference; NaN where either is undefined (left out).
            Columns share their flips.
        patients: Whom each case is of; each case its own patient by default.
        exact_limit: Largest number of sign patterns to enumerate.
        draws: Random sign patterns otherwise.
        seed: Seed of the random ones.

    >>> sign_flip(np.array([0.3, 0.1, 0.2, 0.4])).p.item()  # 2 of the 16 patterns are as extreme
    0.125

    Source: Fisher 1935, "The Design of Experiments", section 21; Phipson and Smyth 2010, SAGMB 9:39 (b + 1).
    """
    cases = len(differences)
    if patients is not None and len(patients) != cases:
        raise InputError(f"{len(patients)} patients were given for {cases} differences; name one patient a case.")
    if draws < 1:
        raise InputError(f"random sign patterns must be at least 1, not {draws}; 9999 is usual.")
    values = np.asarray(differences, dtype=np.float64)
    flat = values.reshape(cases, int(np.prod(values.shape[1:])))
    row = np.arange(cases) if patients is None else np.unique(patients, return_inverse=True)[1].reshape(-1)
    defined = ~np.isnan(flat)
    number = defined.sum(axis=0)
    sums = np.zeros((int(row.max(initial=-1)) + 1, flat.shape[1]))
    np.add.at(sums, row, np.where(defined, flat, 0.0))
    sums = sums[(sums != 0).any(axis=1)]  # flipping 0 is no flip

    least = np.abs(sums.sum(axis=0)) - _ROUNDING * np.abs(sums).sum(axis=0)
    units = len(sums)
    exact = units <= np.log2(max(exact_limit, 1))
    if exact:
        p = (np.abs(_every_sum(sums)) >= least).mean(axis=0)
    else:
        p = (_extreme(sums, least, draws, np.random.default_rng(seed)) + 1) / (draws + 1)
    estimate = np.divide(sums.sum(axis=0), number, out=np.full(len(number), np.nan), where=number > 0)
    p = np.where(number > 0, p, np.nan)
    smallest = min(1.0, 2.0 ** (1 - units)) if exact else 1 / (draws + 1)
    return SignFlip(estimate.reshape(values.shape[1:]), p.reshape(values.shape[1:]), bool(exact), smallest)


def _every_sum(sums: np.ndarray) -> np.ndarray:
    """Return the sum under every sign pattern in which the first is plus; the others are their negatives."""
    every = sums[:1] if len(sums) else np.zeros((1, sums.shape[1]))
    for of_patient in sums[1:]:
        every = np.concatenate([every + of_patient, every - of_patient])
    return every


def _extreme(sums: np.ndarray, least: np.ndarray, draws: int, generator: np.random.Generator) -> np.ndarray:
    """Count the random sign patterns whose sum is at least as large either way."""
    count = np.zeros(sums.shape[1], dtype=np.int64)
    step = max(1, _BLOCK_CELLS // len(sums))
    for start in range(0, draws, step):
        signs = generator.integers(0, 2, size=(min(step, draws - start), len(sums)), dtype=np.int8) * 2.0 - 1.0
        count += (np.abs(signs @ sums) >= least).sum(axis=0)
    return count
