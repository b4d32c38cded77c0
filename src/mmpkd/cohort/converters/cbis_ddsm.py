"""CBIS-DDSM: mammograms with described abnormalities and a mask for each; one case a mammogram."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import pandas as pd

from mmpkd.cohort.converters import cbis_files, cbis_tables
from mmpkd.cohort.converters.cbis_files import ArchiveFiles, Files, Layout, Mask
from mmpkd.cohort.converters.contract import Converter, ConverterOptions
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CASES, ROIS, CohortWriter
from mmpkd.progress import Progress

_MOST_THREADS = 4  # each holds one mask of a mammogram at a time, up to some 300 MB

Row = TypeVar("Row")
Result = TypeVar("Result")


class CbisDdsmOptions(ConverterOptions):
    """Options of ``cbis-ddsm``.

    Args:
        types: ``mass``, ``calc`` or ``both``.
        images: ``false`` reads the tables alone, for teachers: no images, no masks.
        layout: Of the images: ``dicom`` (any of its downloads), ``jpeg`` (the re-release), or whichever is found.
        near_label: Whether ``assessment`` (BI-RADS, a radiologist's suspicion and so close to the label) is metadata.
    """

    types: Literal["mass", "calc", "both"] = "both"
    images: bool = True
    layout: Layout = "auto"
    near_label: bool = False


def _convert(roots: Roots, options: CbisDdsmOptions, writer: CohortWriter) -> Mapping[str, Any]:
    types = ("mass", "calc") if options.types == "both" else (options.types,)
    rows = cbis_tables.read_tables(roots, types, options.images, writer.ledger)
    cases = cbis_tables.merge(rows, types, writer.ledger)
    rois = None
    if options.images:
        archive = ArchiveFiles(roots, options.layout)
        images, sizes = _mammograms(rows, archive, writer)
        cases = cases[cases.index.isin(list(images))].copy()
        cases["image"] = [str(images[case].relative_to(roots.common())) for case in cases.index]
        rois = _rois(rows[rows["case"].isin(cases.index)], sizes, archive, writer)
    names = dict(zip(cases.index, writer.pseudonyms("case", cases.index), strict=True))
    cases.insert(0, "case", list(names.values()))
    cases.insert(1, "patient", writer.pseudonyms("patient", cases.pop(cbis_tables.PATIENT)))
    writer.write_cases(cases.reset_index(drop=True))
    described: dict[str, Any] = {
        "table": CASES,
        "case": "case",
        "patient": "patient",
        "labels": ["malignant"],
        "metadata": _metadata(types, options.near_label),
        "split": {"column": "split"},
    }
    if options.images:
        described |= {"image": "image", "image_root": str(roots.common())}
    if rois is not None and len(rois):
        writer.write_rois(rois.assign(case=rois["case"].map(names)))
        described["rois"] = {"table": ROIS, "rle": "rle"}
        if (rois["finding"] == "benign").any():
            described["rois"]["findings"] = {"benign": []}
    for sentence in _rules(options):
        writer.ledger.note(sentence)
    return described


def _mammograms(
    rows: pd.DataFrame, archive: ArchiveFiles, writer: CohortWriter
) -> tuple[dict[str, Path], dict[str, tuple[int, int]]]:
    """Return the file and the size in pixels of each case whose mammogram is there and readable."""
    found: dict[str, Path] = {}
    for case, path in zip(rows["case"], rows[cbis_tables.IMAGE], strict=True):
        if case not in found:
            files = archive.files(path)
            single = files.named or (files.paths[0] if len(files.paths) == 1 else None)
            if single is not None:
                found[case] = single
    sizes = dict(zip(found, _each(cbis_files.size_of, list(found.values()), "headers", writer.progress), strict=True))
    readable = {case: size for case, size in sizes.items() if size is not None}
    writer.ledger.version("images", archive.download(found.values()))
    writer.ledger.drop("mammograms without a file", rows["case"].nunique() - len(found))
    writer.ledger.drop("mammograms whose file cannot be read", len(found) - len(readable))
    writer.ledger.drop("abnormalities of these mammograms", int((~rows["case"].isin(list(readable))).sum()))
    return {case: found[case] for case in readable}, readable


def _rois(
    rows: pd.DataFrame, sizes: Mapping[str, tuple[int, int]], archive: ArchiveFiles, writer: CohortWriter
) -> pd.DataFrame:
    """Return the ROIs: ``case``, ``finding`` (the abnormality's pathology), run lengths, and the box around them."""

    def look(row: tuple[str, str, str]) -> tuple[Mask | str, Files]:
        case, mask, crop = row
        files = archive.files(mask)
        return cbis_files.find_mask((*files.ordered, *archive.files(crop).ordered), sizes[case]), files

    wanted = list(zip(rows["case"], rows[cbis_tables.MASK], rows[cbis_tables.CROP], strict=True))
    looked = list(_each(look, wanted, "masks", writer.progress))
    faults = Counter(found for found, _ in looked if isinstance(found, str))
    for rule in cbis_files.FAULTS:
        writer.ledger.drop(f"{rule} (the mammogram stays)", faults[rule])
    swapped = [
        isinstance(found, Mask) and files.named is not None and found.path != files.named for found, files in looked
    ]
    writer.ledger.count("masks that the tables name as the crop", sum(swapped))
    rows = rows[[isinstance(found, Mask) for found, _ in looked]]
    masks = [found for found, _ in looked if isinstance(found, Mask)]
    boxes = np.array([mask.box for mask in masks], np.int64).reshape(-1, 4)
    return pd.DataFrame(
        {
            "case": rows["case"].to_numpy(),
            "finding": np.where(rows[cbis_tables.PATHOLOGY] == cbis_tables.MALIGNANT, "malignant", "benign"),
            "type": rows["type"].to_numpy(),
            "abnormality": rows[cbis_tables.ABNORMALITY].to_numpy(),
            **dict(zip(("x_min", "y_min", "x_max", "y_max"), boxes.T, strict=True)),
            "rle": [mask.rle for mask in masks],
        }
    )


def _each(work: Callable[[Row], Result], rows: Sequence[Row], title: str, progress: Progress) -> Iterator[Result]:
    with progress.bar(title, len(rows)) as advance, ThreadPoolExecutor(min(_MOST_THREADS, os.cpu_count() or 1)) as pool:
        for result in pool.map(work, rows):
            advance(1)
            yield result


def _metadata(types: Iterable[str], near_label: bool) -> dict[str, str]:
    descriptors = [name for kind in types for name in cbis_tables.DESCRIPTORS[kind]]
    categories = (cbis_tables.DENSITY, *descriptors, cbis_tables.SIDE, cbis_tables.VIEW)
    numbers = (cbis_tables.SUBTLETY, *((cbis_tables.ASSESSMENT,) if near_label else ()))
    return dict.fromkeys(categories, "category") | dict.fromkeys(numbers, "number")


def _rules(options: CbisDdsmOptions) -> list[str]:
    near = "part of the metadata (near_label: true)" if options.near_label else "no metadata (near_label: false)"
    of_tables = [
        "One case is one mammogram (patient, breast, view); it is malignant if any of its abnormalities is.",
        "Descriptors of several abnormalities are their sorted union, joined by '|'; density, subtlety and assessment "
        "are the highest.",
        "The official split is kept; a patient in a test table of either type is a test patient altogether.",
        f"'assessment' (BI-RADS) is close to the label and, here, {near}.",
    ]
    of_images = [
        "A mammogram of both types is read from the file that its first row names, the mass tables' before the "
        "calcification tables'.",
        "A mask is known by the mammogram's size and two values, not by its name; rois.parquet holds it as run "
        "lengths, with the box around it.",
        "ROIs of 'malignant' are the malignant abnormalities'; benign ones are in rois.parquet, mapped to no finding.",
    ]
    return of_tables + (of_images if options.images else [])


CONVERTER = Converter(
    title="CBIS-DDSM, the Curated Breast Imaging Subset of DDSM (Lee et al. 2017)",
    terms="Images and tables are under CC BY 3.0 and ask for citation; see the archive's page at TCIA.",
    options=CbisDdsmOptions,
    convert=_convert,
    skip=cbis_files.SKIP,
)
