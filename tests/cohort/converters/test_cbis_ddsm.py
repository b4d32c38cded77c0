"""Traps of CBIS-DDSM, in the shape of each of its downloads."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from mmpkd.cohort.converters.cbis_files import clean_path, two_valued
from mmpkd.cohort.converters.convert import convert_archive
from mmpkd.cohort.read import read_cohort
from mmpkd.cohort.rle import decode_rle
from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError
from mmpkd.files import read_json
from mmpkd.study.load import load_study

STUDY = Path(__file__).parents[3] / "studies" / "cbis-ddsm.yaml"
LAYOUTS = ("jpeg", "dicom-first", "dicom-later", "dicom-renamed")


class Converted:
    """A converted tree: its tables with ids kept, and its record."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.cases = pd.read_parquet(folder / "cases.parquet").set_index("case")
        self.record = read_json(folder / "conversion.json")
        rois = folder / "rois.parquet"
        self.rois = pd.read_parquet(rois).set_index("case") if rois.is_file() else pd.DataFrame()

    def box(self, case: str) -> list[int]:
        return [int(value) for value in self.rois.loc[case, ["x_min", "y_min", "x_max", "y_max"]]]

    @property
    def settings(self) -> CohortSettings:
        return CohortSettings.from_yaml(self.folder / "cohort.yaml")


@pytest.fixture
def convert(write_tree: Callable[..., Any], tmp_path: Path) -> Callable[..., Converted]:
    """Write a tree (or take one), convert it with ids kept, and return the outcome."""

    def run(layout: str = "jpeg", tree: Any = None, by_series: bool = True, **options: Any) -> Converted:
        tree = tree or write_tree("cbis_ddsm", layout=layout, by_series=by_series)
        out = tmp_path / f"out-{len(list(tmp_path.iterdir()))}"
        return Converted(convert_archive("cbis-ddsm", tree.roots, out, {"identifiers": "kept", **options}).parent)

    return run


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_download_gives_the_same_cohort(convert: Callable[..., Converted], layout: str) -> None:
    found = convert(layout)
    assert (len(found.cases), len(found.rois)) == (57, 58)
    assert found.record["versions"]["images"] == {
        "jpeg": "JPEG re-release",
        "dicom-first": "DICOM, first download (000000.dcm)",
    }.get(layout, "DICOM, later download (1-1.dcm)")
    # mass patient 3, first abnormality: x 4 + 3, y 8, 10 wide, 14 high, as the tree draws it
    assert found.box("P_90003_LEFT_MLO") == [7, 8, 17, 22]
    mask = decode_rle(found.rois.loc["P_90003_LEFT_MLO", "rle"], (64, 48))
    assert mask[8:22, 7:17].all()
    assert mask.sum() == 140


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mask_swapped_with_its_crop_is_told_by_its_content(convert: Callable[..., Converted], layout: str) -> None:
    found = convert(layout)
    assert found.box("P_90002_LEFT_CC") == [6, 8, 16, 22]
    # where files bear the tables' names, the two swapped rows are counted
    told = 2 if layout == "dicom-first" else 0
    assert found.record["counts"]["masks that the tables name as the crop"] == told


def test_a_crop_as_large_as_its_mammogram_is_told_by_its_many_values(convert: Callable[..., Converted]) -> None:
    assert convert().box("P_90010_LEFT_CC") == [14, 8, 24, 22]


def test_line_breaks_and_quotes_in_paths_are_cleaned(convert: Callable[..., Converted]) -> None:
    assert clean_path('"Mass-Test_P_1_LEFT_CC/1.3/000000.dcm\n"') == "Mass-Test_P_1_LEFT_CC/1.3/000000.dcm"
    assert convert().box("P_90004_LEFT_CC") == [8, 8, 18, 22]


def test_breast_density_is_one_column_with_a_space_and_with_an_underscore(convert: Callable[..., Converted]) -> None:
    found = convert()
    # 1 + patient % 4: patient 3 from the mass tables, patient 17 from the calcification tables
    assert found.cases.loc[["P_90003_LEFT_CC", "P_90017_LEFT_CC"], "breast density"].tolist() == ["4", "2"]
    assert "breast_density" not in found.cases


