"""Statistics of localisation scores, arm by arm, and their differences over the cases where both sides are defined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd

from mmpkd.compare.headroom import Entry, headroom_entries
from mmpkd.compare.statistics import Bootstrap, Statistics
from mmpkd.compare.tables import ArmValues, Score, align, read_localisation
from mmpkd.errors import InputError
from mmpkd.evaluate.baselines import MEAN_ROI_PRIOR


def localisation_entries(
    localisation: pd.DataFrame | None,
    baselines: pd.DataFrame | None,
    bootstrap: Bootstrap,
    reference_arm: str,
    upper: str = "",
) -> Iterator[Entry]:
    """Yield kind, arm, reference, statistics and seeds of all localisation scores; ``upper`` is shown the ROIs."""
    bootstrap = bootstrap.among(localisation, baselines)
    scores: list[Score] = []
    arms: dict[str, ArmValues] = {}
    if localisation is not None and len(localisation):
        if "seed" not in localisation.columns:
            raise InputError("the table of localisation scores lacks the column 'seed'; baselines go apart.")
        scores, arms = read_localisation(localisation, bootstrap.labels)
    own = {arm: bootstrap.localisation(values, scores) for arm, values in arms.items()}
    for arm, statistics in own.items():
        yield "arm", arm, "", statistics, len(arms[arm].seeds)

    references: dict[str, tuple[ArmValues, Statistics, list[int]]] = {}
    if reference_arm in arms:
        references[reference_arm] = arms[reference_arm], own[reference_arm], list(range(len(scores)))
    if baselines is not None and len(baselines):
        known, tables = read_localisation(
            baselines.drop(columns="seed", errors="ignore"), bootstrap.labels, "baselines"
        )
        for name, values in tables.items():
            statistics = bootstrap.localisation(values, known)
            yield "baseline", name, "", statistics, 0
            shared = _known_to(known, scores)
            aligned = align(values, known, scores)
            # one table may hold blind baselines without a method and others with one
            if not {scores[column] for column in shared} <= set(known) or any(not score.method for score in known):
                statistics = bootstrap.localisation(aligned, scores)
            references[name] = aligned, statistics, shared

    for arm, values in arms.items():
        for name, (reference, statistics, shared) in references.items():
            if name != arm:
                seeds = min(len(values.seeds), len(reference.seeds) or len(values.seeds))
                chosen = [scores[column] for column in shared]
                mine = ArmValues(values.seeds, values.array[:, :, shared])
                theirs = ArmValues(reference.seeds, reference.array[:, :, shared])
                paired = paired_difference(bootstrap, chosen, (mine, own[arm]), (theirs, statistics))
                yield "difference", arm, name, paired, seeds
    if MEAN_ROI_PRIOR in references:
        counted = {arm: len(values.seeds) for arm, values in arms.items()}
        yield from headroom_entries(own, references[MEAN_ROI_PRIOR][1], upper, counted)


def control_entries(
    localisation: pd.DataFrame | None, bootstrap: Bootstrap, arm: str, controls: Sequence[str], score: Score
) -> Iterator[Entry]:
    """Yield one localisation score's difference of ``arm`` and each control, over the cases where both are defined."""
    if localisation is None or not len(localisation):
        return
    kind = [localisation[name] == getattr(score, name) for name in ("metric", "method", "policy")]
    chosen = localisation[np.logical_and.reduce([localisation["arm"].isin([arm, *controls]), *kind])]
    if not len(chosen):
        return
    bootstrap = bootstrap.among(chosen)
    scores, arms = read_localisation(chosen, bootstrap.labels)
    own = {name: (values, bootstrap.localisation(values, scores)) for name, values in arms.items()}
    for control in controls:
        if arm in own and control in own:
            paired = paired_difference(bootstrap, scores, own[arm], own[control])
            seeds = min(len(arms[arm].seeds), len(arms[control].seeds))
            yield "control", arm, control, only(paired, score), seeds


def _known_to(known: list[Score], scores: list[Score]) -> list[int]:
    """Return the columns whose method and metric a baseline was given, or the metric without a method.

    No map's faithfulness, for one, is that of a baseline.
    """
    kinds = {score._replace(finding="") for score in known}
    wanted = [score._replace(finding="") for score in scores]
    return [column for column, kind in enumerate(wanted) if kind in kinds or kind._replace(method="") in kinds]


def paired_difference(
    bootstrap: Bootstrap,
    scores: list[Score],
    arm: tuple[ArmValues, Statistics],
    reference: tuple[ArmValues, Statistics],
) -> Statistics:
    """Subtract over the cases where both sides are defined in every seed.

    Kinds of score (whatever the finding) that both sides have on the same cases are subtracted as they are.
    """
    lacking = [np.isnan(side[0].array).any(axis=0) for side in (arm, reference)]
    either = lacking[0] | lacking[1]
    kinds = [score._replace(finding="") for score in scores]
    sides = []
    for values, as_it_is in (arm, reference):
        unlike = (np.isnan(values.array) != either).any(axis=(0, 1))
        again = {kind for kind, differs in zip(kinds, unlike, strict=True) if differs}
        columns = [column for column, kind in enumerate(kinds) if kind in again]
        common = np.where(either, np.nan, values.array)[:, :, columns]
        chosen = [scores[column] for column in columns]
        sides.append(
            as_it_is | bootstrap.localisation(ArmValues(values.seeds, common), chosen) if columns else as_it_is
        )
    return minus(*sides)


def minus(arm: Statistics, reference: Statistics) -> Statistics:
    """Subtract the scores that both sides have."""
    return {score: mine.minus(reference[score]) for score, mine in arm.items() if score in reference}


def only(statistics: Statistics, score: Score) -> Statistics:
    """Return one score's statistic, or nothing where it was not measured."""
    return {score: statistics[score]} if score in statistics else {}
