"""The key numbers at the top of the report."""

from __future__ import annotations

from dataclasses import dataclass

from mmpkd.report.data import MACRO, ReportData, Row
from mmpkd.report.glossary import describe_metric, describe_policy
from mmpkd.report.methods import primary_arm
from mmpkd.report.tables import read_estimate, show_interval
from mmpkd.report.trust import headline
from mmpkd.report.words import finding_words, minus, show


@dataclass(frozen=True)
class Tile:
    """One key number: large, with what it is above and its interval or context below."""

    label: str
    value: str
    detail: str = ""
    primary: bool = False


def key_numbers(data: ReportData) -> list[Tile]:
    """Return the tiles: primary differences first, then what puts them into proportion."""
    tiles = [_difference_tile(row, primary=True) for row in data.comparison if _is_primary_difference(row)]
    if not tiles:
        auroc = list(data.select(kind="difference", metric="auroc", finding=MACRO))
        tiles = [_difference_tile(row, primary=False) for row in auroc[:1]]
    for row in data.select(kind="arm", metric="auroc", finding=MACRO)[:3]:
        tiles.append(Tile(f"Macro AUROC, {row.arm}", show(row.estimate.value), show_interval(row.estimate)))
    tiles += _repeat_tile(data)
    tiles += _teacher_tile(data)
    tiles += _size_tile(data)
    return tiles


def _repeat_tile(data: ReportData) -> list[Tile]:
    arm = primary_arm(data)
    found = headline(data, arm)
    if found is None:
        return []
    between, unrelated = found
    detail = f"{show_interval(between)}; unrelated images {show(unrelated.value)}".removeprefix("; ")
    return [Tile(f"Maps of two seeds, rank correlation, {arm}", show(between.value), detail)]


def _is_primary_difference(row: Row) -> bool:
    return row.kind == "difference" and row.role == "primary"


def _difference_tile(row: Row, primary: bool) -> Tile:
    metric = describe_metric(row.metric)
    what = f"{'Macro ' if row.finding == MACRO else finding_words(row.finding) + ', '}{metric.short}"
    where = f" {describe_policy(row.policy)}" if row.policy else ""
    return Tile(
        f"{what}{where}, {minus(row.arm, row.reference_arm)}",
        show(row.estimate.value, metric.digits, signed=True),
        show_interval(row.estimate, metric.digits, signed=True),
        primary=primary,
    )


def _teacher_tile(data: ReportData) -> list[Tile]:
    macro = (data.teacher or {}).get("macro") or {}
    how = "in sample" if (data.teacher or {}).get("out_of_fold") is False else "out of fold"
    for name, against in (("reference_auroc", ", reference labels"), ("auroc", "")):
        estimate = read_estimate(macro, name)
        if estimate.defined:
            return [Tile(f"Teacher's macro AUROC, {how}{against}", show(estimate.value), show_interval(estimate))]
    return []


def _size_tile(data: ReportData) -> list[Tile]:
    splits = (data.cohort or {}).get("splits") or {}
    test = splits.get("test") if isinstance(splits, dict) else None
    if not isinstance(test, dict) or test.get("cases") is None:
        return []
    patients = f"{test['patients']:,} patients" if test.get("patients") is not None else ""
    seeds = f"{len(data.seeds)} {'seed' if len(data.seeds) == 1 else 'seeds'} an arm" if data.seeds else ""
    return [Tile("Test cases", f"{test['cases']:,}", ", ".join(part for part in (patients, seeds) if part))]
