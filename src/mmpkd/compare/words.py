"""Numbers and differences put into plain words that claim no more than their intervals allow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mmpkd.compare.intervals import Interval

# Name for readers, and the direction that is better: 1 up, -1 down, 0 neither.
METRICS: dict[str, tuple[str, int]] = {
    "auroc": ("AUROC", 1),
    "average_precision": ("average precision", 1),
    "brier": ("Brier score", -1),
    "calibration_error": ("calibration error", -1),
    "iou": ("IoU of attended area and ROI", 1),
    "precision": ("precision of the attended pixels", 1),
    "recall": ("recall of the ROI's pixels", 1),
    "fdr": ("false discovery rate of the attended pixels", -1),
    "fpr": ("false positive rate of the pixels outside the ROI", -1),
    "attended_area": ("attended area", 0),
    "pointing": ("pointing-game accuracy", 1),
    "energy_enrichment": ("energy enrichment in the ROI", 1),
    "rank_accuracy": ("rank accuracy", 1),
    "pixel_auroc": ("pixel AUROC", 1),
    "pixel_auprc": ("pixel average precision", 1),
    "cnr": ("signed contrast-to-noise ratio", 1),
    "deletion": ("deletion area", -1),
    "insertion": ("insertion area", 1),
    "insertion_minus_deletion": ("insertion less deletion", 1),
    "faithfulness_gain": ("faithfulness over a random order", 1),
    **{
        f"{change}_{measure}": (f"{words} of maps {how}", 1)
        for change, how in (("shift", "under a small shift"), ("noise", "under noise"))
        for measure, words in (
            ("ssim", "structural similarity"),
            ("spearman", "rank correlation"),
            ("top_overlap", "overlap of the top tenth"),
        )
    },
}
_SCOPES = {"macro": "mean over findings", "pooled": "all ROIs pooled"}

Outcome = Literal["higher", "lower", "open", "unknown"]


def metric_words(metric: str, finding: str, policy: str = "", method: str = "") -> str:
    """Return for example ``IoU of attended area and ROI (attention, matched-area, mean over findings)``."""
    name = METRICS.get(metric, (metric, 0))[0]
    scope = _SCOPES.get(finding) or f"finding '{finding}'"
    return f"{name} ({', '.join(part for part in (method, policy, scope) if part)})"


def better_direction(metric: str) -> int:
    """Return 1 where a higher value is better, -1 where a lower one is, 0 where neither is (or unknown)."""
    return METRICS.get(metric, (metric, 0))[1]


@dataclass(frozen=True)
class Change:
    """A difference, and how far one may speak of it.

    Args:
        interval: The difference and its limits.
        level: Coverage of the limits.
    """

    interval: Interval
    level: float

    @property
    def outcome(self) -> Outcome:
        """Whether the interval excludes 0 (``higher``, ``lower``) or not (``open``).

        ``unknown`` without an interval, or where the estimate lies outside it (the bootstrap does not fit).
        """
        estimate, low, high = self.interval
        if not low <= estimate <= high:
            return "unknown"
        if low > 0:
            return "higher"
        return "lower" if high < 0 else "open"

    @property
    def limits(self) -> str:
        """The interval in words, as ``95% interval 0.031 to 0.094``."""
        low, high = figures(self.interval.low, self.interval.high)
        return f"{100 * self.level:g}% interval {low} to {high}"

    def sentence(self, what: str, arm: str, reference: str, direction: int = 1) -> str:
        """Say what is known of ``what`` with ``arm`` against ``reference``, without a full stop."""
        estimate, low, high = self.interval
        if np.isnan(estimate):
            return f"nothing can be said of {what}: it is undefined on these cases"
        shown = figures(estimate)[0]
        if self.outcome == "unknown":
            why = "there are too few patients, or too few with or without the finding, for an interval"
            if not np.isnan(low):
                why = f"the {self.limits} does not hold the estimate, so the bootstrap does not fit here"
            return f"nothing can be concluded on {what}: '{arm}' and '{reference}' differ by {shown}, but {why}"
        if self.outcome == "open":
            return f"no difference shown in {what} between '{arm}' and '{reference}': {self._room()}"
        size, near, far = figures(abs(estimate), min(abs(low), abs(high)), max(abs(low), abs(high)))
        judged = "; lower is better" if direction < 0 else ""
        return (
            f"{what} is {self.outcome} with '{arm}' than with '{reference}' by {size} "
            f"({100 * self.level:g}% interval {near} to {far}{judged})"
        )

    def _room(self) -> str:
        estimate, low, high = self.interval
        if low == high == 0:
            return "both score the same in every bootstrap replicate"
        shown, fall, rise = figures(estimate, abs(low), high)
        room = f"the estimate is {shown} ({self.limits}), which does not exclude "
        return room + f"a decrease of up to {fall} or an increase of up to {rise}"


def figures(*values: float, decimals: int = 3) -> list[str]:
    """Format numbers that stand together: as many decimals as it takes that none but a true 0 reads as 0."""
    while decimals < 9 and any(value != 0 and round(value, decimals) == 0 for value in values):
        decimals += 1
    return [f"{value:.{decimals}f}".replace("-", "\u2212") for value in values]


def with_interval(interval: Interval) -> str:
    """Return ``0.83 (0.80 to 0.86)``, or the bare number without an interval."""
    if np.isnan(interval.low):
        return "undefined" if np.isnan(interval.estimate) else figures(interval.estimate)[0]
    value, low, high = figures(*interval)
    return f"{value} ({low} to {high})"


def listed(names: Sequence[str]) -> str:
    """Return ``'a', 'b' and 'c'``."""
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"


def counted(number: int, noun: str) -> str:
    """Return ``1 seed`` or ``3 seeds``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"
