"""Between probabilities and the soft labels' logits: log-odds for findings, log-probabilities for classes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy.special import expit, log_softmax, logit

from mmpkd.cohort.cohort import Task

LOGIT_BOUND = 10.0
"""Logits are clipped to this bound either side: probabilities within 4.5e-5 of 0 or 1 are not told apart."""


def to_logits(probabilities: Float[np.ndarray, "cases findings"], task: Task) -> Float[np.ndarray, "cases findings"]:
    """Return log(p / (1 - p)) for findings, log p for classes, clipped; NaN stays NaN."""
    if task == "multi-label":
        return bounded(logit(probabilities), task)
    with np.errstate(divide="ignore"):
        return bounded(np.log(probabilities), task)


def to_probabilities(logits: Float[np.ndarray, "cases findings"], task: Task) -> Float[np.ndarray, "cases findings"]:
    """Return sigmoid(t) for findings, softmax(t) for classes; NaN stays NaN."""
    return np.asarray(expit(logits) if task == "multi-label" else np.exp(log_softmax(logits, axis=1)))


def bounded(logits: Float[np.ndarray, "cases findings"], task: Task) -> Float[np.ndarray, "cases findings"]:
    """Clip to ±:data:`LOGIT_BOUND`; log-probabilities are made to sum to 1 again afterwards."""
    clipped = np.clip(logits, -LOGIT_BOUND, LOGIT_BOUND)
    return clipped if task == "multi-label" else np.asarray(log_softmax(clipped, axis=1))
