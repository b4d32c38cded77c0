"""What each section of the report shows: its figures and the words and numbers beside them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mmpkd.report import overlays
from mmpkd.report.data import MACRO, Estimate, ReportData, Row
from mmpkd.report.figures import (
    ForestRow,
    Series,
    arm_series,
    baseline_series,
    curves,
    dots,
    forest,
    label_counts,
)
from mmpkd.report.glossary import describe_baseline, describe_metric, plain
from mmpkd.report.svg import ARM_COLOURS
from mmpkd.report.tables import (
    MINUS,
    Cell,
    MapSetting,
    Table,
    cell,
    compared_arms,
    describe_setting,
    differences_of,
    estimate_of,
    finding_table,
    findings_of,
    map_settings,
    read_estimate,
    show,
)

CASES_SHOWN = 12
_CASE_SIDE_PX = 288
_PLOTTED = ("iou", "recall", "fdr", "fpr", "attended_area", "pointing", "energy_enrichment", "rank_accuracy", "cnr")
_CHANCE_LINE = {"energy_enrichment": 1.0, "pixel_auroc": 0.5, "cnr": 0.0}


@dataclass(frozen=True)
class Teacher:
    """The teacher's section."""

    kind: str
    figure: Markup | None
    columns: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Cell, ...]], ...]
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    has_reference: bool


@dataclass(frozen=True)
class MapPanel:
    """Localisation under one map method and threshold policy."""

    title: str
    figures: tuple[Markup, ...]
    numbers: Table
    per_finding: Markup | None


@dataclass(frozen=True)
class CasePicture:
    """One picture of an example case and what stands below it."""

    uri: str
    caption: str
    probability: str
    alternative: str


@dataclass(frozen=True)
class ExampleCase:
    """One example case."""

    finding: str
    label: str
    pictures: tuple[CasePicture, ...]


def arm_styles(data: ReportData) -> dict[str, str]:
    """Return the CSS class that gives an arm its colour, so that tables and pictures match the figures."""
    return {arm: f"arm-{index % len(ARM_COLOURS)}" for index, arm in enumerate(compared_arms(data))}


def teacher_panel(data: ReportData) -> Teacher | None:
    """Return the teacher's scores, ``None`` where no teacher was scored."""
    if data.teacher is None:
        return None
    scores = {name: s for name, s in (data.teacher.get("findings") or {}).items() if isinstance(s, Mapping)}
    macro = data.teacher.get("macro") or {}
    if macro:
        scores = {**scores, MACRO: macro}
    has_reference = any(read_estimate(s, "reference_auroc").defined for s in scores.values())
    columns = ("AUROC, labels", *(("AUROC, reference labels",) if has_reference else ()))
    columns += ("Brier score", "Calibration error", "Entropy, bits", "Cases", "Positive")
    lines = []
    for name, score in scores.items():
        cells = [cell(read_estimate(score, "auroc"), describe_metric("auroc"))]
        if has_reference:
            cells.append(cell(read_estimate(score, "reference_auroc"), describe_metric("auroc")))
        cells += [Cell(_decimal(score.get(key))) for key in ("brier", "calibration_error", "entropy_bits")]
        cells += [Cell(_whole(score.get(key))) for key in ("cases", "positives")]
        lines.append((_finding_words(name), tuple(cells)))
    return Teacher(
        kind=str(data.teacher.get("kind", "")),
        figure=_teacher_figure(scores, has_reference) if scores else None,
        columns=columns,
        lines=tuple(lines),
        facts=_teacher_facts(data.teacher),
        warnings=tuple(str(warning) for warning in data.teacher.get("warnings") or ()),
        has_reference=has_reference,
    )


def _teacher_figure(scores: Mapping[str, Mapping[str, Any]], has_reference: bool) -> Markup:
    looks = [Series("against the labels", ARM_COLOURS[2], "o")]
    names = ["auroc"]
    if has_reference:
        looks.append(Series("against reference labels", ARM_COLOURS[3], "D"))
        names.append("reference_auroc")
    rows = [
        ForestRow(_finding_words(name), tuple(read_estimate(score, n) for n in names), name == MACRO)
        for name, score in scores.items()
    ]
    return forest(
        "teacher",
        rows,
        looks,
        axis_label="AUROC, out of fold",
        line_at=0.5,
        bounds=(0, 1),
        description="The teacher's AUROC per finding with intervals.",
    )


