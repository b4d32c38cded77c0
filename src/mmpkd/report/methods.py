"""All map methods of one arm side by side, for studies that asked for several."""

from __future__ import annotations

from mmpkd.report.data import MACRO, ReportData
from mmpkd.report.glossary import describe_baseline, describe_metric, plain
from mmpkd.report.tables import Group, Line, Table, cell, compared_arms, estimate_of, map_settings

_SHOWN = (("matched-area", "iou"), ("", "energy_enrichment"), ("", "pixel_auroc"))
_PRIOR = "mean-roi-prior"
_UNLEARNED = ("randomised", "untrained")


def methods_table(data: ReportData) -> Table:
    """Return methods as lines: the primary arm's scores, gain over the mean-ROI prior, what unlearned students score.

    Empty where the study has one method only.
    """
    methods = list(dict.fromkeys(setting.method for setting in map_settings(data)))
    arm = primary_arm(data)
    if len(methods) < 2 or not arm:
        return Table((), ())
    groups = []
    for policy, name in _SHOWN:
        metric = describe_metric(name)
        rows = [row for row in data.comparison if row.finding == MACRO and (row.policy, row.metric) == (policy, name)]
        lines = []
        for method in methods:
            mine = [row for row in rows if row.method == method]
            gain = (r for r in mine if r.kind == "difference" and (r.arm, r.reference_arm) == (arm, _PRIOR))
            cells = [cell(estimate_of(r for r in mine if r.kind == "arm" and r.arm == arm), metric)]
            cells.append(cell(estimate_of(gain), metric, signed=True))
            cells += [
                cell(estimate_of(r for r in mine if r.kind == "baseline" and r.arm == other), metric)
                for other in _UNLEARNED
            ]
            lines.append(Line(plain(method), plain(method), metric.better, False, tuple(cells)))
        if any(row.kind == "arm" for row in rows):
            groups.append(Group(metric.label, tuple(lines)))
    columns = (arm, "less the mean-ROI prior", *(describe_baseline(other) for other in _UNLEARNED))
    return Table(columns, tuple(groups))


def primary_arm(data: ReportData) -> str:
    """Return the arm that the study asks about: the primary endpoint's, else the last that was compared."""
    asked = [row.arm for row in data.comparison if row.kind == "difference" and row.role == "primary"]
    arms = compared_arms(data)
    return asked[0] if asked else (arms[-1] if arms else "")
