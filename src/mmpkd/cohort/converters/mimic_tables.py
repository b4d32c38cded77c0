"""MIMIC-CXR-JPG's tables: one row an image (split, metadata), one row a study (labels)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd

from mmpkd.cohort.converters.archive_table import need_columns, need_unique, read_numbers
from mmpkd.cohort.converters.label_policy import Policy, column_of, meaning_of, read_labels
from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.table import Table, read_table_file
from mmpkd.errors import InputError, did_you_mean

Finding = Literal[
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
]

_SPLITS = {"train": "train", "validate": "val", "test": "test"}
_NUMBER = r"\d{1,12}"
_IMAGE = r"[0-9A-Za-z][0-9A-Za-z_.-]*"  # what may become the name of a file


def read_images(split: Path, metadata: Path, views: Sequence[str], ledger: Ledger) -> pd.DataFrame:
    """Return the images of the wanted views, in the order of patients and studies.

    Returns:
        ``image`` (the dicom id), ``study``, ``patient``, ``split``, ``view``, and ``height``, ``width`` of the
        original in pixels.

    Raises:
        InputError: Every bad row of both tables.
    """
    table = read_table_file(split, split.name)
    need_columns(table, ("dicom_id", "study_id", "subject_id", "split"))
    problems = Problems()
    need_unique(table, "dicom_id", problems)
    for column, form in (("dicom_id", _IMAGE), ("study_id", _NUMBER), ("subject_id", _NUMBER)):
        _need_form(table, column, form, problems)
    splits = table.column("split")
    problems.add_rows(
        np.flatnonzero(~splits.isin(list(_SPLITS)).to_numpy(bool)),
        lambda i: f"{table.place(i, 'split')}: {splits.iloc[i][:20]!r} is none of {', '.join(_SPLITS)}.",
    )
    problems.raise_any()
    images = pd.DataFrame(
        {
            "image": table.column("dicom_id"),
            "study": table.column("study_id"),
            "patient": table.column("subject_id"),
            "split": splits.map(_SPLITS),
        }
    )
    del table, splits
    ledger.version("split", split.name)
    ledger.version("metadata", metadata.name)
    for what, ids in (("images", images["image"]), ("studies", images["study"]), ("patients", images["patient"])):
        ledger.count(f"{what} in the table of splits", ids.nunique())
    return _with_metadata(images, metadata, views, ledger)


def _with_metadata(images: pd.DataFrame, path: Path, views: Sequence[str], ledger: Ledger) -> pd.DataFrame:
    table = read_table_file(path, path.name)
    need_columns(table, ("dicom_id", "ViewPosition", "Rows", "Columns"))
    problems = Problems()
    need_unique(table, "dicom_id", problems)
    sizes = {name: read_numbers(table, column, problems) for name, column in (("height", "Rows"), ("width", "Columns"))}
    problems.raise_any()
    at = pd.Index(table.column("dicom_id")).get_indexer(pd.Index(images["image"]))
    known = table.column("ViewPosition")
    lacking = [view for view in views if not known.eq(view).any()]
    if lacking:
        hint = did_you_mean(lacking[0], sorted(set(known) - {""}))
        raise InputError(f"{path.name}, column 'ViewPosition': no image has the view {lacking[0]!r}{hint}")
    images = images.assign(view=known.to_numpy()[at], **{name: values[at] for name, values in sizes.items()})
    ledger.drop("images without a row in the metadata", int((at < 0).sum()))
    wanted = images["view"].isin(views)
    ledger.drop(f"images of other views than {' and '.join(views)}", int((~wanted & (at >= 0)).sum()))
    return images[wanted & (at >= 0)].sort_values(["patient", "study", "image"], ignore_index=True)


def read_study_labels(path: Path, findings: Sequence[str], uncertain: Policy, blank: Policy) -> pd.DataFrame:
    """Return 1, 0 or NaN of each finding, by study.

    Args:
        path: A table of ``study_id`` and findings: 1.0, 0.0, -1.0 (uncertain) or blank (not mentioned).
        findings: Those to read; ``Lung Opacity`` may be called ``Airspace Opacity``.
        uncertain, blank: What these become, for all findings or by finding.

    Raises:
        InputError: Every bad row, and every finding without a column.
    """
    table = read_table_file(path, path.name)
    names = {finding: column_of(finding, table) for finding in findings}
    need_columns(table, ("study_id", *names.values()))
    problems = Problems()
    need_unique(table, "study_id", problems)
    labels = {
        finding: read_labels(table, column, meaning_of(uncertain, finding), meaning_of(blank, finding), problems)
        for finding, column in names.items()
    }
    problems.raise_any()
    return pd.DataFrame(labels, index=pd.Index(table.column("study_id"), name="study"))


def findings_of(path: Path, findings: Sequence[str]) -> list[str]:
    """Return those findings that a small table has a column for."""
    table = read_table_file(path, path.name)
    return [finding for finding in findings if column_of(finding, table) in table.cells.columns]


def _need_form(table: Table, column: str, form: str, problems: Problems) -> None:
    """Add a problem for each id of another form; ids are not quoted, and what passes may name a file."""
    fits = table.column(column).str.fullmatch(form).to_numpy(bool)
    problems.add_rows(
        np.flatnonzero(~fits), lambda i: f"{table.place(i, column)}: is no id of MIMIC-CXR; download the table anew."
    )
