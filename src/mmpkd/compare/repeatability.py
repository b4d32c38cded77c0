"""Do maps repeat? Similarity between seeds, beside that of unrelated pairs, between arms, and of half ensembles."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from mmpkd.compare.paired import minus
from mmpkd.compare.rows import Rows
from mmpkd.compare.statistics import Bootstrap, Pairs, Statistics
from mmpkd.compare.tables import Score, read_labels, read_localisation
from mmpkd.errors import InputError

SEEDS, UNRELATED, EXCESS = "seeds", "unrelated", "excess"
ARMS, ENSEMBLES, ENSEMBLE_GAIN, CHANGE = "arms", "ensembles", "ensemble-gain", "change"
_DIFFERENCES = ((EXCESS, SEEDS, UNRELATED), (ENSEMBLE_GAIN, ENSEMBLES, SEEDS), (CHANGE, SEEDS, SEEDS))


def compare_repeatability(
    similarities: pd.DataFrame | Iterable[pd.DataFrame],
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
            Kinds given are ``seeds`` (two seeds of an arm, one image), ``unrelated`` (two seeds, an image and those of
            other patients with the same finding, averaged over the latter), ``arms`` (an arm and the reference arm
            from one seed, one image) and ``ensembles`` (mean maps of two disjoint halves of the seeds; ``seed``
            numbers the split). As one table, or one after another so that not all are held at once: then each has
            every row of its methods and metrics.
        labels: ``case``, ``patient``, ``finding``, ``label``.
        reference_arm: Whose repeatability the others are compared with.
        replicates: Bootstrap replicates.
        level: Coverage of the percentile intervals.
        seed: Seed of the bootstrap.

    Returns:
        Columns of :mod:`mmpkd.compare.rows`, the kinds above, and differences by the same draws and over the (case,
        finding) that both sides have in all pairs: ``excess`` (``seeds`` less ``unrelated``: what the image rather
        than the habit of the method makes alike), ``ensemble-gain`` (``ensembles`` less ``seeds``) and ``change``
        (``seeds`` of an arm less those of the reference arm). For ``ensembles`` and their gain the seeds are as they
        are and only patients are redrawn. ``seeds`` counts the arm's seeds; of two arms, those of the one with fewer.

    Raises:
        InputError: A table is broken, or holds ``ensembles`` of an arm without its ``seeds``.
    """
    bootstrap = Bootstrap(read_labels(labels), replicates, seed)
    rows = Rows(level)
    for table in [similarities] if isinstance(similarities, pd.DataFrame) else similarities:
        _add_rows(rows, table, bootstrap.among(table), reference_arm)
    return rows.finish()


def stretch_both(values: Float[np.ndarray, "pairs cases columns"]) -> Float[np.ndarray, "pairs cases columns"]:
    r"""Stretch means over partners, so that redrawing the first patient stands for redrawing both.

    .. math:: \bar h + 2 (h_i - \bar h), \qquad h_i = \mathrm{mean}_j \, h(i, j)

    for each pair of seeds and column. A mean over pairs of patients has each patient twice, as the first and as a
    partner: its variance is :math:`4 \zeta_1 / n` with :math:`\zeta_1` the variance of :math:`E[h(i, j) | i]`, four
    times what redrawing the first alone says. With k partners :math:`h_i` varies by more than :math:`\zeta_1`
    (by 1/k of it where h is additive), so that intervals are a little wide. The mean stays. NaN stays NaN.

    Source: Hoeffding 1948, "A class of statistics with asymptotically normal distribution", theorem 5.2.
    """
    defined = ~np.isnan(values)
    number = np.maximum(defined.sum(axis=1, keepdims=True), 1)
    stretched: np.ndarray = 2 * values - np.where(defined, values, 0.0).sum(axis=1, keepdims=True) / number
    return stretched


@dataclass(frozen=True)
class _Similarities:
    """Those of one kind and arm: (pairs, cases, columns), with what each column and each pair is of."""

    kind: str
    array: Float[np.ndarray, "pairs cases columns"]
    scores: list[Score]
    pairs: Pairs

    @property
    def seeds(self) -> int:
        return len({seed for pair in self.pairs for seed in pair})


def _add_rows(rows: Rows, table: pd.DataFrame, bootstrap: Bootstrap, reference_arm: str) -> None:
    """Add the rows of one table: each kind and arm, then the differences."""
    found = {
        (str(kind), str(arm), str(other)): _read(str(kind), part, bootstrap)
        for (kind, arm, other), part in table.groupby(["kind", "arm", "reference_arm"], sort=False)
    }
    for (kind, arm, other), own in found.items():
        if kind == ENSEMBLES and (SEEDS, arm, "") not in found:
            raise InputError(f"the similarities of {arm!r} hold `ensembles` and no `seeds`; give both.")
        seeds = found[SEEDS, arm, ""].seeds if kind == ENSEMBLES else own.seeds
        rows.add(kind, arm, other, _average(bootstrap, own, redrawn=kind != ENSEMBLES), seeds)
    for (kind, arm, _), own in found.items():
        for name, of, against in _DIFFERENCES:
            reference = reference_arm if name == CHANGE else arm
            compared = found.get((against, reference, ""))
            if kind == of and compared is not None and compared is not own:
                mine, theirs = _in_common(own, compared)
                redrawn = name != ENSEMBLE_GAIN
                gap = minus(_average(bootstrap, mine, redrawn), _average(bootstrap, theirs, redrawn))
                seeds = min(mine.seeds, theirs.seeds) if redrawn else theirs.seeds
                rows.add(name, arm, reference, gap, seeds)


def _read(kind: str, table: pd.DataFrame, bootstrap: Bootstrap) -> _Similarities:
    pairs = sorted({(int(s), int(t)) for s, t in table[["seed", "other_seed"]].drop_duplicates().to_numpy()})
    number = {pair: place for place, pair in enumerate(pairs)}
    keys = zip(table["seed"].astype(int), table["other_seed"].astype(int), strict=True)
    layered = table.drop(columns=["kind", "reference_arm", "seed", "other_seed"])
    layered = layered.assign(seed=[number[key] for key in keys], policy="")
    scores, arms = read_localisation(layered, bootstrap.labels, "similarities")
    (values,) = arms.values()
    return _Similarities(kind, values.array, scores, pairs)


def _in_common(mine: _Similarities, theirs: _Similarities) -> tuple[_Similarities, _Similarities]:
    """Keep the scores that both have, and in each the cases that both have in all pairs."""
    scores = [score for score in mine.scores if score in theirs.scores]
    arrays = [side.array[:, :, [side.scores.index(score) for score in scores]] for side in (mine, theirs)]
    lacking = np.any([np.isnan(array).any(axis=0) for array in arrays], axis=0)
    one, other = (np.where(lacking, np.nan, array) for array in arrays)
    return replace(mine, array=one, scores=scores), replace(theirs, array=other, scores=scores)


def _average(bootstrap: Bootstrap, similarities: _Similarities, redrawn: bool) -> Statistics:
    """Return the means over pairs and cases; the seeds are redrawn, or stay as they are."""
    array = stretch_both(similarities.array) if similarities.kind == UNRELATED else similarities.array
    if redrawn:
        return bootstrap.pairs(array, similarities.scores, similarities.pairs)
    return bootstrap.pairs(array.mean(axis=0, keepdims=True), similarities.scores, [(0, 0)])
