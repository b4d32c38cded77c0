"""What is chosen on validation cases: the share of the image that a map attends, the threshold of a positive call.

The rule: tune on the maps of *validation* cases, then name the result in the study as the explicit policy
``top-area=<share>`` and score the test cases under it. Never tune on test ROIs: the best share on the cases that
are scored flatters every map, and a wide or narrow ROI alone decides it.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Real, Shaped

from mmpkd.errors import InputError
from mmpkd.evaluate.classification import check_labels
from mmpkd.evaluate.localisation import Overlap
from mmpkd.evaluate.ranking import ranked_pieces
from mmpkd.evaluate.threshold import TopArea

DEFAULT_GRID = (0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.25, 0.3, 0.4, 0.5)


def tune_top_area(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
    grid: Sequence[float] = DEFAULT_GRID,
) -> float:
    """Return the share of ``grid`` with the highest mean IoU over *validation* maps; of equals, the smallest.

    Args:
        maps: (n, H, W), of validation cases; finite and not negative.
        masks: (n, H, W), their ROIs; boolean or coverage. Empty ROIs are left out.
        grid: Shares to choose from, over 0 and at most 1.

    Returns:
        The share; record it as the policy ``TopArea(share).name``.

    Raises:
        InputError: No map has an ROI, the grid is empty or holds no shares, or as in ``localisation``.

    >>> heat = np.array([[[0.9, 0.8, 0.1, 0.0]]])
    >>> tune_top_area(heat, heat > 0.5, (0.25, 0.5, 0.75))
    0.5
    """
    shares = sorted(set(grid))
    if not shares or not (shares[0] > 0 and shares[-1] <= 1):
        raise InputError(f"the shares to choose from are {list(grid)}; give at least one, over 0 and up to 1.")
    ious: list[np.ndarray] = []
    for ranked in ranked_pieces(maps, masks):
        policies = [TopArea(share) for share in shares]
        ious.append(np.array([Overlap.of(ranked, policy).iou for policy in policies]))
    iou = np.concatenate(ious, axis=1)
    defined = ~np.isnan(iou[0])
    if not defined.any():
        raise InputError("no validation map has an ROI, so no share can be tuned; name one, for example top-area=0.1.")
    means = iou[:, defined].mean(axis=1)
    return float(shares[int(np.flatnonzero(means >= means.max() - 1e-12)[0])])


def youden_threshold(labels: Shaped[np.ndarray, " cases"], probabilities: Real[np.ndarray, " cases"]) -> float:
    """Return the probability from which on a case is called positive, chosen on *validation* cases.

    It maximises Youden's J, the true positive rate less the false positive rate of ``p >= threshold`` (Youden 1950);
    of equals, the highest threshold. 0.5 where the labels hold one class only.

    Args:
        labels: 1, 0 or NaN (left out), of validation cases.
        probabilities: The student's, of the same cases.

    >>> youden_threshold(np.array([0, 0, 1, 1]), np.array([0.1, 0.6, 0.4, 0.9]))
    0.9
    """
    labels = check_labels(labels)
    seen = ~np.isnan(labels)
    truth, p = labels[seen] == 1, np.asarray(probabilities, dtype=np.float64)[seen]
    if np.isnan(p).any():
        raise InputError("a probability is NaN where its case has a label; score the case or leave it out.")
    if truth.all() or not truth.any():
        return 0.5
    order = np.argsort(-p, kind="stable")
    ranked, last = p[order], np.append(np.diff(p[order]) != 0, True)
    gained = np.cumsum(truth[order] / truth.sum() - ~truth[order] / (~truth).sum())[last]
    return float(ranked[last][int(np.argmax(gained > gained.max() - 1e-12))])
