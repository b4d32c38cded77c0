"""Tables, tiles and wording: what is put where, and how numbers are written."""

from __future__ import annotations

import math

import pytest

from mmpkd.files import read_table, write_table
from mmpkd.folder import RunFolder
from mmpkd.report.data import Estimate, read_report_data
from mmpkd.report.glossary import describe_metric, describe_policy
from mmpkd.report.localisation import map_panels
from mmpkd.report.tables import cell, endpoint_table, finding_table
from mmpkd.report.tiles import key_numbers
from mmpkd.report.words import duration, phrase, show

MINUS = "\u2212"


@pytest.mark.parametrize(
    ("value", "signed", "text"),
    [
        (0.12345, False, "0.123"),
        (-0.5, False, f"{MINUS}0.500"),
        (0.05, True, "+0.050"),
        (-0.0001, True, "0.000"),
        (math.nan, True, "\u2013"),
    ],
)
def test_numbers_have_a_true_minus_and_no_signed_zero(value: float, signed: bool, text: str) -> None:
    assert show(value, signed=signed) == text


@pytest.mark.parametrize(
    ("estimate", "sure"),
    [
        (Estimate(0.05, 0.01, 0.09), True),
        (Estimate(-0.05, -0.09, -0.01), True),
        (Estimate(0.05, -0.01, 0.11), False),
        (Estimate(0.05, 0.0, 0.1), False),
        (Estimate(0.05), False),
    ],
)
def test_a_difference_is_sure_only_where_its_interval_leaves_out_zero(estimate: Estimate, sure: bool) -> None:
    assert cell(estimate, describe_metric("auroc"), signed=True).sure is sure


def test_endpoints_compare_arms_and_leave_baselines_to_localisation(whole_run: RunFolder) -> None:
    table = endpoint_table(read_report_data(whole_run))
    assert table.columns == ("hard", "mmpkd", f"mmpkd\u00a0{MINUS}\u00a0hard")
    assert [group.title for group in table.groups] == [
        "Classification",
        "Localisation, at the ROI's own area",
        "Localisation, on the top 10% of pixels",
        "Localisation, without a threshold",
    ]
    auroc = table.groups[0].lines[0]
    assert auroc.primary
    assert [each.value for each in auroc.cells] == ["0.790", "0.841", "+0.051"]
    assert [line.primary for line in table.groups[0].lines[1:]] == [False] * 3


def test_every_arm_is_set_against_every_baseline(run_folder: RunFolder) -> None:
    panel = map_panels(read_report_data(run_folder))[0]
    assert len(panel.against_baselines.columns) == 6
    assert f"mmpkd\u00a0{MINUS}\u00a0mean-roi\u00a0prior" in panel.against_baselines.columns
    iou = panel.against_baselines.groups[0].lines[0]
    assert iou.cells[3].value == "+0.175"  # mmpkd 0.21 less chance 0.035


def test_findings_come_in_their_order_and_macro_last(run_folder: RunFolder) -> None:
    lines = finding_table(read_report_data(run_folder), "auroc").groups[0].lines
    assert [line.label for line in lines] == ["nodule", "consolidation", "effusion", "macro mean"]


def test_without_a_primary_endpoint_no_tile_claims_one(run_folder: RunFolder) -> None:
    assert [tile.primary for tile in key_numbers(read_report_data(run_folder))] == [
        True,
        False,
        False,
        False,
        False,
    ]
    table = read_table(run_folder.comparison)
    write_table(run_folder.comparison, table.assign(role="exploratory"))
    tiles = key_numbers(read_report_data(run_folder))
    assert tiles[0].value == "+0.051"
    assert not any(tile.primary for tile in tiles)


@pytest.mark.parametrize(
    ("policy", "words"),
    [
        ("", "without a threshold"),
        ("matched-area", "at the ROI's own area"),
        ("top-area=0.1", "on the top 10% of pixels"),
        ("top-area=0.025", "on the top 2.5% of pixels"),
        ("otsu", "at Otsu's threshold"),
        ("max-fraction=0.5", "at 50% of the maximum"),
        ("my-rule", "policy my-rule"),
    ],
)
def test_policies_are_named_in_words(policy: str, words: str) -> None:
    assert describe_policy(policy) == words


def test_an_unknown_metric_keeps_its_name() -> None:
    assert describe_metric("hit_rate").label == "hit rate"


def test_phrases_and_durations() -> None:
    assert phrase({"coverage": 0.961, "median_words": 1031, "left_out": None}) == "coverage 0.961, median words 1,031"
    assert phrase([True, "a"]) == "yes, a"
    assert [duration(s) for s in (4.81, 83.4, 7325)] == ["4.8 s", "1 min 23 s", "2 h 2 min"]
