"""COCO: captions as privileged text, boxes as ROIs: the domain outside medicine.

Source: Lin et al. 2014, Microsoft COCO; Chen et al. 2015, Microsoft COCO Captions. A file of instances is parsed whole
(its text, 450 MB for train2017, is held meanwhile); of each object only category, image and box are kept.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from mmpkd.cohort.converters.archive_json import read_archive_json
from mmpkd.cohort.converters.contract import Converter, ConverterOptions
from mmpkd.cohort.converters.image_index import index_images
from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CASES, ROIS, CohortWriter
from mmpkd.errors import InputError, did_you_mean

_SPLITS = {"train": "train", "val": "test"}
_BOX = ("x", "y", "w", "h")
_UNUSED = frozenset({"segmentation", "area", "info", "licenses", "license", "coco_url", "flickr_url", "date_captured"})


class CocoOptions(ConverterOptions):
    """Options of ``coco``.

    Args:
        findings: Categories to learn, by COCO's names.
    """

    findings: tuple[str, ...] = Field(default=("person", "car", "chair", "dog", "cat"), min_length=1)


def _convert(roots: Roots, options: CocoOptions, writer: CohortWriter) -> Mapping[str, Any]:
    ledger, base = writer.ledger, roots.common()
    found = {
        part: (roots.need(f"instances_{part}[0-9]*.json"), roots.need(f"captions_{part}[0-9]*.json"))
        for part in _SPLITS
    }
    boxes: list[pd.DataFrame] = []

    def parts() -> Iterator[pd.DataFrame]:
        """Yield the cases of one file after the other; nothing of the first is held while the second is read."""
        for part, (instances, captions) in found.items():
            cases, of_part = _read_part(roots, instances, captions, options.findings, base, ledger)
            boxes.append(of_part.assign(case=writer.pseudonyms("case", of_part["case"])))
            yield pd.DataFrame(
                {
                    "case": writer.pseudonyms("case", cases["id"]),
                    "patient": writer.pseudonyms("patient", cases["id"]),
                    "image": cases["image"],
                    "split": _SPLITS[part],
                    **{name: cases[name] for name in options.findings},
                    "caption": cases["caption"],
                }
            )

    writer.write_cases(parts())
    rois = pd.concat(boxes, ignore_index=True)
    described: dict[str, Any] = {
        "image_root": str(base),
        "table": CASES,
        "case": "case",
        "image": "image",
        "patient": "patient",
        "labels": list(options.findings),
        "text": "caption",
        "split": {"column": "split"},
    }
    if len(rois):
        writer.write_rois(rois)
        described["rois"] = {"table": ROIS, "boxes": ["x_min", "y_min", "x_max", "y_max"]}
    ledger.note("A category counts as there when any object of an image has it, a crowd included.")
    ledger.note("COCO's val is the test split, since its own test set has no public labels; val is drawn of train.")
    ledger.note("Captions often name the categories, and objects too small to be told are labelled all the same.")
    return described


def _read_part(
    roots: Roots, instances: Path, captions: Path, findings: tuple[str, ...], base: Path, ledger: Ledger
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the images of one part with labels and captions, and their boxes."""
    content = read_archive_json(instances, _without_unused)
    ledger.version(instances.name, f"year {match[0]}" if (match := re.search(r"\d{4}", instances.name)) else "unknown")
    images = _records(content, "images", ("id", "file_name", "width", "height"), instances)
    categories = _records(content, "categories", ("id", "name"), instances)
    objects = _records(content, "annotations", ("image_id", "category_id", "bbox", "iscrowd"), instances)
    del content
    unknown = [name for name in findings if name not in set(categories["name"])]
    if unknown:
        raise InputError(
            [
                f"{instances.name}: there is no category {name!r}{did_you_mean(name, categories['name'])}"
                for name in unknown
            ]
        )
    images = _with_files(images, roots, base, ledger, instances.name)
    name_of = dict(zip(categories["id"], categories["name"], strict=True))
    objects["finding"] = objects["category_id"].map(name_of)
    ledger.count(f"objects in {instances.name}", len(objects))
    chosen = objects["finding"].isin(findings)
    ledger.drop(f"objects of categories that are not chosen ({instances.name})", int((~chosen).sum()))
    there = objects["image_id"].isin(images["id"])
    ledger.drop(f"objects of images that are not in the cohort ({instances.name})", int((chosen & ~there).sum()))
    objects = objects[chosen & there]
    for name in findings:
        images[name] = images["id"].isin(objects.loc[objects["finding"] == name, "image_id"]).astype(int)
    images["caption"] = images["id"].map(_read_captions(captions))
    ledger.count(f"images of {instances.name} without a caption", int(images["caption"].isna().sum()))
    return images, _boxes(objects, images, instances, ledger)


