"""The table of ROIs: mapped to findings, and every bad row told by row and column."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.roi_table import COLUMNS, read_rois
from mmpkd.cohort.settings import RoiSettings

BOXES = ["x0", "y0", "x1", "y1"]
HEADER = "case,finding,x0,y0,x1,y1,mask,value\n"


def read(folder: Path, text: str, kept: tuple[str, ...] = ("a", "b"), **how: object) -> tuple[pd.DataFrame, Problems]:
    (folder / "rois.csv").write_text(HEADER + text, encoding="utf-8")
    problems = Problems()
    settings = RoiSettings.model_validate({"table": "rois.csv", "boxes": BOXES, **how})
    rois = read_rois(
        settings,
        folder,
        files=folder,
        findings=("nodule", "mass"),
        known_cases=pd.Index(["a", "b"]),
        kept_cases=pd.Index(kept),
        problems=problems,
    )
    assert rois is not None
    return rois, problems


def test_boxes_come_in_the_columns_of_the_cohort(tmp_path: Path):
    rois, problems = read(tmp_path, "a,nodule,1,2,3.5,4,,\nb,mass,0,0,1,1,,\n")
    assert tuple(rois.columns) == COLUMNS
    assert rois[["case", "finding"]].to_numpy().tolist() == [["a", "nodule"], ["b", "mass"]]
    assert_array_equal(rois[["x_min", "y_min", "x_max", "y_max"]], [[1, 2, 3.5, 4], [0, 0, 1, 1]])
    assert rois["mask"].isna().all()
    assert not problems.sentences


def test_width_and_height_become_corners(tmp_path: Path):
    rois, _ = read(tmp_path, "a,nodule,10,20,3,4,,\n", box_format="xywh")
    assert_array_equal(rois.iloc[0][["x_min", "y_min", "x_max", "y_max"]].astype(float), [10, 20, 13, 24])


def test_names_map_to_one_several_all_or_no_findings(tmp_path: Path):
    text = "a,lung,0,0,1,1,,\na,lump,0,0,2,2,,\na,nodule,0,0,3,3,,\na,device,0,0,4,4,,\n"
    rois, problems = read(tmp_path, text, findings={"lung": "all", "lump": ["mass"], "device": []})
    pairs = sorted(zip(rois["finding"], rois["x_max"], strict=True))
    assert pairs == [("mass", 1), ("mass", 2), ("nodule", 1), ("nodule", 3)]
    assert not problems.sentences


def test_without_a_column_of_names_an_roi_belongs_to_every_finding(tmp_path: Path):
    rois, _ = read(tmp_path, "a,whatever,0,0,1,1,,\n", finding=None)
    assert rois["finding"].tolist() == ["nodule", "mass"]


def test_masks_may_stand_beside_boxes_and_rows_with_neither_are_counted(tmp_path: Path):
    (tmp_path / "m.png").touch()
    text = "a,nodule,,,,,m.png,2\nb,nodule,0,0,1,1,,\nb,mass,,,,,,\n"
    rois, problems = read(tmp_path, text, mask="mask", mask_value="value")
    assert rois["mask"].tolist()[0] == "m.png"
    assert_array_equal(rois["mask_value"], [2, np.nan])
    assert_array_equal(rois["x_min"], [np.nan, 0])
    assert not problems.sentences
    assert problems.warnings == ["rois.csv: 1 rows hold neither box nor mask and are passed over."]


def test_rois_of_cases_that_were_left_out_are_passed_over(tmp_path: Path):
    rois, problems = read(tmp_path, "a,nodule,0,0,1,1,,\nb,nodule,0,0,1,1,,\n", kept=("b",))
    assert rois["case"].tolist() == ["b"]
    assert not problems.sentences


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("a,nodule,5,0,5,1,,", "row 2, column 'x1': the box ends at 5, not after its start at 5"),
        ("a,nodule,0,9,1,3,,", "row 2, column 'y1': the box ends at 3, not after its start at 9"),
        ("a,nodule,-1,0,5,1,,", "row 2, column 'x0': -1 lies outside the image"),
        ("a,nodule,0,-0.5,5,1,,", "row 2, column 'y0': -0.5 lies outside the image"),
        ("a,nodule,0,zero,5,1,,", "row 2, column 'y0': 'zero' is no coordinate"),
        ("a,nodule,0,,5,1,,", "row 2, column 'y0': '' is no coordinate"),
        ("a,nodule,0,inf,5,1,,", "row 2, column 'y0': 'inf' is no coordinate"),
        ("a,nodul,0,0,5,1,,", "row 2, column 'finding': 'nodul' is no finding; map it under 'rois.findings' ([] to "
         "ignore it); did you mean 'nodule'?"),
        ("z,nodule,0,0,5,1,,", "row 2, column 'case': the table of cases has no such case"),
        ("a,nodule,,,,,m.png,", "row 2, column 'mask': the mask file does not exist"),
        ("a,nodule,,,,,../m.png,", "row 2, column 'mask': the path leaves the cohort's root"),
        ("a,nodule,0,0,1,1,here.png,two", "row 2, column 'value': 'two' is no pixel value"),
    ],
)  # fmt: skip
def test_a_bad_row_is_told(tmp_path: Path, row: str, said: str):
    (tmp_path / "here.png").touch()
    _, problems = read(tmp_path, row + "\n", mask="mask", mask_value="value")
    (problem,) = problems.sentences
    assert problem.startswith("rois.csv, ")
    assert said in problem


def test_case_ids_are_not_quoted_in_problems(tmp_path: Path):
    _, problems = read(tmp_path, "MRN-4711,nodule,0,0,1,1,,\n")
    assert "MRN-4711" not in problems.sentences[0]


def test_a_mapping_of_a_name_that_no_row_has_is_a_typo(tmp_path: Path):
    _, problems = read(tmp_path, "a,lung,0,0,1,1,,\n", findings={"lung": "all", "lungs": "all"})
    assert problems.sentences == [
        "rois.csv, column 'finding': no row is named 'lungs', which 'rois.findings' maps; did you mean 'lung'?"
    ]


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"boxes": ["x0", "y0", "x1", "y2"]}, "there is no column 'y2' (setting 'rois.boxes')"),
        ({"case": "id"}, "there is no column 'id' (setting 'rois.case')"),
        ({"finding": "label"}, "there is no column 'label' (setting 'rois.finding')"),
        ({"table": "none.csv"}, "none.csv: cannot be read"),
        ({"table": "../rois.csv"}, "the table lies outside the cohort's root"),
    ],
)
def test_a_table_that_does_not_fit_the_settings_is_told(tmp_path: Path, how: dict[str, object], said: str):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "rois.csv").write_text(HEADER + "a,nodule,0,0,1,1,,\n")
    (tmp_path / "rois.csv").write_text(HEADER + "a,nodule,0,0,1,1,,\n")
    problems = Problems()
    settings = RoiSettings.model_validate({"table": "rois.csv", "boxes": BOXES, **how})
    cases = pd.Index(["a"])
    rois = read_rois(
        settings,
        tmp_path / "root",
        files=tmp_path / "root",
        findings=("nodule",),
        known_cases=cases,
        kept_cases=cases,
        problems=problems,
    )
    assert rois is None
    assert said in problems.sentences[0]
