"""`image_root`: images and masks lie in one folder, the tables in another."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from numpy.testing import assert_array_equal
from PIL import Image

from mmpkd.cohort.read import read_cohort
from mmpkd.cohort.rois import roi_mask
from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError

MASK = np.array([[0, 0, 0], [0, 255, 255]], np.uint8)


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Return the folder of the tables and that of the images."""
    tables, images = tmp_path / "cohort", tmp_path / "archive"
    tables.mkdir()
    (images / "deep").mkdir(parents=True)
    rows = ["case,image,nodule,split"]
    for i, split in enumerate(["train", "train", "train", "train", "val", "val", "test", "test"]):
        Image.fromarray(np.full((2, 3), 20 * i, np.uint8)).save(images / "deep" / f"{i}.png")
        rows.append(f"c{i},deep/{i}.png,{i % 2},{split}")
    Image.fromarray(MASK).save(images / "deep" / "mask.png")
    (tables / "cases.csv").write_text("\n".join(rows) + "\n")
    (tables / "rois.csv").write_text("case,finding,mask,runs\nc7,nodule,deep/mask.png,\nc1,nodule,,1 2 3\n")
    return tables, images


def settings(image_root: str) -> CohortSettings:
    return CohortSettings.from_data(
        {
            "image_root": image_root,
            "table": "cases.csv",
            "case": "case",
            "image": "image",
            "labels": ["nodule"],
            "rois": {"table": "rois.csv", "mask": "mask", "rle": "runs"},
            "split": {"column": "split"},
        },
        source="cohort.yaml",
    )


def given_as(how: str, images: Path) -> str:
    return str(images) if how == "absolute" else "../archive"


@pytest.mark.parametrize("how", ["absolute", "relative"])
def test_images_and_masks_are_found_there_and_tables_in_the_root(folders, how: str) -> None:
    tables, images = folders
    read = read_cohort(settings(given_as(how, images)), tables)
    cohort = read.cohort
    assert len(cohort) == 8
    assert cohort.root == tables
    assert cohort.files == images
    assert not [warning for warning in read.warnings if "missing" in warning]
    assert cohort.rois is not None
    of_mask = cohort.rois[cohort.rois["case"] == "c7"]
    assert_array_equal(roi_mask(of_mask, (2, 3), cohort.files), MASK > 0)
    of_runs = cohort.rois[cohort.rois["case"] == "c1"]  # 1 outside, 2 inside, 3 outside, down the columns
    assert_array_equal(roi_mask(of_runs, (2, 3), cohort.files), [[0, 1, 0], [1, 0, 0]])


def test_without_it_they_are_looked_for_beside_the_tables(folders) -> None:
    tables, images = folders
    for path in (*tables.iterdir(),):
        path.rename(images / path.name)
    described = {**settings("x").to_data(), "image_root": None}
    cohort = read_cohort(CohortSettings.from_data(described, source="cohort.yaml"), images).cohort
    assert cohort.files == images


def test_a_path_may_not_leave_it(folders) -> None:
    tables, images = folders
    (tables / "own.png").write_bytes((images / "deep" / "0.png").read_bytes())
    text = (tables / "cases.csv").read_text()
    (tables / "cases.csv").write_text(text.replace("deep/0.png", "../cohort/own.png"))
    with pytest.raises(InputError, match=r"cases.csv, row 2, column 'image': the path leaves the cohort's root"):
        read_cohort(settings(str(images)), tables)


def test_a_folder_that_is_gone_is_one_sentence(folders) -> None:
    tables, images = folders
    images.rename(images.with_name("moved"))
    with pytest.raises(InputError, match="there is no such folder; mend 'image_root'") as caught:
        read_cohort(settings("../archive"), tables)
    assert len(caught.value.problems) == 1


def test_it_survives_being_written_and_read(folders) -> None:
    tables, images = folders
    (tables / "cohort.yaml").write_text(yaml.safe_dump(settings(str(images)).to_data()))
    again = CohortSettings.from_yaml(tables / "cohort.yaml")
    assert again.image_folder(tables) == images
