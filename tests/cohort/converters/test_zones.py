"""Zones: CheXmask's run lengths against a plain decoder, its Dice threshold and headers; Chest ImaGenome's boxes."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.testing import assert_array_equal

from mmpkd.cohort.converters.convert import convert_archive
from mmpkd.cohort.converters.imagenome import find_imagenome, read_imagenome
from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.zones import COLUMNS, find_chexmask, read_chexmask
from mmpkd.cohort.images import read_size
from mmpkd.cohort.rle import decode_rle
from mmpkd.errors import InputError

SIZE = (4, 5)
LEFT = "3 2 8 2"  # from 1, along rows of 5: (0, 2), (0, 3), (1, 2), (1, 3)
RIGHT = "1 1"
HEART = "4 4"  # wraps: (0, 3), (0, 4), (1, 0), (1, 1)


def plainly(runs: str, size: tuple[int, int]) -> np.ndarray:
    """Decode as CheXmask's own example does."""
    mask = np.zeros(size[0] * size[1], bool)
    numbers = [int(number) for number in runs.split()]
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        mask[start - 1 : start - 1 + length] = True
    return mask.reshape(size)


def runs_of(mask: np.ndarray) -> str:
    """Encode as CheXmask does."""
    pixels = np.concatenate([[0], mask.ravel().astype(int), [0]])
    runs = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
    runs[1::2] -= runs[::2]
    return " ".join(map(str, runs))


def write_masks(folder: Path, *rows: dict[str, Any], ids: str = "dicom_id") -> Path:
    plain = {"Dice RCA (Mean)": 0.9, "Dice RCA (Max)": 0.95, "Landmarks": "[1 2]", "Left Lung": LEFT}
    plain |= {"Right Lung": RIGHT, "Heart": HEART, "Height": SIZE[0], "Width": SIZE[1]}
    path = folder / "MIMIC-CXR-JPG.csv"
    pd.DataFrame([{ids: row["id"], **plain, **{k: v for k, v in row.items() if k != "id"}} for row in rows]).to_csv(
        path, index=False
    )
    return path


def read(path: Path, *images: str, ledger: Ledger | None = None) -> pd.DataFrame:
    parts = list(read_chexmask(path, dict.fromkeys(images, SIZE), ledger or Ledger()))
    return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=COLUMNS)


def test_masks_are_lungs_and_heart_with_a_box_around_each(tmp_path: Path) -> None:
    zones = read(write_masks(tmp_path, {"id": "a"}), "a")
    assert zones["zone"].tolist() == ["left lung", "right lung", "heart"]
    # the heart's run goes on in the next row, so its box has the image's width
    assert zones[["x_min", "y_min", "x_max", "y_max"]].to_numpy().tolist() == [[2, 0, 4, 2], [0, 0, 1, 1], [0, 0, 5, 2]]
    for runs, rle in zip((LEFT, RIGHT, HEART), zones["rle"], strict=True):
        assert_array_equal(decode_rle(rle, SIZE), plainly(runs, SIZE))
    # columns of 4: two blank ones, then rows 0 and 1 of the third and of the fourth
    assert zones["rle"].iloc[0] == "8 2 2 2 6"
    assert set(zones["height"]) == {4}
    assert set(zones["width"]) == {5}


