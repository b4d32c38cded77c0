"""AUROC per finding, for the arms and for their differences."""

from __future__ import annotations

import math

from markupsafe import Markup

from mmpkd.report.axes import arm_series
from mmpkd.report.data import MACRO, Estimate, ReportData
from mmpkd.report.figures import ForestRow, forest
from mmpkd.report.glossary import Metric, describe_metric
from mmpkd.report.tables import compared_arms, differences_of, estimate_of, findings_of
from mmpkd.report.words import finding_words, minus


def auroc_figures(data: ReportData) -> tuple[Markup, ...]:
    """Return the forest plots of AUROC per finding: the arms, and the differences where there are any."""
    rows = data.select(metric="auroc")
    arms, pairs = compared_arms(data), differences_of(data)
    figures = []
    of_arms = arm_rows(data, "auroc")
    if of_arms:
        figures.append(arm_forest(data, "auroc", describe_metric("auroc"), of_arms, 0.5))
    gaps = [row for row in rows if row.kind == "difference" and row.reference_arm in arms]
    if gaps:
        looks = [arm_series(arms, arm, minus(arm, reference)) for arm, reference in pairs]
        lines = []
        for finding in findings_of(gaps):
            found = [
                estimate_of(r for r in gaps if r.finding == finding and (r.arm, r.reference_arm) == pair)
                for pair in pairs
            ]
            lines.append(ForestRow(finding_words(finding), tuple(or_nan(e) for e in found), finding == MACRO))
        figures.append(
            forest(
                "auroc-difference",
                lines,
                looks,
                axis_label="difference of AUROC",
                line_at=0.0,
                slots=len(arms),
                description="Differences of AUROC per finding with intervals.",
            )
        )
    return tuple(figures)


def arm_rows(data: ReportData, metric: str, method: str = "", policy: str = "") -> list[ForestRow]:
    """Return one metric of every arm as rows of a forest plot, the macro mean last."""
    rows = data.select(kind="arm", metric=metric, method=method, policy=policy)
    lines = []
    for finding in findings_of(rows):
        mine = [row for row in rows if row.finding == finding]
        found = tuple(or_nan(estimate_of(row for row in mine if row.arm == arm)) for arm in compared_arms(data))
        lines.append(ForestRow(finding_words(finding), found, finding == MACRO))
    return lines


def arm_forest(data: ReportData, name: str, metric: Metric, rows: list[ForestRow], line_at: float | None) -> Markup:
    """Return a forest plot of one metric of every arm, the macro mean last."""
    return forest(
        name,
        rows,
        [arm_series(compared_arms(data), arm) for arm in compared_arms(data)],
        axis_label=metric.label,
        line_at=line_at,
        bounds=(0.0, math.inf) if line_at == 1.0 else (0.0, 1.0),
        description=f"{metric.label} per finding and arm with intervals.",
    )


def or_nan(estimate: Estimate | None) -> Estimate:
    """Return the estimate, or an undefined one where there is none."""
    return estimate if estimate is not None else Estimate(math.nan)
