"""Localisation: every metric of the maps beside chance and the priors, one panel a threshold policy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from mmpkd.report.axes import arm_series, baseline_series
from mmpkd.report.data import MACRO, Estimate, ReportData, Row
from mmpkd.report.figures import dots
from mmpkd.report.findings import arm_forest, arm_rows, or_nan
from mmpkd.report.glossary import describe_baseline, describe_metric
from mmpkd.report.tables import (
    Group,
    Line,
    MapSetting,
    Table,
    cell,
    compared_arms,
    describe_setting,
    estimate_of,
    family_of,
    map_settings,
)
from mmpkd.report.words import minus, show

_PLOTTED = (
    "iou",
    "precision",
    "recall",
    "fdr",
    "fpr",
    "attended_area",
    "pointing",
    "energy_enrichment",
    "rank_accuracy",
    "pixel_auroc",
    "pixel_auprc",
    "cnr",
)
_CHANCE_LINE = {"energy_enrichment": 1.0, "pixel_auroc": 0.5, "cnr": 0.0}


@dataclass(frozen=True)
class MapPanel:
    """Localisation under one map method and threshold policy."""

    title: str
    words: str
    method: str
    figures: tuple[Markup, ...]
    numbers: Table
    against_baselines: Table
    per_finding: Markup | None


def map_panels(data: ReportData) -> tuple[MapPanel, ...]:
    """Return one panel a map method and threshold policy, baselines beside the arms."""
    settings = map_settings(data)
    return tuple(_map_panel(data, setting, index, settings) for index, setting in enumerate(settings))


def _map_panel(data: ReportData, setting: MapSetting, index: int, settings: tuple[MapSetting, ...]) -> MapPanel:
    arms = compared_arms(data)
    of_arms = data.select(kind="arm", method=setting.method, policy=setting.policy)
    methods = {other.method for other in settings}
    baselines = [
        row
        for row in data.select(kind="baseline", policy=setting.policy)
        if row.method == setting.method or row.method not in methods
    ]
    names = list(dict.fromkeys(row.metric for row in of_arms if family_of(row) == "localisation"))
    baseline_names = list(dict.fromkeys(row.arm for row in baselines))
    looks = [arm_series(arms, arm) for arm in arms]
    looks += [baseline_series(i, describe_baseline(name)) for i, name in enumerate(baseline_names)]
    figures = []
    for name in (name for name in _PLOTTED if name in names):
        metric = describe_metric(name)
        shown = [_macro(of_arms, name, arm) for arm in arms] + [_macro(baselines, name, b) for b in baseline_names]
        arrow = {"higher": ", higher is better", "lower": ", lower is better", "": ""}[metric.better]
        figures.append(
            dots(
                f"map-{index}-{name.replace('_', '-')}",
                f"{metric.label}",
                [(look, e) for look, e in zip(looks, shown, strict=True) if e.defined],
                show=partial(show, digits=metric.digits),
                line_at=_CHANCE_LINE.get(name),
                description=f"{metric.label}{arrow}: arms and baselines with intervals.",
            )
        )
    words, several = describe_setting(setting, settings), len({other.method for other in settings}) > 1
    leading = next((name for name in ("iou", "energy_enrichment", "pointing") if name in names), "")
    return MapPanel(
        title=words[:1].upper() + words[1:] if several else f"Maps {words}",
        words=words,
        method=setting.method,
        figures=tuple(figures),
        numbers=_map_numbers(of_arms, baselines, names, arms, baseline_names),
        against_baselines=_against_baselines(data, setting, names, arms),
        per_finding=_per_finding(data, setting, leading, index),
    )


def _map_numbers(
    of_arms: tuple[Row, ...], baselines: list[Row], names: list[str], arms: tuple[str, ...], others: list[str]
) -> Table:
    lines = []
    for name in names:
        metric = describe_metric(name)
        cells = [cell(_macro(of_arms, name, arm), metric) for arm in arms]
        cells += [cell(_macro(baselines, name, other), metric) for other in others]
        lines.append(Line(metric.label, metric.short, metric.better, False, tuple(cells)))
    columns = (*arms, *(describe_baseline(other) for other in others))
    return Table(columns, (Group("", tuple(lines)),))


def _against_baselines(data: ReportData, setting: MapSetting, names: list[str], arms: tuple[str, ...]) -> Table:
    """Return the paired differences between arms and baselines."""
    rows = [
        row
        for row in data.select(kind="difference", method=setting.method, policy=setting.policy, finding=MACRO)
        if row.reference_arm not in arms
    ]
    others = list(dict.fromkeys(row.reference_arm for row in rows))
    pairs = [(arm, other) for arm in arms for other in others]
    lines = []
    for name in names:
        metric = describe_metric(name)
        found = [estimate_of(r for r in rows if r.metric == name and (r.arm, r.reference_arm) == p) for p in pairs]
        cells = tuple(cell(estimate, metric, signed=True) for estimate in found)
        lines.append(Line(metric.label, metric.short, metric.better, False, cells))
    columns = tuple(minus(arm, describe_baseline(other).replace(" ", "\u00a0").lower()) for arm, other in pairs)
    return Table(columns, (Group("", tuple(lines)),) if rows else ())


def _per_finding(data: ReportData, setting: MapSetting, name: str, index: int) -> Markup | None:
    rows = arm_rows(data, name, setting.method, setting.policy)
    if len(rows) < 2:
        return None
    return arm_forest(data, f"map-{index}-findings", describe_metric(name), rows, _CHANCE_LINE.get(name))


def _macro(rows: tuple[Row, ...] | list[Row], metric: str, arm: str) -> Estimate:
    return or_nan(estimate_of(r for r in rows if r.metric == metric and r.arm == arm and r.finding == MACRO))