@settings(max_examples=60, deadline=None)
@given(mask=arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7))))
def test_any_mask_is_the_same_along_rows_and_down_columns(
    mask: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("masks")
    size = (mask.shape[0], mask.shape[1])
    path = write_masks(folder, {"id": "a", "Heart": runs_of(mask), "Height": size[0], "Width": size[1]} | NO_LUNGS)
    zones = list(read_chexmask(path, {"a": size}, Ledger()))
    assert bool(zones) == mask.any()
    if zones:
        assert_array_equal(decode_rle(zones[0]["rle"].iloc[0], size), mask)


NO_LUNGS = {"Left Lung": "", "Right Lung": ""}


def test_masks_below_the_dice_threshold_are_left_out_and_counted(tmp_path: Path) -> None:
    rows = [{"id": name, "Dice RCA (Mean)": dice} for name, dice in (("a", 0.7), ("b", 0.699), ("c", ""), ("d", 1))]
    ledger = Ledger()
    zones = read(write_masks(tmp_path, *rows), "a", "b", "c", "d", "e", ledger=ledger)
    assert zones["image"].unique().tolist() == ["a", "d"]
    drops = dict(ledger.drops)
    assert drops["images whose masks have an RCA Dice below 0.7"] == 2
    assert drops["images that are not in CheXmask"] == 1


def test_masks_at_another_resolution_are_left_out_and_counted(tmp_path: Path) -> None:
    ledger = Ledger()
    path = write_masks(tmp_path, {"id": "a", "Height": 1024, "Width": 1024}, {"id": "b"})
    assert read(path, "a", "b", ledger=ledger)["image"].unique().tolist() == ["b"]
    assert dict(ledger.drops)["images whose masks have another size than the original"] == 1


@pytest.mark.parametrize("ids", ["dicom_id", "Path", "image_id", "Image Index", "ImageID"])
def test_the_column_of_ids_is_called_differently_by_archive(ids: str, tmp_path: Path) -> None:
    ledger = Ledger()
    assert len(read(write_masks(tmp_path, {"id": "a"}, ids=ids), "a", ledger=ledger)) == 3
    assert ledger.versions["CheXmask"] == f"MIMIC-CXR-JPG.csv, image ids in {ids!r}"


def test_original_resolution_goes_before_the_preprocessed(tmp_path: Path) -> None:
    assert find_chexmask(Roots([tmp_path]), "MIMIC-CXR-JPG.csv") is None
    for name in ("Preprocessed", "OriginalResolution"):
        (tmp_path / name).mkdir()
        write_masks(tmp_path / name, {"id": "a"})
    assert find_chexmask(Roots([tmp_path]), "MIMIC-CXR-JPG.csv") == tmp_path / "OriginalResolution/MIMIC-CXR-JPG.csv"


@pytest.mark.parametrize("runs", ["3", "0 2", "3 0", "19 3", "a b", "1 99999999999999999999"])
def test_runs_that_are_no_mask_are_told_by_row_and_column(runs: str, tmp_path: Path) -> None:
    path = write_masks(tmp_path, {"id": "a"}, {"id": "b", "Heart": runs})
    with pytest.raises(InputError, match=r"^MIMIC-CXR-JPG.csv, row 3, column 'Heart': is no mask of 5 x 4 px"):
        read(path, "a", "b")


def test_a_table_without_masks_names_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "MIMIC-CXR-JPG.csv"
    path.write_text("dicom_id,Height,Width,Left lung\n")
    with pytest.raises(InputError) as caught:
        read(path, "a")
    assert len(caught.value.problems) == 4
    assert "no column 'Left Lung'; did you mean 'Left lung'?" in caught.value.problems[1]


GRAPH: dict[str, Any] = {
    "image_id": "a",
    "objects": [
        {"bbox_name": "left lung", "x1": 1, "y1": 1, "x2": 2, "y2": 2}
        | {"original_x1": 3, "original_y1": 0, "original_x2": 9, "original_y2": 3},
        {"bbox_name": "trachea", "x1": 1, "y1": 2, "x2": 2, "y2": 4},
        {"bbox_name": "spine", "x1": 7, "y1": 2, "x2": 9, "y2": 4},
    ],
    "attributes": [
        {
            "bbox_name": "left lung",
            "attributes": [["anatomicalfinding|yes|opacity"], ["anatomicalfinding|no|mass", "nlp|yes|abnormal"]],
            "phrases": ["a phrase", "another"],
        }
    ],
}


def graphs(folder: Path, zipped: bool, *contents: Any) -> Path:
    names = [f"{name}_SceneGraph.json" for name in "abc"[: len(contents)]]
    if zipped:
        with zipfile.ZipFile(folder / "scene_graph.zip", "w") as archive:
            for name, content in zip(names, contents, strict=True):
                archive.writestr(f"scene_graph/{name}", json.dumps(content))
    else:
        (folder / "scene_graph").mkdir()
        for name, content in zip(names, contents, strict=True):
            (folder / "scene_graph" / name).write_text(json.dumps(content))
    found = find_imagenome(Roots([folder]))
    assert found is not None
    return found


@pytest.mark.parametrize("zipped", [True, False])
def test_boxes_are_in_original_pixels_with_what_the_report_finds_there(zipped: bool, tmp_path: Path) -> None:
    ledger = Ledger()
    path = graphs(tmp_path, zipped, GRAPH, {**GRAPH, "image_id": "b"})
    (zones,) = read_imagenome(path, {"a": SIZE, "z": SIZE}, ledger)
    assert zones["image"].tolist() == ["a", "a"]
    assert zones["zone"].tolist() == ["left lung", "trachea"]
    # original_* go before x1 ..., which are those of a 224 px copy; the first box is cut at the width of 5
    assert zones[["x_min", "y_min", "x_max", "y_max"]].to_numpy().tolist() == [[3, 0, 5, 3], [1, 2, 2, 4]]
    assert zones["findings"].fillna("").tolist() == ["opacity", ""]
    assert dict(ledger.drops) == {
        "images that are not in Chest ImaGenome": 1,
        "boxes of Chest ImaGenome without area in their image": 1,
    }


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({**GRAPH, "image_id": "b"}, "entry 1: is the graph of another image"),
        ({"image_id": "a"}, "entry 1: is no scene graph"),
        ({"image_id": "a", "objects": [{"bbox_name": "spine", "x1": "left"}]}, "entry 1: is no scene graph"),
        ([], "entry 1: is no scene graph"),
    ],
)
def test_a_document_that_is_no_scene_graph_is_one_sentence(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"^scene_graph.zip, {message}"):
        list(read_imagenome(graphs(tmp_path, True, content), {"a": SIZE}, Ledger()))