def test_several_abnormalities_of_an_image_are_one_case(convert: Callable[..., Converted]) -> None:
    found = convert()
    case = found.cases.loc["P_90001_LEFT_CC"]
    assert case[["malignant", "abnormalities", "mass shape"]].tolist() == ["1", "2", "IRREGULAR|OVAL"]
    assert pd.isna(case["mass margins"])  # N/A in both rows
    assert (case["subtlety"], case["assessment"]) == ("4", "5")  # the highest of 3 and 4, of 3 and 5
    assert found.rois.loc["P_90001_LEFT_CC", "finding"].tolist() == ["benign", "malignant"]
    cohort = read_cohort(found.settings, found.folder).cohort
    rois = cohort.rois[cohort.rois["case"] == "P_90001_LEFT_CC"]
    assert rois["finding"].tolist() == ["malignant"]  # the benign one is no place of malignancy
    assert decode_rle(rois["rle"].iloc[0], (64, 48))[28:42, 5:15].all()


def test_a_mammogram_with_both_types_is_one_case_and_one_file(convert: Callable[..., Converted]) -> None:
    found = convert()
    case = found.cases.loc["P_90015_LEFT_CC"]
    assert case[["types", "abnormalities", "mass shape", "calc type"]].tolist() == [
        "calc|mass",
        "2",
        "OVAL",
        "AMORPHOUS",
    ]
    assert found.rois.loc["P_90015_LEFT_CC", "type"].tolist() == ["mass", "calc"]
    assert found.record["counts"]["mammograms, each type counted by itself"] == 60
    assert found.record["counts"]["mammograms (patient, breast, view)"] == 58


def test_patients_who_cross_when_types_are_merged_go_to_test(convert: Callable[..., Converted]) -> None:
    found = convert()
    # patient 16: masses of the left breast in training, calcifications of the right one in test
    of = found.cases[found.cases["patient"] == "P_90016"]
    assert sorted(of.index) == [f"P_90016_{side}_{view}" for side in ("LEFT", "RIGHT") for view in ("CC", "MLO")]
    assert set(of["split"]) == {"test"}
    assert found.record["counts"]["patients of a training table who are in a test table too"] == 1
    assert found.record["counts"]["mammograms of a training table that go to test with them"] == 2


def test_the_official_split_of_one_type_is_kept(convert: Callable[..., Converted]) -> None:
    found = convert(types="mass")
    # of patients 1 to 16 the multiples of 3 but 15 are test; two views each, one of patient 8 without a file
    assert found.cases["split"].value_counts().to_dict() == {"train": 23, "test": 8}
    assert "calc type" not in found.cases


def test_what_is_left_out_is_counted_rule_by_rule(convert: Callable[..., Converted]) -> None:
    assert convert().record["left_out"] == {
        "mammograms without a file": 1,
        "mammograms whose file cannot be read": 0,
        "abnormalities of these mammograms": 1,
        "abnormalities whose mask file is not there (the mammogram stays)": 1,
        "abnormalities whose mask file cannot be read (the mammogram stays)": 0,
        "abnormalities whose mask differs in size from the mammogram (the mammogram stays)": 1,
        "abnormalities whose mask does not hold two values (the mammogram stays)": 0,
    }


def test_the_assessment_is_metadata_only_on_request(convert: Callable[..., Converted]) -> None:
    without, with_it = convert(types="mass"), convert(types="mass", near_label=True)
    descriptors = {"breast density", "mass shape", "mass margins", "left or right breast", "image view", "subtlety"}
    assert set(without.settings.metadata) == descriptors
    assert set(with_it.settings.metadata) == descriptors | {"assessment"}
    near = "'assessment' (BI-RADS) is close to the label and, here, "
    assert f"{near}no metadata (near_label: false)." in (without.folder / "NOTICE").read_text()
    assert f"{near}part of the metadata (near_label: true)." in (with_it.folder / "NOTICE").read_text()


def test_jpeg_files_in_folders_of_other_names_are_found_by_dicom_info(convert: Callable[..., Converted]) -> None:
    found = convert(by_series=False)
    assert (len(found.cases), len(found.rois)) == (57, 58)


def test_tables_alone_make_a_cohort_for_teachers(
    convert: Callable[..., Converted], write_tree: Callable[..., Any]
) -> None:
    tree = write_tree("cbis_ddsm")
    shutil.rmtree(tree.roots[0] / "jpeg")
    with pytest.raises(InputError, match="set 'images: false' for a cohort of tables alone"):
        convert(tree=tree)
    found = convert(tree=tree, images=False)
    assert len(found.cases) == 58
    assert found.rois.empty
    assert found.settings.image is None
    assert read_cohort(found.settings, found.folder).cohort.metadata is not None


