"""Checks the tables that a comparison reads and turns them into arrays in one order of cases and findings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mmpkd.errors import InputError
from mmpkd.evaluate.classification import check_labels


class Score(NamedTuple):
    """What a localisation score is of: the columns of its table that are not an arm, seed or case."""

    finding: str
    method: str
    policy: str
    metric: str


@dataclass(frozen=True)
class Labels:
    """Labels in one order; ``patients`` codes each case's patient from 0."""

    cases: pd.Index[str]
    findings: tuple[str, ...]
    matrix: Float[np.ndarray, "cases findings"]
    patients: Int[np.ndarray, " cases"]

    @property
    def patient_count(self) -> int:
        """Number of patients."""
        return int(self.patients.max(initial=-1)) + 1


@dataclass(frozen=True)
class ArmValues:
    """Values of one arm: (seeds, cases, columns); the columns are findings, or scores of localisation."""

    seeds: tuple[int, ...]
    array: Float[np.ndarray, "seeds cases columns"]


def read_labels(table: pd.DataFrame) -> Labels:
    """Read ``case``, ``patient``, ``finding``, ``label`` (a missing row is a missing label)."""
    _require(table, "labels", ("case", "patient", "finding"), ("label",))
    _require_unique(table, "labels", ["case", "finding"])
    of_case = table[["case", "patient"]].drop_duplicates()
    if of_case["case"].duplicated().any():
        raise InputError("the table of labels gives one case two patients; a case belongs to one patient.")
    codes, patients = pd.factorize(of_case["patient"])
    if len(patients) < 2:
        raise InputError(
            f"the labels are of {len(patients)} patient; intervals resample patients and need at least two."
        )
    cases, findings = pd.Index(of_case["case"]), pd.Index(pd.unique(table["finding"]))
    matrix = np.full((len(cases), len(findings)), np.nan)
    row, column = cases.get_indexer(pd.Index(table["case"])), findings.get_indexer(pd.Index(table["finding"]))
    matrix[row, column] = check_labels(table["label"].to_numpy(dtype=np.float64))
    return Labels(cases, tuple(map(str, findings)), matrix, codes.astype(np.int64))


def scored_labels(labels: Labels, *tables: pd.DataFrame | None) -> Labels:
    """Return the labels of the cases that any of the tables scores, so that arrays do not span all the others.

    Codes of patients stay, and with them the draws; ``patient_count`` does not.
    """
    named = [table["case"] for table in tables if table is not None and "case" in table.columns]
    scored = np.flatnonzero(np.any([np.zeros(len(labels.cases), bool), *map(labels.cases.isin, named)], axis=0))
    return Labels(labels.cases[scored], labels.findings, labels.matrix[scored], labels.patients[scored])


def read_predictions(table: pd.DataFrame, labels: Labels) -> dict[str, ArmValues]:
    """Read ``arm``, ``seed``, ``case``, ``finding``, ``probability``: all arms on the same cases."""
    _require(table, "predictions", ("arm", "seed", "case", "finding"), ("probability",))
    _require_unique(table, "predictions", ["arm", "seed", "case", "finding"])
    _require_known_cases(table, "predictions", labels)
    wanted = ~np.isnan(labels.matrix)
    arms: dict[str, ArmValues] = {}
    problems = []
    row = labels.cases.get_indexer(pd.Index(table["case"]))
    column = pd.Index(labels.findings).get_indexer(pd.Index(table["finding"]))
    arm_of, seed_of = table["arm"].to_numpy(), table["seed"].to_numpy()
    probability = table["probability"].to_numpy(dtype=np.float64)
    for arm in pd.unique(table["arm"]):
        mine = (arm_of == arm) & (column >= 0)
        seeds, layer = np.unique(seed_of[mine], return_inverse=True)
        array = np.full((len(seeds), *labels.matrix.shape), np.nan)
        array[layer, row[mine], column[mine]] = probability[mine]
        for seed, values in zip(seeds, array, strict=True):
            lacking = int((wanted & np.isnan(values)).sum())
            if lacking:
                problems.append(
                    f"the predictions of arm {arm!r}, seed {seed} lack {lacking} of {int(wanted.sum())} "
                    "labelled (case, finding) pairs; a paired comparison needs all of them."
                )
        if ((array < 0) | (array > 1)).any():
            problems.append(f"the predictions of arm {arm!r} hold a probability outside 0 to 1.")
        arms[str(arm)] = ArmValues(tuple(int(seed) for seed in seeds), array)
    if problems:
        raise InputError(problems)
    return arms


