"""The tables that say whether maps can be trusted: which number lands in which cell, and what is left out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mmpkd.folder import RunFolder
from mmpkd.report.build import render
from mmpkd.report.data import Estimate, ReportData, Row, read_report_data
from mmpkd.report.methods import methods_table
from mmpkd.report.tables import Table
from mmpkd.report.tiles import key_numbers
from mmpkd.report.trust import headline, map_trust


def row(kind: str, metric: str, value: float, arm: str = "mmpkd", **more) -> Row:
    given = {"reference_arm": "", "policy": "", "method": "legrad", "finding": "macro", "role": "exploratory", **more}
    return Row(
        kind=kind,
        arm=arm,
        metric=metric,
        estimate=Estimate(value, value - 0.01, value + 0.01),
        cases=given.pop("cases", 40),
        patients=30,
        seeds=3,
        **given,
    )


def values(table: Table, group: str = "") -> dict[str, dict[str, str]]:
    (found,) = [g for g in table.groups if g.title == group]
    return {
        line.label: {column: cell.value for column, cell in zip(table.columns, line.cells, strict=True)}
        for line in found.lines
    }


@pytest.fixture
def data(run_folder: RunFolder) -> ReportData:
    blank = read_report_data(run_folder)
    comparison = (
        *(
            row("arm", "iou", 0.2, arm, policy="matched-area", method=m)
            for arm in blank.arms
            for m in ("legrad", "patch")
        ),
        row("difference", "iou", 0.07, reference_arm="mean-roi-prior", policy="matched-area"),
        row("baseline", "iou", 0.03, "randomised", policy="matched-area"),
        row("arm", "shift_spearman", 0.81, "hard"),
        row("arm", "shift_spearman", 0.82),
        row("difference", "shift_spearman", 0.01, reference_arm="hard"),
        row("arm", "deletion", 0.31, "hard"),
        row("arm", "faithfulness_gain", 0.11, "hard"),
        row("arm", "sufficiency_gain", 0.41, "hard", method="roi"),
    )
    repeated = (
        row("seeds", "spearman", 0.4, "hard"),
        row("unrelated", "spearman", 0.1, "hard"),
        row("excess", "spearman", 0.3, "hard", reference_arm="hard"),
        row("seeds", "spearman", 0.6),
        row("unrelated", "spearman", 0.2),
        row("arms", "spearman", 0.7, reference_arm="hard"),
        row("change", "spearman", 0.2, reference_arm="hard"),
        row("seeds", "spearman", 0.9, "hard", finding="nodule"),
    )
    slices = {
        "true positives": (
            row("arm", "iou", 0.31, "hard", policy="matched-area", cases=12),
            row("arm", "iou", 0.33, policy="matched-area", cases=15),
            row("difference", "iou", 0.02, reference_arm="hard", policy="matched-area", cases=9),
        )
    }
    return replace(
        blank,
        comparison=comparison,
        repeatability=repeated,
        sanity={"head": (row("randomised", "spearman", 0.9),), "blocks.0": (row("randomised", "spearman", 0.2),)},
        slices=slices,
        ensembles=(
            row("ensemble", "iou", 0.25, policy="matched-area"),
            row("ensemble-gain", "iou", 0.05, reference_arm="mmpkd", policy="matched-area"),
            row("ensemble", "recall", 0.5, policy="matched-area"),
        ),
    )


def test_repeatability_has_a_line_a_kind_of_pair_and_the_change_beside_the_arms(data: ReportData) -> None:
    ((title, table),) = map_trust(data).repeatability
    assert title == "Rank correlation (Spearman)"
    assert table.columns == ("hard", "mmpkd", "mmpkd\u00a0\u2212\u00a0hard")
    found = values(table, "legrad maps")
    assert list(found["Two seeds, the same image"].values()) == ["0.400", "0.600", "+0.200"]
    assert found["The first less the second"]["hard"] == "+0.300"
    assert found["Same seed as the reference arm"] == {"hard": "–", "mmpkd": "0.700", table.columns[2]: "–"}
    assert list(found["Slightly shifted image"].values()) == ["0.810", "0.820", "+0.010"]


def test_the_headline_is_the_primary_arms_similarity_beside_unrelated_pairs(data: ReportData) -> None:
    found = headline(data, "mmpkd")
    assert found is not None
    assert (found[0].value, found[1].value) == (0.6, 0.2)
    (tile,) = [tile for tile in key_numbers(data) if tile.label.startswith("Maps of two seeds")]
    assert (tile.value, tile.detail) == ("0.600", "0.590 to 0.610; unrelated images 0.200")
    assert headline(replace(data, repeatability=()), "mmpkd") is None


def test_faithfulness_of_methods_and_of_the_roi_stand_apart(data: ReportData) -> None:
    trust = map_trust(data)
    assert values(trust.faithfulness, "legrad maps")["Deletion"]["hard"] == "0.310"
    assert [group.title for group in trust.faithfulness.groups] == ["legrad maps"]
    assert values(trust.roi)["ROI suffices"]["hard"] == "0.410"


def test_sanity_has_a_column_a_depth(data: ReportData) -> None:
    table = map_trust(data).sanity
    assert table.columns == ("to head", "to blocks 0")
    assert list(values(table)["legrad maps"].values()) == ["0.900", "0.200"]


def test_ensembles_stand_beside_their_gain(data: ReportData) -> None:
    found = values(map_trust(data).ensembles, "legrad maps")
    assert list(found) == ["Intersection over union (IoU)"]
    assert (found["Intersection over union (IoU)"]["mmpkd"], found["Intersection over union (IoU)"]["gain, mmpkd"]) == (
        "0.250",
        "+0.050",
    )


def test_slices_say_how_many_cases_they_rest_on(data: ReportData) -> None:
    found = values(map_trust(data).slices, "Intersection over union (IoU), legrad maps")
    assert list(found) == ["all ROIs (40 cases)", "true positives (12 to 15 cases)"]
    assert list(found["true positives (12 to 15 cases)"].values())[:2] == ["0.310", "0.330"]


def test_methods_stand_side_by_side_with_what_nothing_learned_scores(data: ReportData) -> None:
    found = values(methods_table(data), "Intersection over union (IoU)")
    assert list(found) == ["legrad", "patch"]
    assert list(found["legrad"].values()) == ["0.200", "+0.070", "0.030", "–"]
    one = replace(data, comparison=tuple(r for r in data.comparison if r.method != "patch"))
    assert not methods_table(one).groups


def test_the_page_holds_the_section_and_says_so_when_there_is_nothing(data: ReportData) -> None:
    page = render(data)
    for words in ("Do maps repeat?", "Do maps go when the student forgets?", "Which ROIs?", "All map methods"):
        assert words in page
    empty = replace(data, comparison=(), repeatability=(), sanity={}, slices={}, ensembles=())
    assert "Nothing has been measured here" in render(empty)
