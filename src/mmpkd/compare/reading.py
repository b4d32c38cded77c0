"""Looks rows of a comparison table up for the verdict; words nothing and computes nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd

from mmpkd.compare.compare import Endpoint
from mmpkd.compare.intervals import Interval
from mmpkd.compare.tables import Score
from mmpkd.compare.words import Change, better_direction
from mmpkd.evaluate.classification import MACRO
from mmpkd.evaluate.strata import POOLED

MACRO_AUROC = Score(MACRO, "", "", "auroc")

Standing = Literal["better", "worse", "open", "unknown"]


@dataclass(frozen=True)
class Found:
    """One row of the comparison: the number and what it rests on."""

    interval: Interval
    cases: int
    patients: int
    seeds: int


@dataclass(frozen=True)
class Reading:
    """A comparison table and what is asked of it.

    Args:
        table: From :func:`mmpkd.compare.compare.compare_arms`.
        primary: The endpoint that the study names.
        arms_ran: Names of the arms that ran.
        level: Coverage of the intervals.
        kinds: Kind of each arm, where it is not the arm's name.
    """

    table: pd.DataFrame
    primary: Endpoint
    arms_ran: Sequence[str]
    level: float
    kinds: Mapping[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> str:
        """The arm that the primary endpoint compares with, or ``""`` where there is no such difference."""
        asked = self.table.loc[self.table["role"] == "primary", "reference_arm"]
        return "" if asked.empty else str(asked.iloc[0])

    def arm(self, arm: str, score: Score) -> Found | None:
        """Return an arm's own score."""
        return self._find("arm", arm, "", score)

    def difference(self, reference: str, score: Score, arm: str | None = None) -> Found | None:
        """Return a difference from ``reference``, of the primary endpoint's arm unless told."""
        return self._find("difference", self.primary.arm if arm is None else arm, reference, score)

    def kind_of(self, arm: str) -> str:
        """Return what an arm is, whatever its name."""
        return self.kinds.get(arm, arm)

    def headroom(self, score: Score, finding: str = MACRO) -> tuple[str, Found] | None:
        """Return the upper bound and the share of the headroom that the primary endpoint's arm takes of a finding."""
        rows = self.table[(self.table["kind"] == "headroom") & (self.table["arm"] == self.primary.arm)]
        if rows.empty:
            return None
        upper = str(rows["reference_arm"].iloc[0])
        found = self._find("headroom", self.primary.arm, upper, score._replace(finding=finding))
        return None if found is None else (upper, found)

    def against_control(self, control: str) -> Found | None:
        """Return the primary endpoint's arm less a control; the reference arm may be one."""
        if control == self.reference:
            return self.difference(control, self.primary.score)
        return self._find("control", self.primary.arm, control, self.primary.score)

    def change(self, found: Found) -> Change:
        """Return a difference in the form that words are made of."""
        return Change(found.interval, self.level)

    def standing(self, found: Found, metric: str) -> Standing:
        """Return whether a difference is to the better, to the worse, open, or unknown."""
        outcome = self.change(found).outcome
        if outcome in ("open", "unknown"):
            return "open" if outcome == "open" else "unknown"
        return "better" if (outcome == "higher") == (better_direction(metric) > 0) else "worse"

    def undefined_findings(self) -> list[str]:
        """Return the findings whose part in the primary endpoint is undefined."""
        kind = self.table["kind"] == "difference"
        rows = self.table[kind & (self.table["arm"] == self.primary.arm) & self.table["estimate"].isna()]
        rows = rows[rows["reference_arm"] == self.reference]
        asked = self.primary.score
        same = (rows["metric"] == asked.metric) & (rows["policy"] == asked.policy)
        rows = rows[same & (rows["method"] == asked.method) & ~rows["finding"].isin([MACRO, POOLED])]
        return [str(finding) for finding in rows["finding"]]

    def other_methods(self) -> list[str]:
        """Return the map methods by which the primary endpoint's metric was scored too."""
        rows = self.table[(self.table["kind"] == "difference") & (self.table["metric"] == self.primary.metric)]
        return [str(method) for method in rows["method"].unique() if method and method != self.primary.score.method]

    @property
    def findings(self) -> list[str]:
        """Single findings of the table, in its order."""
        return [str(name) for name in self.table["finding"].unique() if name not in (MACRO, POOLED)]

    def by_finding(self) -> dict[str, tuple[Found, float]]:
        """Return the primary endpoint's difference in each single finding, with its p after Holm's correction."""
        found = {}
        for name in self.findings:
            score = self.primary.score._replace(finding=str(name))
            row = self._row("difference", self.primary.arm, self.reference, score)
            if row is not None and not np.isnan(row["p_holm"]):
                found[str(name)] = _found(row), float(row["p_holm"])
        return found

    def exploratory_count(self) -> int:
        """Return how many differences have an interval and are not the primary one."""
        rows = self.table[(self.table["kind"] == "difference") & (self.table["role"] == "exploratory")]
        return int(rows["low"].notna().sum())

    def overlap_score(self) -> Score | None:
        """Return the macro IoU that the arm was scored with, at matched area if there is one."""
        rows = self.table[(self.table["kind"] == "arm") & (self.table["arm"] == self.primary.arm)]
        rows = rows[(rows["metric"] == "iou") & (rows["finding"] == MACRO)]
        matched = rows[rows["policy"] == "matched-area"]
        rows = rows if matched.empty else matched
        if rows.empty:
            return None
        return Score(MACRO, str(rows["method"].iloc[0]), str(rows["policy"].iloc[0]), "iou")

    def _find(self, kind: str, arm: str, reference: str, score: Score) -> Found | None:
        row = self._row(kind, arm, reference, score)
        return None if row is None else _found(row)

    def _row(self, kind: str, arm: str, reference: str, score: Score) -> pd.Series | None:
        wanted = {"kind": kind, "arm": arm, "reference_arm": reference, **score._asdict()}
        rows = self.table[np.logical_and.reduce([self.table[column] == value for column, value in wanted.items()])]
        return None if rows.empty else rows.iloc[0]


def _found(row: pd.Series) -> Found:
    interval = Interval(float(row["estimate"]), float(row["low"]), float(row["high"]))
    return Found(interval, int(row["cases"]), int(row["patients"]), int(row["seeds"]))
