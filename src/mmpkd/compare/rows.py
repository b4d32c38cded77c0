"""From statistics and their draws to the rows of a table: one a statistic, with its interval."""

from __future__ import annotations

import pandas as pd

from mmpkd.compare.intervals import Interval
from mmpkd.compare.statistics import Statistics

COLUMNS = (
    "kind",
    "arm",
    "reference_arm",
    "metric",
    "policy",
    "method",
    "finding",
    "estimate",
    "low",
    "high",
    "cases",
    "patients",
    "seeds",
    "p",
)
_SHARES = frozenset(
    (
        *("auroc", "average_precision", "brier", "calibration_error", "iou", "precision", "recall", "fdr", "fpr"),
        *("attended_area", "pointing", "rank_accuracy", "pixel_auroc", "pixel_auprc"),
    )
)
"""Metrics between 0 and 1, and so are the limits of their intervals."""


class Rows:
    """Collects rows.

    Args:
        level: Coverage of the intervals.
    """

    def __init__(self, level: float) -> None:
        self._level = level
        self._rows: list[tuple[object, ...]] = []

    def add(self, kind: str, arm: str, reference: str, statistics: Statistics, seeds: int) -> None:
        """Add a row for each statistic of one arm, baseline or difference; a difference has a p-value against 0."""
        for score, statistic in statistics.items():
            interval = statistic.interval(self._level)
            if not reference and score.metric in _SHARES:
                interval = Interval(interval.estimate, max(interval.low, 0.0), min(interval.high, 1.0))
            what = (score.metric, score.policy, score.method, score.finding)
            rest = (statistic.cases, statistic.patients, seeds, statistic.p() if reference else float("nan"))
            self._rows.append((kind, arm, reference, *what, *interval, *rest))

    def finish(self) -> pd.DataFrame:
        """Return the table."""
        return pd.DataFrame(self._rows, columns=list(COLUMNS))
