"""The table of controls: a line for each, what it has in the teacher's place, and nothing where none ran."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from mmpkd.files import read_table, write_table
from mmpkd.folder import RunFolder
from mmpkd.report.build import write_report
from mmpkd.report.controls import control_table
from mmpkd.report.data import read_report_data
from mmpkd.report.words import MINUS


def add_controls(folder: RunFolder) -> None:
    """Add a difference that leaves out 0 and one that does not."""
    table = read_table(folder.comparison)
    primary = table[table["role"] == "primary"].assign(kind="control", role="exploratory")
    rows = [
        primary.assign(reference_arm="shuffled", estimate=0.031, low=0.012, high=0.05),
        primary.assign(reference_arm="twice", estimate=-0.004, low=-0.02, high=0.012),
    ]
    write_table(folder.comparison, pd.concat([table, *rows], ignore_index=True))


def test_each_control_has_a_line_with_what_stands_in_the_teachers_place(run_folder: RunFolder) -> None:
    add_controls(run_folder)
    data = read_report_data(run_folder)
    arms = {"hard": {"kind": "hard"}, "mmpkd": {"kind": "mmpkd"}, "twice": {"kind": "longer"}}
    table = control_table(replace(data, study={**data.study, "arms": arms}))
    assert table.columns == ("AUROC",)
    first, second = table.groups[0].lines
    assert first.label == f"mmpkd\u00a0{MINUS}\u00a0shuffled (soft labels of other cases with the same labels)"
    assert second.label == f"mmpkd\u00a0{MINUS}\u00a0twice (longer training)"
    assert (first.cells[0].value, first.cells[0].interval) == ("+0.031", "+0.012 to +0.050")
    assert [line.cells[0].sure for line in (first, second)] == [True, False]


def test_the_report_has_the_table_where_controls_ran_and_only_there(run_folder: RunFolder) -> None:
    title = "The primary arm and its controls"
    assert title not in write_report(run_folder).read_text(encoding="utf-8")
    add_controls(run_folder)
    html = write_report(run_folder).read_text(encoding="utf-8")
    assert title in html
    assert "twice (control)" in html  # a kind that the study file does not tell
    arms = html.split("Macro endpoints per arm, and differences")[-1].split("</table>")[0]
    assert "shuffled" not in arms
