"""From statistics and their draws to the rows of a table: one a statistic, with its interval."""

from __future__ import annotations

import pandas as pd

from mmpkd.compare.intervals import percentile_interval
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
)


class Rows:
    """Collects rows.

    Args:
        level: Coverage of the intervals.
    """

    def __init__(self, level: float) -> None:
        self._level = level
        self._rows: list[tuple[object, ...]] = []

    def add(self, kind: str, arm: str, reference: str, statistics: Statistics, seeds: int) -> None:
        """Add a row for each statistic of one arm, baseline or difference."""
        for score, statistic in statistics.items():
            interval = percentile_interval(statistic.draws, self._level)
            what = (score.metric, score.policy, score.method, score.finding)
            rest = (statistic.cases, statistic.patients, seeds)
            self._rows.append((kind, arm, reference, *what, *interval, *rest))

    def finish(self) -> pd.DataFrame:
        """Return the table."""
        return pd.DataFrame(self._rows, columns=list(COLUMNS))
