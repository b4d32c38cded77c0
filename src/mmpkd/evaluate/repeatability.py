"""Which maps to compare to know whether maps repeat: seeds of one arm, and unrelated pairs for the level to beat.

Maps of a method look alike whatever the picture (an attention map likes the centre, a finding has its place). So the
similarity of two seeds on one image is read beside that of two seeds on images of two patients with the same finding.
"""

from __future__ import annotations

from itertools import combinations
from math import comb

import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from mmpkd.errors import InputError
from mmpkd.evaluate.similarity import Measure, ensemble

SeedMaps = Real[np.ndarray, "seeds maps height width"]
Partners = Int[np.ndarray, "maps partners"]
OtherMaps = Real[np.ndarray, "other_seeds other_maps other_height other_width"]

PARTNERS = 8
MOST_SPLITS = 20


def seed_pairs(seeds: int) -> list[tuple[int, int]]:
    """Return every pair of two different replicates, as positions.

    >>> seed_pairs(3)
    [(0, 1), (0, 2), (1, 2)]
    """
    return list(combinations(range(seeds), 2))


def between_seeds(maps: SeedMaps, measure: Measure) -> Float[np.ndarray, "pairs maps"]:
    """Return the similarity of each image's maps between every two seeds, in the order of :func:`seed_pairs`."""
    _require_seeds(maps)
    prepared = [measure.prepare(of_seed) for of_seed in maps]
    return np.stack([measure.compare(prepared[s], prepared[t]) for s, t in seed_pairs(len(maps))])


def unrelated(maps: SeedMaps, partners: Partners, measure: Measure) -> Float[np.ndarray, "pairs maps"]:
    r"""Return the similarity of each image's map with its partners', between every two seeds.

    .. math:: h_i = \mathrm{mean}_j \, h(i, j)

    over the partners j of image i whose similarity is defined; i's map is of the first seed, j's of the other.

    Args:
        maps: (seeds, n, H, W).
        partners: From :func:`unrelated_partners`; -1 is none, and an image without any gives NaN.
        measure: One of ``mmpkd.evaluate.similarity.MEASURES``.
    """
    _require_seeds(maps)
    prepared = [measure.prepare(of_seed) for of_seed in maps]
    total, number = np.zeros((2, len(seed_pairs(len(maps))), maps.shape[1]))
    for partner in partners.T:
        chosen = [tuple(part[partner] for part in of_seed) for of_seed in prepared]
        alike = np.stack([measure.compare(prepared[s], chosen[t]) for s, t in seed_pairs(len(maps))])
        defined = (partner >= 0) & ~np.isnan(alike)
        total += np.where(defined, alike, 0.0)
        number += defined
    return np.divide(total, number, out=np.full_like(total, np.nan), where=number > 0)


def between_arms(maps: SeedMaps, others: OtherMaps, measure: Measure) -> Float[np.ndarray, "seeds maps"]:
    """Return the similarity of two arms' maps of each image, seed by seed (arms of a seed share its first weights)."""
    if maps.shape != others.shape:
        raise InputError(f"two arms' maps are {maps.shape} and {others.shape}; give the same seeds and images.")
    return np.stack(
        [measure.compare(measure.prepare(a), measure.prepare(b)) for a, b in zip(maps, others, strict=True)]
    )


def between_ensembles(maps: SeedMaps, measure: Measure, seed: int = 0) -> Float[np.ndarray, "splits maps"]:
    """Return the similarity of the mean maps of two disjoint halves of the seeds, for each of :func:`half_splits`."""
    splits = half_splits(len(maps), seed)
    halves = dict.fromkeys(half for split in splits for half in split)
    means = {half: measure.prepare(ensemble(maps[list(half)])) for half in halves}
    return np.stack([measure.compare(means[one], means[other]) for one, other in splits])


def half_splits(seeds: int, seed: int = 0) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Return two disjoint halves of the seeds, in every way or in ``MOST_SPLITS`` different ones drawn at random.

    Halves hold ``seeds // 2`` seeds each; of an odd number one is left out in turn. At least four seeds.

    Args:
        seeds: How many there are.
        seed: Of the draw.

    >>> half_splits(4)
    [((0, 1), (2, 3)), ((0, 2), (1, 3)), ((0, 3), (1, 2))]
    """
    size = seeds // 2
    if size < 2:
        raise InputError(f"half ensembles of {seeds} seeds would be single seeds; give at least four.")
    if comb(seeds, size) * comb(seeds - size, size) // 2 <= MOST_SPLITS:
        return [
            (one, other)
            for one in combinations(range(seeds), size)
            for other in combinations(sorted(set(range(seeds)) - set(one)), size)
            if one < other  # a split and its mirror image are the same
        ]
    generator = np.random.default_rng(seed)
    drawn: set[tuple[tuple[int, ...], tuple[int, ...]]] = set()
    while len(drawn) < MOST_SPLITS:
        order = generator.permutation(seeds).tolist()
        one, other = sorted((tuple(sorted(order[:size])), tuple(sorted(order[size : 2 * size]))))
        drawn.add((one, other))
    return sorted(drawn)


def unrelated_partners(
    patients: Shaped[np.ndarray, " maps"], findings: Shaped[np.ndarray, " maps"], seed: int = 0
) -> Partners:
    """Draw for each map up to ``PARTNERS`` different ones of the same finding and other patients.

    Args:
        patients: Patient of each map.
        findings: Finding of each map.
        seed: Of the draw.

    Returns:
        Positions, (maps, ``PARTNERS``); -1 in the last places of a map that has fewer.
    """
    generator = np.random.default_rng(seed)
    partners = np.full((len(patients), PARTNERS), -1, dtype=np.int64)
    for finding in dict.fromkeys(findings.tolist()):
        of_finding = np.flatnonzero(findings == finding)
        for position in of_finding:
            others = of_finding[patients[of_finding] != patients[position]]
            drawn = generator.permutation(others)[:PARTNERS]
            partners[position, : len(drawn)] = drawn
    return partners


def _require_seeds(maps: np.ndarray) -> None:
    if len(maps) < 2:
        raise InputError(f"there are maps of {len(maps)} seed; whether maps repeat needs at least two.")
