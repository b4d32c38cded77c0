from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from mmpkd.cohort.phantom import PhantomSettings, generate, write_phantom
from mmpkd.cohort.phantom.write import boxes_of
from mmpkd.cohort.read import read_cohort
from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError

SETTINGS = PhantomSettings(patients=60, images_per_patient=(1, 2), label_missing=0.1, marker="nodule", seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return write_phantom(SETTINGS, tmp_path_factory.mktemp("phantom")).parent


def test_what_is_written_reads_as_a_cohort_without_complaint(folder: Path) -> None:
    phantom = generate(SETTINGS)
    read = read_cohort(CohortSettings.from_yaml(folder / "cohort.yaml"), folder)
    cohort = read.cohort
    assert cohort.findings == phantom.findings
    assert list(cohort.cases.index) == list(phantom.cases["case"])
    np.testing.assert_array_equal(cohort.labels, phantom.labels)
    np.testing.assert_array_equal(cohort.reference, phantom.truth)
    assert list(cohort.text) == phantom.text
    assert "marker" not in cohort.metadata.columns
    assert set(cohort.cases["split"]) == {"train", "val", "test"}
    assert cohort.in_split("test").mean() == pytest.approx(0.3, abs=0.06)


def test_images_and_masks_are_the_phantoms_own(folder: Path) -> None:
    phantom = generate(SETTINGS)
    for i, case in enumerate(phantom.cases["case"]):
        np.testing.assert_array_equal(np.asarray(Image.open(folder / "images" / f"{case}.png")), phantom.images[i])
        for k, name in enumerate(phantom.findings):
            path = folder / "masks" / f"{case}_{name}.png"
            assert path.exists() == (phantom.truth[i, k] == 1)
            if path.exists():
                np.testing.assert_array_equal(np.asarray(Image.open(path)) > 0, phantom.masks[i, k])


def test_the_boxes_hold_their_mask_tightly(folder: Path) -> None:
    for (_, _), rows in pd.read_csv(folder / "rois.csv").groupby(["case", "finding"]):
        mask = np.asarray(Image.open(folder / rows["mask"].iloc[0])) > 0
        assert len(set(rows["mask"])) == 1
        boxed = np.zeros_like(mask)
        for box in rows.itertuples():
            inside = mask[box.y_min : box.y_max, box.x_min : box.x_max]
            boxed[box.y_min : box.y_max, box.x_min : box.x_max] = True
            assert inside[0].any()
            assert inside[-1].any()
            assert inside[:, 0].any()
            assert inside[:, -1].any()
        assert not (mask & ~boxed).any()


def test_boxes_are_half_open_and_one_a_connected_piece() -> None:
    mask = np.zeros((6, 8), bool)
    mask[1, 1] = mask[2, 2] = True  # touch at a corner
    mask[4:6, 5:8] = True
    assert sorted(boxes_of(mask)) == [(1, 1, 3, 3), (5, 4, 8, 6)]
    assert list(boxes_of(np.zeros((3, 3), bool))) == []


def test_writing_again_gives_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    write_phantom(SETTINGS, tmp_path)
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert names == sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file())
    for name in names:
        assert (folder / name).read_bytes() == (tmp_path / name).read_bytes(), name


def test_the_settings_lie_beside_the_cohort(folder: Path) -> None:
    assert PhantomSettings.from_yaml(folder / "phantom.yaml") == SETTINGS


def test_a_phantom_that_was_not_finished_has_no_description(tmp_path: Path, monkeypatch) -> None:
    write_phantom(SETTINGS, tmp_path)

    def full_disk(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mmpkd.cohort.phantom.write._write_pixels", full_disk)
    with pytest.raises(InputError, match="disk is full"):
        write_phantom(SETTINGS, tmp_path)
    assert not (tmp_path / "cohort.yaml").exists()


def test_a_file_in_the_folders_place_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "there").write_text("")
    with pytest.raises(InputError, match="a file stands where a folder is needed"):
        write_phantom(SETTINGS, tmp_path / "there")
