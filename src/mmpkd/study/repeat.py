"""Seeds as replicates of a map: mean maps over seeds, and the similarities from which repeatability is told."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Int

from mmpkd.attribute.attribute import TokenMaps
from mmpkd.cohort.geometry import picture_tokens
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


def map_similarities(work: CellWork, folder: RunFolder) -> Iterator[pd.DataFrame]:
    """Yield, a method and a measure at a time, what :func:`mmpkd.compare.repeatability.compare_repeatability` reads.

    Maps are compared on the token grid, where each value is the student's own and no interpolation makes them alike,
    for the same (case, finding) pairs as localisation, and only on the tokens that hold the picture: black bars, which
    all maps leave alone, would make them alike. Unrelated images have the picture on the same tokens.
    """
    study = work.study
    reference = study.compare.reference_arm
    for method in map_methods(study):
        maps = {arm: _of_targets(work, folder, arm, method) for arm in study.arms}
        rows, columns = next(iter(maps.values())).shape[-2:]
        windows = picture_windows(work, (rows, columns))
        for name, measure in MEASURES.items():
            tables = []
            for arm, own in maps.items():
                found = list(_of_seeds(own, windows, measure))
                if arm != reference and reference in maps:
                    same = [(seed, seed) for seed in range(len(own))]
                    found.append(("arms", reference, same, _of_arms(own, maps[reference], windows, measure)))
                tables += [_long(work, pairs, values, kind, arm, other) for kind, other, pairs, values in found]
            yield pd.concat(tables, ignore_index=True).assign(method=method, metric=name)


@dataclass(frozen=True)
class PictureWindow:
    """The targets whose picture lies on the same tokens.

    Args:
        targets: Their places among all targets.
        tokens: Rows and columns of the tokens that hold the picture.
        partners: Unrelated ones of each, as places in ``targets``.
    """

    targets: Int[np.ndarray, " targets"]
    tokens: tuple[slice, slice]
    partners: repeatability.Partners

    def crop(self, maps: repeatability.SeedMaps) -> repeatability.SeedMaps:
        """Return the maps of these targets, on these tokens."""
        return maps[:, self.targets, self.tokens[0], self.tokens[1]]


def picture_windows(work: CellWork, grid: tuple[int, int]) -> list[PictureWindow]:
    """Group the study's targets by the tokens that hold their picture, and draw unrelated partners in each group."""
    groups: dict[tuple[int, ...], tuple[list[int], tuple[slice, slice]]] = {}
    for place, target in enumerate(work.targets):
        rows, columns = picture_tokens(work.images.geometry(target.position), grid)
        key = rows.start, rows.stop, columns.start, columns.stop
        groups.setdefault(key, ([], (rows, columns)))[0].append(place)
    windows = []
    for places, tokens in groups.values():
        patients = np.array([work.targets[place].patient for place in places])
        findings = np.array([work.targets[place].finding for place in places], dtype=object)
        partners = repeatability.unrelated_partners(patients, findings)
        windows.append(PictureWindow(np.array(places), tokens, partners))
    return windows


_Found = tuple[str, str, list[tuple[int, int]], np.ndarray]


def _of_seeds(maps: np.ndarray, windows: list[PictureWindow], measure: Measure) -> Iterator[_Found]:
    """Yield kind, reference arm, pairs and similarities of one arm's seeds."""
    if len(maps) > 1:
        pairs = repeatability.seed_pairs(len(maps))
        parts = [repeatability.between_seeds(window.crop(maps), measure) for window in windows]
        yield "seeds", "", pairs, _gathered(parts, windows)
        parts = [repeatability.unrelated(window.crop(maps), window.partners, measure) for window in windows]
        yield "unrelated", "", pairs, _gathered(parts, windows)
    if len(maps) >= _FEWEST_SEEDS_OF_HALVES:
        # Splits of the seeds at hand are not redrawn: their mean says all that the table of results reads.
        parts = [repeatability.between_ensembles(window.crop(maps), measure) for window in windows]
        yield "ensembles", "", [(0, 0)], _gathered(parts, windows).mean(axis=0, keepdims=True)


def _of_arms(maps: np.ndarray, others: np.ndarray, windows: list[PictureWindow], measure: Measure) -> np.ndarray:
    parts = [repeatability.between_arms(window.crop(maps), window.crop(others), measure) for window in windows]
    return _gathered(parts, windows)


def _gathered(parts: list[np.ndarray], windows: list[PictureWindow]) -> np.ndarray:
    """Return (pairs, targets) of all windows in the order of the targets."""
    order = np.argsort(np.concatenate([window.targets for window in windows]))
    return np.concatenate(parts, axis=1)[:, order]


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
