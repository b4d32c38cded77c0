"""Tables of CBIS-DDSM: four of them, a row an abnormality, merged to a row a mammogram."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pandas as pd

from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.table import Table, is_missing, read_table_file
from mmpkd.errors import did_you_mean

PATIENT, SIDE, VIEW, DENSITY = "patient_id", "left or right breast", "image view", "breast density"
ABNORMALITY, PATHOLOGY, SUBTLETY = "abnormality id", "pathology", "subtlety"
ASSESSMENT = "assessment"
"""BI-RADS: how suspicious a radiologist found the abnormality, and so close to the label."""

DESCRIPTORS = {"mass": ("mass shape", "mass margins"), "calc": ("calc type", "calc distribution")}
PATHS = IMAGE, CROP, MASK = "image file path", "cropped image file path", "ROI mask file path"
MALIGNANT = "MALIGNANT"

_UNDERSCORED = "breast_density"
_COLUMNS = (PATIENT, SIDE, VIEW, DENSITY, ABNORMALITY, ASSESSMENT, PATHOLOGY, SUBTLETY)
_NUMBERS = (DENSITY, ASSESSMENT, SUBTLETY)
_VALUES = {
    SIDE: ("LEFT", "RIGHT"),
    VIEW: ("CC", "MLO"),
    PATHOLOGY: (MALIGNANT, "BENIGN", "BENIGN_WITHOUT_CALLBACK"),
}


def read_tables(roots: Roots, types: Iterable[str], images: bool, ledger: Ledger) -> pd.DataFrame:
    """Return the rows of the types' tables under the tables' own names, with ``type``, ``split`` and ``case``.

    Args:
        roots: Where they lie.
        types: ``mass``, ``calc``.
        images: Whether the columns of paths are needed.
        ledger: Told of the form found.

    Raises:
        InputError: A table that is missing; every column that is missing and every value that cannot be read.
    """
    problems = Problems()
    frames = []
    for kind in types:
        for split in ("train", "test"):
            path = roots.need(f"{kind}_case_description_{split}_set.csv")
            table = _with_spaced_density(read_table_file(path, path.name), ledger)
            columns = (*_COLUMNS, *DESCRIPTORS[kind], *(PATHS if images else ()))
            if _is_sound(table, columns, problems):
                cells = pd.DataFrame({name: table.column(name) for name in columns})
                frames.append(cells.assign(type=kind, split=split))
    problems.raise_any()
    rows = pd.concat(frames, ignore_index=True)
    for name in _NUMBERS:
        rows[name] = pd.to_numeric(rows[name], errors="coerce")
    rows["case"] = rows[PATIENT] + "_" + rows[SIDE] + "_" + rows[VIEW]
    return rows


def merge(rows: pd.DataFrame, types: Iterable[str], ledger: Ledger) -> pd.DataFrame:
    """Return a row a mammogram, indexed by ``case``.

    It is malignant if any of its abnormalities is. Descriptors are the sorted union of its abnormalities', joined by
    ``|``; density, subtlety and assessment the highest. A patient with a row in a test table of any type is a test
    patient altogether.
    """
    of = rows.groupby("case", sort=False)
    cases = of[[PATIENT, SIDE, VIEW]].first()
    cases["malignant"] = (rows[PATHOLOGY] == MALIGNANT).groupby(rows["case"], sort=False).max().astype(int)
    cases["abnormalities"] = of.size()
    cases["types"] = _union(rows, "type")
    for name in _NUMBERS:
        cases[name] = of[name].max()
    for kind in types:
        for name in DESCRIPTORS[kind]:
            cases[name] = _union(rows[rows["type"] == kind], name)
    tested = rows[PATIENT].isin(rows.loc[rows["split"] == "test", PATIENT])
    crossing = rows[tested & (rows["split"] == "train")]
    cases["split"] = np.where(cases[PATIENT].isin(rows.loc[tested, PATIENT]), "test", "train")
    ledger.count("abnormalities in the tables", len(rows))
    ledger.count("mammograms, each type counted by itself", len(rows[["case", "type"]].drop_duplicates()))
    ledger.count("mammograms (patient, breast, view)", len(cases))
    ledger.count("mammograms with several abnormalities", int((cases["abnormalities"] > 1).sum()))
    ledger.count("patients", cases[PATIENT].nunique())
    ledger.count("patients of a training table who are in a test table too", crossing[PATIENT].nunique())
    ledger.count("mammograms of a training table that go to test with them", crossing["case"].nunique())
    return cases


def _union(rows: pd.DataFrame, name: str) -> pd.Series[str]:
    present = rows[~is_missing(rows[name])]
    return present.groupby("case")[name].agg(lambda values: "|".join(sorted(set(values))))


def _with_spaced_density(table: Table, ledger: Ledger) -> Table:
    """Name the density as the calcification tables do, ``breast density``; mass tables write ``breast_density``."""
    found = next((name for name in (DENSITY, _UNDERSCORED) if name in table.cells), None)
    ledger.version(table.shown, f"{len(table):,} rows, density under {found!r}")
    if found != _UNDERSCORED:
        return table
    return Table(table.cells.rename(columns={found: DENSITY}), table.sources, table.file_of, table.record_of)


def _is_sound(table: Table, columns: Iterable[str], problems: Problems) -> bool:
    """Add a problem for each column that is not there and each value that cannot be read."""
    missing = [name for name in columns if name not in table.cells]
    for name in missing:
        hint = did_you_mean(name, map(str, table.cells.columns))
        problems.add(f"{table.shown}: there is no column {name!r}; give the archive's own table{hint}")
    if missing:
        return False
    before = len(problems)
    problems.add_rows(
        np.flatnonzero(is_missing(table.column(PATIENT))),
        lambda i: f"{table.place(i, PATIENT)}: is blank; name the patient.",
    )
    for name, values in _VALUES.items():
        given = table.column(name)
        problems.add_rows(
            np.flatnonzero(~given.isin(values)),
            lambda i, name=name, given=given, values=values: (  # type: ignore[misc]
                f"{table.place(i, name)}: {given.iloc[i][:40]!r} is unknown; it is one of {', '.join(values)}."
            ),
        )
    for name in _NUMBERS:
        given = table.column(name)
        numbers = pd.to_numeric(given, errors="coerce")
        problems.add_rows(
            np.flatnonzero(~is_missing(given) & numbers.isna().to_numpy()),
            lambda i, name=name, given=given: (  # type: ignore[misc]
                f"{table.place(i, name)}: {given.iloc[i][:40]!r} is no number; mend the row."
            ),
        )
    return len(problems) == before
