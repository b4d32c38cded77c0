"""Statistics over bootstrap replicates, many at once: AUROC, average precision, means, calibration error.

Patients are drawn once; every arm, seed and finding reads the same counts, which pairs all comparisons. In
all arrays here column 0 is the sample as it is, each unit counted once, so an estimate and its replicates
come out of the same arithmetic. Exact: scores are not binned and the statistic is not approximated.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int, Real, Shaped, UInt8

from mmpkd.errors import InputError
from mmpkd.evaluate.classification import CALIBRATION_BINS, calibration_bins, check_labels

_BLOCK_BYTES = 2**27  # of counts as floats; wide blocks spend the least time between operations
_MIN_BLOCK = 256
_FLOAT32_WHOLE = 2**24  # up to here float32 holds every whole number


def draw_counts(
    units: int, replicates: int, generator: np.random.Generator
) -> UInt8[np.ndarray, "units replicates_and_sample"]:
    """Draw how often each unit (patient or seed) enters each bootstrap replicate.

    Args:
        units: How many there are; each replicate draws as many with replacement.
        replicates: Number of replicates.
        generator: Source of randomness.

    Returns:
        (units, 1 + replicates), column 0 all ones (the sample as it is); other columns sum to ``units``.
    """
    if units < 1 or replicates < 1:
        raise InputError(f"a bootstrap needs units and replicates, not {units} and {replicates}.")
    counts = np.ones((units, 1 + replicates), dtype=np.uint8)
    step = max(1, 2**20 // units)
    for start in range(0, replicates, step):
        width = min(step, replicates - start)
        drawn = generator.integers(0, units, size=(width, units))
        cells = drawn * width + np.arange(width)[:, None]
        tally = np.bincount(cells.ravel(), minlength=units * width).reshape(units, width)
        counts[:, 1 + start : 1 + start + width] = tally
    return counts


def discrimination_draws(
    scores: Real[np.ndarray, "cases columns"],
    labels: Shaped[np.ndarray, "cases columns"],
    patients: Int[np.ndarray, " cases"],
    counts: UInt8[np.ndarray, "patients draws"],
) -> tuple[Float[np.ndarray, "columns draws"], Float[np.ndarray, "columns draws"]]:
    """Return AUROC and average precision of every column under every draw.

    Cases are walked once a column from the highest score down, with a vector over draws: a negative adds its
    count to the running negatives, a positive adds count x negatives above it (ties half). Definitions as in
    :mod:`mmpkd.evaluate.classification` with the counts as case weights.

    Args:
        scores: One column a (seed, finding) or the like; NaN only where the label is NaN.
        labels: 1, 0 or NaN (case left out of the column).
        patients: Row of ``counts`` of each case.
        counts: From :func:`draw_counts`.

    Returns:
        AUROC and average precision, (columns, draws); NaN where a draw has one class only.
    """
    labels = check_labels(labels)
    if np.isnan(np.asarray(scores, dtype=np.float64)[~np.isnan(labels)]).any():
        raise InputError("a score is NaN where its case has a label; score the case or leave it out.")
    walks = [_steps(scores[:, k], labels[:, k], patients) for k in range(scores.shape[1])]
    auroc = np.empty((scores.shape[1], counts.shape[1]))
    precision = np.empty_like(auroc)
    highest = int(counts.max(initial=0))
    # Whole numbers below 2^24 are exact in float32, which halves the memory traffic; beyond, float64.
    exact = len(patients) * highest**2 < _FLOAT32_WHOLE
    dtype = np.dtype(np.float32 if exact else np.float64)
    for block in _blocks(counts, dtype):
        weights = counts[:, block].astype(dtype)
        for column, walk in enumerate(walks):
            auroc[column, block], precision[column, block] = _walk(walk, weights)
    return auroc, precision


def mean_draws(
    values: Float[np.ndarray, "cases columns"],
    patients: Int[np.ndarray, " cases"],
    counts: UInt8[np.ndarray, "patients draws"],
) -> Float[np.ndarray, "columns draws"]:
    """Return the mean over cases of every column under every draw, NaN cells left out (NaN if all are)."""
    defined = ~np.isnan(values)
    total = _weighted_sums(np.where(defined, values, 0.0), patients, counts)
    # Columns mostly share their defined cases (metrics of one finding, seeds of one arm): count each set once.
    packed = np.ascontiguousarray(np.packbits(defined, axis=0).T)
    keys = packed.view(np.dtype((np.void, packed.shape[1]))).ravel() if packed.size else np.zeros(packed.shape[0])
    _, first, which = np.unique(keys, return_index=True, return_inverse=True)
    number = _weighted_sums(defined[:, first].astype(np.float64), patients, counts)
    return _divide(total, number[which])


def calibration_draws(
    probabilities: Real[np.ndarray, " cases"],
    labels: Shaped[np.ndarray, " cases"],
    patients: Int[np.ndarray, " cases"],
    counts: UInt8[np.ndarray, "patients draws"],
    bins: int = CALIBRATION_BINS,
) -> Float[np.ndarray, " draws"]:
    """Return the expected calibration error under every draw, in the equal-mass bins of the sample itself.

    The bins stay fixed so that replicates differ by their cases only. Like the estimate it is biased upwards,
    and more so in replicates: an interval of one arm may lie above the estimate; differences suffer less.
    """
    labels = check_labels(labels)
    seen = ~np.isnan(labels)
    if not seen.any():
        return np.full(counts.shape[1], np.nan)
    p = np.asarray(probabilities, dtype=np.float64)[seen]
    member = np.eye(bins)[calibration_bins(p, bins)]
    gaps = _weighted_sums(member * (p - labels[seen])[:, None], patients[seen], counts)
    number = _weighted_sums(np.ones((len(p), 1)), patients[seen], counts)[0]
    return _divide(np.abs(gaps).sum(axis=0), number)


class _Steps(NamedTuple):
    """A column's cases as rows of counts from the highest score down, and where the walk stops.

    Each stop is one distinct score that a positive has: ``(above, tied, positives, end)``, where the negatives
    since the last stop are ``rows[above:tied]``, those of this score ``rows[tied:positives]`` and its positives
    ``rows[positives:end]``. ``rows[rest:]`` are the negatives below all positives.
    """

    rows: list[int]
    stops: list[tuple[int, int, int, int]]
    rest: int


def _steps(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> _Steps:
    seen = np.flatnonzero(~np.isnan(labels))
    values, positive = np.asarray(scores, dtype=np.float64)[seen], labels[seen] == 1
    order = np.lexsort((positive, -values))  # within a score negatives come first
    values, positive = values[order], positive[order]
    starts = np.flatnonzero(np.concatenate([np.ones(min(1, len(values)), bool), values[1:] != values[:-1]]))
    ends = np.append(starts[1:], len(values))
    running = np.concatenate([[0], np.cumsum(positive)])
    number = running[ends] - running[starts]
    starts, ends, number = starts[number > 0], ends[number > 0], number[number > 0]
    above = np.concatenate([[0], ends[:-1]])[: len(starts)]
    stops = zip(above.tolist(), starts.tolist(), (ends - number).tolist(), ends.tolist(), strict=True)
    return _Steps(patients[seen[order]].tolist(), list(stops), int(ends[-1]) if len(ends) else 0)


def _walk(steps: _Steps, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width, dtype = weights.shape[1], weights.dtype
    true, false, product = np.zeros(width, dtype), np.zeros(width, dtype), np.empty(width, dtype)
    misranked, precision, part = np.zeros(width), np.zeros(width), np.empty(width)
    rows = steps.rows
    for above, tied, positives, end in steps.stops:
        for row in rows[above:tied]:
            np.add(false, weights[row], out=false)
        if tied == positives and end == positives + 1:
            own = weights[rows[positives]]
            np.multiply(own, false, out=product)
            np.add(misranked, product, out=misranked)
        else:
            own = weights[rows[positives:end]].sum(axis=0)
            equal = weights[rows[tied:positives]].sum(axis=0)
            misranked += own.astype(np.float64) * (false + 0.5 * equal.astype(np.float64))
            false += equal
        np.add(true, own, out=true)
        np.add(true, false, out=product)
        np.maximum(product, 1, out=product)  # 0 called positive: `own` is 0 too, and 0/1 adds nothing
        np.divide(true, product, out=part, dtype=np.float64)
        np.multiply(part, own, out=part)
        np.add(precision, part, out=precision)
    for row in rows[steps.rest :]:
        np.add(false, weights[row], out=false)
    pairs = true.astype(np.float64) * false
    return 1.0 - _divide(misranked, pairs), _divide(np.where(pairs > 0, precision, np.nan), true)


def _weighted_sums(values: np.ndarray, patients: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return (columns, draws): sums over cases of value x count of the case's patient."""
    by_patient = np.zeros((len(counts), values.shape[1]))
    np.add.at(by_patient, patients, values)
    total = np.empty((values.shape[1], counts.shape[1]))
    for block in _blocks(counts, total.dtype):
        total[:, block] = by_patient.T @ counts[:, block].astype(np.float64)
    return total


def _blocks(counts: np.ndarray, dtype: np.dtype[Any]) -> list[slice]:
    """Split the draws so that a block of counts as floats stays within bounds."""
    draws = counts.shape[1]
    width = int(np.clip(_BLOCK_BYTES // (dtype.itemsize * max(len(counts), 1)), _MIN_BLOCK, max(draws, _MIN_BLOCK)))
    return [slice(start, min(start + width, draws)) for start in range(0, draws, width)]


def _divide(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)
    return ratio
