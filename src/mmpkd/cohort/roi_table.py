"""The table of regions of interest: rows checked and mapped to findings. Needs no image.

Whether a box lies inside its image is checked by `mmpkd.cohort.rois`, once the image's size is known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mmpkd.cohort.paths import ABSENT, OUTSIDE, locate
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.settings import ALL_FINDINGS, RoiSettings
from mmpkd.cohort.table import Table, check_columns, is_missing, read_table_file
from mmpkd.errors import InputError, did_you_mean

COORDINATES = ("x_min", "y_min", "x_max", "y_max")
COLUMNS = ("case", "finding", *COORDINATES, "mask", "mask_value", "rle")


def read_rois(
    settings: RoiSettings,
    root: Path,
    *,
    files: Path,
    findings: Sequence[str],
    known_cases: pd.Index[str],
    kept_cases: pd.Index[str],
    problems: Problems,
    setting: str = "rois",
) -> pd.DataFrame | None:
    """Read the ROI table into the columns that :class:`mmpkd.cohort.cohort.Cohort` holds.

    Args:
        settings: Columns and mapping to findings.
        root: The cohort's root, where the table lies.
        files: Folder that mask paths are relative to.
        findings: The cohort's findings.
        known_cases: Case ids of the whole table of cases; others are a problem.
        kept_cases: Case ids still in the cohort; ROIs of the rest are passed over in silence.
        problems: Told of unknown cases and findings, boxes that are none, masks that are not there.
        setting: What the study file calls the table.
    """
    if locate([settings.table], root)[1][0] == OUTSIDE:
        problems.add(f"{settings.table}: the table lies outside the cohort's root; give a path below the root.")
        return None
    try:
        table = read_table_file(root / settings.table, settings.table)
    except InputError as error:
        problems.sentences.extend(error.problems)
        return None
    if not _has_columns(table, settings, problems, setting):
        return None
    has_mask = ~is_missing(table.column(settings.mask)) if settings.mask is not None else np.zeros(len(table), bool)
    has_rle = ~is_missing(table.column(settings.rle)) if settings.rle is not None else np.zeros(len(table), bool)
    has_box = np.zeros(len(table), bool)
    if settings.boxes is not None:
        has_box = ~np.all([is_missing(table.column(name)) for name in settings.boxes], axis=0)
    empty = ~(has_mask | has_box | has_rle)
    if empty.any():
        problems.warn(f"{settings.table}: {empty.sum()} rows hold neither box nor mask and are passed over.")
        table, has_mask, has_box, has_rle = table.take(~empty), has_mask[~empty], has_box[~empty], has_rle[~empty]
    cases = table.column(settings.case)
    problems.add_rows(
        np.flatnonzero(~cases.isin(known_cases).to_numpy()),
        lambda i: f"{table.place(i, settings.case)}: the table of cases has no such case; mend the id or drop the row.",
    )
    rows = pd.DataFrame({"case": cases.to_numpy(object)})
    for name, values in zip(COORDINATES, _boxes(table, settings, has_box, problems), strict=True):
        rows[name] = values
    rows["mask"], rows["mask_value"] = _masks(table, settings, files, has_mask, problems)
    rows["rle"] = None
    if settings.rle is not None:
        rows["rle"] = table.column(settings.rle).astype(object).where(has_rle, None)
    finding_of = _mapped(table, settings, findings, problems, setting)
    position = np.repeat(np.arange(len(rows)), [len(names) for names in finding_of])
    expanded = rows.iloc[position].reset_index(drop=True)
    expanded["finding"] = np.array([name for names in finding_of for name in names], dtype=object)
    expanded = expanded[expanded["case"].isin(kept_cases)]
    return expanded[list(COLUMNS)].reset_index(drop=True)


def _has_columns(table: Table, settings: RoiSettings, problems: Problems, setting: str) -> bool:
    needed = {settings.case: f"{setting}.case"}
    if settings.finding is not None:
        needed[settings.finding] = f"{setting}.{_names(setting)[0]}"
    needed |= dict.fromkeys(settings.boxes or (), f"{setting}.boxes")
    if settings.mask is not None:
        needed[settings.mask] = f"{setting}.mask"
    if settings.mask_value is not None:
        needed[settings.mask_value] = f"{setting}.mask_value"
    if settings.rle is not None:
        needed[settings.rle] = f"{setting}.rle"
    before = len(problems)
    check_columns([table], needed, problems)
    return len(problems) == before


def _mapped(
    table: Table, settings: RoiSettings, findings: Sequence[str], problems: Problems, setting: str
) -> list[Sequence[str]]:
    """Return the findings of each row."""
    if settings.finding is None:
        return [findings] * len(table)
    column, (what, names, ignored) = settings.finding, _names(setting)
    mapping: Mapping[str, Sequence[str]] = {name: (name,) for name in findings} | {
        name: findings if targets == ALL_FINDINGS else targets for name, targets in settings.findings.items()
    }
    values = table.column(column)
    for name in settings.findings:
        if not (values == name).any():
            problems.add(
                f"{table.shown}, column {column!r}: no row is named {name!r}, which '{setting}.{names}' maps"
                f"{did_you_mean(name, values.unique())}"
            )
    codes, distinct = pd.factorize(values)
    unknown = np.array([name not in mapping for name in distinct], bool)
    problems.add_rows(
        np.flatnonzero(unknown[codes]),
        lambda i: (
            f"{table.place(i, column)}: {distinct[codes[i]][:40]!r} is no {what}; map it under '{setting}.{names}' "
            f"({ignored} to ignore it){did_you_mean(distinct[codes[i]], mapping)}"
        ),
    )
    targets = [tuple(mapping.get(name, ())) for name in distinct]
    return [targets[code] for code in codes]


def _names(setting: str) -> tuple[str, str, str]:
    """Return what a table's rows are of, the setting that maps their names, and what that maps to ignore one."""
    return ("zone", "names", "null") if setting == "zones" else ("finding", "findings", "[]")