def test_every_bad_value_and_missing_column_is_told_at_once(
    convert: Callable[..., Converted], write_tree: Callable[..., Any]
) -> None:
    tree = write_tree("cbis_ddsm")
    folder = tree.roots[0] / "csv"
    _change(folder / "mass_case_description_train_set.csv", 0, {"pathology": "BENING", "subtlety": "high"})
    _change(folder / "calc_case_description_test_set.csv", 1, {"image view": "LL"}, drop="calc type")
    with pytest.raises(InputError) as caught:
        convert(tree=tree)
    name = "mass_case_description_train_set.csv, row 2, column"
    *values, column = caught.value.problems
    assert values == [
        f"{name} 'pathology': 'BENING' is unknown; it is one of MALIGNANT, BENIGN, BENIGN_WITHOUT_CALLBACK.",
        f"{name} 'subtlety': 'high' is no number; mend the row.",
    ]
    assert column.startswith("calc_case_description_test_set.csv: there is no column 'calc type'; give the archive's")


def _change(path: Path, at: int, values: dict[str, str], drop: str | None = None) -> None:
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    rows[at].update(values)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [name for name in rows[0] if name != drop], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def test_two_values_are_told_from_many_and_from_one() -> None:
    mask = np.zeros((20, 20), np.int64)
    mask[3:9, 4:12] = 65535
    np.testing.assert_array_equal(two_valued(mask), mask > 0)
    smeared = np.where(mask > 0, 251, 3)
    smeared[0, 0] = 9  # lossy compression: near one of the two
    np.testing.assert_array_equal(two_valued(smeared), mask > 0)
    assert two_valued(np.full((20, 20), 255)) is None
    assert two_valued(np.arange(400).reshape(20, 20)) is None


def test_the_shipped_study_reads_the_archive(write_tree: Callable[..., Any], tmp_path: Path) -> None:
    tree = write_tree("cbis_ddsm")
    study, root = load_study(STUDY, tree.roots, cohorts=tmp_path / "cohorts")
    cohort = read_cohort(study.cohort, root).cohort
    assert len(cohort) == 57
    assert "assessment" not in study.cohort.metadata
    assert (study.student.backbone, study.student.image_size_px) == ("vit_tiny_patch16_224", 224)


def test_files_that_cannot_be_read_are_counted_and_break_nothing(
    convert: Callable[..., Converted], write_tree: Callable[..., Any]
) -> None:
    tree = write_tree("cbis_ddsm")
    jpeg = tree.roots[0] / "jpeg"
    (full,) = [path for path in jpeg.glob("*/11-1.jpg") if _stands_for(path, "Mass-Training_P_90011_LEFT_CC", tree)]
    full.write_bytes(b"\xff\xd8\xff cut off")
    for path in jpeg.glob("*/13-*.jpg"):
        if _stands_for(path, "Mass-Training_P_90013_LEFT_MLO_1", tree):
            path.write_bytes(b"")
    found = convert(tree=tree)
    assert "P_90011_LEFT_CC" not in found.cases.index
    assert "P_90013_LEFT_MLO" in found.cases.index
    assert "P_90013_LEFT_MLO" not in found.rois.index
    assert found.record["left_out"]["mammograms whose file cannot be read"] == 1
    assert found.record["left_out"]["abnormalities of these mammograms"] == 2  # and patient 8's
    assert found.record["left_out"]["abnormalities whose mask file cannot be read (the mammogram stays)"] == 1


def _stands_for(path: Path, owner: str, tree: Any) -> bool:
    with (tree.roots[0] / "csv" / "dicom_info.csv").open(newline="", encoding="utf-8") as file:
        owners = {row["image_path"]: row["PatientID"] for row in csv.DictReader(file)}
    return owners[f"CBIS-DDSM/jpeg/{path.parent.name}/{path.name}"] == owner


def test_a_path_that_climbs_out_of_the_archive_leads_nowhere(
    convert: Callable[..., Converted], write_tree: Callable[..., Any]
) -> None:
    tree = write_tree("cbis_ddsm")
    climbing = "Mass-Training_P_90001_LEFT_CC/../../csv/000000.dcm"
    names = ("image file path", "cropped image file path", "ROI mask file path")
    table = tree.roots[0] / "csv" / "mass_case_description_train_set.csv"
    for at in (0, 1):  # both abnormalities of that mammogram
        _change(table, at, dict.fromkeys(names, climbing))
    found = convert(tree=tree)
    assert "P_90001_LEFT_CC" not in found.cases.index
    assert found.record["left_out"]["mammograms without a file"] == 2
