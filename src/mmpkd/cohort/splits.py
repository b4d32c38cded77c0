"""Dividing cases into parts: whole groups (patients), stratified over the findings, seeded.

Serves splits (train, val, test) and cross-fitting folds alike.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from mmpkd.cohort.cohort import SPLITS
from mmpkd.cohort.labels import value_key, value_keys
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.settings import CohortSettings, GivenSplit, MadeSplit
from mmpkd.cohort.table import Table
from mmpkd.errors import InputError


def assign_groups(
    groups: np.ndarray,
    labels: Float[np.ndarray, "cases findings"],
    fractions: Sequence[float],
    seed: int,
) -> Int[np.ndarray, " cases"]:
    """Assign each case to a part so that no group is divided and each part gets its share of every label.

    Greedy iterative stratification (Sechidis et al. 2011, On the stratification of multi-label data) over whole groups.
    Positives and negatives of each finding are strata of their own, so that missing labels are spread too. The stratum
    with fewest unassigned cases goes first; its groups, largest first, go each to the part that is emptiest in what
    the group holds: the share of what it should have of each stratum, weighted by the group's share of that stratum
    (so rare ones weigh most).

    Departures from the source: fullness is measured over all strata of a group rather than over the one in hand, which
    balances the common ones too; and a part that has none of the stratum in hand is served before any other gets more,
    so that a small validation part does not miss a rare finding.

    Args:
        groups: (cases,) group of each case, anything with a string.
        labels: 1, 0 or NaN.
        fractions: Share of the cases for each part, summing to 1.
        seed: Decides ties between groups; equal input in any row order gives the same parts.

    Returns:
        Part of each case, 0 to ``len(fractions) - 1``; none is empty.

    Raises:
        InputError: There are fewer groups than parts.
    """
    codes, names = pd.factorize(np.asarray(groups))
    if len(names) < len(fractions):
        raise InputError(
            f"{len(names)} patient{'s' * (len(names) != 1)} cannot be divided into {len(fractions)} parts; ask for "
            "fewer parts or add patients."
        )
    order = np.lexsort((names.astype(str), _draws(names, seed)))  # groups in an order that rows cannot change
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    codes = rank[codes]
    strata = np.column_stack([labels == 1, labels == 0, np.ones(len(labels), bool)])
    counts = np.column_stack([np.bincount(codes, column, len(names)) for column in strata.T])
    return _assign(counts, np.asarray(fractions, float))[codes]


def _draws(names: np.ndarray, seed: int) -> np.ndarray:
    salt = int(seed).to_bytes(8, "little", signed=True)
    digests = [hashlib.blake2b(str(name).encode(), digest_size=8, key=salt).digest() for name in names]
    return np.frombuffer(b"".join(digests), np.uint64)


def _assign(counts: Float[np.ndarray, "groups strata"], fractions: np.ndarray) -> Int[np.ndarray, " groups"]:
    """Return the part of each group; the last stratum counts all cases."""
    totals = counts.sum(axis=0)
    wanted = fractions[:, None] * np.maximum(totals, 1)
    weights = counts / np.maximum(totals, 1)
    filled = np.zeros_like(wanted)
    part_of = np.full(len(counts), -1)
    while (free := part_of < 0).any():
        remaining = counts[free].sum(axis=0)
        stratum = int(np.argmin(np.where(remaining > 0, remaining, np.inf)))
        members = np.flatnonzero(free & (counts[:, stratum] > 0))
        for group in members[np.argsort(-counts[members, stratum], kind="stable")].tolist():
            fullness = (filled / wanted) @ weights[group]
            # The last key weighs most: first parts without the stratum, then without any case, then the emptiest.
            keys = (-fractions, fullness, filled[:, -1] > 0, filled[:, stratum] > 0)
            best = int(np.lexsort(keys)[0])
            part_of[group] = best
            filled[best] += counts[group]
    return part_of


def make_split(
    settings: CohortSettings,
    table: Table,
    patients: np.ndarray,
    labels: Float[np.ndarray, "cases findings"],
    problems: Problems,
) -> np.ndarray:
    """Return each case's ``train``, ``val`` or ``test``; blank for a case that is to be left out.

    Raises nothing itself: fewer patients than parts, values that mean no split, patients in more than one
    split and empty splits are told in ``problems``.
    """
    split: np.ndarray = np.full(len(table), "", dtype=object)
    if isinstance(settings.split, MadeSplit):
        if len(problems):
            return split
        shares = [settings.split.fractions[name] for name in SPLITS]  # type: ignore[index]
        split = _draw(patients, labels, shares, seed=settings.split.seed, names=SPLITS, problems=problems)
    else:
        split = _given(settings, settings.split, table, problems)
        if not len(problems):
            split = _keep_patients_together(split, patients, settings.split, table, problems)
        if not len(problems) and not (split == "val").any() and (split == "train").any():
            train = split == "train"
            share = settings.split.val_fraction
            split[train] = _draw(
                patients[train],
                labels[train],
                [1 - share, share],
                seed=settings.split.seed,
                names=("train", "val"),
                problems=problems,
            )
            problems.warn(
                f"{table.shown}: no case is in val, so {(split == 'val').sum()} training cases of "
                f"{len(set(patients[split == 'val']))} patients were drawn as val."
            )
    if not len(problems):
        for name in SPLITS:
            if not (split == name).any():
                problems.add(f"{table.shown}: the split '{name}' is empty; give it cases or change 'split'.")
    return split


def _draw(
    patients: np.ndarray,
    labels: np.ndarray,
    shares: Sequence[float],
    *,
    seed: int,
    names: Sequence[str],
    problems: Problems,
) -> np.ndarray:
    try:
        parts = assign_groups(patients, labels, shares, seed)
    except InputError as error:
        problems.sentences.extend(error.problems)
        parts = np.zeros(len(patients), np.int64)
    return np.asarray(names, dtype=object)[parts]


def _given(settings: CohortSettings, given: GivenSplit, table: Table, problems: Problems) -> np.ndarray:
    if given.column is None:
        return np.array([file.split for file in settings.table], dtype=object)[table.file_of]
    meaning = {key: name for name in SPLITS for key in value_keys(getattr(given, name))}
    values = table.column(given.column)
    codes, distinct = pd.factorize(values)
    split = np.array([meaning.get(value_key(value), "") for value in distinct], dtype=object)[codes]
    problems.add_rows(
        np.flatnonzero(split == ""),
        lambda i: (
            f"{table.place(i, str(given.column))}: {values.iloc[i][:40]!r} is no split; write it as train, val "
            f"or test, list it under 'split', or leave the row out with 'where'."
        ),
    )
    return split


def _keep_patients_together(
    split: np.ndarray,
    patients: np.ndarray,
    given: GivenSplit,
    table: Table,
    problems: Problems,
) -> np.ndarray:
    codes, names = pd.factorize(patients)
    later = pd.Categorical(split, categories=list(SPLITS)).codes  # train 0, val 1, test 2
    last, first = np.full(len(names), -1), np.full(len(names), len(SPLITS))
    np.maximum.at(last, codes, later)
    np.minimum.at(first, codes, later)
    crossing = last != first
    if not crossing.any():
        return split
    if given.crossing == "drop":
        out = later < last[codes]
        problems.warn(
            f"{table.shown}: {crossing.sum()} patients are in more than one split; they keep the later one, and "
            f"{out.sum()} cases are left out."
        )
        return np.where(out, "", split)
    position = int(np.flatnonzero(crossing[codes])[0])
    other = int(np.flatnonzero((codes == codes[position]) & (split != split[position]))[0])
    problems.add(
        f"{table.shown}: {crossing.sum()} patients are in more than one split (for one, {split[position]} in "
        f"{table.place(position)} and {split[other]} in {table.place(other)}); mend the split, or set "
        f"'crossing: drop' under 'split' to keep only the cases of the later one."
    )
    return split
