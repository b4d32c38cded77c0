"""Statistics over bootstrap replicates, many at once: AUROC, average precision, means, calibration error.

Patients are drawn once; every arm, seed and finding reads the same counts, which pairs all comparisons. In
all arrays here column 0 is the sample as it is, each unit counted once, so an estimate and its replicates
come out of the same arithmetic. Exact: scores are not binned and the statistic is not approximated.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int, Real, Shaped, UInt8

from mmpkd.errors import InputError
from mmpkd.evaluate.classification import CALIBRATION_BINS, calibration_bins, check_labels

_BLOCK_BYTES = 2**26
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
    for block in _blocks(counts):
        weights = counts[:, block].astype(np.float32 if exact else np.float64)
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
    number = _weighted_sums(defined.astype(np.float64), patients, counts)
    return _divide(total, number)


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


Steps = list[tuple[list[int], list[int]]]


def _steps(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> Steps:
    """Return ``(negatives, positives)`` as count rows, from the highest score down.

    One step a distinct score, except that negatives between two positives are one step: nothing reads the
    running sums there.
    """
    seen = np.flatnonzero(~np.isnan(labels))
    order = seen[np.argsort(-np.asarray(scores, dtype=np.float64)[seen], kind="stable")]
    ranked = scores[order]
    new = np.concatenate([np.ones(min(1, len(ranked)), bool), ranked[1:] != ranked[:-1]])
    rows, positive = patients[order].tolist(), (labels[order] == 1).tolist()
    steps: Steps = []
    for row, is_positive, is_new in zip(rows, positive, new.tolist(), strict=True):
        if is_new:
            steps.append(([], []))
        steps[-1][is_positive].append(row)
    merged: Steps = []
    for negatives, positives in steps:
        if merged and not positives and not merged[-1][1]:
            merged[-1][0].extend(negatives)
        else:
            merged.append((negatives, positives))
    return merged


def _walk(steps: Steps, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    width, dtype = weights.shape[1], weights.dtype
    true, false, product = np.zeros(width, dtype), np.zeros(width, dtype), np.empty(width, dtype)
    misranked, precision, part = np.zeros(width), np.zeros(width), np.empty(width)
    for negatives, positives in steps:
        if not positives:
            for row in negatives:
                np.add(false, weights[row], out=false)
            continue
        if len(positives) == 1 and not negatives:
            own = weights[positives[0]]
            np.multiply(own, false, out=product)
            np.add(misranked, product, out=misranked)
        else:
            own, tied = weights[positives].sum(axis=0), weights[negatives].sum(axis=0)
            misranked += own.astype(np.float64) * (false + 0.5 * tied.astype(np.float64))
            false += tied
        np.add(true, own, out=true)
        np.add(true, false, out=product)
        np.maximum(product, 1, out=product)  # 0 called positive: `own` is 0 too, and 0/1 adds nothing
        np.divide(true, product, out=part, dtype=np.float64)
        np.multiply(part, own, out=part)
        np.add(precision, part, out=precision)
    pairs = true.astype(np.float64) * false
    return 1.0 - _divide(misranked, pairs), _divide(np.where(pairs > 0, precision, np.nan), true)


def _weighted_sums(values: np.ndarray, patients: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return (columns, draws): sums over cases of value x count of the case's patient."""
    by_patient = np.zeros((len(counts), values.shape[1]))
    np.add.at(by_patient, patients, values)
    total = np.empty((values.shape[1], counts.shape[1]))
    for block in _blocks(counts):
        total[:, block] = by_patient.T @ counts[:, block].astype(np.float64)
    return total


def _blocks(counts: np.ndarray) -> list[slice]:
    """Split the draws so that a block of counts as floats stays within bounds."""
    draws = counts.shape[1]
    width = int(np.clip(_BLOCK_BYTES // (8 * max(len(counts), 1)), _MIN_BLOCK, max(draws, _MIN_BLOCK)))
    return [slice(start, min(start + width, draws)) for start in range(0, draws, width)]


def _divide(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    ratio: np.ndarray = np.divide(over, under, out=np.full(np.shape(over), np.nan), where=under > 0)
    return ratio
