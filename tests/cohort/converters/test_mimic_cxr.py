"""MIMIC-CXR: labels and reports of studies on images, patients with boxes out of training, policies, sections."""

from __future__ import annotations

import gzip
import shutil
import zipfile
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from numpy.testing import assert_array_equal
from pandas.testing import assert_frame_equal

from mmpkd.cohort.converters.convert import convert_archive
from mmpkd.cohort.read import read_cohort
from mmpkd.cohort.rle import decode_rle
from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError
from mmpkd.files import read_json
from mmpkd.study.load import load_study

STUDY = Path(__file__).parents[3] / "studies" / "mimic-cxr.yaml"
TABLES = "mimic-cxr-jpg/2.1.0"
PA, LATERAL, AP, LATER = range(4)


def dicom(i: int, k: int = PA) -> str:
    return f"{i:08x}-bde0afdd-112c0b34-7bc16630-{k:08x}"


@pytest.fixture
def mimic(write_tree: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that writes the tree anew, lets it be changed, and converts it with ids kept."""
    numbers = count()

    def convert(
        change: Callable[[Path], None] = lambda folder: None, *, how: Any = None, roots: Any = None, **options: Any
    ) -> Any:
        shutil.rmtree(tmp_path / "archive", ignore_errors=True)
        tree = write_tree("mimic_cxr", **{"zones": False, **(how or {})})
        change(tmp_path / "archive")
        given = tree.roots if roots is None else [tmp_path / "archive" / root for root in roots]
        path = convert_archive(
            tree.archive, given, tmp_path / f"out{next(numbers)}", {"identifiers": "kept", **options}
        )
        tables = {name: path.with_name(f"{name}.parquet") for name in ("cases", "rois", "zones")}
        read = {name: pd.read_parquet(table) if table.exists() else None for name, table in tables.items()}
        read["cases"] = read["cases"].set_index("case", drop=False)
        record = read_json(path.with_name("conversion.json"))
        return SimpleNamespace(**read, path=path, described=yaml.safe_load(path.read_text()), record=record)

    return convert


def in_table(name: str, old: str, new: str, times: int = 1) -> Callable[[Path], None]:
    """Return a change of one of the compressed tables."""

    def change(folder: Path) -> None:
        path = folder / TABLES / f"mimic-cxr-2.0.0-{name}.csv.gz"
        text = gzip.decompress(path.read_bytes()).decode()
        assert old in text
        path.write_bytes(gzip.compress(text.replace(old, new, times).encode()))

    return change


# Labels are per study, images several per study


def test_labels_and_report_of_a_study_reach_each_of_its_images(mimic) -> None:
    cases = mimic().cases
    # patient 5: (5 + k) % 4 is 0 for findings 3 and 7
    for image, view in ((dicom(5), "PA"), (dicom(5, AP), "AP")):
        assert cases.loc[image, "report"] == "There is edema and pneumothorax.\nEdema of patient ___."
        labels = cases.loc[image, ["Atelectasis", "Cardiomegaly", "Edema", "Pneumonia", "Pneumothorax"]]
        assert labels.tolist() == ["0", "0", "1", "0", "1"]
        assert cases.loc[image, "view"] == view


def test_a_later_study_of_a_patient_has_labels_and_report_of_its_own(mimic) -> None:
    cases = mimic().cases
    assert cases.loc[dicom(10), "report"].startswith("There is consolidation and pneumonia.")
    assert cases.loc[dicom(10, LATER), "report"].startswith("There is cardiomegaly and pleural effusion.")
    assert cases.loc[[dicom(10), dicom(10, LATER)], "Cardiomegaly"].tolist() == ["0", "1"]


def test_images_are_named_below_the_folder_of_the_jpegs_and_are_there(mimic, tmp_path: Path) -> None:
    out = mimic()
    assert out.described["image_root"] == str(tmp_path / "archive" / TABLES)
    assert out.cases.loc[dicom(24), "image"] == f"files/p11/p11000024/s50000240/{dicom(24)}.jpg"
    assert all((Path(out.described["image_root"]) / image).is_file() for image in out.cases["image"])


def test_every_row_that_leaves_is_counted(mimic) -> None:
    left_out = mimic().record["left_out"]
    assert left_out["images of other views than PA and AP"] == 31
    assert left_out["images without a row in the metadata"] == 1
    assert left_out["images of patients without a folder on disk"] == 1
    assert left_out["images of studies without a row in the labels"] == 1


# MS-CXR


def test_ms_cxr_patients_in_mimics_train_split_move_to_test_with_all_their_images(mimic) -> None:
    out = mimic()
    assert out.cases["split"].value_counts().to_dict() == {"train": 23, "val": 4, "test": 13}
    moved = [dicom(0), dicom(0, AP), dicom(1), dicom(2), dicom(21)]
    assert out.cases.loc[moved, "split"].eq("test").all()
    boxed = set(out.cases.loc[out.rois["case"], "patient"])
    assert not boxed & set(out.cases.loc[out.cases["split"] != "test", "patient"])
    assert out.record["counts"]["patients with boxes, moved from train to test"] == 3
    assert out.record["counts"]["patients with boxes, moved from val to test"] == 1
    assert out.record["left_out"]["train images of patients with boxes, moved to test"] == 4
    assert out.record["left_out"]["val images of patients with boxes, moved to test"] == 1


def test_ms_cxr_patients_move_even_if_their_finding_is_not_chosen(mimic) -> None:
    out = mimic(findings=["Edema"])
    assert out.cases.loc[[dicom(0), dicom(1), dicom(2)], "split"].eq("test").all()
    assert out.rois["finding"].tolist() == ["Edema"]
    assert out.record["left_out"]["boxes of findings that are not chosen"] == 6


def test_ms_cxrs_own_split_disagrees_and_is_counted_but_not_used(mimic) -> None:
    # patients 0 (test there, train in MIMIC), 2 (val, train) and 26 (val, test)
    what = "images whose split in MS-CXR differs from MIMIC-CXR's (MS-CXR's is not used)"
    assert mimic().record["counts"][what] == 3
    older = mimic(how={"version": "0.1"})
    assert older.record["counts"][what] == 0
    assert len(older.rois) == 7


@pytest.mark.parametrize("version", ["0.1", "1.1.0"])
def test_coco_and_csv_give_equal_cohorts(version: str, mimic) -> None:
    table, coco = (mimic(how={"version": version, "coco": coco}) for coco in (False, True))
    assert "CSV" in table.record["versions"]["MS-CXR"]
    assert "COCO" in coco.record["versions"]["MS-CXR"]
    assert_frame_equal(table.rois, coco.rois)
    assert_frame_equal(table.cases, coco.cases)


def test_boxes_are_in_original_pixels_cut_at_the_edge(mimic) -> None:
    boxes = mimic().rois.set_index("case")
    corners = ["x_min", "y_min", "x_max", "y_max"]
    assert boxes.loc[dicom(0), corners].tolist() == ["10", "12", "30", "28"]
    assert boxes.loc[dicom(24), corners].tolist() == ["54", "20", "64", "30"]  # 54 + 15 leaves the 64 columns


def test_boxes_on_resized_copies_are_scaled_to_them(mimic) -> None:
    out = mimic(how={"scale": 2})
    boxes = out.rois.set_index("case")[["x_min", "y_min", "x_max", "y_max"]].astype(float)
    assert boxes.loc[dicom(0)].tolist() == [5, 6, 15, 14]  # of 64 x 48 px, now 32 x 24
    # patient 1: 65 x 49 px became 32 x 24
    expected = np.array([[5, 5, 15, 15], [30, 10, 42, 22]]) * [32 / 65, 24 / 49, 32 / 65, 24 / 49]
    np.testing.assert_allclose(boxes.loc[dicom(1)].to_numpy(), expected)
    assert any("7 boxes lie on copies of another size" in rule for rule in out.record["rules"])


def test_boxes_of_another_image_size_than_the_metadata_are_left_out_and_counted(mimic) -> None:
    out = mimic()
    assert dicom(2) not in set(out.rois["case"])
    assert out.record["left_out"]["boxes of another image size than the metadata's"] == 1
    assert out.record["left_out"]["boxes of images that are not in the cohort"] == 1


def test_without_ms_cxr_the_cohort_has_no_boxes_and_says_so(mimic) -> None:
    out = mimic(lambda folder: shutil.rmtree(folder / "ms-cxr"), roots=["mimic-cxr-jpg", "mimic-cxr"])
    assert out.rois is None
    assert "rois" not in out.described
    assert out.cases["split"].value_counts().to_dict() == {"train": 27, "val": 5, "test": 8}
    assert any("no boxes" in rule for rule in out.record["rules"])


# Labels


@pytest.mark.parametrize(
    ("options", "uncertain", "blank"),
    [
        ({}, None, "0"),
        ({"uncertain": 1, "blank": "missing"}, "1", None),
        ({"uncertain": {"Cardiomegaly": 0, "default": 1}, "blank": {"default": 1}}, "0", "1"),
        ({"uncertain": {"Edema": 0}, "blank": {"Cardiomegaly": "missing", "default": 0}}, None, None),
    ],
)
def test_uncertain_and_blank_labels_follow_a_policy_per_finding(mimic, options, uncertain, blank) -> None:
    cases = mimic(**options).cases
    for i, expected in ((7, uncertain), (8, blank)):
        value = cases.loc[dicom(i), "Cardiomegaly"]
        assert (None if pd.isna(value) else value) == expected


def test_a_policy_of_an_unknown_finding_is_one_sentence(mimic) -> None:
    with pytest.raises(InputError, match="no finding 'Cardiomegalie'; did you mean 'Cardiomegaly'"):
        mimic(uncertain={"Cardiomegalie": 1})


def test_labels_may_be_negbios(mimic) -> None:
    out = mimic(labeller="negbio")
    assert out.record["versions"]["labels"] == "mimic-cxr-2.0.0-negbio.csv.gz"
    assert out.cases.loc[dicom(7), "Cardiomegaly"] == "1"  # uncertain for CheXpert


def test_radiologists_labels_of_test_studies_are_the_reference(mimic) -> None:
    out = mimic()
    assert out.record["counts"]["test studies with radiologists' labels"] == 5
    cohort = read_cohort(CohortSettings.from_yaml(out.path), out.path.parent).cohort
    finding = cohort.findings.index("Lung Opacity")  # of patient 24, called Airspace Opacity in that table
    row = cohort.cases.index.get_loc(dicom(24))
    assert (cohort.labels[row, finding], cohort.evaluation_labels[row, finding]) == (1, 0)
    assert np.isnan(cohort.reference[cohort.cases["split"] != "test"]).all()
    assert np.isnan(cohort.reference[cohort.cases.index.get_loc(dicom(29))]).all()


# Reports


def test_findings_and_impression_are_cut_out_of_reports(mimic) -> None:
    reports = mimic().cases["report"]
    assert reports[dicom(15)] == "There is cardiomegaly and pleural effusion.\nCardiomegaly of patient ___."
    assert reports[dicom(13)] == "There is edema and pneumothorax."  # FINDINGS AND IMPRESSION:


def test_sections_can_be_chosen(mimic) -> None:
    reports = mimic(sections=["indication"]).cases["report"]
    assert reports[dicom(15)] == "___F with cough indicanary"
    whole = mimic(sections=None).cases["report"]
    assert whole[dicom(15)].startswith("FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)")


def test_a_report_without_sections_is_kept_whole_and_counted(mimic) -> None:
    out = mimic()
    expected = "FINAL REPORT\n AP chest compared to ___.  edema, unchanged."
    assert out.cases.loc[dicom(9), "report"] == expected
    assert out.record["counts"]["reports without any of the sections findings, impression, kept whole"] == 1


def test_a_study_without_a_report_keeps_its_images_without_text_and_is_counted(mimic) -> None:
    out = mimic()
    assert out.cases.loc[[dicom(11), dicom(12)], "report"].isna().all()
    assert out.record["counts"]["studies without a report (their images stay, without text)"] == 1
    assert out.record["counts"]["empty reports (their images stay, without text)"] == 1
    assert out.record["counts"]["reports read"] == 33  # 34 studies with frontal images, less patient 11's


def test_zip_and_unpacked_reports_are_equal(mimic) -> None:
    zipped, unpacked = (mimic(how={"zipped": zipped}) for zipped in (True, False))
    assert zipped.record["versions"]["reports"] == "mimic-cxr-reports.zip, zip"
    assert unpacked.record["versions"]["reports"] == "files, folder"
    assert_frame_equal(zipped.cases, unpacked.cases)


def test_images_and_reports_may_share_one_folder_and_one_root(mimic) -> None:
    def merge(folder: Path) -> None:
        shutil.copytree(folder / "mimic-cxr/2.1.0/files", folder / TABLES / "files", dirs_exist_ok=True)
        shutil.rmtree(folder / "mimic-cxr")
        shutil.rmtree(folder / TABLES / "files/p10/p10000190")  # of whom there is a report and no image

    apart = mimic()
    merged = mimic(merge, how={"zipped": False}, roots=["."])
    assert_frame_equal(apart.cases, merged.cases)


def test_two_folders_called_files_are_told_apart_by_what_they_hold(mimic) -> None:
    apart = mimic()
    assert_frame_equal(apart.cases, mimic(how={"zipped": False}, roots=["."]).cases)
    backwards = mimic(how={"zipped": False}, roots=["ms-cxr", "mimic-cxr/2.1.0/files", TABLES])
    assert_frame_equal(apart.cases, backwards.cases)


def test_a_damaged_report_in_the_zip_is_one_sentence_without_its_name(mimic) -> None:
    def damage(folder: Path) -> None:
        path = folder / "mimic-cxr/2.1.0/mimic-cxr-reports.zip"
        with zipfile.ZipFile(path) as archive:
            info = archive.infolist()[5]
        data = bytearray(path.read_bytes())
        at = info.header_offset + 30 + len(info.filename)
        data[at : at + 20] = b"\xff" * 20
        path.write_bytes(data)

    with pytest.raises(InputError) as caught:
        mimic(damage)
    assert caught.value.problems == ("mimic-cxr-reports.zip: is no whole zip file; download it anew.",)


# Views, splits, tables


def test_views_can_be_chosen(mimic) -> None:
    assert set(mimic(views=["PA"]).cases["view"]) == {"PA"}
    assert len(mimic(views=["PA", "AP", "LATERAL"]).cases) == 70


def test_a_view_that_no_image_has_is_one_sentence(mimic) -> None:
    with pytest.raises(InputError, match="no image has the view 'LATERA'; did you mean 'LATERAL'"):
        mimic(views=["LATERA"])


def test_a_patient_in_several_official_splits_goes_to_the_later(mimic) -> None:
    out = mimic(
        in_table("split", f"{dicom(10, LATER)},50000101,10000110,train", f"{dicom(10, LATER)},50000101,10000110,test")
    )
    assert out.cases.loc[[dicom(10), dicom(10, AP), dicom(10, LATER)], "split"].eq("test").all()
    assert out.record["counts"]["patients in several official splits, given to the later"] == 1


def test_every_bad_row_of_a_table_is_told_without_ids(mimic) -> None:
    def spoil(folder: Path) -> None:
        in_table("split", f"{dicom(1)},50000010,10000101,train", f"{dicom(1)},../50000010,10000101,trian")(folder)
        in_table("split", dicom(2), dicom(0))(folder)

    with pytest.raises(InputError) as caught:
        mimic(spoil)
    name = "mimic-cxr-2.0.0-split.csv.gz"
    # rows: header, then three images of patient 0 and two of patient 1
    assert caught.value.problems == (
        f"{name}, row 7, column 'dicom_id': is blank or stands in an earlier row; keep one row an image.",
        f"{name}, row 5, column 'study_id': is no id of MIMIC-CXR; download the table anew.",
        f"{name}, row 5, column 'split': 'trian' is none of train, validate, test.",
    )


def test_a_label_that_is_none_is_told(mimic) -> None:
    with pytest.raises(InputError, match=r"chexpert.csv.gz, row 2, column 'Atelectasis': '2.0' is no label"):
        mimic(in_table("chexpert", "10000100,50000000,1.0", "10000100,50000000,2.0"))


# Zones


def test_zones_of_test_images_are_written_with_lungs_heart_and_boxes(mimic) -> None:
    out = mimic(how={"zones": True})
    zones = out.zones[out.zones["case"] == dicom(0)]
    assert zones["zone"].tolist() == ["left lung", "right lung", "heart", "left lung", "cardiac silhouette"]
    assert zones["source"].tolist() == ["CheXmask"] * 3 + ["Chest ImaGenome"] * 2
    mask = np.zeros((48, 64), bool)
    mask[6:40, 36:60] = True
    assert_array_equal(decode_rle(zones["rle"].iloc[0], (48, 64)), mask)
    assert zones["findings"].tolist()[3] == "atelectasis|lung opacity"
    assert "phrasecanary" not in out.zones.to_csv()


def test_chexmask_below_the_dice_threshold_is_left_out_and_counted(mimic) -> None:
    out = mimic(how={"zones": True})
    assert set(out.zones["case"]) == {dicom(0), dicom(24)}
    assert out.record["left_out"]["images whose masks have an RCA Dice below 0.7"] == 1
    assert out.record["left_out"]["images whose masks have another size than the original"] == 1


def test_zones_of_all_images_or_of_none_can_be_asked_for(mimic) -> None:
    assert dicom(3) in set(mimic(how={"zones": True}, zones="all").zones["case"])
    assert mimic(how={"zones": True}, zones="none").zones is None


# The study


def test_the_shipped_study_loads_over_the_archive(write_tree, tmp_path: Path) -> None:
    tree = write_tree("mimic_cxr")
    study, root = load_study(STUDY, tree.roots, tmp_path / "cohorts")
    assert study.teach.teacher["kind"] == "encoder"
    assert study.teach.teacher["model"] == "pubmedbert"
    assert (study.student.backbone, study.student.pretrained) == ("vit_tiny_patch16_224", True)
    assert list(study.arms) == ["hard", "mmpkd"]
    assert (study.compare.primary.metric, study.compare.primary.policy) == ("iou", "matched-area")
    assert study.compare.primary.method in study.evaluate.maps
    assert study.cohort.rois is not None
    assert len(read_cohort(study.cohort, root).cohort) == tree.cases
