"""Does a map look at the ROI? Overlap at a stated threshold policy, pointing, energy, ranks, contrast.

A map is ``a >= 0`` over N pixels, M the ROI and B the attended pixels. Masks may be boolean, or give the
ROI's coverage of each cell from 0 to 1: then a token grid scored against coverage gives the same numbers as
the grid enlarged to pixels. Ties count as their expectation, so a constant map scores exactly chance. What
has no meaning (an empty ROI; the false positive rate of an ROI that fills the image) is NaN, never 0 or hit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Real, Shaped

from mmpkd.evaluate.ranking import Ranked, ranked_pieces
from mmpkd.evaluate.threshold import DEFAULT_POLICIES, Policy, parse_policy

OVERLAP_METRICS = ("iou", "precision", "recall", "fdr", "fpr", "attended_area")
FREE_METRICS = (
    "pointing",
    "energy_enrichment",
    "rank_accuracy",
    "pixel_auroc",
    "pixel_auprc",
    "cnr",
)  # these need no threshold; their policy is ""
_LEAST_NOISE = 1e-12


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

    @classmethod
    def of(cls, ranked: Ranked, policy: Policy) -> Overlap:
        """Count the attended pixels of sorted maps."""
        area_px = policy.area_px(ranked)
        return cls(ranked.inside_px(area_px), area_px, ranked.roi_px, ranked.image_px)

    @property
    def iou(self) -> Float[np.ndarray, " maps"]:
        """|B and M| / |B or M|."""
        return self._of_rois(_ratio(self.inside_px, self.attended_px + self.roi_px - self.inside_px))

    @property
    def precision(self) -> Float[np.ndarray, " maps"]:
        """|B and M| / |B|: the share of the attended pixels that lie inside the ROI. NaN if none is attended."""
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
    parts = [Overlap.of(ranked, policy) for ranked in ranked_pieces(maps, masks)]
    inside_px, attended_px, roi_px = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("inside_px", "attended_px", "roi_px")
    )
    return Overlap(inside_px, attended_px, roi_px, parts[0].image_px)


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
    return _each(maps, masks, _rank_accuracy)


def pixel_auroc(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
) -> Float[np.ndarray, " maps"]:
    """AUROC of the values for being in the ROI: P(inside > outside) + half of P(equal), over pairs of pixels.

    Mann-Whitney over one map's pixels; a pixel of coverage c counts c inside and 1 - c outside. .5 is chance,
    and what a constant map scores. NaN where the ROI is empty or fills the image.
    """
    return _each(maps, masks, _pixel_auroc)


def pixel_auprc(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
) -> Float[np.ndarray, " maps"]:
    """Average precision of the values for being in the ROI: ``sum_k (recall_k - recall_(k-1)) precision_k``.

    Over distinct values, highest first; tied pixels enter together (steps, not trapezoids: Davis and Goadrich
    2006). Chance, and what a constant map scores, is the ROI's share of the image. NaN as in :func:`pixel_auroc`.
    """
    return _each(maps, masks, _pixel_auprc)


def cnr(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
) -> Float[np.ndarray, " maps"]:
    """Contrast-to-noise ratio, signed: ``(mean_in - mean_out) / sqrt(var_in + var_out)``; 0 is chance.

    Variances are those of the pixels (divided by their number). The MS-CXR papers (Boecking et al. 2022, BioViL)
    report the absolute value, by which a map that avoids the ROI scores like one that finds it.

    NaN where the ROI is empty or fills the image, or where there is no noise: the map is constant inside and
    constant outside (standard deviation under 1e-12 of its maximum).
    """
    return _each(maps, masks, _cnr)


def localisation_scores(
    maps: Real[np.ndarray, "maps height width"],
    masks: Shaped[np.ndarray, "masks mask_height mask_width"],
    policies: Sequence[str] = DEFAULT_POLICIES,
) -> dict[tuple[str, str], np.ndarray]:
    """Return every metric as ``{(policy, metric): (n,) values}``; policy ``""`` where none is needed.

    Each map is sorted once for all metrics and policies.
    """
    parsed = [parse_policy(name) for name in policies]
    pieces = [_scores(ranked, parsed) for ranked in ranked_pieces(maps, masks)]
    return {key: np.concatenate([piece[key] for piece in pieces]) for key in pieces[0]}


def _scores(ranked: Ranked, policies: Sequence[Policy]) -> dict[tuple[str, str], np.ndarray]:
    scores: dict[tuple[str, str], np.ndarray] = {}
    for policy in policies:
        counts = Overlap.of(ranked, policy)
        scores.update({(policy.name, metric): getattr(counts, metric) for metric in OVERLAP_METRICS})
    scores.update({("", metric): _FREE[metric](ranked) for metric in FREE_METRICS})
    return scores


def _pointing(ranked: Ranked) -> np.ndarray:
    first = ranked.first_groups
    return np.where(ranked.roi_px > 0, ranked.covered_px[first] / ranked.ranked_px[first], np.nan)


def _energy(ranked: Ranked) -> np.ndarray:
    share = _ratio((ranked.relative * ranked.coverage).sum(axis=1), ranked.relative.sum(axis=1))
    return np.where(ranked.roi_px > 0, share, np.nan)


def _enrichment(ranked: Ranked) -> np.ndarray:
    return _ratio(_energy(ranked), ranked.roi_px / ranked.image_px)


def _rank_accuracy(ranked: Ranked) -> np.ndarray:
    return _ratio(ranked.inside_px(ranked.roi_px), ranked.roi_px)


def _pixel_auroc(ranked: Ranked) -> np.ndarray:
    # Trapezoids over all pixels, less those over the ROI's own pixels, which pair to |M|^2 / 2.
    heights = ranked.covered_px + ranked.before(ranked.covered_px)
    heights *= ranked.ranked_px - ranked.before(ranked.ranked_px)
    roi = ranked.roi_px
    return _ratio(0.5 * (ranked.total(heights) - roi * roi), roi * (ranked.image_px - roi))


def _pixel_auprc(ranked: Ranked) -> np.ndarray:
    gains = ranked.covered_px - ranked.before(ranked.covered_px)
    gains *= ranked.covered_px
    gains /= ranked.ranked_px
    defined = ranked.roi_px < ranked.image_px
    return np.where(defined, _ratio(ranked.total(gains), ranked.roi_px), np.nan)


def _cnr(ranked: Ranked) -> np.ndarray:
    values, inside = ranked.relative, ranked.coverage
    roi = ranked.roi_px
    rest = ranked.image_px - roi
    within = (values * inside).sum(axis=1)
    mean_in, mean_out = _ratio(within, roi), _ratio(values.sum(axis=1) - within, rest)
    deviation = values - mean_in[:, None]
    deviation *= deviation
    deviation *= inside
    variance = _ratio(deviation.sum(axis=1), roi)
    np.subtract(values, mean_out[:, None], out=deviation)
    deviation *= deviation
    deviation *= 1.0 - inside
    variance += _ratio(deviation.sum(axis=1), rest)
    noise = np.sqrt(np.where(variance > _LEAST_NOISE**2, variance, np.nan))
    return (mean_in - mean_out) / noise


_FREE: dict[str, Callable[[Ranked], np.ndarray]] = {
    "pointing": _pointing,
    "energy_enrichment": _enrichment,
    "rank_accuracy": _rank_accuracy,
    "pixel_auroc": _pixel_auroc,
    "pixel_auprc": _pixel_auprc,
    "cnr": _cnr,
}


def _each(maps: np.ndarray, masks: np.ndarray, metric: Callable[[Ranked], np.ndarray]) -> np.ndarray:
    return np.concatenate([metric(ranked) for ranked in ranked_pieces(maps, masks)])


def _ratio(over: np.ndarray, under: np.ndarray) -> np.ndarray:
    under = np.asarray(under, dtype=np.float64)
    ratio: np.ndarray = np.divide(over, under, out=np.full(np.shape(under), np.nan), where=under > 0)
    return ratio
