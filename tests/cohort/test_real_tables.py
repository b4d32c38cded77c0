"""Real tables, against what their own notes say and against counts by the csv module alone."""

import csv
from pathlib import Path

import pytest

from mmpkd.cohort.check import find_leaks, summarise
from mmpkd.cohort.read import read_cohort
from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError

CBIS_LABELS = {
    "malignant": {"column": "pathology", "positive": "MALIGNANT", "negative": ["BENIGN", "BENIGN_WITHOUT_CALLBACK"]}
}


def described(**settings: object) -> CohortSettings:
    return CohortSettings.from_data(settings, source="cohort.yaml")


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def cbis_tables(*kinds: str) -> list[dict[str, object]]:
    return [
        {"path": f"{kind}_case_description_{split}_set.csv", "split": split}
        | ({"rename": {"breast_density": "breast density"}} if kind == "mass" else {})
        for kind in kinds
        for split in ("train", "test")
    ]


@pytest.fixture
def chest(real_data: Path) -> tuple[CohortSettings, Path]:
    settings = described(
        table="manifest.csv",
        case="image_id",
        image="image",
        patient="group_id",
        labels={
            "covid19": "label_covid19",
            "tube_present": "label_tube_present",
            "in_icu": "label_in_icu",
            "brixia_ge6": "label_brixia_ge6",
        },
        text="report",
        metadata=["age", "sex", "view"],
        rois={
            "table": "rois.csv",
            "case": "image_id",
            "finding": "label",
            "boxes": ["x_min", "y_min", "x_max", "y_max"],
            "findings": {"right_lung": "all", "left_lung": "all"},
        },
    )
    return settings, real_data / "chest_xray_notes"


def test_chest_xray_notes_has_the_counts_of_its_notes(chest: tuple[CohortSettings, Path]):
    summary = summarise(read_cohort(*chest).cohort)
    assert (summary["cases"], summary["patients"], summary["text"]["cases"]) == (353, 201, 249)
    counts = {name: (of["positive"], of["negative"]) for name, of in summary["findings"].items()}
    assert counts == {
        "covid19": (194, 74),
        "tube_present": (37, 62),
        "in_icu": (65, 106),
        "brixia_ge6": (58, 30),
    }
    assert {name: of["type"] for name, of in summary["metadata"].items()} == {
        "age": "number",
        "sex": "category",
        "view": "category",
    }


def test_chest_rois_are_both_lungs_for_every_finding(chest: tuple[CohortSettings, Path]):
    rois = read_cohort(*chest).cohort.rois
    assert rois is not None
    assert len(rois) == 706 * 4


def test_a_split_of_so_small_a_cohort_is_still_stratified(chest: tuple[CohortSettings, Path]):
    settings, root = chest
    cohort = read_cohort(settings, root).cohort
    assert (cohort.cases.groupby("patient")["split"].nunique() == 1).all()
    for k, (positives, negatives) in enumerate([(194, 74), (37, 62), (65, 106), (58, 30)]):
        test = cohort.labels[cohort.in_split("test"), k]
        assert abs((test == 1).sum() - positives / 4) <= 4
        assert abs((test == 0).sum() - negatives / 4) <= 4


def test_lung_masks_in_the_table_of_cases_serve_as_rois(real_data: Path):
    settings = described(
        table="manifest.csv",
        case="image_id",
        patient="group_id",
        labels={"covid19": "label_covid19"},
        rois={"table": "manifest.csv", "case": "image_id", "finding": None, "mask": "lung_mask"},
    )
    read_back = read_cohort(settings, real_data / "chest_xray_notes")
    assert read_back.cohort.rois is not None
    assert len(read_back.cohort.rois) == 192
    assert "manifest.csv: 161 rows hold neither box nor mask and are passed over." in read_back.warnings


def test_cbis_mass_keeps_its_official_test_set(real_data: Path):
    folder = real_data / "cbis_ddsm_tables"
    settings = described(
        table=cbis_tables("mass"),
        patient="patient_id",
        labels=CBIS_LABELS,
        metadata=["mass shape", "mass margins", "breast density", "subtlety", "assessment"],
    )
    cohort = read_cohort(settings, folder).cohort
    assert len(cohort) == 1696
    test = rows_of(folder / "mass_case_description_test_set.csv")
    assert cohort.in_split("test").sum() == len(test) == 378
    malignant = [float(row["pathology"] == "MALIGNANT") for row in test]
    assert cohort.labels[cohort.in_split("test"), 0].tolist() == malignant
    assert cohort.in_split("val").sum() > 0


def test_cbis_patients_who_cross_when_mass_and_calcification_are_merged_are_found(real_data: Path):
    folder = real_data / "cbis_ddsm_tables"
    patients = {
        split: {row["patient_id"] for table in cbis_tables("mass", "calc") if table["split"] == split
                for row in rows_of(folder / str(table["path"]))}
        for split in ("train", "test")
    }  # fmt: skip
    crossing = patients["train"] & patients["test"]
    merged = {"table": cbis_tables("mass", "calc"), "patient": "patient_id", "labels": CBIS_LABELS}
    with pytest.raises(InputError, match=f"{len(crossing)} patients are in more than one split") as caught:
        read_cohort(described(**merged), folder)
    assert len(caught.value.problems) == 1
    cohort = read_cohort(described(**merged, split={"crossing": "drop"}), folder).cohort
    assert not set(cohort.cases["patient"][cohort.in_split("train")]) & patients["test"]
    assert set(cohort.cases["patient"][cohort.in_split("test")]) == patients["test"]


def test_mini_mias_abnormality_is_found_to_be_the_label(real_data: Path):
    settings = described(
        table="manifest.csv",
        case="image_id",
        image="image",
        patient="patient_id",
        labels={"abnormal": "label_abnormal", "malignant": "label_malignant"},
        metadata=["tissue", "abnormality"],
    )
    cohort = read_cohort(settings, real_data / "mini_mias").cohort
    summary = summarise(cohort)
    assert (summary["cases"], summary["patients"]) == (322, 161)
    assert summary["findings"]["abnormal"]["positive"] == 115
    assert summary["findings"]["malignant"]["positive"] == 52
    (leak,) = find_leaks(cohort)
    assert "'abnormality' tells 'abnormal' by itself" in leak