def _without_unused(record: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in _UNUSED}


def _records(content: Mapping[str, Any], part: str, fields: tuple[str, ...], path: Path) -> pd.DataFrame:
    """Return a list of objects as a table.

    Raises:
        InputError: No list, or an object of it that lacks a field; the place is its number in the list, from 1.
    """
    records = content.get(part)
    if not isinstance(records, list) or not records:
        raise InputError(f"{path.name}: holds no list {part!r}; download it anew.")
    for number, record in enumerate(records, start=1):
        lacking = [name for name in fields if not isinstance(record, dict) or record.get(name) is None]
        if lacking:
            raise InputError(f"{path.name}, {part} {number}: there is no {lacking[0]!r}; download it anew.")
    return pd.DataFrame({name: [record[name] for record in records] for name in fields})


def _with_files(images: pd.DataFrame, roots: Roots, base: Path, ledger: Ledger, source: str) -> pd.DataFrame:
    """Add ``image``, the path of each file that is on disk; file names are told apart by the part's own folder."""
    ledger.count(f"images in {source}", len(images))
    folder = source.removeprefix("instances_").removesuffix(".json")
    below = [path for path in roots.all(folder) if path.is_dir()] or list(roots.folders)
    images["image"] = images["file_name"].map(index_images(below, frozenset(images["file_name"]), base))
    lost = images["image"].isna()
    ledger.drop(f"images of {source} that are not on disk", int(lost.sum()))
    return images[~lost].reset_index(drop=True)


def _read_captions(path: Path) -> pd.Series[str]:
    """Return the captions of each image, joined in the order of the file."""
    records = _records(read_archive_json(path, _without_unused), "annotations", ("image_id", "caption"), path)
    records["caption"] = records["caption"].astype(str).str.split().str.join(" ")
    return records.groupby("image_id", sort=False)["caption"].agg(" ".join)


def _boxes(objects: pd.DataFrame, images: pd.DataFrame, path: Path, ledger: Ledger) -> pd.DataFrame:
    crowd = objects["iscrowd"].astype(bool)
    ledger.drop(f"boxes of crowds ({path.name})", int(crowd.sum()))
    objects = objects[~crowd]
    try:
        box = np.array(objects["bbox"].tolist(), np.float64).reshape(-1, len(_BOX))
    except (ValueError, TypeError):
        raise InputError(f"{path.name}: an object's 'bbox' is not four numbers; download it anew.") from None
    sizes = images.set_index("id").loc[objects["image_id"], ["width", "height"]].to_numpy(np.float64)
    low = np.clip(box[:, :2], 0, sizes)
    high = np.clip(box[:, :2] + box[:, 2:], 0, sizes)
    inside = (high > low).all(axis=1)
    ledger.drop(f"boxes without an area in their image ({path.name})", int((~inside).sum()))
    corners = pd.DataFrame(np.hstack([low, high]), columns=["x_min", "y_min", "x_max", "y_max"])
    names = objects[["image_id", "finding"]].rename(columns={"image_id": "case"}).reset_index(drop=True)
    return pd.concat([names, corners], axis=1).iloc[np.flatnonzero(inside)].reset_index(drop=True)


CONVERTER = Converter(
    title="COCO, Common Objects in Context",
    terms="Terms: annotations CC BY 4.0, images by their authors' Flickr terms; see https://cocodataset.org/#termsofuse.",
    options=CocoOptions,
    convert=_convert,
    skip=("train20*", "val20*", "test20*", "unlabeled20*"),
)
