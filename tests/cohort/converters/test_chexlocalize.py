"""CheXlocalize: run lengths to masks, CheXpert's uncertain and blank labels, and what to do without training cases."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.testing import assert_array_equal

from mmpkd.cohort.converters.convert import convert_archive
from mmpkd.cohort.rle import decode_rle
from mmpkd.errors import InputError
from mmpkd.files import read_json

TEST = "CheXlocalize/gt_segmentations_test.json"
FIRST_TEST = "patient64741_study1_view1_frontal"  # labels_of(0): Cardiomegaly


@pytest.fixture
def chexlocalize(write_tree: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that writes the tree, lets it be changed, and converts it with ids kept."""

    def convert(change: Callable[[Path], None] = lambda folder: None, *, how: Any = None, **options: Any) -> Any:
        tree = write_tree("chexlocalize", **(how or {}))
        change(tree.roots[0].parent)
        path = convert_archive(
            tree.archive, tree.roots, tmp_path / "out", {"identifiers": "kept", **tree.options, **options}
        )
        rois = path.with_name("rois.parquet")
        return SimpleNamespace(
            cases=pd.read_parquet(path.with_name("cases.parquet")).set_index("case", drop=False),
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
        path.write_text(text.replace(old, new, 1))

    return change


def test_official_sets_are_the_splits(chexlocalize) -> None:
    out = chexlocalize()
    assert out.cases["split"].value_counts().to_dict() == {"train": 24, "test": 12, "val": 8}
    assert out.described["split"] == {"column": "split"}


def test_run_lengths_are_the_drawn_box(chexlocalize) -> None:
    out = chexlocalize()
    drawn = out.rois[out.rois["case"] == FIRST_TEST]
    assert drawn["finding"].tolist() == ["Cardiomegaly"]
    mask = np.zeros((40, 56), bool)
    mask[10:26, 20:28] = True
    assert_array_equal(decode_rle(drawn["rle"].iloc[0], (40, 56)), mask)
    assert out.described["rois"] == {"table": "rois.parquet", "rle": "rle"}


def test_airspace_opacity_of_the_masks_is_lung_opacity_of_the_labels(chexlocalize) -> None:
    assert set(chexlocalize().rois["finding"]) == {"Cardiomegaly", "Lung Opacity", "Pleural Effusion"}


def test_empty_masks_are_no_rois_and_are_counted(chexlocalize) -> None:
    left_out = chexlocalize().record["left_out"]
    # 20 images: three chosen findings each, 15 drawn; seven other findings each
    assert left_out["empty masks"] == 45
    assert left_out["masks of findings that are not chosen"] == 140
    assert left_out["masks of images that are not in the cohort (other views, not on disk)"] == 1


def test_masks_of_the_original_are_resampled_to_the_small_copies(chexlocalize) -> None:
    out = chexlocalize(how={"small": True})
    mask = np.zeros((20, 28), bool)
    mask[5:13, 10:14] = True
    assert_array_equal(decode_rle(out.rois.loc[out.rois["case"] == FIRST_TEST, "rle"].iloc[0], (20, 28)), mask)
    assert any("15 masks lie on smaller copies" in rule for rule in out.record["rules"])
    assert out.record["versions"]["images"] == "0 patients at full size, 44 as small copies"


def test_a_mask_that_would_vanish_in_the_small_copy_keeps_a_pixel(chexlocalize) -> None:
    # one pixel at row 1, column 1 of 40 x 56; the centres of the copy's pixels fall on odd rows and columns too,
    # so take row 2, column 2 (index 82), which none falls on
    def change(folder: Path) -> None:
        content = json.loads((folder / TEST).read_text())
        content[FIRST_TEST]["Cardiomegaly"]["counts"] = [82, 1, 2157]
        (folder / TEST).write_text(json.dumps(content))

    out = chexlocalize(change, how={"small": True})
    mask = np.zeros((20, 28), bool)
    mask[1, 1] = True
    assert_array_equal(decode_rle(out.rois.loc[out.rois["case"] == FIRST_TEST, "rle"].iloc[0], (20, 28)), mask)


@pytest.mark.parametrize(
    ("options", "uncertain", "blank"),
    [
        ({}, None, "0"),
        ({"uncertain": 1, "blank": "missing"}, "1", None),
        ({"uncertain": {"Cardiomegaly": 0, "default": 1}, "blank": {"default": 1}}, "0", "1"),
        ({"uncertain": {"Edema": 0}, "blank": {"Cardiomegaly": 0}}, None, "0"),
    ],
)
def test_uncertain_and_blank_labels_follow_a_policy_per_finding(chexlocalize, options, uncertain, blank) -> None:
    cases = chexlocalize(**options).cases
    for number, expected in ((13, uncertain), (16, blank)):
        value = cases.loc[f"patient{number:05d}_study1_view1_frontal", "Cardiomegaly"]
        assert (None if pd.isna(value) else value) == expected


def test_lateral_views_are_left_out_unless_asked_for(chexlocalize, tmp_path: Path) -> None:
    assert chexlocalize().record["left_out"]["images that are not frontal"] == 1


def test_all_views_are_kept_when_asked_for(chexlocalize) -> None:
    assert len(chexlocalize(views="all").cases) == 45


def test_images_that_are_not_on_disk_are_counted(chexlocalize) -> None:
    assert chexlocalize().record["left_out"]["images of the tables that are not on disk"] == 1


def test_without_training_cases_it_refuses_and_says_what_else_there_is(chexlocalize) -> None:
    with pytest.raises(InputError, match="no training cases; give CheXpert's folder as well, or set 'split: patients'"):
        chexlocalize(how={"train": False})


def test_val_and_test_patients_may_be_divided_anew_instead(chexlocalize) -> None:
    out = chexlocalize(how={"train": False}, split="patients")
    assert len(out.cases) == 20
    assert "split" not in out.described
    assert any("no published split" in rule for rule in out.record["rules"])


def test_dividing_anew_leaves_the_training_set_aside(chexlocalize) -> None:
    assert len(chexlocalize(split="patients").cases) == 20


def test_labels_by_study_hold_for_each_image_of_it(chexlocalize) -> None:
    def change(folder: Path) -> None:
        path = folder / "CheXpert/test_labels.csv"
        text = path.read_text().replace("Path,", "Study,").replace("/view1_frontal.jpg", "")
        path.write_text(text)
        image = folder / "CheXpert/test/patient64741/study1/view1_frontal.jpg"
        (image.parent / "view2_frontal.jpg").write_bytes(image.read_bytes())

    cases = chexlocalize(change).cases
    assert (cases["split"] == "test").sum() == 13
    assert cases.loc[["patient64741_study1_view2_frontal", FIRST_TEST], "Cardiomegaly"].tolist() == ["1", "1"]


def test_airspace_opacity_as_a_column_of_labels_is_lung_opacity(chexlocalize) -> None:
    out = chexlocalize(replace("CheXpert/test_labels.csv", "Lung Opacity", "Airspace Opacity"))
    assert (out.cases.loc[out.cases["split"] == "test", "Lung Opacity"] == "1").sum() == 3


def test_labels_of_val_take_age_and_sex_from_valid_csv(chexlocalize) -> None:
    def change(folder: Path) -> None:
        valid = pd.read_csv(folder / "CheXpert/valid.csv", dtype=str)
        valid.drop(columns=["Sex", "Age", "Frontal/Lateral", "AP/PA"]).to_csv(
            folder / "CheXpert/val_labels.csv", index=False
        )

    out = chexlocalize(change)
    assert out.record["versions"]["val labels"] == "val_labels.csv"
    row = out.cases.loc["patient64542_study1_view1_frontal"]
    assert (row["sex"], float(row["age"]), row["view"]) == ("Female", 31, "AP")


def test_a_patient_in_two_sets_goes_to_the_later(chexlocalize) -> None:
    def change(folder: Path) -> None:
        valid, train = folder / "CheXpert/valid.csv", folder / "CheXpert/train.csv"
        row = valid.read_text().splitlines()[1].replace("view1", "view2").replace("/valid/", "/train/")
        train.write_text(train.read_text() + row + "\n")
        image = folder / "CheXpert/val/patient64541/study1/view1_frontal.jpg"
        (image.parent / "view2_frontal.jpg").write_bytes(image.read_bytes())

    out = chexlocalize(change)
    assert out.record["counts"]["patients in several sets, given to the later"] == 1
    assert out.cases.loc["patient64541_study1_view2_frontal", "split"] == "val"


def test_a_positive_label_without_a_mask_is_counted(chexlocalize) -> None:
    def change(folder: Path) -> None:
        content = json.loads((folder / TEST).read_text())
        del content[FIRST_TEST]
        (folder / TEST).write_text(json.dumps(content))

    assert chexlocalize(change).record["counts"]["positive labels of val and test without a mask"] == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            replace("CheXpert/train.csv", "Cardiomegaly", "Cardio"),
            "train.csv, row 1: there is no column 'Cardiomegaly'",
        ),
        (replace("CheXpert/train.csv", "Male,30", "Male,old"), "train.csv, row 2, column 'Age': 'old' is no number"),
        (
            replace("CheXpert/train.csv", "-1.0", "maybe"),
            "train.csv, row 4, column 'Cardiomegaly': 'maybe' is no label",
        ),
        (replace("CheXpert/train.csv", "/patient00012/", "/p12/"), "train.csv, row 3, column 'Path': is no path"),
        (replace(TEST, '"size": [40, 56]', '"size": [40, 57]'), "image 1, finding"),
        (replace(TEST, '"size"', '"shape"'), "have no size or no counts"),
        (replace(TEST, "{", "["), "gt_segmentations_test.json: is no whole JSON document"),
        (lambda folder: (folder / TEST).unlink(), "holds no gt_segmentations_test.json"),
    ],
)
def test_bad_input_is_told_by_its_place(chexlocalize, change, said: str) -> None:
    with pytest.raises(InputError) as caught:
        chexlocalize(change, findings=["Cardiomegaly", "Enlarged Cardiomediastinum"])
    assert any(said in problem for problem in caught.value.problems), caught.value.problems
    assert "patient" not in str(caught.value).replace("patient1/study1", "")


def test_a_policy_names_findings(chexlocalize) -> None:
    with pytest.raises(InputError, match="there is no finding 'Edemma'; did you mean 'Edema'"):
        chexlocalize(uncertain={"Edemma": 1})
