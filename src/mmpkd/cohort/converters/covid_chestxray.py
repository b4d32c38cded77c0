"""covid-chestxray-dataset (Cohen): X-rays out of publications, with clinical notes and a few clinical values.

Source: Cohen et al. 2020, COVID-19 image data collection, arXiv:2006.11988. Its findings are a path,
``Pneumonia/Viral/COVID-19``; each level can be a finding of the cohort.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pydantic import Field

from mmpkd.cohort.converters.archive_table import need_columns, read_ragged
from mmpkd.cohort.converters.contract import Converter, ConverterOptions
from mmpkd.cohort.converters.image_index import index_images
from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CASES, CohortWriter
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.table import Table, is_missing
from mmpkd.errors import InputError, did_you_mean

_NEEDED = ("patientid", "finding", "view", "filename")
_NUMBERS = (
    "offset",
    "age",
    "temperature",
    "pO2_saturation",
    "leukocyte_count",
    "neutrophil_count",
    "lymphocyte_count",
)
_CATEGORIES = (
    "sex",
    "view",
    "survival",
    "intubated",
    "intubation_present",
    "went_icu",
    "in_icu",
    "needed_supplemental_O2",
    "extubated",
)
_NEAR_LABEL = "RT_PCR_positive"
_NOT_STATED = frozenset({"", "unknown", "todo"})
_FLAT = {
    "covid-19": "Pneumonia/Viral/COVID-19",
    "covid-19, ards": "Pneumonia/Viral/COVID-19",
    "sars": "Pneumonia/Viral/SARS",
    "mers": "Pneumonia/Viral/MERS-CoV",
    "mers-cov": "Pneumonia/Viral/MERS-CoV",
    "influenza": "Pneumonia/Viral/Influenza",
    "varicella": "Pneumonia/Viral/Varicella",
    "streptococcus": "Pneumonia/Bacterial/Streptococcus",
    "klebsiella": "Pneumonia/Bacterial/Klebsiella",
    "chlamydophila": "Pneumonia/Bacterial/Chlamydophila",
    "legionella": "Pneumonia/Bacterial/Legionella",
    "e.coli": "Pneumonia/Bacterial/E.Coli",
    "pneumocystis": "Pneumonia/Fungal/Pneumocystis",
}
_LICENCE = re.compile(r"[A-Za-z][\w .,+-]{1,40}")


class CovidOptions(ConverterOptions):
    """Options of ``covid-chestxray``.

    Args:
        findings: Levels of the archive's paths of findings, such as ``Viral`` or ``Tuberculosis``.
        views: Of the X-rays to keep.
        near_label: Keep ``RT_PCR_positive``, which all but states the label, among the metadata.
    """

    findings: tuple[str, ...] = Field(default=("COVID-19", "Pneumonia", "Bacterial"), min_length=1)
    views: tuple[str, ...] = Field(default=("PA", "AP", "AP Supine"), min_length=1)
    near_label: bool = False


def _convert(roots: Roots, options: CovidOptions, writer: CohortWriter) -> Mapping[str, Any]:
    ledger, base = writer.ledger, roots.common()
    table = _read_metadata(roots.need("metadata.csv"), ledger)
    table = _kept(table, roots, base, options, ledger)
    values = table.cells
    described_metadata, metadata = _metadata(table, options, ledger)
    cases = pd.DataFrame(
        {
            "case": writer.pseudonyms("case", table.column("filename")),
            "patient": writer.pseudonyms("patient", table.column("patientid")),
            "image": values["image"],
            **_labels(values["path"], options.findings, table.shown),
            "clinical_notes": table.column("clinical_notes"),
            **metadata,
        }
    )
    ledger.count("images with clinical notes", int((~is_missing(cases["clinical_notes"])).sum()))
    _count_licences(table, ledger)
    writer.write_cases(cases)
    ledger.note("There is no official split: mmpkd divides the patients.")
    ledger.note("Notes often name the diagnosis, so a teacher that reads them may only read the label.")
    ledger.note("Where a finding stops above a level (Pneumonia, of no stated cause), the levels below are missing.")
    ledger.note("Supine films are of the severely ill; the view alone tells part of the label.")
    return {
        "image_root": str(base),
        "table": CASES,
        "case": "case",
        "image": "image",
        "patient": "patient",
        "labels": list(options.findings),
        "text": "clinical_notes",
        **({"metadata": described_metadata} if described_metadata else {}),
    }


def _read_metadata(path: Path, ledger: Ledger) -> Table:
    """Return the table with the newest release's names of columns, and ``path``, the finding in the newest form."""
    table = read_ragged(path)
    cells = table.cells.rename(columns={"Patientid": "patientid", "notes": "clinical_notes"})
    table = replace(table, cells=cells)
    need_columns(table, _NEEDED)
    problems = Problems()
    for column in ("patientid", "filename"):
        problems.add_rows(
            np.flatnonzero(is_missing(table.column(column))),
            lambda i, column=column: f"{table.place(i, column)}: is blank; give every image one.",  # type: ignore[misc]
        )
    problems.raise_any()
    flat = table.column("finding").str.casefold().isin(list(_FLAT))
    ledger.version(path.name, "flat names of findings (early release)" if flat.any() else "paths of findings")
    ledger.count("rows in the table", len(table))
    cells = cells.assign(path=[_FLAT.get(value.casefold(), value) for value in table.column("finding")])
    cells["path"] = cells["path"].str.split("/").map(lambda parts: "/".join(part.strip() for part in parts))
    if "clinical_notes" not in cells.columns:
        cells["clinical_notes"] = ""
    return replace(table, cells=cells)