def _teacher_facts(teacher: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    facts = [("Kind", str(teacher.get("kind") or "not stated"))]
    if teacher.get("folds") is not None:
        facts.append(("Folds", f"{teacher['folds']}, whole patients"))
    if isinstance(teacher.get("tokens_cut_share"), int | float):
        facts.append(("Tokens cut", f"{100 * teacher['tokens_cut_share']:.1f}% of the text's tokens"))
    settings = teacher.get("settings")
    if isinstance(settings, Mapping):
        facts += [(plain(str(key)).capitalize(), _scalar(value)) for key, value in settings.items() if key != "kind"]
    return tuple(facts)


def auroc_figures(data: ReportData) -> tuple[Markup, ...]:
    """Return the forest plots of AUROC per finding: the arms, and the differences where there are any."""
    rows = data.select(metric="auroc")
    arms, pairs = compared_arms(data), differences_of(data)
    figures = []
    arm_rows = [row for row in rows if row.kind == "arm"]
    if arm_rows:
        figures.append(_arm_forest("auroc", arm_rows, arms, "AUROC", 0.5, "AUROC per finding and arm with intervals."))
    gaps = [row for row in rows if row.kind == "difference"]
    if gaps:
        looks = [arm_series(arms, arm, f"{arm} {MINUS} {reference}") for arm, reference in pairs]
        lines = []
        for finding in findings_of(gaps):
            found = [
                estimate_of(r for r in gaps if r.finding == finding and (r.arm, r.reference_arm) == pair)
                for pair in pairs
            ]
            lines.append(ForestRow(_finding_words(finding), tuple(_or_nan(e) for e in found), finding == MACRO))
        figures.append(
            forest(
                "auroc-difference",
                lines,
                looks,
                axis_label="difference of AUROC",
                line_at=0.0,
                description="Differences of AUROC per finding with intervals.",
            )
        )
    return tuple(figures)


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
    names = list(dict.fromkeys(row.metric for row in of_arms))
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
                f"map-{index}-{_identifier(name)}",
                f"{metric.label}",
                [(look, e) for look, e in zip(looks, shown, strict=True) if e.defined],
                show=lambda value, digits=metric.digits: show(value, digits),
                line_at=_CHANCE_LINE.get(name),
                description=f"{metric.label}{arrow}: arms and baselines with intervals.",
            )
        )
    leading = next((name for name in ("iou", "energy_enrichment", "pointing") if name in names), "")
    return MapPanel(
        title=describe_setting(setting, settings),
        figures=tuple(figures),
        numbers=_map_numbers(of_arms, baselines, names, arms, baseline_names),
        per_finding=_per_finding(data, setting, leading, index),
    )


def _map_numbers(
    of_arms: tuple[Row, ...], baselines: list[Row], names: list[str], arms: tuple[str, ...], others: list[str]
) -> Table:
    from mmpkd.report.tables import Group, Line

    lines = []
    for name in names:
        metric = describe_metric(name)
        cells = [cell(_macro(of_arms, name, arm), metric) for arm in arms]
        cells += [cell(_macro(baselines, name, other), metric) for other in others]
        lines.append(Line(metric.label, metric.better, False, tuple(cells)))
    columns = (*arms, *(describe_baseline(other) for other in others))
    return Table(columns, (Group("", tuple(lines)),))


def _per_finding(data: ReportData, setting: MapSetting, name: str, index: int) -> Markup | None:
    rows = data.select(kind="arm", metric=name, method=setting.method, policy=setting.policy)
    if len(findings_of(rows)) < 2:
        return None
    metric = describe_metric(name)
    return _arm_forest(
        f"map-{index}-findings",
        list(rows),
        compared_arms(data),
        metric.label,
        _CHANCE_LINE.get(name),
        f"{metric.label} per finding and arm with intervals.",
    )


def _arm_forest(
    name: str, rows: list[Row], arms: tuple[str, ...], label: str, line_at: float | None, description: str
) -> Markup:
    lines = []
    for finding in findings_of(rows):
        mine = [row for row in rows if row.finding == finding]
        found = tuple(_or_nan(estimate_of(row for row in mine if row.arm == arm)) for arm in arms)
        lines.append(ForestRow(_finding_words(finding), found, finding == MACRO))
    looks = [arm_series(arms, arm) for arm in arms]
    bounds = (0.0, math.inf) if line_at == 1.0 else (0.0, 1.0)
    return forest(name, lines, looks, axis_label=label, line_at=line_at, bounds=bounds, description=description)


def example_cases(data: ReportData) -> tuple[ExampleCase, ...]:
    """Return the example cases, each as image with ROI and one overlay an arm."""
    arms = compared_arms(data)
    return tuple(
        ExampleCase(
            finding=plain(case.finding),
            label={1.0: "present", 0.0: "absent"}.get(-1.0 if case.label is None else float(case.label), "label missing"),
            pictures=(
                CasePicture(
                    overlays.png_data_uri(overlays.image_with_roi(case.image, case.roi, _CASE_SIDE_PX)),
                    "image and ROI" if case.roi is not None and case.roi.any() else "image, no ROI",
                    "",
                    f"Example image, {plain(case.finding)}",
                ),
                *(
                    CasePicture(
                        overlays.png_data_uri(
                            overlays.map_overlay(case.image, case.maps[arm], case.roi, _CASE_SIDE_PX)
                        ),
                        arm,
                        _decimal(case.probabilities.get(arm), 2),
                        f"Map of {arm} for {plain(case.finding)}",
                    )
                    for arm in sorted(case.maps, key=lambda arm: arms.index(arm) if arm in arms else len(arms))
                ),
            ),
        )
        for case in data.gallery
    )


