"""COCO: captions as text, boxes as ROIs, crowds as labels but not as boxes."""

from __future__ import annotations

import json
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

TRAIN = "annotations/instances_train2017.json"
WORD = "zyzzyva"


@pytest.fixture
def coco(write_tree: Callable[..., Any], tmp_path: Path) -> Callable[..., Any]:
    """Return a function that writes the tree, lets it be changed, and converts it with ids kept."""

    def convert(change: Callable[[Path], None] = lambda folder: None, *, how: Any = None, **options: Any) -> Any:
        tree = write_tree("coco", **(how or {}))
        change(tree.roots[0])
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


def edit(name: str, change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        content = json.loads((folder / name).read_text())
        change(content)
        (folder / name).write_text(json.dumps(content))

    return apply


def test_train_is_train_and_val_is_test(coco) -> None:
    out = coco()
    assert out.cases["split"].value_counts().to_dict() == {"train": 24, "test": 12}


def test_width_and_height_of_a_box_become_corners(coco) -> None:
    rois = coco().rois
    box = rois[rois["case"] == "391002"].iloc[0]  # x 8.5, y 10, 20 wide, 16.25 high; a cat
    assert box["finding"] == "cat"
    assert_allclose(box[["x_min", "y_min", "x_max", "y_max"]].astype(float), [8.5, 10, 28.5, 26.25])


def test_a_crowd_is_a_label_but_no_box(coco) -> None:
    out = coco()
    assert out.cases.loc["391003", ["person", "cat", "dog"]].tolist() == ["1", "0", "0"]
    assert "391003" not in set(out.rois["case"])
    assert out.record["left_out"]["boxes of crowds (instances_train2017.json)"] == 1


def test_boxes_are_cut_at_the_edge_and_those_without_an_area_left_out(coco) -> None:
    out = coco()
    cut = out.rois[(out.rois["case"] == "391000") & (out.rois["finding"] == "cat")].iloc[0]  # 50 + 20 of 64
    assert_allclose(cut[["x_min", "y_min", "x_max", "y_max"]].astype(float), [50, 40, 64, 44])
    assert out.record["left_out"]["boxes without an area in their image (instances_train2017.json)"] == 1


def test_the_captions_of_an_image_are_joined_on_one_line(coco) -> None:
    assert coco().cases.loc["391000", "caption"] == f"A {WORD} beside a person. Something else."


def test_an_image_without_a_caption_is_kept_and_counted(coco) -> None:
    def change(content: dict[str, Any]) -> None:
        content["annotations"] = [item for item in content["annotations"] if item["image_id"] != 391000]

    out = coco(edit("annotations/captions_train2017.json", change))
    assert pd.isna(out.cases.loc["391000", "caption"])
    assert out.record["counts"]["images of instances_train2017.json without a caption"] == 1


def test_findings_are_chosen_categories(coco) -> None:
    out = coco(findings=["chair"])
    assert (out.cases["chair"] == "1").sum() == 5  # i = 4, 9, 14 of train (19 has nothing), 4, 9 of val
    assert set(out.rois["finding"]) == {"chair"}


def test_categories_that_are_not_chosen_are_counted(coco) -> None:
    left_out = coco().record["left_out"]
    assert left_out["objects of categories that are not chosen (instances_train2017.json)"] == 7
    assert left_out["objects of categories that are not chosen (instances_val2017.json)"] == 4


def test_images_that_are_not_on_disk_are_counted_with_their_objects(coco) -> None:
    left_out = coco().record["left_out"]
    assert left_out["images of instances_train2017.json that are not on disk"] == 1
    assert left_out["objects of images that are not in the cohort (instances_train2017.json)"] == 1


def test_the_parts_of_2014_are_read_too(coco) -> None:
    out = coco(how={"year": 2014})
    assert len(out.cases) == 36
    assert out.cases.loc["391000", "image"] == "train2014/COCO_train2014_000000391000.jpg"
    assert out.record["versions"]["instances_val2014.json"] == "year 2014"


def test_an_unknown_category_is_told_with_the_nearest(coco) -> None:
    with pytest.raises(InputError, match="there is no category 'catt'; did you mean 'cat'"):
        coco(findings=["catt"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda content: content.pop("images"), "holds no list 'images'"),
        (lambda content: content["annotations"][4].pop("bbox"), "annotations 5: there is no 'bbox'"),
        (lambda content: content["annotations"][0].update(bbox=[1, 2, 3]), "'bbox' is not four numbers"),
        (lambda content: content["annotations"][0].update(bbox=[1, 2, 3, WORD]), "'bbox' is not four numbers"),
        (lambda content: content["images"].insert(0, WORD), "images 1: there is no 'id'"),
    ],
)
def test_bad_input_is_told_by_its_place_and_not_quoted(coco, change, said: str) -> None:
    with pytest.raises(InputError) as caught:
        coco(edit(TRAIN, change))
    (problem,) = caught.value.problems
    assert problem.startswith("instances_train2017.json")
    assert said in problem
    assert WORD not in problem


def test_a_document_that_is_cut_off_is_told(coco) -> None:
    def cut(folder: Path) -> None:
        (folder / TRAIN).write_text((folder / TRAIN).read_text()[:900])

    with pytest.raises(InputError, match=r"instances_train2017.json: is no whole JSON document"):
        coco(cut)
