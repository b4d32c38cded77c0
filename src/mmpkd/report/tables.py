"""Lays the comparison's rows out as the report's tables. Formatting only: no number is computed here."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from mmpkd.report.data import MACRO, POOLED, Estimate, ReportData, Row
from mmpkd.report.glossary import Family, Metric, describe_metric, describe_policy, plain
from mmpkd.report.words import NO_NUMBER, finding_words, minus, show


@dataclass(frozen=True)
class Cell:
    """One number of a table, ready to print."""

    value: str
    interval: str = ""
    sure: bool = False  # a difference whose interval leaves out 0


@dataclass(frozen=True)
class Line:
    """One line of a table: what it is about (``short`` on a phone), and one cell a column."""

    label: str
    short: str
    better: str
    primary: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Group:
    """Lines that belong under one heading."""

    title: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Table:
    """Columns and groups of lines."""

    columns: tuple[str, ...]
    groups: tuple[Group, ...]


@dataclass(frozen=True)
class MapSetting:
    """One way in which maps were scored: a map method and a threshold policy."""

    method: str
    policy: str


def show_interval(estimate: Estimate, digits: int = 3, signed: bool = False) -> str:
    """Return ``low to high``, or nothing where there is no interval."""
    if not estimate.has_interval:
        return ""
    return f"{show(estimate.low, digits, signed)} to {show(estimate.high, digits, signed)}"


def cell(estimate: Estimate | None, metric: Metric, signed: bool = False) -> Cell:
    """Return an estimate as a table's cell."""
    if estimate is None or not estimate.defined:
        return Cell(NO_NUMBER)
    excludes_zero = estimate.has_interval and (estimate.low > 0 or estimate.high < 0)
    return Cell(
        show(estimate.value, metric.digits, signed),
        show_interval(estimate, metric.digits, signed),
        sure=signed and excludes_zero,
    )


def estimate_of(rows: Iterable[Row]) -> Estimate | None:
    """Return the estimate of the first row, if any."""
    return next((row.estimate for row in rows), None)


def compared_arms(data: ReportData) -> tuple[str, ...]:
    """Return the arms in the order of the study, then any others that the comparison holds."""
    found = [row.arm for row in data.comparison if row.kind == "arm"]
    return tuple(dict.fromkeys([*data.arms, *found]))


def differences_of(data: ReportData) -> tuple[tuple[str, str], ...]:
    """Return the compared pairs of arms (arm, reference arm), in order; baselines are not among them."""
    arms = compared_arms(data)
    found = dict.fromkeys((row.arm, row.reference_arm) for row in data.select(kind="difference"))
    return tuple(pair for pair in found if pair[1] in arms)


def map_settings(data: ReportData) -> tuple[MapSetting, ...]:
    """Return the (method, policy) pairs of the localisation scores, policies without a threshold last."""
    rows = [row for row in data.comparison if row.kind == "arm" and family_of(row) == "localisation"]
    found = dict.fromkeys(MapSetting(row.method, row.policy) for row in rows)
    return tuple(sorted(found, key=lambda setting: setting.policy == ""))


def describe_setting(setting: MapSetting, settings: Sequence[MapSetting]) -> str:
    """Return a heading such as ``at the ROI's own area``, with the method where there are several."""
    words = describe_policy(setting.policy)
    if len({other.method for other in settings}) > 1:
        return f"{plain(setting.method)} maps, {words}"
    return words


def endpoint_table(data: ReportData) -> Table:
    """Return the macro endpoints: one column an arm, then one a difference.

    Of several map methods the primary endpoint's is shown, else the first; the localisation panels have all.
    """
    arms, pairs = compared_arms(data), differences_of(data)
    columns = (*arms, *(minus(*pair) for pair in pairs))
    settings = map_settings(data)
    groups = []
    macro = [row for row in data.comparison if row.finding == MACRO and row.kind in ("arm", "difference")]
    classification = [row for row in macro if family_of(row) == "classification"]
    if classification:
        groups.append(Group("Classification", metric_lines(classification, arms, pairs)))
    asked = next((row.method for row in macro if row.role == "primary" and row.method), "")
    shown = asked or next((setting.method for setting in settings), "")
    for setting in (setting for setting in settings if setting.method == shown):
        rows = [row for row in macro if family_of(row) == "localisation" and (row.method, row.policy) == _pair(setting)]
        if rows:
            title = f"Localisation, {describe_setting(setting, settings)}"
            groups.append(Group(title, metric_lines(rows, arms, pairs)))
    return Table(columns, tuple(groups))


def finding_table(data: ReportData, metric_name: str, method: str = "", policy: str = "") -> Table:
    """Return one metric per finding: one column an arm, then one a difference."""
    arms, pairs = compared_arms(data), differences_of(data)
    columns = (*arms, *(minus(*pair) for pair in pairs))
    metric = describe_metric(metric_name)
    rows = data.select(metric=metric_name, method=method, policy=policy)
    lines = []
    for finding in findings_of(rows):
        mine = [row for row in rows if row.finding == finding]
        cells = [cell(_arm(mine, arm), metric) for arm in arms]
        cells += [cell(_difference(mine, pair), metric, signed=True) for pair in pairs]
        primary = any(row.role == "primary" for row in mine)
        name = finding_words(finding)
        lines.append(Line(name, name, "", primary, tuple(cells)))
    return Table(columns, (Group("", tuple(lines)),) if lines else ())


def findings_of(rows: Iterable[Row]) -> list[str]:
    """Return the findings in the order of the table, the pooled mean and then the macro mean last."""
    found = dict.fromkeys(row.finding for row in rows)
    return [name for name in found if name not in (MACRO, POOLED)] + [name for name in (POOLED, MACRO) if name in found]


def metric_lines(rows: Sequence[Row], arms: Sequence[str], pairs: Sequence[tuple[str, str]]) -> tuple[Line, ...]:
    """Return a line a metric: its value for each arm, then each difference."""
    lines = []
    for name in dict.fromkeys(row.metric for row in rows):
        metric = describe_metric(name)
        mine = [row for row in rows if row.metric == name]
        cells = [cell(_arm(mine, arm), metric) for arm in arms]
        cells += [cell(_difference(mine, pair), metric, signed=True) for pair in pairs]
        primary = any(row.role == "primary" for row in mine)
        lines.append(Line(metric.label, metric.short, metric.better, primary, tuple(cells)))
    return tuple(lines)


def _arm(rows: Sequence[Row], arm: str) -> Estimate | None:
    return estimate_of(row for row in rows if row.kind == "arm" and row.arm == arm)


def _difference(rows: Sequence[Row], pair: tuple[str, str]) -> Estimate | None:
    return estimate_of(row for row in rows if row.kind == "difference" and (row.arm, row.reference_arm) == pair)


def _pair(setting: MapSetting) -> tuple[str, str]:
    return setting.method, setting.policy


def family_of(row: Row) -> Family:
    """Return what the row's metric scores."""
    return describe_metric(row.metric).family


def read_estimate(record: object, name: str) -> Estimate:
    """Return ``name``, ``name_low`` and ``name_high`` of a JSON record as an estimate; NaN where absent."""
    if not isinstance(record, dict):
        return Estimate(math.nan)

    def number(key: str) -> float:
        value = record.get(key)
        return float(value) if isinstance(value, int | float) else math.nan

    return Estimate(number(name), number(f"{name}_low"), number(f"{name}_high"))
