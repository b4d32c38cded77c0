"""Do maps repeat? Similarity between seeds, beside that of unrelated pairs, between arms, and of half ensembles."""

from __future__ import annotations

import pandas as pd

from mmpkd.compare.paired import minus
from mmpkd.compare.rows import Rows
from mmpkd.compare.statistics import Bootstrap, Pairs, Statistics
from mmpkd.compare.tables import read_labels, read_localisation

SEEDS, UNRELATED, EXCESS = "seeds", "unrelated", "excess"
ARMS, ENSEMBLES, ENSEMBLE_GAIN, CHANGE = "arms", "ensembles", "ensemble-gain", "change"
_DIFFERENCES = ((EXCESS, SEEDS, UNRELATED), (ENSEMBLE_GAIN, ENSEMBLES, SEEDS), (CHANGE, SEEDS, SEEDS))


def compare_repeatability(
    similarities: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    reference_arm: str = "hard",
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average similarities of maps, with intervals over patients and seeds.

    Args:
        similarities: One row a pair of maps of one case and finding: ``kind``, ``arm``, ``reference_arm`` (for
            ``arms``, else ``""``), ``seed``, ``other_seed``, ``case``, ``finding``, ``method``, ``metric``, ``value``.
            Kinds given are ``seeds`` (two seeds of an arm, one image), ``unrelated`` (two seeds, images of two patients
            with the same finding), ``arms`` (an arm and the reference arm from one seed, one image) and ``ensembles``
            (mean maps of two disjoint halves of the seeds; ``seed`` numbers the split).
        labels: ``case``, ``patient``, ``finding``, ``label``.
        reference_arm: Whose repeatability the others are compared with.
        replicates: Bootstrap replicates.
        level: Coverage of the percentile intervals.
        seed: Seed of the bootstrap.

    Returns:
        Columns of :mod:`mmpkd.compare.rows`, the kinds above, and differences by the same draws: ``excess`` (``seeds``
        less ``unrelated``: what the image rather than the habit of the method makes alike), ``ensemble-gain``
        (``ensembles`` less ``seeds``) and ``change`` (``seeds`` of an arm less those of the reference arm). For
        ``ensembles`` the splits are as they are and only patients are redrawn.
    """
    bootstrap = Bootstrap(read_labels(labels), replicates, seed)
    rows, found = Rows(level), {}
    for (kind, arm, other), table in similarities.groupby(["kind", "arm", "reference_arm"], sort=False):
        statistics, seeds = _average(table, bootstrap, as_they_are=kind == ENSEMBLES)
        found[str(kind), str(arm)] = statistics, seeds
        rows.add(str(kind), str(arm), str(other), statistics, seeds)
    for (kind, arm), (statistics, seeds) in found.items():
        for name, of, against in _DIFFERENCES:
            other = (against, reference_arm if name == CHANGE else arm)
            if kind == of and other in found and other != (kind, arm):
                reference, others = found[other]
                rows.add(name, arm, other[1], minus(statistics, reference), min(seeds, others))
    return rows.finish()


def _average(table: pd.DataFrame, bootstrap: Bootstrap, as_they_are: bool) -> tuple[Statistics, int]:
    """Return the mean similarity of one kind and arm, and over how many seeds (or splits, left as they are)."""
    pairs: Pairs = sorted({(int(s), int(t)) for s, t in table[["seed", "other_seed"]].drop_duplicates().to_numpy()})
    number = {pair: place for place, pair in enumerate(pairs)}
    keys = zip(table["seed"].astype(int), table["other_seed"].astype(int), strict=True)
    layered = table.drop(columns=["kind", "reference_arm", "seed", "other_seed"])
    layered = layered.assign(seed=[number[key] for key in keys], policy="")
    scores, arms = read_localisation(layered, bootstrap.labels, "similarities")
    (values,) = arms.values()
    if as_they_are:
        return bootstrap.pairs(values.array.mean(axis=0, keepdims=True), scores, [(0, 0)]), len(pairs)
    return bootstrap.pairs(values.array, scores, pairs), len({seed for pair in pairs for seed in pair})
