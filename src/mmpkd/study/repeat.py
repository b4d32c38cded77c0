"""Seeds as replicates of a map: mean maps over seeds, and the similarities from which repeatability is told."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from mmpkd.attribute.attribute import TokenMaps
from mmpkd.evaluate import repeatability
from mmpkd.evaluate.similarity import MEASURES, Measure, ensemble
from mmpkd.folder import RunFolder
from mmpkd.study.cell import CellWork, map_methods
from mmpkd.study.inputs import localised_positions
from mmpkd.study.localise import score_maps
from mmpkd.study.map_file import read_maps

_FEWEST_SEEDS_OF_HALVES = 4


def score_ensembles(work: CellWork, folder: RunFolder) -> pd.DataFrame:
    """Return the localisation scores of each arm's mean map over its seeds, with the column ``arm``."""
    positions = localised_positions(work.cohort)
    tables = []
    for arm in work.study.arms:
        for method in map_methods(work.study):
            of_seeds = [read_maps(folder.cell(arm, seed).maps(method)) for seed in work.study.seeds]
            mean = ensemble(np.stack([maps.values for maps in of_seeds]))
            maps = TokenMaps(mean, of_seeds[0].findings, method, of_seeds[0].class_specific)
            table = score_maps(work.targets, maps, positions, work.images, work.study.evaluate.policies)
            tables.append(table.assign(arm=arm))
    return pd.concat(tables, ignore_index=True)


def map_similarities(work: CellWork, folder: RunFolder) -> pd.DataFrame:
    """Return every similarity that :func:`mmpkd.compare.repeatability.compare_repeatability` reads.

    Maps are compared on the token grid, where each value is the student's own and no interpolation makes them alike,
    for the same (case, finding) pairs as localisation.
    """
    study, targets = work.study, work.targets
    reference = study.compare.reference_arm
    findings = np.array([target.finding for target in targets], dtype=object)
    partners = repeatability.unrelated_partners(np.array([target.patient for target in targets]), findings)
    tables = []
    for method in map_methods(study):
        maps = {arm: _of_targets(work, folder, arm, method) for arm in study.arms}
        for name, measure in MEASURES.items():
            for arm, own in maps.items():
                found = list(_of_seeds(own, partners, measure))
                if arm != reference and reference in maps:
                    same = [(seed, seed) for seed in range(len(own))]
                    found.append(("arms", reference, same, repeatability.between_arms(own, maps[reference], measure)))
                for kind, other, pairs, values in found:
                    tables.append(_long(work, pairs, values, kind, arm, other).assign(method=method, metric=name))
    return pd.concat(tables, ignore_index=True)


_Found = tuple[str, str, list[tuple[int, int]], np.ndarray]


def _of_seeds(maps: np.ndarray, partners: np.ndarray, measure: Measure) -> Iterator[_Found]:
    """Yield kind, reference arm, pairs and similarities of one arm's seeds."""
    if len(maps) > 1:
        pairs = repeatability.seed_pairs(len(maps))
        yield "seeds", "", pairs, repeatability.between_seeds(maps, measure)
        yield "unrelated", "", pairs, repeatability.unrelated(maps, partners, measure)
    if len(maps) >= _FEWEST_SEEDS_OF_HALVES:
        values = repeatability.between_ensembles(maps, measure)
        yield "ensembles", "", [(split, split) for split in range(len(values))], values


def _of_targets(work: CellWork, folder: RunFolder, arm: str, method: str) -> np.ndarray:
    """Return (seeds, targets, rows, columns): the token map of each ROI to be found."""
    row_of = {int(position): row for row, position in enumerate(localised_positions(work.cohort))}
    rows = [row_of[target.position] for target in work.targets]
    of_seeds = []
    for seed in work.study.seeds:
        maps = read_maps(folder.cell(arm, seed).maps(method))
        columns = [maps.findings.index(target.finding) for target in work.targets]
        of_seeds.append(maps.values[rows, columns])
    return np.stack(of_seeds)


def _long(
    work: CellWork, pairs: list[tuple[int, int]], values: np.ndarray, kind: str, arm: str, other: str
) -> pd.DataFrame:
    """Return similarities (pairs, targets) as rows; seeds are given by their place in the study's list."""
    count = len(work.targets)
    return pd.DataFrame(
        {
            "kind": kind,
            "arm": arm,
            "reference_arm": other,
            "seed": np.repeat([s for s, _ in pairs], count),
            "other_seed": np.repeat([t for _, t in pairs], count),
            "case": np.tile(np.array([target.case for target in work.targets], dtype=object), len(pairs)),
            "finding": np.tile(np.array([target.finding for target in work.targets], dtype=object), len(pairs)),
            "value": values.ravel(),
        }
    )