def read_localisation(
    table: pd.DataFrame, labels: Labels, name: str = "localisation scores"
) -> tuple[list[Score], dict[str, ArmValues]]:
    """Read localisation scores: the columns found, in order of appearance, and each arm's values in them.

    The table has ``arm``, ``case``, ``finding``, ``method``, ``policy``, ``metric``, ``value`` and, unless it
    holds baselines, ``seed``. A row that is not there is NaN, as an undefined score is.
    """
    keys = list(Score._fields)
    seeded = "seed" in table.columns
    _require(table, name, ("arm", "case", *keys), ("value",))
    _require_unique(table, name, ["arm", "case", *keys] + (["seed"] if seeded else []))
    _require_known_cases(table, name, labels)
    scores = [Score(*map(str, row)) for row in table[keys].drop_duplicates().itertuples(index=False)]
    column = table.groupby(keys, sort=False).ngroup().to_numpy()
    row = labels.cases.get_indexer(pd.Index(table["case"]))
    value = table["value"].to_numpy(dtype=np.float64)
    arm_names = table["arm"].to_numpy()
    seed_of = table["seed"].to_numpy() if seeded else np.zeros(len(table), dtype=np.int64)
    arms: dict[str, ArmValues] = {}
    for arm in pd.unique(table["arm"]):
        mine = arm_names == arm
        seeds, layer = np.unique(seed_of[mine], return_inverse=True)
        values = np.full((len(seeds), len(labels.cases), len(scores)), np.nan)
        values[layer, row[mine], column[mine]] = value[mine]
        arms[str(arm)] = ArmValues(tuple(int(seed) for seed in seeds) if seeded else (), values)
    return scores, arms


def align(values: ArmValues, have: list[Score], wanted: list[Score]) -> ArmValues:
    """Bring a baseline's columns into the order of ``wanted``.

    What saw no picture may be scored once for all methods, its method being ``""``: it stands in for every method that
    the baseline has no scores of. Scores of one method never stand in for another.
    """
    filled = [k for k in range(len(have)) if not np.isnan(values.array[:, :, k]).all()]
    exact: Mapping[Score, int] = {have[k]: k for k in filled}
    picked = np.full((*values.array.shape[:2], len(wanted)), np.nan)
    for k, score in enumerate(wanted):
        source = exact.get(score, exact.get(score._replace(method="")))
        if source is not None:
            picked[:, :, k] = values.array[:, :, source]
    return ArmValues(values.seeds, picked)


def _require(table: pd.DataFrame, name: str, filled: tuple[str, ...], numeric: tuple[str, ...]) -> None:
    lacking = [column for column in (*filled, *numeric) if column not in table.columns]
    if lacking:
        raise InputError(f"the table of {name} lacks the column {lacking[0]!r}; it has {list(table.columns)}.")
    problems = [
        f"the table of {name} has {int(table[column].isna().sum())} rows without a {column}; fill them in."
        for column in filled
        if table[column].isna().any()
    ]
    problems += [
        f"the column {column!r} of the {name} is not numeric; give numbers."
        for column in numeric
        if not (pd.api.types.is_numeric_dtype(table[column]) or pd.api.types.is_bool_dtype(table[column]))
    ]
    if problems:
        raise InputError(problems)


def _require_unique(table: pd.DataFrame, name: str, keys: list[str]) -> None:
    repeated = int(table.duplicated(keys).sum())
    if repeated:
        raise InputError(f"the table of {name} has {repeated} rows that repeat a ({', '.join(keys)}); keep one.")


def _require_known_cases(table: pd.DataFrame, name: str, labels: Labels) -> None:
    unknown = int((~pd.Index(pd.unique(table["case"])).isin(labels.cases)).sum())
    if unknown:
        raise InputError(
            f"the table of {name} holds {unknown} cases that the labels do not; give scores of one split, "
            "and a row of labels (missing or not) for each of its cases."
        )