@pytest.mark.parametrize(
    ("name", "table", "ids", "listed"),
    [
        ("nih_chestxray14", "ChestX-Ray8.csv", "Image Index", lambda case: case),
        ("chexlocalize", "CheXpert.csv", "Path", lambda case: f"CheXpert-v1.0/valid/{case.replace('_', '/', 2)}.jpg"),
    ],
)
def test_masks_of_other_archives_become_zones_of_the_images_that_are_scored(
    name: str,
    table: str,
    ids: str,
    listed: Callable[[str], str],
    write_tree: Callable[..., Any],
    tmp_path: Path,
) -> None:
    tree = write_tree(name)

    def convert(out: str) -> Path:
        options = {**tree.options, "identifiers": "kept"}
        return convert_archive(tree.archive, [*tree.roots, tmp_path / "masks"], tmp_path / out, options).parent

    (tmp_path / "masks").mkdir()
    plain = convert("plain")
    cases = pd.read_parquet(plain / "cases.parquet").set_index("case")
    assert not (plain / "zones.parquet").exists()
    base = Path(yaml.safe_load((plain / "cohort.yaml").read_text())["image_root"])
    test = cases.index[cases["split"] == "test"][0]
    train = cases.index[cases["split"] == "train"][0]
    height, width = read_size(base / cases.loc[test, "image"])
    lung = np.zeros((height, width), bool)
    lung[3:9, 2:5] = True
    row = {"Left Lung": runs_of(lung), "Right Lung": "", "Heart": "1 2", "Height": height, "Width": width}
    written = write_masks(tmp_path / "masks", *({"id": listed(case), **row} for case in (test, train)), ids=ids)
    written.rename(tmp_path / "masks" / table)
    zones = pd.read_parquet(convert("zoned") / "zones.parquet")
    assert set(zones["case"]) == {test}
    assert zones["zone"].tolist() == ["left lung", "heart"]
    assert zones.iloc[0][["x_min", "y_min", "x_max", "y_max"]].astype(int).tolist() == [2, 3, 5, 9]
    assert (decode_rle(zones.iloc[0]["rle"], (height, width)) == lung).all()
