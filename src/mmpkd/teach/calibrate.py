"""Calibration of teacher logits on held-out folds: Platt scaling a finding, one temperature for classes.

Pure functions on arrays; the teacher and its folds are made elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, log_softmax, logit

from mmpkd.cohort.cohort import Task
from mmpkd.teach.logits import bounded

MIN_CASES = 10
"""Held-out cases of each class (labelled cases, for a temperature) below which nothing is scaled."""

_MAX_INVERSE_TEMPERATURE = 10.0


@dataclass(frozen=True)
class Scaling:
    """``slope * t + intercept``; the default leaves logits as they are."""

    slope: float = 1.0
    intercept: float = 0.0


@dataclass(frozen=True)
class Calibrated:
    """Scaled logits.

    Args:
        logits: (cases, findings), clipped as :func:`mmpkd.teach.logits.bounded` does.
        scalings: One a finding.
        skipped: Findings that had too few held-out cases and were left as they are.
    """

    logits: np.ndarray
    scalings: tuple[Scaling, ...]
    skipped: tuple[str, ...]


def calibrate(
    logits: Float[np.ndarray, "cases findings"],
    labels: Float[np.ndarray, "cases findings"],
    fold: Int[np.ndarray, " cases"],
    task: Task,
    findings: Sequence[str],
) -> Calibrated:
    """Fit one scaling a finding (one for all classes) to held-out logits, and apply it to every case.

    Folds share the scaling. One fitted to the *other* folds, as textbooks have it, would lean against the case's own
    label: a fold rich in positives leaves others poor in them, gets a lower intercept, and its cases fall behind those
    of other folds. On a few hundred cases that cost up to 0.08 of pooled AUROC. Two numbers shared by all cases cannot
    tell one case's label, and keep the order of all.

    Args:
        logits: Log-odds, or log-probabilities in a multi-class task; NaN where the teacher knows nothing.
        labels: 1, 0 or NaN for missing.
        fold: The fold that held the case out, or -1 for validation and test, whose labels are not read.
        task: Which scaling: Platt's a finding, or one temperature over all classes.
        findings: Names of the columns.
    """
    out, scalings, skipped = logits.copy(), [Scaling()] * len(findings), []
    blocks = [[column] for column in range(len(findings))]
    if task == "multi-class":
        blocks = [list(range(len(findings)))]
    for block in blocks:
        usable = (fold >= 0) & ~np.isnan(logits[:, block]).any(axis=1) & ~np.isnan(labels[:, block]).any(axis=1)
        if not _enough(labels[usable][:, block], task):
            skipped += [findings[column] for column in block]
            continue
        scaling = _fit(logits[usable][:, block], labels[usable][:, block], task)
        out[:, block] = scaling.slope * logits[:, block] + scaling.intercept
        for column in block:
            scalings[column] = scaling
    return Calibrated(bounded(out, task), tuple(scalings), tuple(skipped))


def fit_platt(logits: Float[np.ndarray, " cases"], labels: Float[np.ndarray, " cases"]) -> Scaling:
    """Fit P(y = 1) = sigmoid(slope * t + intercept) by maximum likelihood, with slope >= 0.

    The targets are Platt's, (N+ + 1) / (N+ + 2) and 1 / (N- + 2), which keep the fit finite on separable cases
    (Platt 1999). The problem is convex, so where the free optimum has a negative slope the constrained one is
    slope 0 and the intercept of the mean target: an anti-informative teacher is silenced, never inverted.
    """
    positives = labels.sum()
    negatives = len(labels) - positives
    targets = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (negatives + 2))
    centre, width = logits.mean(), logits.std()
    flat = Scaling(0.0, float(logit(targets.mean())))
    if width == 0:
        return flat
    standard = (logits - centre) / width

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        z = parameters[0] * standard + parameters[1]
        error = expit(z) - targets
        value = np.mean(np.logaddexp(0.0, z) - targets * z)
        return float(value), np.array([np.mean(error * standard), np.mean(error)])

    start = np.array([1.0, flat.intercept])
    found = minimize(loss, start, jac=True, method="BFGS", options={"gtol": 1e-9}).x
    if found[0] <= 0:
        return flat
    slope = float(found[0] / width)
    return Scaling(slope, float(found[1] - slope * centre))


def fit_temperature(logits: Float[np.ndarray, "cases classes"], labels: Float[np.ndarray, "cases classes"]) -> Scaling:
    """Fit P = softmax(slope * t) by maximum likelihood, slope = 1 / temperature in [0, 10] (Guo et al. 2017)."""
    classes = labels.argmax(axis=1)

    def loss(slope: float) -> float:
        return float(-log_softmax(slope * logits, axis=1)[np.arange(len(classes)), classes].mean())

    bounds = (0.0, _MAX_INVERSE_TEMPERATURE)
    found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-9})
    return Scaling(float(found.x), 0.0)


def _fit(logits: np.ndarray, labels: np.ndarray, task: Task) -> Scaling:
    return fit_platt(logits[:, 0], labels[:, 0]) if task == "multi-label" else fit_temperature(logits, labels)


def _enough(labels: np.ndarray, task: Task) -> bool:
    if task == "multi-class":
        return len(labels) >= MIN_CASES
    positives = int(labels.sum())
    return min(positives, len(labels) - positives) >= MIN_CASES
