"""The primary arm beside its controls: what each has in the place of the teacher's soft labels, and the difference."""

from __future__ import annotations

from mmpkd.compare.controls import CONTROLS, PLACE_CONTROLS
from mmpkd.report.data import ReportData
from mmpkd.report.glossary import describe_metric
from mmpkd.report.tables import Group, Line, Table, cell
from mmpkd.report.words import minus


def control_table(data: ReportData) -> Table:
    """Return a line for each control that the primary arm was held against, in the primary endpoint alone.

    Where the reference arm is a control itself, its difference is the primary endpoint and stands in the other table.
    """
    rows = data.select(kind="control")
    if not rows:
        return Table((), ())
    metric = describe_metric(rows[0].metric)
    lines = []
    for row in rows:
        what = {**PLACE_CONTROLS, **CONTROLS}.get(_kind(data, row.reference_arm), "control")
        label = f"{minus(row.arm, row.reference_arm)} ({what})"
        shown = cell(row.estimate, metric, signed=True)
        lines.append(Line(label, minus(row.arm, row.reference_arm), "", False, (shown,)))
    return Table((metric.label,), (Group("", tuple(lines)),))


def _kind(data: ReportData, arm: str) -> str:
    """Return an arm's kind as the study file's resolved copy has it; an arm's name where it does not say."""
    arms = data.study.get("arms")
    settings = arms.get(arm) if isinstance(arms, dict) else None
    return str(settings.get("kind", arm)) if isinstance(settings, dict) else arm
