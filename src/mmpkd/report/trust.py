"""Can the maps be trusted? Repeatability, faithfulness, sanity, ensembles and slices, laid out as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mmpkd.report.data import MACRO, Estimate, ReportData, Row
from mmpkd.report.glossary import describe_metric, plain
from mmpkd.report.tables import (
    Cell,
    Group,
    Line,
    Table,
    cell,
    compared_arms,
    differences_of,
    estimate_of,
    family_of,
    metric_lines,
)
from mmpkd.report.words import minus

_MEASURE = "spearman"
_MEASURES = ("spearman", "ssim", "top_overlap")
MEASURE_WORDS = {
    "ssim": "Structural similarity (SSIM)",
    "spearman": "Rank correlation (Spearman)",
    "top_overlap": "Overlap (IoU) of the top tenth",
}
_KINDS = {
    "seeds": "Two seeds, the same image",
    "unrelated": "Two seeds, images of two patients with the finding",
    "excess": "The first less the second",
    "ensembles": "Two half ensembles, the same image",
    "arms": "Same seed as the reference arm",
}
_SIGNED = ("excess",)
_SLICE_METRICS = (("matched-area", "iou"), ("", "energy_enrichment"), ("", "pixel_auroc"))
_PRIOR = "mean-roi-prior"
_NOTHING = Table((), ())


@dataclass(frozen=True)
class MapTrust:
    """What a report says of its maps beyond where they lie; a table without groups has nothing to say."""

    repeatability: tuple[tuple[str, Table], ...]
    faithfulness: Table
    roi: Table
    sanity: Table
    ensembles: Table
    slices: Table

    @property
    def empty(self) -> bool:
        """Whether there is nothing at all."""
        tables = (self.faithfulness, self.roi, self.sanity, self.ensembles, self.slices)
        return not self.repeatability and not any(table.groups for table in tables)


def map_trust(data: ReportData) -> MapTrust:
    """Return every table of the section."""
    return MapTrust(
        tuple((MEASURE_WORDS[m], table) for m in _MEASURES if (table := _repeatability(data, m)).groups),
        _faithfulness(data, roi=False),
        _faithfulness(data, roi=True),
        _sanity(data),
        _ensembles(data),
        _slices(data),
    )


def headline(data: ReportData, arm: str) -> tuple[Estimate, Estimate] | None:
    """Return the rank correlation of an arm's maps between seeds and that of unrelated pairs, for its first method."""
    rows = [row for row in data.repeatability if row.arm == arm and row.metric == _MEASURE and row.finding == MACRO]
    found = [estimate_of(row for row in rows if row.kind == kind) for kind in ("seeds", "unrelated")]
    return (found[0], found[1]) if found[0] is not None and found[1] is not None else None


def _methods(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.method for row in rows))


def _repeatability(data: ReportData, measure: str) -> Table:
    """Return one measure: kinds of pairs as lines, arms as columns, then what an arm changes."""
    arms, metric = compared_arms(data), describe_metric(measure)
    rows = [row for row in data.repeatability if row.metric == measure and row.finding == MACRO]
    changed = [arm for arm in arms if any(row.kind == "change" and row.arm == arm for row in rows)]
    groups = []
    for method in _methods(rows):
        mine = [row for row in rows if row.method == method]
        lines = []
        for kind, words in _KINDS.items():
            cells = [cell(_of(mine, kind, arm), metric, signed=kind in _SIGNED) for arm in arms]
            cells += [
                cell(_of(mine, "change", arm) if kind == "seeds" else None, metric, signed=True) for arm in changed
            ]
            if any(row.kind == kind for row in mine):
                lines.append(Line(words, words, "", False, tuple(cells)))
        for change, words in (("shift", "Slightly shifted image"), ("noise", "Noisy image")):
            found = [row for row in data.comparison if row.method == method and row.metric == f"{change}_{measure}"]
            cells = [cell(_of(found, "arm", arm, MACRO), metric) for arm in arms]
            cells += [cell(_of(found, "difference", arm, MACRO), metric, signed=True) for arm in changed]
            if found:
                lines.append(Line(words, words, "", False, tuple(cells)))
        groups.append(Group(f"{plain(method)} maps", tuple(lines)))
    reference = next((row.reference_arm for row in rows if row.kind == "change"), "")
    return Table((*arms, *(minus(arm, reference) for arm in changed)), tuple(groups))


