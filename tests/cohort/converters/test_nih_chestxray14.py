"""NIH ChestX-ray14: ragged headers, ages of two versions, boxes whose patients may not train."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import yaml
from numpy.testing import assert_allclose

from mmpkd.cohort.converters.convert import convert_archive
from mmpkd.errors import InputError
from mmpkd.files import read_json

FIRST, CROSSING, BOXED_IN_TRAINING = 73190400, 73190450, 73190407


@pytest.fixture
def nih(write_tree: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that writes the tree, lets it be changed, and converts it with ids kept."""

    def convert(change: Callable[[Path], None] = lambda folder: None, *, tree: Any = None, **options: Any) -> Any:
        tree = tree or write_tree("nih_chestxray14")
        change(tree.roots[0])
        path = convert_archive(tree.archive, tree.roots, tmp_path / "out", {"identifiers": "kept", **options})
        rois = path.with_name("rois.parquet")
        return SimpleNamespace(
            cases=pd.read_parquet(path.with_name("cases.parquet")),
            rois=pd.read_parquet(rois) if rois.exists() else None,
            described=yaml.safe_load(path.read_text()),
            record=read_json(path.with_name("conversion.json")),
        )

    return convert


def replace(name: str, old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))

    return change


def test_the_ragged_header_of_boxes_is_read_by_place(nih) -> None:
    rois = nih().rois
    # 1024 px -> 64 px: one sixteenth; x 225.084745762712, y 512, w 86.7796610169492, h 128
    first = rois[rois["case"] == f"{FIRST + 28}_000.png"].iloc[0]
    box = first[["x_min", "y_min", "x_max", "y_max"]].astype(float)
    assert_allclose(box, [14.0677966, 32, 19.4915254, 40], atol=1e-6)


@pytest.mark.parametrize("header", ['Image Index,Finding Label,"Bbox [x,y,w,h]",,,', "Image Index,Finding Label,Bbox"])
def test_other_ragged_headers_of_boxes_mean_the_same(nih, header: str) -> None:
    rois = nih(replace("BBox_List_2017.csv", "Image Index,Finding Label,Bbox [x,y,w,h],,,", header)).rois
    assert len(rois) == 9
    assert_allclose(float(rois["y_max"].iloc[0]), 40)


def test_the_ragged_header_of_entries_with_and_without_its_last_comma(nih, write_tree) -> None:
    cases = nih(tree=write_tree("nih_chestxray14", version="v2020")).cases
    assert len(cases) == 57
    assert set(cases["view"]) == {"PA", "AP"}


def test_infiltrate_of_the_boxes_is_infiltration_of_the_labels(nih) -> None:
    out = nih()
    assert "Infiltrate" not in set(out.rois["finding"])
    assert out.rois.loc[out.rois["case"] == f"{FIRST + 31}_000.png", "finding"].tolist() == ["Infiltration"]


def test_boxes_follow_to_copies_of_another_size(nih, write_tree) -> None:
    out = nih(tree=write_tree("nih_chestxray14", size_px=96))
    assert_allclose(float(out.rois["y_min"].iloc[0]), 48)  # 512 of 1024
    assert any("scaled" in rule for rule in out.record["rules"])


def test_patients_with_boxes_leave_training_and_are_counted(nih) -> None:
    out = nih()
    assert set(out.cases.loc[out.cases["patient"] == str(BOXED_IN_TRAINING), "split"]) == {"test"}
    assert out.record["counts"]["patients with boxes, moved from training to test"] == 1
    assert out.record["left_out"]["training images of patients with boxes, moved to test"] == 1


def test_a_patient_in_both_official_lists_goes_to_test(nih) -> None:
    out = nih()
    assert out.cases.loc[out.cases["patient"] == str(CROSSING), "split"].tolist() == ["test", "test"]
    assert out.record["counts"]["patients who are in both official lists, moved from training to test"] == 1
    # 28 + 4 x 2 + the crossing one are listed for training; two of them leave
    assert (out.cases["split"] == "train").sum() == 35


def test_ages_with_units_are_years_and_impossible_ones_unknown(nih) -> None:
    out = nih()
    age = out.cases.set_index("case")["age"]
    assert float(age[f"{FIRST}_000.png"]) == 20
    assert float(age[f"{FIRST + 5}_000.png"]) == 0.5  # 006M
    assert pd.isna(age[f"{FIRST + 3}_000.png"])  # 414Y
    assert out.record["left_out"]["ages above 120 years, taken as unknown"] == 1
    assert out.record["versions"]["Data_Entry_2017.csv"] == "ages with units (2017)"


def test_several_findings_an_image_and_none(nih) -> None:
    cases = nih().cases.set_index("case")
    findings = cases.loc[f"{FIRST + 48}_000.png"]
    assert [name for name in findings.index if findings[name] == "1" and name != "follow_up"] == ["Effusion", "Mass"]
    assert cases.loc[f"{FIRST + 42}_000.png", "Hernia"] == "0"


def test_images_in_twelve_folders_or_one(nih, write_tree) -> None:
    out = nih(tree=write_tree("nih_chestxray14", layout="flat"))
    assert out.cases["image"].iloc[0] == f"images/{FIRST}_000.png"


def test_what_is_not_on_disk_and_what_is_in_no_list_is_counted(nih) -> None:
    left_out = nih().record["left_out"]
    assert left_out["images of the table that are not on disk"] == 1
    assert left_out["images in neither official list"] == 1
    assert left_out["boxes of images that are not in the cohort"] == 2


def test_views_and_findings_may_be_chosen(nih) -> None:
    out = nih(views=["PA"], findings=["Mass", "Effusion"])
    assert set(out.cases["view"]) == {"PA"}
    assert "Hernia" not in out.cases.columns
    assert set(out.rois["finding"]) <= {"Mass", "Effusion"}


def test_without_boxes_there_are_no_rois(nih) -> None:
    out = nih(lambda folder: (folder / "BBox_List_2017.csv").unlink())
    assert out.rois is None
    assert "rois" not in out.described
    assert out.record["left_out"]["training images of patients with boxes, moved to test"] == 0


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (replace("Data_Entry_2017.csv", "Finding Labels", "Labels"), "row 1: there is no column 'Finding Labels'"),
        (replace("Data_Entry_2017.csv", "Effusion|Mass", "Effusion|Mas"), "'Mas' is no finding of the archive"),
        (replace("Data_Entry_2017.csv", ",020Y,", ",twenty,"), "row 2, column 'Patient Age': 'twenty' is no age"),
        (replace("BBox_List_2017.csv", "Infiltrate", "Infil"), "row 5, column 'Finding Label': 'Infil' is no finding"),
        (replace("BBox_List_2017.csv", ",128,", ",-128,"), "BBox_List_2017.csv, row 2: is no box"),
        (replace("BBox_List_2017.csv", ",512.0,", ",low,"), "row 2, column 'y': 'low' is no number"),
        (lambda folder: (folder / "test_list.txt").unlink(), "holds no test_list.txt"),
        (replace("Data_Entry_2017.csv", f"{FIRST + 1}_000.png", f"{FIRST}_000.png"), "row 3, column 'Image Index'"),
    ],
)
def test_bad_input_is_told_by_its_place(nih, change, said: str) -> None:
    with pytest.raises(InputError) as caught:
        nih(change)
    assert any(said in problem for problem in caught.value.problems), caught.value.problems
    assert str(FIRST) not in str(caught.value)