def colour_bar_uri() -> str:
    """Return the maps' colour scale as a data URI."""
    return overlays.png_data_uri(overlays.colour_bar())


def training_figures(data: ReportData) -> tuple[Markup, ...]:
    """Return the training curves: validation AUROC, then every part of the training loss."""
    names = dict.fromkeys(name for history in data.histories for name in history.series)
    order = sorted(names, key=lambda name: name != "val_auroc")
    return tuple(
        curves(
            f"curve-{_identifier(name)}",
            _curve_title(name),
            name,
            data.histories,
            compared_arms(data),
            description=f"{_curve_title(name)} by epoch, one line a seed.",
        )
        for name in order
    )


def _curve_title(name: str) -> str:
    if name == "val_auroc":
        return "Validation AUROC"
    if name == "train_loss":
        return "Training loss, total"
    return f"Training loss, {plain(name.removeprefix('train_'))} part"


def cohort_panel(data: ReportData) -> dict[str, Any] | None:
    """Return the cohort's section, tolerant of what its summary lacks."""
    if data.cohort is None:
        return None
    cohort = data.cohort
    findings = {name: c for name, c in (cohort.get("findings") or {}).items() if isinstance(c, Mapping)}
    counts = {
        plain(str(name)): tuple(int(count.get(key) or 0) for key in ("positive", "negative", "missing"))
        for name, count in findings.items()
    }
    rois = cohort.get("rois") or {}
    splits = {name: s for name, s in (cohort.get("splits") or {}).items() if isinstance(s, Mapping)}
    facts = [("Name", str(cohort.get("name", ""))), ("Task", str(cohort.get("task", "")))]
    facts += [("Cases", _whole(cohort.get("cases"))), ("Patients", _whole(cohort.get("patients")))]
    for key in ("text", "metadata"):
        facts.append((key.capitalize(), _scalar(cohort.get(key)) if cohort.get(key) else "none"))
    return {
        "facts": [(name, value) for name, value in facts if value],
        "splits": [(name, _whole(s.get("cases")), _whole(s.get("patients"))) for name, s in splits.items()],
        "figure": label_counts("labels", counts, description="Labels per finding.") if counts else None,
        "findings": [
            (name, *(f"{count:,}" for count in c), _whole(rois.get(original)) if isinstance(rois, Mapping) else "")
            for (name, c), original in zip(counts.items(), findings, strict=True)
        ],
        "warnings": [str(warning) for warning in cohort.get("warnings") or ()],
    }


def run_panel(data: ReportData) -> dict[str, Any]:
    """Return what ran: identity, versions, times."""
    run = data.run
    facts = [
        ("mmpkd", _scalar(run.get("mmpkd_version"))),
        ("Study fingerprint", _scalar(run.get("study_fingerprint"))),
        ("Arms", ", ".join(data.arms)),
        ("Seeds", ", ".join(str(seed) for seed in data.seeds)),
        ("Threads", _scalar(run.get("threads"))),
        ("Platform", _scalar(run.get("platform"))),
    ]
    versions = run.get("versions")
    seconds = run.get("seconds")
    return {
        "facts": [(name, value) for name, value in facts if value],
        "versions": sorted(versions.items()) if isinstance(versions, Mapping) else [],
        "seconds": [(plain(str(k)), _duration(v)) for k, v in seconds.items() if isinstance(v, int | float)]
        if isinstance(seconds, Mapping)
        else [],
    }


def _macro(rows: tuple[Row, ...] | list[Row], metric: str, arm: str) -> Estimate:
    return _or_nan(estimate_of(r for r in rows if r.metric == metric and r.arm == arm and r.finding == MACRO))


def _or_nan(estimate: Estimate | None) -> Estimate:
    return estimate if estimate is not None else Estimate(math.nan)


def _finding_words(name: str) -> str:
    return "macro mean" if name == MACRO else plain(name)


def _identifier(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _decimal(value: object, digits: int = 3) -> str:
    return show(float(value), digits) if isinstance(value, int | float) else show(math.nan)


def _whole(value: object) -> str:
    return f"{value:,}" if isinstance(value, int) else ("" if value is None else str(value))


def _scalar(value: object) -> str:
    """Return plain data as a short phrase: ``coverage 0.93, words median 41``."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(str(key))} {_scalar(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list | tuple):
        return ", ".join(_scalar(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}".replace("-", MINUS)
    return f"{value:,}" if isinstance(value, int) else str(value)


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