def _boxes(table: Table, settings: RoiSettings, has_box: np.ndarray, problems: Problems) -> np.ndarray:
    """Return (4, rows): x_min, y_min, x_max, y_max; NaN where the row has no box."""
    if settings.boxes is None:
        return np.full((4, len(table)), np.nan)
    corners = np.empty((4, len(table)))
    for k, name in enumerate(settings.boxes):
        values = table.column(name)
        corners[k] = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        problems.add_rows(
            np.flatnonzero(has_box & ~np.isfinite(corners[k])),
            lambda i, name=name, values=values: (  # type: ignore[misc]
                f"{table.place(i, name)}: {values.iloc[i][:40]!r} is no coordinate; write a number of pixels."
            ),
        )
    if settings.box_format == "xywh":
        corners[2:] += corners[:2]
    finite = has_box & np.isfinite(corners).all(axis=0)
    low, high = settings.boxes[:2], settings.boxes[2:]
    for axis in range(2):
        problems.add_rows(
            np.flatnonzero(finite & (corners[axis] < 0)),
            lambda i, axis=axis: (  # type: ignore[misc]
                f"{table.place(i, low[axis])}: {corners[axis, i]:g} lies outside the image; pixels count from 0."
            ),
        )
        problems.add_rows(
            np.flatnonzero(finite & (corners[axis + 2] <= corners[axis])),
            lambda i, axis=axis: (  # type: ignore[misc]
                f"{table.place(i, high[axis])}: the box ends at {corners[axis + 2, i]:g}, not after its start at "
                f"{corners[axis, i]:g}; give x_min < x_max and y_min < y_max, or set 'box_format: xywh'."
            ),
        )
    return np.where(has_box, corners, np.nan)


def _masks(
    table: Table, settings: RoiSettings, root: Path, has_mask: np.ndarray, problems: Problems
) -> tuple[np.ndarray, np.ndarray]:
    paths, values = np.full(len(table), None, object), np.full(len(table), np.nan)
    if settings.mask is None:
        return paths, values
    column = settings.mask
    rows = np.flatnonzero(has_mask)
    relative, states = locate(table.column(column).iloc[rows].tolist(), root)
    paths[rows] = relative
    problems.add_rows(
        rows[states == OUTSIDE],
        lambda i: f"{table.place(i, column)}: the path leaves the cohort's root; give one below it.",
    )
    problems.add_rows(
        rows[states == ABSENT],
        lambda i: f"{table.place(i, column)}: the mask file does not exist; mend the path or leave it blank.",
    )
    if settings.mask_value is not None:
        name = settings.mask_value
        given = table.column(name)
        values = pd.to_numeric(given, errors="coerce").to_numpy(np.float64, na_value=np.nan)
        problems.add_rows(
            np.flatnonzero(has_mask & ~is_missing(given) & ~np.isfinite(values)),
            lambda i: f"{table.place(i, name)}: {given.iloc[i][:40]!r} is no pixel value; write a number.",
        )
    return paths, values
