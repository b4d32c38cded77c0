"""What a map must beat: chance, a constant map, a centred bump, the mean of other patients' ROIs. None sees a picture.

Two more baselines see it and have learned nothing: an untrained student, and a trained one whose weights are
shuffled (Adebayo et al. 2018). One knows the answer: the ROI's coverage of each token taken as the map, about as well
as a map on the student's token grid can do. They are named here and made where there are students.

Maps made here are scored by the same functions as a student's (``mmpkd.evaluate.localisation``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Real, Shaped

from mmpkd.errors import InputError
from mmpkd.evaluate.localisation import FREE_METRICS, OVERLAP_METRICS
from mmpkd.evaluate.threshold import DEFAULT_POLICIES, MatchedArea, TopArea, parse_policy

CHANCE = "chance"
CENTRE_PRIOR = "centre-prior"
MEAN_ROI_PRIOR = "mean-roi-prior"
UNIFORM = "uniform"
UNTRAINED = "untrained"
RANDOMISED = "randomised"
ROI_ON_GRID = "roi-on-grid"
BASELINES = (CHANCE, UNIFORM, CENTRE_PRIOR, MEAN_ROI_PRIOR, UNTRAINED, RANDOMISED, ROI_ON_GRID)
CENTRE_SIGMA = 0.25
PRIOR_GRID = (64, 64)


def chance_iou(
    attended_area: float | Real[np.ndarray, " ..."], roi_area: float | Real[np.ndarray, " ..."]
) -> Float[np.ndarray, " ..."]:
    """IoU of a random map that attends a share ``q`` of the image, on an ROI of share ``p``.

    ``pq / (p + q - pq)``: the ratio of the expected counts. NaN where both are 0.

    >>> round(float(chance_iou(0.1, 0.1)), 4)
    0.0526
    """
    q, p = np.asarray(attended_area, dtype=np.float64), np.asarray(roi_area, dtype=np.float64)
    if not (((q >= 0) & (q <= 1)).all() and ((p >= 0) & (p <= 1)).all()):
        raise InputError("an area is outside 0 to 1; give shares of the image.")
    union = np.asarray(p + q - p * q)
    iou: np.ndarray = np.divide(p * q, union, out=np.full(union.shape, np.nan), where=union > 0)
    return iou


def chance_levels(
    roi_area: Real[np.ndarray, " maps"], policies: Sequence[str] = DEFAULT_POLICIES
) -> dict[tuple[str, str], Float[np.ndarray, " maps"]]:
    """Return what a map that knows nothing scores on ROIs of share ``p``, in the form of ``localisation_scores``.

    With an attended share ``q``: IoU ``pq / (p + q - pq)``, precision ``p``, recall and false positive rate ``q``.
    Pointing, rank accuracy and average precision ``p``, energy enrichment 1, pixel AUROC .5, CNR 0. Where a policy
    takes its area from the values (``otsu``, ``max-fraction``), ``q = 1``: the most that IoU can be by chance.
    NaN where the metric is undefined on that ROI (``p`` of 0 or 1).
    """
    p = np.asarray(roi_area, dtype=np.float64)
    some, part = np.where(p > 0, 1.0, np.nan), np.where((p > 0) & (p < 1), 1.0, np.nan)
    levels: dict[tuple[str, str], np.ndarray] = {}
    for policy in [parse_policy(name) for name in policies]:
        q = policy.share if isinstance(policy, TopArea) else p if isinstance(policy, MatchedArea) else 1.0
        overlaps = (chance_iou(q, p), p, q * some, 1.0 - p, q * part, q * some)
        levels |= {(policy.name, metric): level * some for metric, level in zip(OVERLAP_METRICS, overlaps, strict=True)}
    free = {
        "pointing": p * some,
        "energy_enrichment": some,
        "rank_accuracy": p * some,
        "pixel_auroc": 0.5 * part,
        "pixel_auprc": p * part,
        "cnr": 0.0 * part,
    }
    return levels | {("", metric): free[metric] for metric in FREE_METRICS}


def uniform_map(height: int, width: int) -> Float[np.ndarray, "height width"]:
    """Return a constant map: ties count as their expectation, so it scores exactly chance on every metric.

    Its CNR is undefined, for it has no noise.
    """
    return np.ones((height, width))


def centre_prior(height: int, width: int, sigma: float = CENTRE_SIGMA) -> Float[np.ndarray, "height width"]:
    """Return a Gaussian around the image's centre.

    ``exp(-(u^2 + v^2) / (2 sigma^2))`` with ``u`` and ``v`` the distance from the centre in shares of the
    width and of the height, at pixel centres.
    """
    v = ((np.arange(height) + 0.5) / height - 0.5) / sigma
    u = ((np.arange(width) + 0.5) / width - 0.5) / sigma
    return np.outer(np.exp(-0.5 * v**2), np.exp(-0.5 * u**2))


def resample_area(
    image: Shaped[np.ndarray, "height width"], shape: tuple[int, int]
) -> Float[np.ndarray, "new_height new_width"]:
    """Resample to another grid by exact area averaging; a mask becomes the coverage of each new cell."""
    rows, columns = _area_weights(image.shape[0], shape[0]), _area_weights(image.shape[1], shape[1])
    averaged: np.ndarray = rows @ np.asarray(image, dtype=np.float64) @ columns.T
    return averaged


def _area_weights(old: int, new: int) -> np.ndarray:
    """Return (new, old) weights: the share of each new cell that each old cell fills; rows sum to 1."""
    low = np.arange(new)[:, None] / new
    left = np.arange(old)[None, :] / old
    shared = np.minimum(low + 1 / new, left + 1 / old) - np.maximum(low, left)
    weights: np.ndarray = np.clip(shared, 0.0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    return weights


def mean_roi_prior(
    masks: Sequence[Shaped[np.ndarray, "_ _"]] | Shaped[np.ndarray, "_ _ _"],
    shape: tuple[int, int] = PRIOR_GRID,
) -> Float[np.ndarray, "height width"]:
    """Return the mean of ROI masks of any sizes on a common grid, where such findings sit.

    Without any mask there is nothing to know, and the prior is the uniform map.
    """
    if not len(masks):
        return uniform_map(*shape)
    total = np.zeros(shape)
    for mask in masks:
        total += resample_area(mask, shape)
    return total / len(masks)


def leave_patient_out_priors(
    masks: Sequence[Shaped[np.ndarray, "_ _"]],
    patients: Sequence[str],
    shape: tuple[int, int] = PRIOR_GRID,
) -> Float[np.ndarray, "cases height width"]:
    """Return for each case the mean ROI of all *other* patients, for cohorts with ROIs in the test split.

    Where no other patient has an ROI the prior is the uniform map, which scores chance.
    """
    if len(masks) != len(patients):
        raise InputError(f"there are {len(masks)} masks and {len(patients)} patients; give one patient a mask.")
    if not len(masks):
        return np.zeros((0, *shape))
    coded, groups = pd.factorize(np.asarray(patients, dtype=object))
    small = np.stack([resample_area(mask, shape) for mask in masks])
    own = np.zeros((len(groups), *shape))
    np.add.at(own, coded, small)
    others = len(masks) - np.bincount(coded)
    # Differences of sums can fall below 0 by a rounding; a map may not.
    rest = np.clip(small.sum(axis=0) - own, 0.0, None)
    priors = np.where((others > 0)[:, None, None], rest / np.maximum(others, 1)[:, None, None], 1.0)
    return np.asarray(priors[coded])