def _faithfulness(data: ReportData, roi: bool) -> Table:
    """Return deletion and insertion a method, or what the ROI itself suffices for."""
    arms, pairs = compared_arms(data), differences_of(data)
    rows = [row for row in data.comparison if row.finding == MACRO and family_of(row) == "faithfulness"]
    rows = [row for row in rows if (row.method == "roi") == roi and describe_metric(row.metric).definition]
    groups = [
        Group(
            "" if roi else f"{plain(method)} maps",
            metric_lines([row for row in rows if row.method == method], arms, pairs),
        )
        for method in _methods(rows)
    ]
    return Table((*arms, *(minus(*pair) for pair in pairs)), tuple(groups))


def _sanity(data: ReportData) -> Table:
    """Return methods as lines and depths as columns."""
    if not data.sanity:
        return _NOTHING
    metric = describe_metric(_MEASURE)
    layers = {
        layer: [row for row in rows if row.metric == _MEASURE and row.finding == MACRO]
        for layer, rows in data.sanity.items()
    }
    lines = []
    for method in _methods([row for rows in layers.values() for row in rows]):
        cells = [cell(estimate_of(row for row in rows if row.method == method), metric) for rows in layers.values()]
        lines.append(Line(f"{plain(method)} maps", plain(method), "", False, tuple(cells)))
    columns = tuple(f"to {plain(layer.replace('.', ' '))}" for layer in layers)
    return Table(columns, (Group("", tuple(lines)),))


def _ensembles(data: ReportData) -> Table:
    """Return, for each method, the mean map's scores and what it gains over a single seed."""
    arms = compared_arms(data)
    rows = [row for row in data.ensembles if row.finding == MACRO and (row.policy, row.metric) in _SLICE_METRICS]
    columns = tuple(words for arm in arms for words in (arm, f"gain, {arm}", f"{arm} less the mean-ROI prior"))
    groups = []
    for method in _methods(rows):
        mine = [row for row in rows if row.method == method]
        lines = []
        for policy, name in _SLICE_METRICS:
            metric = describe_metric(name)
            of_metric = [row for row in mine if (row.policy, row.metric) == (policy, name)]
            cells: list[Cell] = []
            for arm in arms:
                cells.append(cell(_of(of_metric, "ensemble", arm), metric))
                cells.append(cell(_of(of_metric, "ensemble-gain", arm), metric, signed=True))
                prior = [row for row in of_metric if row.reference_arm == _PRIOR]
                cells.append(cell(_of(prior, "difference", arm), metric, signed=True))
            if of_metric:
                lines.append(Line(metric.label, metric.short, metric.better, False, tuple(cells)))
        groups.append(Group(f"{plain(method)} maps", tuple(lines)))
    return Table(columns, tuple(groups))


def _slices(data: ReportData) -> Table:
    """Return the slices of the first map method: all ROIs, pooled, true positives, sizes."""
    arms, pairs = compared_arms(data), differences_of(data)
    first = next(iter(_methods([row for rows in data.slices.values() for row in rows])), "")
    parts: Mapping[str, Sequence[Row]] = {"all ROIs": data.comparison, **data.slices} if first else {}
    groups = []
    for policy, name in _SLICE_METRICS:
        metric = describe_metric(name)
        lines = []
        for words, rows, finding in (
            (f"{part}{', pooled' if finding == 'pooled' else ''}", rows, finding)
            for part, rows in parts.items()
            for finding in (MACRO, "pooled")
        ):
            mine = [row for row in rows if (row.method, row.policy, row.metric) == (first, policy, name)]
            mine = [row for row in mine if row.finding == finding]
            counts = sorted({row.cases for row in mine if row.kind == "arm" and row.cases})
            found = [line.cells for line in metric_lines(mine, arms, pairs)]
            if found and counts:
                among = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
                label = f"{words} ({among} cases)"
                lines.append(Line(label, words, "", False, found[0]))
        if lines:
            groups.append(Group(f"{metric.label}, {plain(first)} maps", tuple(lines)))
    return Table((*arms, *(minus(*pair) for pair in pairs)), tuple(groups))


def _of(rows: Sequence[Row], kind: str, arm: str, finding: str = "") -> Estimate | None:
    return estimate_of(
        row for row in rows if row.kind == kind and row.arm == arm and (not finding or row.finding == finding)
    )
