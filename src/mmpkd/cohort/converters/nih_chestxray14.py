"""NIH ChestX-ray14: labels mined from reports that nobody has, boxes of eight findings by radiologists.

Source: Wang et al. 2017, ChestX-ray8, and the archive's own README. What is privileged here is a row of metadata.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from pydantic import Field

from mmpkd.cohort.converters.archive_table import need_columns, need_unique, read_numbers, read_ragged
from mmpkd.cohort.converters.contract import Converter, ConverterOptions
from mmpkd.cohort.converters.image_index import index_images
from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CASES, ROIS, CohortWriter
from mmpkd.cohort.converters.zones import write_chexmask
from mmpkd.cohort.images import BrokenImageError, read_size
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.table import Table, is_missing
from mmpkd.errors import InputError, did_you_mean

Finding = Literal[
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
]

_FINDINGS: tuple[Finding, ...] = get_args(Finding)
_CHEXMASK = ("ChestX-Ray8.csv", "ChestX-Ray8.csv.gz")
_NO_FINDING = "No Finding"
_NAMES_OF_BOXES = {"Infiltrate": "Infiltration"}
_BOX_SIZE_PX = 1024  # all images of the archive; its boxes are in these pixels
_OLDEST = 120  # the table holds ages up to 414
_AGE = r"(?P<number>\d+)(?P<unit>[YMD]?)"
_YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "D": 1 / 365.25}
_COLUMNS = ("Image Index", "Finding Labels", "Follow-up #", "Patient ID", "Patient Age", "View Position")
_ROUNDING_PX = 1.0


class NihOptions(ConverterOptions):
    """Options of ``nih-chestxray14``.

    Args:
        findings: Those to learn, of the fourteen.
        views: Of the X-rays to keep.
    """

    findings: tuple[Finding, ...] = Field(default=_FINDINGS, min_length=1)
    views: tuple[Literal["PA", "AP"], ...] = Field(default=("PA", "AP"), min_length=1)


def _convert(roots: Roots, options: NihOptions, writer: CohortWriter) -> Mapping[str, Any]:
    ledger = writer.ledger
    entries = _read_entries(roots.need("Data_Entry_2017_v2020.csv", "Data_Entry_2017*.csv"), ledger)
    split_of = _read_lists(roots)
    boxes = _read_boxes(roots.find("BBox_List_2017*.csv"), ledger)
    base = roots.common()
    paths = index_images(roots.folders, frozenset(entries["name"]), base)
    entries["image"] = entries["name"].map(paths)
    entries["split"] = entries["name"].map(split_of)
    for rule, kept in (
        (f"images of other views than {' and '.join(options.views)}", entries["view"].isin(options.views)),
        ("images of the table that are not on disk", entries["image"].notna()),
        ("images in neither official list", entries["split"].notna()),
    ):
        ledger.drop(rule, int((~kept & entries["kept"]).sum()))
        entries["kept"] &= kept
    entries = entries[entries["kept"]].reset_index(drop=True)
    boxes = _usable(boxes, entries, options, ledger)
    _resolve_splits(entries, set(boxes["name"]), ledger)
    cases = pd.DataFrame(
        {
            "case": writer.pseudonyms("case", entries["name"]),
            "patient": writer.pseudonyms("patient", entries["patient"]),
            "image": entries["image"],
            "split": entries["split"],
            **{str(finding): entries[finding] for finding in options.findings},
            **{name: entries[name] for name in ("age", "sex", "view", "follow_up")},
        }
    )
    writer.write_cases(cases)
    described: dict[str, Any] = {
        "image_root": str(base),
        "table": CASES,
        "case": "case",
        "image": "image",
        "patient": "patient",
        "labels": list(options.findings),
        "metadata": {"age": "number", "sex": "category", "view": "category", "follow_up": "number"},
        "split": {"column": "split"},
    }
    if len(boxes):
        boxes = _in_pixels(boxes, entries, base, ledger)
        rois = boxes[["finding", "x_min", "y_min", "x_max", "y_max"]]
        writer.write_rois(rois.assign(case=writer.pseudonyms("case", boxes["name"])))
        described["rois"] = {"table": ROIS, "boxes": ["x_min", "y_min", "x_max", "y_max"]}
    tested = entries[entries["split"] == "test"]
    zoned = pd.DataFrame({"id": tested["name"], "key": tested["name"], "image": tested["image"]})
    write_chexmask(roots, _CHEXMASK, zoned, base, writer)
    ledger.note("Labels were mined from reports by a program; an image without a finding's name counts as without it.")
    ledger.note("Val is drawn of the official train_val list by patient when the cohort is read.")
    return described


def _read_entries(path: Path, ledger: Ledger) -> pd.DataFrame:
    table = read_ragged(path)
    sex = "Patient Sex" if "Patient Sex" in table.cells.columns else "Patient Gender"
    need_columns(table, (*_COLUMNS, sex))
    problems = Problems()
    need_unique(table, "Image Index", problems)
    patients = table.column("Patient ID")
    problems.add_rows(
        np.flatnonzero(is_missing(patients)),
        lambda i: f"{table.place(i, 'Patient ID')}: is blank; give every image a patient.",
    )
    labels = _read_labels(table, problems)
    ages, dated = _read_ages(table, problems)
    follow_up = read_numbers(table, "Follow-up #", problems)
    problems.raise_any()
    impossible = ages > _OLDEST
    ledger.version(path.name, "ages with units (2017)" if dated else "ages in years (v2020)")
    ledger.count("images in the table", len(table))
    ledger.drop(f"ages above {_OLDEST} years, taken as unknown", int(impossible.sum()))
    values = pd.DataFrame(labels, columns=_FINDINGS, dtype=np.int64)
    return values.assign(
        name=table.column("Image Index"),
        patient=patients,
        view=table.column("View Position"),
        sex=table.column(sex),
        age=np.where(impossible, np.nan, ages),
        follow_up=follow_up,
        kept=True,
    )


def _read_labels(table: Table, problems: Problems) -> np.ndarray:
    values = table.column("Finding Labels")
    codes, distinct = pd.factorize(values)
    known = {*_FINDINGS, _NO_FINDING}
    named = [[name.strip() for name in value.split("|")] for value in distinct]
    unknown = [next((name for name in names if name not in known), None) for names in named]
    problems.add_rows(
        np.flatnonzero(np.array([name is not None for name in unknown], bool)[codes]),
        lambda i: (
            f"{table.place(i, 'Finding Labels')}: {str(unknown[codes[i]])[:40]!r} is no finding of the archive"
            f"{did_you_mean(str(unknown[codes[i]]), known)}"
        ),
    )
    return np.array([[finding in names for finding in _FINDINGS] for names in named], np.int64)[codes]


def _read_ages(table: Table, problems: Problems) -> tuple[np.ndarray, bool]:
    """Return years, and whether ages carry units: ``058Y``, ``011M``, ``003D``."""
    values = table.column("Patient Age")
    parts = values.str.fullmatch(_AGE)
    missing = is_missing(values)
    problems.add_rows(
        np.flatnonzero(~parts.to_numpy(bool) & ~missing),
        lambda i: f"{table.place(i, 'Patient Age')}: {values.iloc[i][:10]!r} is no age; write 58 or 058Y.",
    )
    split = values.str.extract(f"^{_AGE}$")
    years = pd.to_numeric(split["number"], errors="coerce") * split["unit"].map(_YEARS)
    return years.to_numpy(np.float64, na_value=np.nan), bool(split["unit"].isin(["Y", "M", "D"]).any())


def _read_lists(roots: Roots) -> dict[str, str]:
    split_of: dict[str, str] = {}
    for name, split in (("train_val_list.txt", "train"), ("test_list.txt", "test")):
        path = roots.need(name)
        try:
            lines = path.read_text(encoding="utf-8-sig").split()
        except UnicodeDecodeError:
            raise InputError(f"{name}: is no UTF-8 text; download it anew.") from None
        split_of |= dict.fromkeys(lines, split)  # an image in both lists is a test image
    return split_of


def _read_boxes(path: Path | None, ledger: Ledger) -> pd.DataFrame:
    """Return name, finding, x, y, w, h: the four values stand in the last columns, whatever the header says."""
    corners = ("x", "y", "w", "h")
    if path is None:
        ledger.note("There is no BBox_List_2017.csv in the roots, so the cohort has no boxes.")
        return pd.DataFrame(columns=["name", "finding", *corners])
    table = read_ragged(path)
    need_columns(table, ("Image Index", "Finding Label"))
    if len(table.cells.columns) < 6:
        raise InputError(f"{path.name}, row 1: a box needs an image, a finding and four values; download it anew.")
    renamed = dict(zip(table.cells.columns[2:6], corners, strict=True))
    table = Table(table.cells.rename(columns=renamed), table.sources, table.file_of, table.record_of)
    problems = Problems()
    values = {name: read_numbers(table, name, problems) for name in corners}
    findings = table.column("Finding Label").replace(_NAMES_OF_BOXES)
    problems.add_rows(
        np.flatnonzero(~findings.isin(_FINDINGS).to_numpy(bool)),
        lambda i: (
            f"{table.place(i, 'Finding Label')}: {findings.iloc[i][:40]!r} is no finding of the archive"
            f"{did_you_mean(findings.iloc[i], _FINDINGS)}"
        ),
    )
    shapes = np.column_stack(list(values.values()))
    problems.add_rows(
        np.flatnonzero(np.isnan(shapes).any(1) | (shapes[:, 2:] <= 0).any(1)),
        lambda i: f"{table.place(i)}: is no box; give x, y and a positive width and height.",
    )
    problems.raise_any()
    ledger.version(path.name, "boxes in pixels of 1024 x 1024")
    ledger.count("boxes in the table", len(table))
    return pd.DataFrame({"name": table.column("Image Index"), "finding": findings, **values})


def _usable(boxes: pd.DataFrame, entries: pd.DataFrame, options: NihOptions, ledger: Ledger) -> pd.DataFrame:
    there = boxes["name"].isin(entries["name"])
    ledger.drop("boxes of images that are not in the cohort", int((~there).sum()))
    boxes = boxes[there]
    chosen = boxes["finding"].isin(options.findings)
    ledger.drop("boxes of findings that are not chosen", int((~chosen).sum()))
    boxes = boxes[chosen].reset_index(drop=True)
    if len(boxes):
        row_of = pd.Index(entries["name"]).get_indexer(pd.Index(boxes["name"]))
        column_of = pd.Index(_FINDINGS).get_indexer(pd.Index(boxes["finding"]))
        labelled = entries[list(_FINDINGS)].to_numpy()[row_of, column_of] == 1
        ledger.count("boxes of a finding that the image's labels do not name", int((~labelled).sum()))
    return boxes


def _resolve_splits(entries: pd.DataFrame, boxed: set[str], ledger: Ledger) -> None:
    """Move every image of a patient with a test image or a box to test."""
    train = entries["split"] == "train"
    in_test = set(entries.loc[~train, "patient"])
    with_box = set(entries.loc[entries["name"].isin(boxed), "patient"])
    for why, patients in (("who are in both official lists", in_test), ("with boxes", with_box - in_test)):
        moved = train & entries["patient"].isin(patients)
        ledger.count(f"patients {why}, moved from training to test", entries.loc[moved, "patient"].nunique())
        ledger.drop(f"training images of patients {why}, moved to test", int(moved.sum()))
        entries.loc[moved, "split"] = "test"


def _in_pixels(boxes: pd.DataFrame, entries: pd.DataFrame, base: Path, ledger: Ledger) -> pd.DataFrame:
    """Return the boxes with corners in the pixels of the images at hand, which may be smaller copies."""
    path_of = dict(zip(entries["name"], entries["image"], strict=True))
    size_of = {name: _size(base / path_of[name]) for name in boxes["name"].unique()}
    sizes = np.array([size_of[name] for name in boxes["name"]], float)[:, ::-1]
    start = boxes[["x", "y"]].to_numpy(float)
    low = start * sizes / _BOX_SIZE_PX
    high = (start + boxes[["w", "h"]].to_numpy(float)) * sizes / _BOX_SIZE_PX
    cut_low, cut_high = np.clip(low, 0, sizes), np.clip(high, 0, sizes)
    ledger.count(
        "boxes cut at the edge of their image by more than a pixel",
        int(((np.abs(cut_low - low) > _ROUNDING_PX) | (np.abs(cut_high - high) > _ROUNDING_PX)).any(1).sum()),
    )
    resized = (sizes != _BOX_SIZE_PX).any(1)
    if resized.any():
        ledger.note(f"{resized.sum()} boxes lie on copies of another size than 1024 x 1024 and were scaled to them.")
    inside = (cut_high > cut_low).all(1)
    ledger.drop("boxes outside their image", int((~inside).sum()))
    corners = pd.DataFrame(np.hstack([cut_low, cut_high]), columns=["x_min", "y_min", "x_max", "y_max"])
    return pd.concat([boxes, corners], axis=1)[inside].reset_index(drop=True)


def _size(path: Path) -> tuple[int, int]:
    try:
        return read_size(path)
    except BrokenImageError:
        return _BOX_SIZE_PX, _BOX_SIZE_PX  # the cohort's own reader leaves the case out and tells it


CONVERTER = Converter(
    title="NIH ChestX-ray14 (ChestX-ray8, National Institutes of Health Clinical Center)",
    terms="Terms: free use with attribution to the NIH Clinical Center; see https://nihcc.app.box.com/v/ChestXray-NIHCC.",
    options=NihOptions,
    convert=_convert,
    skip=("images", "images_*", "images-*"),
)
