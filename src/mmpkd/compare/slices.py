"""The same localisation scores over parts of the cases: true positives, sizes of the ROI.

A figure means little without its slice (``mmpkd.evaluate.strata`` makes them); here each gets its intervals.
"""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from mmpkd.compare.paired import localisation_entries
from mmpkd.compare.rows import COLUMNS as ROW_COLUMNS
from mmpkd.compare.rows import Rows
from mmpkd.compare.statistics import Bootstrap
from mmpkd.compare.tables import read_labels
from mmpkd.errors import InputError

COLUMNS = ("slice", *ROW_COLUMNS)


def compare_slices(
    localisation: pd.DataFrame,
    labels: pd.DataFrame,
    slices: Mapping[str, pd.DataFrame],
    baselines: pd.DataFrame | None = None,
    *,
    reference_arm: str = "hard",
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare arms and baselines over each slice of the ROIs.

    Args:
        localisation: As for :func:`mmpkd.compare.compare.compare_arms`.
        labels: The same; ``case``, ``patient``, ``finding``, ``label``.
        slices: By name, the (``case``, ``finding``) pairs that belong; with the columns ``arm`` and ``seed`` where
            they differ between students, as true positives do.
        baselines: As for ``compare_arms``.
        reference_arm: Every other arm is compared with it.
        replicates: Bootstrap replicates.
        level: Coverage of the percentile intervals.
        seed: Seed of the bootstrap; the same as for ``compare_arms`` pairs the draws.

    Returns:
        :data:`COLUMNS`. Where a slice is the same for all, as in ``compare_arms``. Where students differ, each ROI's
        value is the mean over the seeds in whose slice it is; an arm's row rests on the ROIs of any of its seeds, a
        difference on those of both arms, ``seeds`` counts the seeds that have any, patients alone are redrawn, and
        baselines have no rows of their own. Rows of an empty slice are not there.

    Raises:
        InputError: A slice lacks a column, or as ``compare_arms``.
    """
    bootstrap = Bootstrap(read_labels(labels), replicates, seed)
    tables = []
    for name, members in slices.items():
        for needed in ("case", "finding"):
            if needed not in members.columns:
                raise InputError(f"the slice {name!r} lacks the column {needed!r}; it has {list(members.columns)}.")
        keys = [column for column in ("arm", "seed", "case", "finding") if column in members.columns]
        inside = localisation.merge(members[keys].drop_duplicates(), on=keys)
        if inside.empty:
            continue
        common = keys == ["case", "finding"]
        trained = inside.groupby("arm")["seed"].nunique()
        if not common:
            inside = _over_seeds(inside)
        blind = baselines.merge(members[keys].drop_duplicates(), on=keys) if common and baselines is not None else None
        rows = Rows(level)
        for entry in localisation_entries(inside, blind if common else baselines, bootstrap, reference_arm):
            kind, arm, reference, statistics, seeds = entry
            if not common:
                seeds = min((int(trained[name]) for name in (arm, reference) if name in trained), default=0)
            if common or kind != "baseline":
                rows.add(kind, arm, reference, statistics, seeds)
        tables.append(rows.finish().assign(slice=name))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)] if tables else pd.DataFrame(columns=list(COLUMNS))


def _over_seeds(inside: pd.DataFrame) -> pd.DataFrame:
    """Average each ROI's scores over the seeds in whose slice it is."""
    keys = ["arm", "case", "finding", "method", "policy", "metric"]
    return inside.groupby(keys, sort=False, as_index=False)["value"].mean().assign(seed=0)
