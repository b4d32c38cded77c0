"""From a cohort's description to a checked :class:`Cohort`: every problem of its tables is told at once.

Opens tables only. That image files exist is checked; whether they can be decoded is found by the image cache.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from mmpkd.cohort.cohort import Cohort
from mmpkd.cohort.labels import read_classes, read_findings, value_key, value_keys
from mmpkd.cohort.metadata import read_metadata
from mmpkd.cohort.paths import ABSENT, OUTSIDE, locate
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.roi_table import read_rois
from mmpkd.cohort.settings import ClassColumn, CohortSettings, GivenSplit, LabelColumn, TableFile
from mmpkd.cohort.splits import make_split
from mmpkd.cohort.table import Table, check_columns, is_missing, read_table_file, stack
from mmpkd.cohort.text import read_text
from mmpkd.cohort.zone_table import read_zones
from mmpkd.errors import InputError


@dataclass(frozen=True)
class ReadCohort:
    """A cohort and what its reader should tell the user."""

    cohort: Cohort
    warnings: list[str] = field(default_factory=list)


def read_cohort(settings: CohortSettings, root: Path) -> ReadCohort:
    """Read and check the tables of a cohort.

    Args:
        settings: The cohort's description.
        root: Folder that all its paths are relative to (see :meth:`CohortSettings.root_folder`).

    Raises:
        InputError: With one sentence for every problem found.
    """
    problems = Problems()
    table = _keep_where(_read_tables(settings, root, problems), settings, problems)
    everyone = pd.Index(_case_ids(settings, table, problems), name="case")
    patients = _patients(settings, table, everyone, problems)
    files = settings.image_folder(root)
    if not files.is_dir():
        raise InputError(f"{files}: there is no such folder; mend 'image_root', where the images lie.")
    images, absent = _images(settings, table, files, problems)
    labels = _read_labels(table, settings.labels, settings.findings, problems)
    reference = None
    if settings.reference is not None:
        reference = _read_labels(table, settings.reference, settings.findings, problems)
    text = None if settings.text is None else read_text(table, settings.text, everyone, problems)
    metadata = read_metadata(table, settings.metadata, everyone, problems)
    split = np.full(len(table), "", object)
    present = np.flatnonzero(~absent)
    split[present] = make_split(settings, table.take(present), patients[present], labels[present], problems)
    kept = split != ""
    regions = partial(
        read_rois, root=root, files=files, known_cases=everyone, kept_cases=everyone[kept], problems=problems
    )
    rois = None if settings.rois is None else regions(settings.rois, findings=settings.findings)
    zones = None if settings.zones is None else read_zones(settings.zones, regions, problems)
    problems.raise_any()
    cases = pd.DataFrame({"patient": patients, "split": split, "image": images}, index=everyone)
    cohort = Cohort(
        name=settings.name,
        task=settings.task,
        findings=settings.findings,
        cases=cases,
        labels=labels,
        root=root,
        reference=reference,
        text=text,
        metadata=metadata,
        rois=rois,
        zones=zones,
        image_root=None if settings.image_root is None else files,
    )
    cohort = cohort if kept.all() else cohort.take(kept)
    _check_classes(cohort, table.shown, problems)
    problems.raise_any()
    return ReadCohort(cohort, problems.warnings)


def _read_tables(settings: CohortSettings, root: Path, problems: Problems) -> Table:
    tables: list[Table] = []
    for file in settings.table:
        try:
            tables.append(_read_table(file, root))
        except InputError as error:
            problems.sentences.extend(error.problems)
    problems.raise_any()
    everywhere, anywhere = _needed_columns(settings)
    check_columns(tables, everywhere, problems)
    table = stack(tables)
    check_columns([table], anywhere, problems)
    problems.raise_any()
    for part in tables:
        lacking = [name for name in anywhere if name not in part.cells.columns]
        if lacking:
            problems.warn(f"{part.shown}: has no column {', '.join(map(repr, lacking))}; it counts as blank there.")
    return table


def _read_table(file: TableFile, root: Path) -> Table:
    _, (state,) = locate([file.path], root)
    if state == OUTSIDE:
        raise InputError(f"{file.path}: the table lies outside the cohort's root; give a path below the root.")
    table = read_table_file(root / file.path, file.path)
    problems = Problems()
    check_columns([table], dict.fromkeys(file.rename, "table.rename"), problems)
    for new in file.rename.values():
        if new in table.cells.columns and new not in file.rename:
            problems.add(f"{file.path}: a column {new!r} is there already; rename to another name.")
    problems.raise_any()
    return replace(table, cells=table.cells.rename(columns=file.rename))


def _needed_columns(settings: CohortSettings) -> tuple[dict[str, str], dict[str, str]]:
    """Return column -> setting: what every table must have, and what one of several tables must have."""
    everywhere = {
        column: setting
        for setting in ("case", "image", "patient")
        if (column := getattr(settings, setting)) is not None
    }
    for setting, labels in (("labels", settings.labels), ("reference", settings.reference)):
        if isinstance(labels, ClassColumn):
            everywhere[labels.column] = f"{setting}.column"
        elif labels is not None:
            everywhere |= {column.column: f"{setting}.{finding}" for finding, column in labels.items()}
    if isinstance(settings.split, GivenSplit) and settings.split.column is not None:
        everywhere[settings.split.column] = "split.column"
    everywhere |= dict.fromkeys(settings.where, "where")
    anywhere = dict.fromkeys(settings.metadata, "metadata")
    if settings.text is not None:
        anywhere |= dict.fromkeys(settings.text.columns, "text")
    return everywhere, {column: setting for column, setting in anywhere.items() if column not in everywhere}


def _keep_where(table: Table, settings: CohortSettings, problems: Problems) -> Table:
    kept = np.ones(len(table), bool)
    for column, values in settings.where.items():
        wanted = value_keys(values)
        codes, distinct = pd.factorize(table.column(column))
        kept &= np.array([value_key(value) in wanted for value in distinct], bool)[codes]
    if kept.all():
        return table
    if not kept.any():
        problems.add(f"{table.shown}: no row has the values that 'where' asks for; mend them or leave out 'where'.")
        problems.raise_any()
    problems.warn(f"{table.shown}: 'where' keeps {kept.sum()} of {len(table)} rows.")
    return table.take(kept)


def _case_ids(settings: CohortSettings, table: Table, problems: Problems) -> np.ndarray:
    """Return unique case ids; without a column, ``12`` for the 12th record, or ``2-12`` for that of the 2nd table."""
    if settings.case is None:
        if len(table.sources) == 1:
            return (table.record_of + 1).astype(str).astype(object)
        return np.array(
            [f"{file + 1}-{record + 1}" for file, record in zip(table.file_of, table.record_of, strict=True)],
            object,
        )
    column = settings.case
    ids = table.column(column)
    blank = is_missing(ids)
    problems.add_rows(
        np.flatnonzero(blank), lambda i: f"{table.place(i, column)}: the case has no id; give each its own."
    )
    codes, distinct = pd.factorize(ids)
    first = np.full(len(distinct), len(table))
    np.minimum.at(first, codes, np.arange(len(table)))
    problems.add_rows(
        np.flatnonzero((first[codes] != np.arange(len(table))) & ~blank),
        lambda i: (
            f"{table.place(i, column)}: the same id stands in {table.place(first[codes[i]])}; make case ids unique."
        ),
    )
    return ids.to_numpy(object)


def _patients(settings: CohortSettings, table: Table, cases: pd.Index[str], problems: Problems) -> np.ndarray:
    if settings.patient is None:
        problems.warn(
            f"{table.shown}: no 'patient' column is named, so every case counts as a patient of its own; "
            f"if patients have several cases, splits leak and intervals are too narrow."
        )
        return cases.to_numpy(object)
    column = settings.patient
    values = table.column(column)
    problems.add_rows(
        np.flatnonzero(is_missing(values)),
        lambda i: f"{table.place(i, column)}: the patient is missing; give every case a patient or drop the row.",
    )
    return values.to_numpy(object)


def _images(settings: CohortSettings, table: Table, root: Path, problems: Problems) -> tuple[np.ndarray, np.ndarray]:
    """Return each case's image path, and (cases,) whether its file is not there."""
    if settings.image is None:
        return np.full(len(table), None, object), np.zeros(len(table), bool)
    column = settings.image
    values = table.column(column)
    paths, states = locate(values.mask(is_missing(values), "").tolist(), root)
    problems.add_rows(
        np.flatnonzero(states == OUTSIDE),
        lambda i: f"{table.place(i, column)}: the path leaves the cohort's root; give one below it.",
    )
    absent = states == ABSENT
    if absent.any():
        rows = Problems()
        rows.add_rows(np.flatnonzero(absent), lambda i: f"{table.place(i, column)}: the image file does not exist.")
        too_many = absent.mean() > settings.max_broken_share
        told = (
            f"{table.shown}: {absent.sum()} of {len(table)} images are missing, more than max_broken_share = "
            f"{settings.max_broken_share:g}; mend the paths or 'root'."
            if too_many
            else f"{table.shown}: {absent.sum()} of {len(table)} images are missing; their cases are left out."
        )
        (problems.sentences if too_many else problems.warnings).extend([told, *rows.sentences])
    return np.array(paths, dtype=object), absent


def _read_labels(
    table: Table, labels: dict[str, LabelColumn] | ClassColumn, findings: tuple[str, ...], problems: Problems
) -> Float[np.ndarray, "cases findings"]:
    if isinstance(labels, ClassColumn):
        return read_classes(table, labels, problems)
    return read_findings(table, labels, findings, problems)


def _check_classes(cohort: Cohort, shown: str, problems: Problems) -> None:
    """A finding that training sees one side of only cannot be learned; one that a test lacks cannot be scored."""
    for k, finding in enumerate(cohort.findings):
        for split, values in (("train", cohort.labels), ("test", cohort.evaluation_labels)):
            column = values[cohort.in_split(split), k]
            positives, negatives = int((column == 1).sum()), int((column == 0).sum())
            if positives and negatives:
                continue
            what = "no labelled case" if not positives + negatives else f"no {'negative' if positives else 'positive'}"
            if split == "train":
                problems.add(
                    f"{shown}: the finding {finding!r} has {what} in train, so nothing can be learned of it; "
                    f"leave it out or change 'split'."
                )
            else:
                problems.warn(f"{shown}: the finding {finding!r} has {what} in {split}, so it has no AUROC there.")