def _kept(table: Table, roots: Roots, base: Path, options: CovidOptions, ledger: Ledger) -> Table:
    names = table.column("filename")
    modality = table.column("modality") if "modality" in table.cells.columns else pd.Series("X-ray", names.index)
    paths = index_images(roots.folders, frozenset(names), base)
    table = replace(table, cells=table.cells.assign(image=names.map(paths)))
    kept = np.ones(len(table), bool)
    for rule, keep in (
        ("rows of another modality than X-ray (CT)", modality.isin(["X-ray", ""])),
        (f"X-rays of other views than {', '.join(options.views)}", table.column("view").isin(options.views)),
        ("X-rays whose finding is not stated", ~table.cells["path"].str.casefold().isin(_NOT_STATED)),
        ("X-rays that are not on disk", table.cells["image"].notna()),
        ("rows of an image that an earlier row names", ~names.duplicated()),
    ):
        ledger.drop(rule, int((kept & ~keep.to_numpy(bool)).sum()))
        kept &= keep.to_numpy(bool)
    if not kept.any():
        raise InputError(f"{table.shown}: no X-ray of the views {', '.join(options.views)} is left; mend 'views'.")
    return table.take(kept)


def _labels(paths: pd.Series[str], findings: Sequence[str], shown: str) -> dict[str, list[float]]:
    """Return a label for each level: 1 on the path, missing where the path stops above the level, else 0.

    Raises:
        InputError: A finding that no image has as a level of its path.
    """
    split = [path.split("/") for path in paths]
    above: dict[str, list[str]] = {}
    for parts in split:
        for depth, level in enumerate(parts):
            above.setdefault(level, parts[:depth])
    unknown = [name for name in findings if name not in above]
    if unknown:
        raise InputError(
            [f"{shown}, column 'finding': no X-ray has {name!r}{did_you_mean(name, above)}" for name in unknown]
        )
    return {
        name: [1.0 if name in parts else np.nan if parts == above[name][: len(parts)] else 0.0 for parts in split]
        for name in findings
    }


def _metadata(table: Table, options: CovidOptions, ledger: Ledger) -> tuple[dict[str, str], dict[str, Any]]:
    """Return type and values of each column that is there and not blank throughout."""
    wanted = dict.fromkeys(_NUMBERS, "number") | dict.fromkeys(_CATEGORIES, "category")
    if options.near_label:
        wanted[_NEAR_LABEL] = "category"
        ledger.note(f"{_NEAR_LABEL} is near the label; compare with a teacher that goes without it.")
    else:
        ledger.note(f"{_NEAR_LABEL} is near the label and left out; 'near_label: true' keeps it.")
    kinds, values, unreadable = {}, {}, 0
    for name, kind in wanted.items():
        if name not in table.cells.columns:
            continue
        column = table.column(name)
        column = column.mask(is_missing(column))
        if kind == "number":
            numbers = pd.to_numeric(column, errors="coerce")
            numbers = numbers.where(np.isfinite(numbers.astype(float)))
            unreadable += int((numbers.isna() & column.notna()).sum())
            column = numbers
        if column.notna().any():
            kinds[name], values[name] = kind, column
    ledger.drop("clinical values that are no number, taken as unknown", unreadable)
    return kinds, values


def _count_licences(table: Table, ledger: Ledger) -> None:
    """Count images by licence: each has its own, and some forbid to share what is made of them."""
    if "license" not in table.cells.columns:
        ledger.note("The table states no licences.")
        return
    names = table.column("license")
    names = names.mask(is_missing(names), "none stated")
    names = pd.Series([name if _LICENCE.fullmatch(name) else "another form" for name in names])
    for name, number in names.value_counts().sort_index().items():
        ledger.count(f"images, licence: {name}", number)


CONVERTER = Converter(
    title="covid-chestxray-dataset (Cohen et al.)",
    terms="Terms: each image has its own licence, counted below; see https://github.com/ieee8023/covid-chestxray-dataset.",
    options=CovidOptions,
    convert=_convert,
    skip=("images", "volumes", "annotations"),
)
