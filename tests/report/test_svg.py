"""Figures for inlining: unique ids, no page-wide rules, themed colours, stable bytes."""

from __future__ import annotations

import re

import matplotlib as mpl
import numpy as np

from mmpkd.report.axes import arm_series
from mmpkd.report.data import Estimate
from mmpkd.report.figures import ForestRow, forest, label_counts


def drawn(name: str = "one", label: str = "nodule") -> str:
    rows = [
        ForestRow(label, (Estimate(0.7, 0.6, 0.8), Estimate(0.8))),
        ForestRow("macro mean", (Estimate(np.nan),) * 2),
    ]
    series = [arm_series(("hard", "mmpkd"), arm) for arm in ("hard", "mmpkd")]
    return str(forest(name, rows, series, axis_label="AUROC", line_at=0.5, description="what it shows"))


def test_ids_are_prefixed_and_only_those_in_use_are_kept() -> None:
    svg = drawn("one")
    identities = re.findall(r'\bid="([^"]+)"', svg)
    assert identities
    assert all(identity.startswith("one-") for identity in identities)
    referred = re.findall(r'href="#([^"]+)"', svg) + re.findall(r"url\(#([^)]+)\)", svg)
    assert set(identities) == set(referred)


def test_no_rule_and_no_address_reaches_the_page() -> None:
    svg = drawn()
    assert "<style" not in svg
    assert "://" not in svg
    assert "<metadata" not in svg


def test_the_palette_becomes_the_pages_variables() -> None:
    svg = drawn()
    variables = set(re.findall(r"var\((--[a-z0-9-]+)\)", svg))
    assert {"--ink", "--muted", "--rule", "--card", "--arm-0", "--arm-1"} <= variables
    assert re.findall(r"(?:fill|stroke): #[0-9a-f]{6}", svg) == []


def test_text_stays_text_and_a_dollar_sign_is_no_formula() -> None:
    assert ">cost $a$ &lt;b&gt;</text>" in drawn(label="cost $a$ <b>")


def test_a_figure_says_what_it_shows() -> None:
    assert "<title>what it shows</title>" in drawn()


def test_the_users_own_matplotlib_settings_neither_matter_nor_change() -> None:
    before = drawn()
    with mpl.rc_context({"font.size": 33, "svg.fonttype": "path", "axes.facecolor": "red"}):
        assert drawn() == before
        assert mpl.rcParams["font.size"] == 33


def test_an_undefined_estimate_is_not_drawn() -> None:
    whole = drawn()
    marks = whole.count("<use") - drawn_ticks(whole)
    assert marks == 2 + 2  # the estimates of the first row, and the legend


def drawn_ticks(svg: str) -> int:
    """Count the tick marks: one per tick label, which are the texts that are plain numbers."""
    return len(re.findall(r">[0-9.]+</text>", svg))


def test_label_counts_name_the_positive_cases() -> None:
    svg = str(label_counts("labels", {"nodule": (1234, 700, 66), "mass": (0, 0, 0)}, description="labels"))
    assert ">1,234</text>" in svg
    assert ">0</text>" in svg
