"""Which maps to compare to know whether maps repeat: seeds of one arm, and unrelated pairs for the level to beat.

Maps of a method look alike whatever the picture (an attention map likes the centre, a finding has its place). So the
similarity of two seeds on one image is read beside that of two seeds on images of two patients with the same finding.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations

import numpy as np
from jaxtyping import Float, Int, Real, Shaped

from mmpkd.errors import InputError
from mmpkd.evaluate.similarity import Measure, ensemble

SeedMaps = Real[np.ndarray, "seeds maps height width"]
OtherMaps = Real[np.ndarray, "other_seeds other_maps other_height other_width"]


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


def unrelated(maps: SeedMaps, partners: Int[np.ndarray, " maps"], measure: Measure) -> Float[np.ndarray, "pairs maps"]:
    """Return the similarity of each image's map with its partner's, between every two seeds.

    Args:
        maps: (seeds, n, H, W).
        partners: From :func:`unrelated_partners`; -1 gives NaN.
        measure: One of ``mmpkd.evaluate.similarity.MEASURES``.
    """
    _require_seeds(maps)
    prepared = [measure.prepare(of_seed) for of_seed in maps]
    pairs = [
        measure.compare(prepared[s], tuple(part[partners] for part in prepared[t])) for s, t in seed_pairs(len(maps))
    ]
    return np.where(partners >= 0, np.stack(pairs), np.nan)


def between_arms(maps: SeedMaps, others: OtherMaps, measure: Measure) -> Float[np.ndarray, "seeds maps"]:
    """Return the similarity of two arms' maps of each image, seed by seed (arms of a seed share its first weights)."""
    if maps.shape != others.shape:
        raise InputError(f"two arms' maps are {maps.shape} and {others.shape}; give the same seeds and images.")
    return np.stack(
        [measure.compare(measure.prepare(a), measure.prepare(b)) for a, b in zip(maps, others, strict=True)]
    )


def between_ensembles(maps: SeedMaps, measure: Measure) -> Float[np.ndarray, "splits maps"]:
    """Return the similarity of the mean maps of two disjoint halves of the seeds, for every such split.

    Halves hold ``seeds // 2`` seeds each; of an odd number one is left out in turn. At least four seeds.
    """
    size = len(maps) // 2
    if size < 2:
        raise InputError(f"half ensembles of {len(maps)} seeds would be single seeds; give at least four.")
    means = {half: measure.prepare(ensemble(maps[list(half)])) for half in combinations(range(len(maps)), size)}
    return np.stack([measure.compare(means[one], means[other]) for one, other in _disjoint(list(means))])


def unrelated_partners(
    patients: Shaped[np.ndarray, " maps"], findings: Shaped[np.ndarray, " maps"], seed: int = 0
) -> Int[np.ndarray, " maps"]:
    """Draw for each map one of the same finding and another patient; -1 where there is none.

    Args:
        patients: Patient of each map.
        findings: Finding of each map.
        seed: Of the draw.
    """
    generator = np.random.default_rng(seed)
    partners = np.full(len(patients), -1, dtype=np.int64)
    for finding in dict.fromkeys(findings.tolist()):
        of_finding = np.flatnonzero(findings == finding)
        for position in of_finding:
            others = of_finding[patients[of_finding] != patients[position]]
            if len(others):
                partners[position] = generator.choice(others)
    return partners


def _disjoint(halves: list[tuple[int, ...]]) -> Iterator[tuple[tuple[int, ...], tuple[int, ...]]]:
    for one, other in combinations(halves, 2):
        if not set(one) & set(other):
            yield one, other


def _require_seeds(maps: np.ndarray) -> None:
    if len(maps) < 2:
        raise InputError(f"there are maps of {len(maps)} seed; whether maps repeat needs at least two.")
