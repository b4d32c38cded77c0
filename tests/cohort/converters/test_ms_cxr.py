"""MS-CXR: CSV and COCO JSON, 0.1 and 1.1.0, say the same; every bad row is told in its place."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from pandas.testing import assert_frame_equal

from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.ms_cxr import find_ms_cxr, read_ms_cxr
from mmpkd.cohort.converters.roots import Roots
from mmpkd.errors import InputError

HEADER = "category_name,label_text,path,x,y,w,h,image_width,image_height,dicom_id"
ROWS = [
    "Pneumonia,a phrase,files/p10/p100/s500/aa-1.jpg,10,20,30,40,100,200,aa-1",
    "Pneumonia,another phrase,files/p10/p100/s500/aa-1.jpg,10,20,30,40,100,200,aa-1",
    "Airspace Opacity,a phrase,files/p10/p101/s501/bb-2.jpg,80,150,30,60,100,200,bb-2",
    "Edema,a phrase,files/p10/p101/s501/bb-2.jpg,100,0,10,10,100,200,bb-2",
]
# Worked by hand: the second row is the first again, the third leaves its image to the right and below, the fourth
# lies beside it.
EXPECTED = pd.DataFrame(
    {
        "image": ["aa-1", "bb-2"],
        "finding": ["Pneumonia", "Lung Opacity"],
        "x_min": [10.0, 80.0],
        "y_min": [20.0, 150.0],
        "x_max": [40.0, 100.0],
        "y_max": [60.0, 200.0],
        "height": [200.0, 200.0],
        "width": [100.0, 100.0],
        "split": ["", ""],
    }
)
COCO: dict[str, Any] = {
    "categories": [{"id": 3, "name": "Pneumonia"}, {"id": 5, "name": "Airspace Opacity"}, {"id": 7, "name": "Edema"}],
    "images": [
        {"id": 11, "file_name": "aa-1.jpg", "path": "files/p10/p100/s500/aa-1.jpg", "width": 100, "height": 200},
        {"id": 12, "file_name": "bb-2.jpg", "width": 100, "height": 200},
    ],
    "annotations": [
        {"id": 1, "image_id": 11, "category_id": 3, "bbox": [10, 20, 30, 40], "label_text": "a phrase"},
        {"id": 2, "image_id": 11, "category_id": 3, "bbox": [10, 20, 30, 40], "label_text": "another phrase"},
        {"id": 3, "image_id": 12, "category_id": 5, "bbox": [80, 150, 30, 60], "label_text": "a phrase"},
        {"id": 4, "image_id": 12, "category_id": 7, "bbox": [100, 0, 10, 10], "label_text": "a phrase"},
    ],
}


def write_csv(folder: Path, *rows: str, header: str = HEADER, name: str = "v1.0.0") -> Path:
    path = folder / f"MS_CXR_Local_Alignment_{name}.csv"
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def write_json(folder: Path, content: Any) -> Path:
    path = folder / "MS_CXR_Local_Alignment_v1.1.0.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("write", [lambda folder: write_csv(folder, *ROWS), lambda folder: write_json(folder, COCO)])
def test_csv_and_coco_json_give_the_same_boxes(write: Callable[[Path], Path], tmp_path: Path) -> None:
    ledger = Ledger()
    assert_frame_equal(read_ms_cxr(write(tmp_path), ledger), EXPECTED, check_dtype=False)
    assert dict(ledger.steps) == {
        "boxes of MS-CXR": 4,
        "images with boxes of MS-CXR": 2,
        "boxes cut at the edge of their image by more than a pixel": 2,
    }
    assert dict(ledger.drops) == {"boxes outside their image": 1, "boxes drawn again for another phrase": 1}


def test_0_1_has_no_split_and_1_1_0_has_one(tmp_path: Path) -> None:
    ledger = Ledger()
    read_ms_cxr(write_csv(tmp_path, ROWS[0]), ledger)
    assert ledger.versions["MS-CXR"] == "MS_CXR_Local_Alignment_v1.0.0.csv, CSV, as 0.1 (has no split)"
    boxes = read_ms_cxr(
        write_csv(tmp_path, ROWS[0] + ",validate", ROWS[2] + ",test", header=HEADER + ",split", name="v1.1.0"), ledger
    )
    assert boxes["split"].tolist() == ["val", "test"]
    assert ledger.versions["MS-CXR"] == "MS_CXR_Local_Alignment_v1.1.0.csv, CSV, as 1.1.0 (has a split)"


def test_the_newest_version_is_taken_and_a_csv_before_a_json(tmp_path: Path) -> None:
    assert find_ms_cxr(Roots([tmp_path])) is None
    found = write_json(tmp_path, COCO)
    assert find_ms_cxr(Roots([tmp_path])) == found
    for name in ("v1.0.0", "v1.1.0"):
        found = write_csv(tmp_path, ROWS[0], name=name)
        assert find_ms_cxr(Roots([tmp_path])) == found


def test_phrases_are_not_kept(tmp_path: Path) -> None:
    assert "phrase" not in read_ms_cxr(write_csv(tmp_path, *ROWS), Ledger()).to_csv()


def test_every_bad_row_is_told_in_its_place_without_its_text(tmp_path: Path) -> None:
    path = write_csv(
        tmp_path,
        ROWS[0].replace("10,20,30,40", "ten,20,30,40"),
        ROWS[0].replace("10,20,30,40", "10,20,-30,40"),
        ROWS[0].replace("Pneumonia", "Pneumonai"),
        ROWS[0].replace("10,20,30,40", "10,inf,30,40"),
    )
    with pytest.raises(InputError) as caught:
        read_ms_cxr(path, Ledger())
    name = path.name
    assert caught.value.problems == (
        f"{name}, row 2, column 'x': is no number; give pixels.",
        f"{name}, row 5, column 'y': is no number; give pixels.",
        f"{name}, row 3, column 'w': a box and its image need a positive width and height.",
        f"{name}, row 4, column 'category_name': 'Pneumonai' is no finding of MS-CXR; did you mean 'Pneumonia'?",
    )


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    path = write_csv(tmp_path, "Pneumonia,1", header="category_name,dicom")
    with pytest.raises(InputError, match="there is no column 'dicom_id'; did you mean 'dicom'"):
        read_ms_cxr(path, Ledger())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"images": []}, "lacks COCO's images, categories or annotations"),
        ({**COCO, "annotations": []}, "holds no annotation"),
        (
            {**COCO, "annotations": [{"image_id": 99, "category_id": 3, "bbox": [1, 1, 1, 1]}]},
            "annotation 1: is no box",
        ),
        ({**COCO, "annotations": [{"image_id": 11, "category_id": 3, "bbox": [1, 1]}]}, "annotation 1: is no box"),
        ([], "holds no JSON object"),
    ],
)
def test_a_json_that_is_no_coco_is_one_sentence(content: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message) as caught:
        read_ms_cxr(write_json(tmp_path, content), Ledger())
    assert len(caught.value.problems) == 1
