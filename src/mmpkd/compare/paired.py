"""Statistics of localisation scores, arm by arm, and their differences over the cases where both sides are defined."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from mmpkd.compare.statistics import Bootstrap, Draws, Statistics
from mmpkd.compare.tables import ArmValues, Score, align, read_localisation
from mmpkd.errors import InputError

Entry = tuple[str, str, str, Statistics, int]


def localisation_entries(
    localisation: pd.DataFrame | None,
    baselines: pd.DataFrame | None,
    bootstrap: Bootstrap,
    reference_arm: str,
) -> Iterator[Entry]:
    """Yield kind, arm, reference, statistics and seeds of all localisation scores."""
    scores: list[Score] = []
    arms: dict[str, ArmValues] = {}
    if localisation is not None and len(localisation):
        if "seed" not in localisation.columns:
            raise InputError("the table of localisation scores lacks the column 'seed'; baselines go apart.")
        scores, arms = read_localisation(localisation, bootstrap.labels)
    own = {arm: bootstrap.localisation(values, scores) for arm, values in arms.items()}
    for arm, statistics in own.items():
        yield "arm", arm, "", statistics, len(arms[arm].seeds)

    references: dict[str, tuple[ArmValues, Statistics, set[Score]]] = {}
    if reference_arm in arms:
        references[reference_arm] = arms[reference_arm], own[reference_arm], set()
    if baselines is not None and len(baselines):
        known, tables = read_localisation(
            baselines.drop(columns="seed", errors="ignore"), bootstrap.labels, "baselines"
        )
        for name, values in tables.items():
            yield "baseline", name, "", bootstrap.localisation(values, known), 0
            aligned = align(values, known, scores)
            statistics = bootstrap.localisation(aligned, scores) if scores else {}
            references[name] = aligned, statistics, _unknown(scores, known)

    for arm, values in arms.items():
        for name, (reference, statistics, unknown) in references.items():
            if name != arm:
                seeds = min(len(values.seeds), len(reference.seeds) or len(values.seeds))
                paired = paired_difference(bootstrap, scores, (values, own[arm]), (reference, statistics))
                shared = {score: draws for score, draws in paired.items() if score._replace(finding="") not in unknown}
                yield "difference", arm, name, shared, seeds


def _unknown(scores: list[Score], known: list[Score]) -> set[Score]:
    """Return the kinds of score (whatever the finding) that a baseline was never given, such as its faithfulness."""
    kinds = {score._replace(finding="", method="") for score in known}
    return {score._replace(finding="") for score in scores if score._replace(finding="", method="") not in kinds}


def paired_difference(
    bootstrap: Bootstrap,
    scores: list[Score],
    arm: tuple[ArmValues, Statistics],
    reference: tuple[ArmValues, Statistics],
) -> Statistics:
    """Subtract over the cases where both sides are defined in every seed."""
    lacking = [np.isnan(side[0].array).any(axis=0) for side in (arm, reference)]
    either = lacking[0] | lacking[1]
    sides = []
    for values, statistics in (arm, reference):
        if (np.isnan(values.array) == either).all():
            sides.append(statistics)
        else:
            common = np.where(either, np.nan, values.array)
            sides.append(bootstrap.localisation(ArmValues(values.seeds, common), scores))
    return minus(*sides)


def minus(arm: Statistics, reference: Statistics) -> Statistics:
    """Subtract draw by draw the scores that both sides have."""
    return {
        score: Draws(mine.draws - reference[score].draws, mine.cases, mine.patients)
        for score, mine in arm.items()
        if score in reference
    }
