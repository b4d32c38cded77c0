"""What ensembling seeds gains: the mean map's scores against the mean of the single maps' scores."""

from __future__ import annotations

import pandas as pd

from mmpkd.compare.paired import paired_difference
from mmpkd.compare.rows import Rows
from mmpkd.compare.statistics import Bootstrap
from mmpkd.compare.tables import ArmValues, align, read_labels, read_localisation


def compare_ensembles(
    ensembles: pd.DataFrame,
    localisation: pd.DataFrame,
    labels: pd.DataFrame,
    baselines: pd.DataFrame | None = None,
    *,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Return the scores of each arm's mean map, and what it gains over a single seed.

    Args:
        ensembles: Scores of mean maps: ``arm``, ``case``, ``finding``, ``method``, ``policy``, ``metric``, ``value``.
        localisation: Scores of the single seeds' maps: the same with ``seed``.
        labels: ``case``, ``patient``, ``finding``, ``label``.
        baselines: Scores of baselines, as for :func:`mmpkd.compare.compare.compare_arms`.
        replicates: Bootstrap replicates.
        level: Coverage of the percentile intervals.
        seed: Seed of the bootstrap.

    Returns:
        Columns of :mod:`mmpkd.compare.rows`. ``kind`` is ``ensemble``; ``ensemble-gain``, the mean map's score less the
        mean over seeds of the single maps' scores, over the same ROIs; or ``difference``, the mean map's score less
        that of the baseline in ``reference_arm``. ``seeds`` says how many were averaged. The ensemble is the one at
        hand: patients are redrawn, its seeds are not.
    """
    bootstrap = Bootstrap(read_labels(labels), replicates, seed)
    scores, means = read_localisation(ensembles, bootstrap.labels, "ensemble scores")
    single_scores, singles = read_localisation(localisation, bootstrap.labels)
    places = [single_scores.index(score) for score in scores]
    aligned: dict[str, ArmValues] = {}
    if baselines is not None and len(baselines):
        known, blinds = read_localisation(baselines, bootstrap.labels, "baselines")
        aligned = {name: align(values, known, scores) for name, values in blinds.items()}
    rows = Rows(level)
    for arm, mean in means.items():
        one_by_one = singles[arm]
        seeds = len(one_by_one.seeds)
        # As if they were one seed: the mean over these seeds, whose draws are patients' only.
        single = ArmValues(mean.seeds, one_by_one.array[:, :, places].mean(axis=0, keepdims=True))
        own = bootstrap.localisation(mean, scores)
        rows.add("ensemble", arm, "", own, seeds)
        gain = paired_difference(bootstrap, scores, (mean, own), (single, bootstrap.localisation(single, scores)))
        rows.add("ensemble-gain", arm, arm, gain, seeds)
        for name, blind in aligned.items():
            reference = (blind, bootstrap.localisation(blind, scores))
            rows.add("difference", arm, name, paired_difference(bootstrap, scores, (mean, own), reference), seeds)
    return rows.finish()
