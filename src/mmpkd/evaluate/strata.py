"""Which cases a mean is over: ROI sizes, true positives beside all cases, findings, their mean, and the pool.

A localisation figure means little without its slice. CheXlocalize (Saporta et al. 2022) averages true positives only,
and with all cases its figures are far lower; small ROIs are harder than large ones whatever the map. Everything here
takes arrays, one entry a score, so that it serves the tables of any tool.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pandas as pd
from jaxtyping import Bool, Real, Shaped

from mmpkd.errors import InputError
from mmpkd.evaluate.classification import MACRO, check_labels

POOLED = "pooled"
ALL_CASES = "all"
ROI_EDGES = (0.01, 0.05, 0.2)
NO_ROI = "no ROI"
_RESULTS = ("slice", "finding", "mean", "defined", "undefined", "findings")


def roi_size_strata(
    areas: Real[np.ndarray, " rows"], edges: Sequence[float] = ROI_EDGES
) -> Shaped[np.ndarray, " rows"]:
    """Return the name of each ROI's size stratum, by its share of the image.

    Args:
        areas: |M| / N, from 0 to 1; 0 or NaN means that there is no ROI.
        edges: Where strata meet, rising and between 0 and 1; an area on an edge belongs to the stratum above.

    >>> roi_size_strata(np.array([0.004, 0.05, 0.3, np.nan])).tolist()
    ['under 1%', '5% to 20%', '20% and over', 'no ROI']
    """
    values = np.asarray(areas, dtype=np.float64)
    wrong = values[(values < 0) | (values > 1)]
    if wrong.size:
        raise InputError(f"an ROI's area is {wrong[0]:g}; give shares of the image, from 0 to 1.")
    names = np.array([*stratum_names(edges), NO_ROI], dtype=object)
    absent = ~(values > 0)
    return names[np.where(absent, len(names) - 1, np.searchsorted(edges, np.where(absent, 0.0, values), side="right"))]


def stratum_names(edges: Sequence[float] = ROI_EDGES) -> tuple[str, ...]:
    """Return the names of the size strata, smallest first.

    >>> stratum_names()
    ('under 1%', '1% to 5%', '5% to 20%', '20% and over')
    """
    if not edges or list(edges) != sorted(set(edges)) or not (edges[0] > 0 and edges[-1] < 1):
        raise InputError(f"the edges of the strata are {list(edges)}; give rising shares between 0 and 1.")
    shown = [f"{100 * edge:g}%" for edge in edges]
    between = [f"{low} to {high}" for low, high in pairwise(shown)]
    return (f"under {shown[0]}", *between, f"{shown[-1]} and over")


def true_positives(
    labels: Shaped[np.ndarray, " rows"],
    probabilities: Real[np.ndarray, " rows"],
    threshold: float | Real[np.ndarray, " rows"] = 0.5,
) -> Bool[np.ndarray, " rows"]:
    """Return where the label is positive and the student says so: ``y = 1 and p >= threshold``.

    Args:
        labels: 1, 0 or NaN; missing is no true positive.
        probabilities: The student's, of the same case and finding; NaN is no true positive.
        threshold: One for all, or one a row (thresholds differ by finding); chosen on validation cases.
    """
    return (check_labels(labels) == 1) & (np.asarray(probabilities) >= threshold)


def slice_means(
    values: Real[np.ndarray, " rows"],
    findings: Shaped[np.ndarray, " findings"],
    *,
    by: Mapping[str, np.ndarray] | None = None,
    slices: Mapping[str, np.ndarray] | None = None,
) -> pd.DataFrame:
    """Average a long table of scores per finding, over findings, and over all scores at once.

    Args:
        values: One score a row; NaN where it is undefined.
        findings: The finding of each row; all columns are as long as ``values``.
        by: Further columns to keep apart, as ``metric``, ``policy`` or the size stratum.
        slices: Rows of each further slice, as ``{"true positives": ...}``; all rows are always reported, as ``all``.

    Returns:
        Columns of ``by``, ``slice``, ``finding`` (each in order of appearance, then ``macro``, the mean of the
        findings' means, and ``pooled``, the mean of all values), ``mean``, ``defined`` and ``undefined`` (rows
        that entered and that could not), ``findings`` (how many have a mean; for ``macro`` those it rests on). What
        has no defined value is NaN and in no macro mean; a finding without rows in a slice has no row there.

    >>> table = slice_means(np.array([0.2, 0.4, 0.9, np.nan]), np.array(["a", "a", "b", "b"]))
    >>> table[["finding", "mean", "defined", "undefined"]].round(2).to_numpy().tolist()
    [['a', 0.3, 2, 0], ['b', 0.9, 1, 1], ['macro', 0.6, 3, 1], ['pooled', 0.5, 3, 1]]
    """
    by, slices = dict(by or {}), {ALL_CASES: np.ones(len(values), dtype=bool), **(slices or {})}
    _require_lengths(len(values), {"findings": findings, **by, **slices})
    taken = set(_RESULTS) & set(by)
    if taken:
        raise InputError(f"a column to keep apart is called {sorted(taken)[0]!r}, which the result uses itself.")
    keys = pd.DataFrame(by, index=range(len(values)))
    group = keys.groupby(list(by), sort=False, dropna=False).ngroup().to_numpy() if by else np.zeros(len(values), int)
    firsts = keys[~pd.Series(group).duplicated().to_numpy()]
    column, names = pd.factorize(np.asarray(findings, dtype=object))
    if (column < 0).any():
        raise InputError(f"{int((column < 0).sum())} scores have no finding; name it, or leave them out.")
    parts = []
    for name, mask in slices.items():
        chosen = np.asarray(mask, dtype=bool)
        means = _Means.of(np.asarray(values, dtype=np.float64)[chosen], group[chosen], column[chosen], len(names))
        parts.append(means.table(firsts, [*names, MACRO, POOLED]).assign(slice=name))
    return pd.concat(parts, ignore_index=True)[[*by, *_RESULTS]]


@dataclass(frozen=True)
class _Means:
    """Means and counts, (groups, findings and then macro and pooled); groups are those up to the last with rows."""

    mean: np.ndarray
    defined: np.ndarray
    undefined: np.ndarray
    findings: np.ndarray

    @classmethod
    def of(cls, values: np.ndarray, group: np.ndarray, column: np.ndarray, findings: int) -> _Means:
        groups = int(group.max(initial=-1)) + 1
        cell, known = group * findings + column, ~np.isnan(values)

        def added(weights: np.ndarray) -> np.ndarray:
            return np.bincount(cell, weights, groups * findings).reshape(groups, findings)

        total, defined, rows = added(np.where(known, values, 0.0)), added(known), added(np.ones(len(values)))
        pooled_total, pooled_defined, pooled_rows = (x.sum(axis=1, keepdims=True) for x in (total, defined, rows))
        mean, has_mean = _over(total, defined), defined > 0
        resting = has_mean.sum(axis=1, keepdims=True)
        macro = _over(np.where(has_mean, mean, 0.0).sum(axis=1, keepdims=True), resting)
        counts = np.hstack([defined, pooled_defined, pooled_defined])
        return cls(
            np.hstack([mean, macro, _over(pooled_total, pooled_defined)]),
            counts.astype(int),
            (np.hstack([rows, pooled_rows, pooled_rows]) - counts).astype(int),
            np.hstack([has_mean, resting, resting]).astype(int),
        )

    def table(self, firsts: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
        """Return a row for each group and finding that has rows."""
        group, column = np.nonzero(self.defined + self.undefined)
        table = firsts.iloc[group].reset_index(drop=True)
        table["finding"] = np.asarray(names, dtype=object)[column]
        for name in ("mean", "defined", "undefined", "findings"):
            table[name] = getattr(self, name)[group, column]
        return table


def _over(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    mean: np.ndarray = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return mean


def _require_lengths(rows: int, columns: Mapping[str, np.ndarray]) -> None:
    for name, column in columns.items():
        if len(column) != rows:
            raise InputError(f"there are {rows} scores and {len(column)} entries of {name!r}; give one a score.")
