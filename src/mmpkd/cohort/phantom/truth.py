"""Which findings an image has, and what a report labeler would have written down. No pixels."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.special import ndtr, ndtri

from mmpkd.cohort.phantom.settings import PhantomSettings
from mmpkd.cohort.phantom.streams import Streams

# Correlations between the findings of one image, on the normal scale: a failing heart brings effusions, an
# infection brings effusion, malignant-looking breasts have both findings.
_CORRELATION: dict[str, list[list[float]]] = {
    "chest": [
        [1.0, 0.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.2, 0.0, 0.0],
        [0.0, 0.2, 1.0, 0.0, 0.35],
        [0.0, 0.0, 0.0, 1.0, -0.1],
        [0.0, 0.0, 0.35, -0.1, 1.0],
    ],
    "breast": [[1.0, 0.2], [0.2, 1.0]],
}
# Share of the images of a patient that follow the patient's own disease; the others were taken at another time.
_PERSISTENCE = {"chest": 0.7, "breast": 1.0}
HEDGED_NEGATIVE, HEDGED_POSITIVE = 0.05, 0.15
_MISSED_SHARE, _MISSED_MOST = 2 / 3, 0.5
_HEDGE_ODDS = 3.0  # a hedged negative becomes a false positive this many times as often


def draw_truth(streams: Streams, settings: PhantomSettings) -> Bool[np.ndarray, "images findings"]:
    """Draw the findings of each image, correlated within the image and within the patient, with exact prevalence."""
    findings = settings.findings
    factor = np.linalg.cholesky(np.array(_CORRELATION[settings.kind]))
    persists = streams.named["persists"] < _PERSISTENCE[settings.kind]
    present = {}
    for level in ("patient", "image"):
        uniform = np.stack([streams.named[f"{name}.present.{level}"] for name in findings], axis=1)
        normal = ndtri(np.clip(uniform.astype(np.float64), 1e-9, 1 - 1e-9))
        # Summed term by term: a matrix product may round differently with the number of images.
        mixed = sum(normal[:, [k]] * factor[None, :, k] for k in range(len(findings)))
        present[level] = ndtr(mixed) < np.array(settings.prevalences)
    return np.where(persists[:, None], present["patient"], present["image"])


def hedged(streams: Streams, truth: Bool[np.ndarray, "images findings"], findings: tuple[str, ...]) -> np.ndarray:
    """Return whether the report speaks of each finding (present or not) without certainty."""
    uniform = np.stack([streams.named[f"{name}.hedge"] for name in findings], axis=1)
    return uniform < np.where(truth, HEDGED_POSITIVE, HEDGED_NEGATIVE)


def draw_labels(
    streams: Streams, truth: Bool[np.ndarray, "images findings"], settings: PhantomSettings
) -> Float[np.ndarray, "images findings"]:
    """Return 1, 0 or NaN as a report labeler would: the stated share wrong, mostly missed positives.

    A positive of severity s is missed with probability m (1.5 − s), where m is chosen so that misses are two thirds
    of the wrong labels (at most half of the positives); false positives make up the rest.
    """
    labels = truth.astype(np.float64)
    for column, (name, prevalence) in enumerate(zip(settings.findings, settings.prevalences, strict=True)):
        missed = min(settings.label_noise * _MISSED_SHARE, prevalence * _MISSED_MOST)
        invented = settings.label_noise - missed
        miss = missed / max(prevalence, 1e-9) * (1.5 - streams.named[f"{name}.severity"])
        invent = invented / max(1.0 - prevalence, 1e-9) / (1.0 + (_HEDGE_ODDS - 1.0) * HEDGED_NEGATIVE)
        hedge = streams.named[f"{name}.hedge"] < HEDGED_NEGATIVE
        chance = np.where(truth[:, column], miss, np.where(hedge, _HEDGE_ODDS, 1.0) * invent)
        wrong = streams.named[f"{name}.wrong"] < chance
        labels[wrong, column] = 1.0 - labels[wrong, column]
        labels[streams.named[f"{name}.missing"] < settings.label_missing, column] = np.nan
    return labels


def draw_marker(streams: Streams, truth: Bool[np.ndarray, "images findings"], settings: PhantomSettings) -> np.ndarray:
    """Return which images carry the marker: P = (1 ± correlation) / 2 with and without the finding."""
    if settings.marker is None:
        return np.zeros(len(streams), bool)
    finding = truth[:, settings.findings.index(settings.marker)]
    sign = np.where(finding, 1.0, -1.0)
    return np.asarray(streams.named["marker"] < 0.5 + 0.5 * settings.marker_correlation * sign)
