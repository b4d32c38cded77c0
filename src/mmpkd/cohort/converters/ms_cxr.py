"""MS-CXR: boxes that radiologists drew for phrases of MIMIC-CXR's reports, as CSV or as COCO's JSON.

Source: Boecking et al. 2022, Making the most of text semantics to improve biomedical vision-language processing. The
phrases are report text and are not kept.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from mmpkd.cohort.converters.archive_json import read_archive_json
from mmpkd.cohort.converters.archive_table import need_columns
from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.table import read_table_file
from mmpkd.errors import InputError, did_you_mean

FINDINGS = (
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Lung Opacity",
    "Pleural Effusion",
    "Pneumonia",
    "Pneumothorax",
)
_OTHER_NAMES = {"Airspace Opacity": "Lung Opacity"}
_NUMBERS = ("x", "y", "w", "h", "image_width", "image_height")
_COLUMNS = ("dicom_id", "category_name", *_NUMBERS)
_SPLIT = "split"  # 1.1.0 has it, 0.1 has not
_ROUNDING_PX = 1.0


@dataclass(frozen=True)
class _Rows:
    cells: pd.DataFrame
    place: Callable[[int, str], str]


def find_ms_cxr(roots: Roots) -> Path | None:
    """Return the newest table of boxes in the roots, a CSV before a JSON, if there is one."""
    return roots.find("MS_CXR_Local_Alignment*.csv", "MS_CXR_Local_Alignment*.csv.gz", "MS_CXR_Local_Alignment*.json")


def read_ms_cxr(path: Path, ledger: Ledger) -> pd.DataFrame:
    """Return the boxes, each once however many phrases have it.

    Returns:
        ``image`` (the dicom id), ``finding``, ``x_min``, ``y_min``, ``x_max``, ``y_max`` in pixels of the original
        image, cut at its edges; its ``height`` and ``width`` as MS-CXR has them; ``split``, MS-CXR's own, blank in 0.1.

    Raises:
        InputError: Every bad row.
    """
    rows = _from_json(path) if path.suffix == ".json" else _from_csv(path)
    problems = Problems()
    numbers = rows.cells[list(_NUMBERS)].apply(pd.to_numeric, errors="coerce").to_numpy(float, na_value=np.nan)
    for k, column in enumerate(_NUMBERS):
        problems.add_rows(
            np.flatnonzero(~np.isfinite(numbers[:, k])),
            lambda i, column=column: f"{rows.place(i, column)}: is no number; give pixels.",  # type: ignore[misc]
        )
    problems.add_rows(
        np.flatnonzero((numbers[:, 2:] <= 0).any(1)),
        lambda i: f"{rows.place(i, 'w')}: a box and its image need a positive width and height.",
    )
    findings = rows.cells["category_name"].replace(_OTHER_NAMES)
    problems.add_rows(
        np.flatnonzero(~findings.isin(FINDINGS).to_numpy(bool)),
        lambda i: (
            f"{rows.place(i, 'category_name')}: {findings.iloc[i][:40]!r} is no finding of MS-CXR"
            f"{did_you_mean(findings.iloc[i], FINDINGS)}"
        ),
    )
    problems.raise_any()
    splits = rows.cells.get(_SPLIT, pd.Series("", index=rows.cells.index)).replace({"validate": "val"})
    low = numbers[:, :2]
    high = low + numbers[:, 2:4]
    size = numbers[:, 4:]
    cut = np.hstack([np.clip(low, 0, size), np.clip(high, 0, size)])
    boxes = pd.DataFrame(cut, columns=["x_min", "y_min", "x_max", "y_max"]).assign(
        height=size[:, 1], width=size[:, 0], split=splits.to_numpy()
    )
    boxes.insert(0, "image", rows.cells["dicom_id"].to_numpy())
    boxes.insert(1, "finding", findings.to_numpy())
    _tell(path, boxes, np.abs(cut - np.hstack([low, high])).max(1) > _ROUNDING_PX, ledger)
    inside = (boxes["x_max"] > boxes["x_min"]) & (boxes["y_max"] > boxes["y_min"])
    ledger.drop("boxes outside their image", int((~inside).sum()))
    boxes = boxes[inside]
    twice = boxes.duplicated(["image", "finding", "x_min", "y_min", "x_max", "y_max"])
    ledger.drop("boxes drawn again for another phrase", int(twice.sum()))
    return boxes[~twice].reset_index(drop=True)


def _tell(path: Path, boxes: pd.DataFrame, cut: np.ndarray, ledger: Ledger) -> None:
    form = "COCO JSON" if path.suffix == ".json" else "CSV"
    version = "1.1.0 (has a split)" if boxes["split"].ne("").any() else "0.1 (has no split)"
    ledger.version("MS-CXR", f"{path.name}, {form}, as {version}")
    ledger.count("boxes of MS-CXR", len(boxes))
    ledger.count("images with boxes of MS-CXR", boxes["image"].nunique())
    ledger.count("boxes cut at the edge of their image by more than a pixel", int(cut.sum()))


def _from_csv(path: Path) -> _Rows:
    table = read_table_file(path, path.name)
    need_columns(table, _COLUMNS)
    columns = [*_COLUMNS, *([_SPLIT] if _SPLIT in table.cells.columns else [])]
    return _Rows(pd.DataFrame({name: table.column(name) for name in columns}), table.place)


def _from_json(path: Path) -> _Rows:
    content = read_archive_json(path)
    try:
        categories = {entry["id"]: str(entry["name"]) for entry in content["categories"]}
        images = {entry["id"]: entry for entry in content["images"]}
        annotations = list(content["annotations"])
    except (KeyError, TypeError):
        raise InputError(f"{path.name}: lacks COCO's images, categories or annotations; download it anew.") from None
    problems = Problems()
    rows: list[dict[str, Any]] = []
    for number, annotation in enumerate(annotations, start=1):
        try:
            rows.append(_row(annotation, images[annotation["image_id"]], categories))
        except (KeyError, TypeError, ValueError):
            problems.add_rows(np.array([number]), lambda i: f"{path.name}, annotation {i}: is no box of an image.")
    problems.raise_any()
    if not rows:
        raise InputError(f"{path.name}: holds no annotation; download it anew.")
    return _Rows(
        pd.DataFrame(rows).fillna(""), lambda i, column: f"{path.name}, annotation {i + 1}, as column {column!r}"
    )


def _row(annotation: Mapping[str, Any], image: Mapping[str, Any], categories: Mapping[Any, str]) -> dict[str, Any]:
    x, y, w, h = annotation["bbox"]
    name = image.get("path") or image["file_name"]
    return {
        "dicom_id": PurePosixPath(name).stem,
        "category_name": categories[annotation["category_id"]],
        **dict(zip(_NUMBERS, (x, y, w, h, image["width"], image["height"]), strict=True)),
        **({_SPLIT: str(image[_SPLIT])} if _SPLIT in image else {}),
    }
