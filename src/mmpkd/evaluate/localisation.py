"""Does a map look at the ROI? Overlap at a stated threshold policy, pointing, energy, rank accuracy.

A map is ``a >= 0`` over N pixels, M the ROI and B the attended pixels. Masks may be boolean, or give the
ROI's coverage of each cell from 0 to 1: then a token grid scored against coverage gives the same numbers as
the grid enlarged to pixels. Ties count as their expectation, so a constant map scores exactly chance. What
has no meaning (an empty ROI; the false positive rate of an ROI that fills the image) is NaN, never 0 or hit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Real, Shaped

from mmpkd.errors import InputError
from mmpkd.evaluate.threshold import DEFAULT_POLICIES, MatchedArea, Policy, parse_policy

OVERLAP_METRICS = ("iou", "precision", "recall", "fdr", "fpr", "attended_area")
FREE_METRICS = (
    "pointing",
    "energy_enrichment",
    "rank_accuracy",
)  # these need no threshold; their policy is ""
_CHUNK_PIXELS = 2**22


@final
@dataclass(frozen=True)
class Overlap:
    """Expected pixel counts of attended area against ROI, one value a map, and the metrics made of them.

    The metrics are ratios of *expected* counts where ties are shared out; for a constant map the IoU is
    therefore ``pq / (p + q - pq)`` to the last digit, the chance level of ``mmpkd.evaluate.baselines``.

    Args:
        inside_px: |B and M|.
        attended_px: |B|.
        roi_px: |M|.
        image_px: N.
    """

    inside_px: Float[np.ndarray, " maps"]
    attended_px: Float[np.ndarray, " maps"]
    roi_px: Float[np.ndarray, " maps"]
    image_px: int

    @property
    def iou(self) -> Float[np.ndarray, " maps"]:
        """|B and M| / |B or M|."""
        return self._of_rois(_ratio(self.inside_px, self.attended_px + self.roi_px - self.inside_px))

    @property
    def precision(self) -> Float[np.ndarray, " maps"]:
        """|B and M| / |B|: the share of the attended pixels that lie inside the ROI."""
        return self._of_rois(_ratio(self.inside_px, self.attended_px))

    @property
    def recall(self) -> Float[np.ndarray, " maps"]:
        """|B and M| / |M|: the share of the ROI that is attended."""
        return self._of_rois(_ratio(self.inside_px, self.roi_px))

    @property
    def fdr(self) -> Float[np.ndarray, " maps"]:
        """False discovery rate, 1 - precision: the share of the attended pixels that lie outside the ROI."""
        return 1.0 - self.precision

    @property
    def fpr(self) -> Float[np.ndarray, " maps"]:
        """False positive rate, FP / (FP + TN): the share of the pixels outside the ROI that are attended."""
        return self._of_rois(_ratio(self.attended_px - self.inside_px, self.image_px - self.roi_px))

    @property
    def attended_area(self) -> Float[np.ndarray, " maps"]:
        """|B| / N."""
        return self._of_rois(self.attended_px / self.image_px)

    def _of_rois(self, values: np.ndarray) -> np.ndarray:
        # One slice for all metrics: a case without an ROI is in none of them.
        return np.where(self.roi_px > 0, values, np.nan)


def overlap(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
    policy: str | Policy,
) -> Overlap:
    """Count attended pixels against the ROI of each map.

    Args:
        maps: (n, H, W), finite and not negative.
        masks: (n, H, W), boolean or coverage from 0 to 1.
        policy: A threshold policy or its name, as ``top-area=0.1`` or ``matched-area``.

    Raises:
        InputError: Shapes that differ; a map with negative, NaN or infinite values; an unknown policy.
    """
    policy = parse_policy(policy) if isinstance(policy, str) else policy
    parts = [_count(a, m, policy) for a, m in _chunks(maps, masks)]
    inside, attended, roi = np.concatenate(parts, axis=1)
    return Overlap(inside, attended, roi, maps.shape[1] * maps.shape[2])


def pointing(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
) -> Float[np.ndarray, " maps"]:
    """Pointing game: whether the map's highest pixel lies in the ROI; with ties, the share of them that do.

    After Zhang et al. 2018 (excitation backprop), without their margin of tolerance. NaN: empty ROI.
    """
    return _each(maps, masks, _pointing)


def energy(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
) -> Float[np.ndarray, " maps"]:
    """Energy inside the ROI, ``sum_M a / sum a`` (Wang et al. 2020, Score-CAM).

    NaN where the ROI is empty or the map is zero everywhere.
    """
    return _each(maps, masks, _energy)


def energy_enrichment(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
) -> Float[np.ndarray, " maps"]:
    """Energy over the ROI's share of the image, ``(sum_M a / sum a) / (|M| / N)``: 1 is chance.

    NaN where the ROI is empty or the map is zero everywhere.
    """
    return _each(maps, masks, _enrichment)


def rank_accuracy(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
) -> Float[np.ndarray, " maps"]:
    """Relevance rank accuracy: the share of the highest |M| pixels that lie in the ROI (Arras et al. 2022).

    The same as precision (and recall) at ``matched-area``.
    """
    return overlap(maps, masks, MatchedArea()).precision


def localisation_scores(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
    policies: Sequence[str] = DEFAULT_POLICIES,
) -> dict[tuple[str, str], np.ndarray]:
    """Return every metric as ``{(policy, metric): (n,) values}``; policy ``""`` where none is needed."""
    scores: dict[tuple[str, str], np.ndarray] = {}
    for policy in [parse_policy(name) for name in policies]:
        counts = overlap(maps, masks, policy)
        scores.update({(policy.name, metric): getattr(counts, metric) for metric in OVERLAP_METRICS})
    scores["", "pointing"] = pointing(maps, masks)
    scores["", "energy_enrichment"] = energy_enrichment(maps, masks)
    scores["", "rank_accuracy"] = rank_accuracy(maps, masks)
    return scores


def _count(maps: np.ndarray, masks: np.ndarray, policy: Policy) -> np.ndarray:
    attended = policy.attended(maps, masks)
    return np.stack([(attended * masks).sum(axis=1), attended.sum(axis=1), masks.sum(axis=1)])


def _pointing(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    highest = maps == maps.max(axis=1, keepdims=True)
    return np.where(masks.any(axis=1), (highest * masks).sum(axis=1) / highest.sum(axis=1), np.nan)


def _energy(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    share = _ratio((maps * masks).sum(axis=1), maps.sum(axis=1, dtype=np.float64))
    return np.where(masks.any(axis=1), share, np.nan)


def _enrichment(maps: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return _ratio(_energy(maps, masks), masks.mean(axis=1))


def _each(maps: np.ndarray, masks: np.ndarray, metric: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
    return np.concatenate([metric(a, m) for a, m in _chunks(maps, masks)])


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    under = np.asarray(under, dtype=np.float64)
    ratio: np.ndarray = np.divide(over, under, out=np.full(np.shape(under), np.nan), where=under > 0)
    return ratio


def _chunks(maps: np.ndarray, masks: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield checked (n, pixels) pieces of bounded size; masks become float64 coverage."""
    if maps.ndim != 3 or maps.shape != masks.shape or 0 in maps.shape[1:]:
        raise InputError(f"maps are {maps.shape} and masks {masks.shape}; give both as (maps, height, width).")
    count, pixels = len(maps), maps.shape[1] * maps.shape[2]
    step = max(1, _CHUNK_PIXELS // pixels)
    for start in range(0, max(count, 1), step):
        piece = maps[start : start + step].reshape(-1, pixels)
        _require_map(piece, start, maps.shape[2])
        mask = masks[start : start + step].reshape(-1, pixels).astype(np.float64)
        if not ((mask >= 0) & (mask <= 1)).all():
            raise InputError("a mask holds a value outside 0 to 1; give booleans, or coverage as a share.")
        yield piece, mask


def _require_map(maps: np.ndarray, first: int, width: int) -> None:
    wrong = ~(np.isfinite(maps) & (maps >= 0))
    if wrong.any():
        row, pixel = np.argwhere(wrong)[0]
        value = maps[row, pixel]
        remedy = "take its positive part first" if value < 0 and np.isfinite(value) else "look for the cause first"
        raise InputError(
            f"map {first + row} holds {value:g} at row {pixel // width}, column {pixel % width}; "
            f"a map has finite values from 0 up: {remedy}."
        )
