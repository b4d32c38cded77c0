"""Converters on real files, against what the files' own notes say."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmpkd.cohort.check import find_leaks, summarise
from mmpkd.cohort.cohort import Cohort
from mmpkd.cohort.converters.convert import convert_archive
from mmpkd.cohort.images import read_size
from mmpkd.cohort.read import read_cohort
from mmpkd.cohort.rois import check_rois
from mmpkd.cohort.settings import CohortSettings
from mmpkd.files import read_json


def converted(archive: str, root: Path, out: Path, **options: object) -> tuple[Cohort, dict[str, Any]]:
    folder = convert_archive(archive, [root], out, {"identifiers": "kept", **options}).parent
    return read_cohort(CohortSettings.from_yaml(folder / "cohort.yaml"), folder).cohort, read_json(
        folder / "conversion.json"
    )


@pytest.fixture
def mini_mias(real_data: Path) -> Path:
    return real_data / "mini_mias"


def test_mini_mias_has_the_counts_of_its_notes(mini_mias: Path, tmp_path: Path) -> None:
    cohort, record = converted("mini-mias", mini_mias, tmp_path / "out")
    summary = summarise(cohort)
    assert (summary["cases"], summary["patients"]) == (322, 161)
    counts = {name: (of["positive"], of["negative"]) for name, of in summary["findings"].items()}
    assert counts == {"abnormal": (115, 207), "malignant": (52, 270)}
    assert record["counts"]["ROIs in the cohort"] == 119
    assert record["left_out"]["abnormalities without a circle (their films stay)"] == 4
    assert find_leaks(cohort) == []  # tissue tells next to nothing


def test_mini_mias_boxes_are_those_that_others_made_of_the_circles(mini_mias: Path, tmp_path: Path) -> None:
    cohort, _ = converted("mini-mias", mini_mias, tmp_path / "out")
    with (mini_mias / "rois.csv").open(newline="", encoding="utf-8") as file:
        theirs = sorted((row["image_id"], *(float(row[name]) for name in CORNERS)) for row in csv.DictReader(file))
    ours = cohort.rois[cohort.rois["finding"] == "abnormal"]
    assert sorted(ours[["case", *CORNERS]].itertuples(index=False, name=None)) == theirs
    sizes = {case: read_size(cohort.files / image) for case, image in cohort.cases["image"].items()}
    assert check_rois(cohort.rois, sizes, cohort.files) == []


CORNERS = ("x_min", "y_min", "x_max", "y_max")


def test_cbis_tables_alone_have_the_counts_of_their_notes(real_data: Path, tmp_path: Path) -> None:
    cohort, record = converted("cbis-ddsm", real_data / "cbis_ddsm_tables", tmp_path / "out", images=False)
    assert record["counts"] == {
        "abnormalities in the tables": 3568,
        "mammograms, each type counted by itself": 3103,
        "mammograms (patient, breast, view)": 3032,
        "mammograms with several abnormalities": several(real_data / "cbis_ddsm_tables"),
        "patients": 1566,
        "patients of a training table who are in a test table too": 31,
        "mammograms of a training table that go to test with them": 64,
        "cases in the cohort": 3032,
    }
    assert len(cohort) == 3032
    assert cohort.cases["patient"].nunique() == 1566


def several(folder: Path) -> int:
    """Count the mammograms with several rows by the csv module alone."""
    seen: dict[tuple[str, ...], int] = {}
    for path in folder.glob("*.csv"):
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                key = (row["patient_id"], row["left or right breast"], row["image view"])
                seen[key] = seen.get(key, 0) + 1
    return sum(count > 1 for count in seen.values())


@pytest.mark.parametrize(("types", "mammograms", "test"), [("mass", 1592, 361), ("calc", 1511, 284)])
def test_cbis_keeps_the_official_test_set_of_each_type(
    real_data: Path, tmp_path: Path, types: str, mammograms: int, test: int
) -> None:
    folder = real_data / "cbis_ddsm_tables"
    cohort, record = converted("cbis-ddsm", folder, tmp_path / "out", images=False, types=types)
    assert (len(cohort), cohort.in_split("test").sum()) == (mammograms, test)
    assert record["counts"]["patients of a training table who are in a test table too"] == 0
    official = pd.read_csv(folder / f"{types}_case_description_test_set.csv")
    keys = official["patient_id"] + "_" + official["left or right breast"] + "_" + official["image view"]
    assert set(cohort.cases.index[cohort.in_split("test")]) == set(keys)
    malignant = set(keys[official["pathology"] == "MALIGNANT"])
    assert set(cohort.cases.index[cohort.in_split("test") & (cohort.labels[:, 0] == 1)]) == malignant
