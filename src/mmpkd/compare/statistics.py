"""Every statistic of one arm under the shared draws of one comparison, finding by finding and their mean.

The hierarchical bootstrap lives here: patients are redrawn with all their cases, seeds are redrawn over them. What each
seed gave under the patients' draws is kept beside: few seeds need more than redrawing (``mmpkd.compare.crossed``).
"""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from jaxtyping import Float, Float32, UInt8

from mmpkd.compare.crossed import Crossed, seeds_by_patients
from mmpkd.compare.intervals import (
    MIN_DEFINED_SHARE,
    Interval,
    mean_over_findings,
    mean_over_seeds,
    percentile_interval,
)
from mmpkd.compare.resample import calibration_draws, discrimination_draws, draw_counts, mean_draws
from mmpkd.compare.tables import ArmValues, Labels, Score, scored_labels
from mmpkd.evaluate.classification import MACRO, METRICS
from mmpkd.evaluate.strata import POOLED


@dataclass(frozen=True)
class Draws:
    """One statistic of one arm: the sample's value (first) and its replicates, and what it rests on.

    Args:
        draws: Under redrawn patients and seeds.
        cases: Cases with a defined value.
        patients: Their patients.
        by_seed: Each seed's value under redrawn patients alone, where there are several seeds.
    """

    draws: Float[np.ndarray, " draws"]
    cases: int
    patients: int
    by_seed: Float32[np.ndarray, "seeds draws"] | None = None

    def minus(self, other: Draws) -> Draws:
        """Subtract draw by draw, and seed by seed where both have the same number of seeds or one has none."""
        by_seed = None
        if self.by_seed is not None:
            theirs = other.draws[None].astype(np.float32) if other.by_seed is None else other.by_seed
            by_seed = self.by_seed - theirs if len(theirs) in (1, len(self.by_seed)) else None
        return Draws(self.draws - other.draws, self.cases, self.patients, by_seed)

    def interval(self, level: float = 0.95) -> Interval:
        """Return the estimate with its interval.

        With several seeds by t (:func:`mmpkd.compare.crossed.seeds_by_patients`), else the percentiles of the draws;
        those too where nothing varied, as between an arm and itself.
        """
        crossed = self._crossed
        return percentile_interval(self.draws, level) if crossed is None else crossed.interval(level)

    def p(self) -> float:
        r"""Return the two-sided p-value against 0, by t or, with one seed, from the draws.

        .. math:: p = \min(1, 2 (1 + \min(\#\{\theta^* \le 0\}, \#\{\theta^* \ge 0\})) / (1 + B))

        NaN where there is no interval.
        """
        crossed = self._crossed
        if crossed is not None:
            return crossed.p()
        replicates = self.draws[1:][~np.isnan(self.draws[1:])]
        if np.isnan(self.draws[0]) or len(replicates) < max(1, MIN_DEFINED_SHARE * (len(self.draws) - 1)):
            return float("nan")
        beyond = min(np.count_nonzero(replicates <= 0), np.count_nonzero(replicates >= 0))
        return min(1.0, 2 * (1 + beyond) / (1 + len(replicates)))

    @cached_property
    def _crossed(self) -> Crossed | None:
        if self.by_seed is None or self.patients < 2 or len(self.by_seed) < 2:
            return None
        crossed = seeds_by_patients(self.by_seed.astype(np.float64), self.patients)
        if crossed.standard_error == 0:
            return None
        return crossed._replace(estimate=float(self.draws[0]))


Statistics = dict[Score, Draws]
Pairs = Sequence[tuple[int, int]]


class Bootstrap:
    """The draws of one comparison, and the statistics of one arm under them.

    Args:
        labels: What all arms are scored against.
        replicates: Bootstrap replicates.
        seed: Seed of the draws.
    """

    def __init__(self, labels: Labels, replicates: int, seed: int) -> None:
        self.labels = labels
        self._replicates, self._seed = replicates, seed
        self._patient_counts = draw_counts(labels.patient_count, replicates, np.random.default_rng([seed, 0]))

    def among(self, *tables: pd.DataFrame | None) -> Bootstrap:
        """Return the same draws of the same patients over the cases in these tables alone."""
        same = copy(self)
        same.labels = scored_labels(self.labels, *tables)
        return same

    def classification(self, arm: ArmValues) -> Statistics:
        """Return every classification metric of an arm's probabilities, per finding and macro."""
        labels, counts, patients = self.labels, self._patient_counts, self.labels.patients
        seeds, cases, findings = arm.array.shape
        flat = np.moveaxis(arm.array, 0, 1).reshape(cases, seeds * findings)
        wanted = np.tile(labels.matrix, (1, seeds))
        auroc, precision = discrimination_draws(flat, wanted, patients, counts)
        brier = mean_draws((flat - wanted) ** 2, patients, counts)
        error = [calibration_draws(flat[:, k], wanted[:, k], patients, counts) for k in range(flat.shape[1])]
        statistics: Statistics = {}
        for metric, draws in zip(METRICS, (auroc, precision, brier, np.stack(error)), strict=True):
            scores = [Score(finding, "", "", metric) for finding in labels.findings]
            by_seed = draws.reshape(seeds, findings, -1)
            statistics |= self._of_seeds(scores, by_seed, arm.seeds, ~np.isnan(labels.matrix))
        return statistics

    def localisation(self, arm: ArmValues, scores: list[Score]) -> Statistics:
        """Return the mean over cases of each localisation score: per finding, macro, and pooled over all ROIs."""
        used = ~np.isnan(arm.array).any(axis=0)
        return self._of_seeds(scores, self._means(arm.array), arm.seeds, used) | self._pooled(arm, scores)

    def pairs(self, values: Float[np.ndarray, "pairs cases columns"], scores: list[Score], pairs: Pairs) -> Statistics:
        """Return the mean over pairs of seeds and cases of each score, per finding and macro.

        A replicate that drew seed s ``c_s`` times gives the pair (s, t) the weight ``c_s c_t``; pairs of a seed with
        itself say nothing about repeatability and do not count. Seeds are drawn until there are two different ones:
        the interval is that of a replicate given that it has a pair. Two seeds always give their one pair, so that
        only patients are redrawn. A pair (s, s) is that of two arms trained from seed s, with the weight ``c_s``, and
        needs no second seed.
        """
        seeds = sorted({seed for pair in pairs for seed in pair})
        drawn = self._seed_counts(tuple(seeds), at_least=2 if any(s != t for s, t in pairs) else 1)
        counts = dict(zip(seeds, drawn.astype(np.float64), strict=True))
        weights = np.array([counts[s] if s == t else counts[s] * counts[t] for s, t in pairs])
        total = weights.sum(axis=0)
        means = self._means(values)
        summed = np.einsum("pd,pcd->cd", weights, np.where(weights[:, None] > 0, means, 0.0))
        draws = np.divide(summed, total, out=np.full(summed.shape, np.nan), where=total > 0)
        return self._summarise(scores, draws, ~np.isnan(values).any(axis=0))

    def _means(self, array: np.ndarray) -> np.ndarray:
        """Return (layers, columns, draws): means over cases of (layers, cases, columns) under the patients' draws."""
        layers, cases, columns = array.shape
        flat = np.moveaxis(array, 0, 1).reshape(cases, layers * columns)
        return mean_draws(flat, self.labels.patients, self._patient_counts).reshape(layers, columns, -1)

    def _pooled(self, arm: ArmValues, scores: list[Score]) -> Statistics:
        """Return the mean over all (case, finding) of each score, whatever the finding."""
        kinds = list(dict.fromkeys(score._replace(finding=POOLED) for score in scores))
        findings = list(dict.fromkeys(score.finding for score in scores))
        seeds, cases, _ = arm.array.shape
        stacked = np.full((seeds, len(findings), cases, len(kinds)), np.nan)
        for column, score in enumerate(scores):
            place = findings.index(score.finding), kinds.index(score._replace(finding=POOLED))
            stacked[:, place[0], :, place[1]] = arm.array[:, :, column]
        flat = stacked.reshape(seeds, len(findings) * cases, len(kinds))
        patients = np.tile(self.labels.patients, len(findings))
        columns = np.moveaxis(flat, 0, 1).reshape(len(patients), seeds * len(kinds))
        draws = mean_draws(columns, patients, self._patient_counts).reshape(seeds, len(kinds), -1)
        used = (~np.isnan(stacked).any(axis=0)).any(axis=0)
        pooled = self._over_seeds(draws, arm.seeds)
        return {kind: self._rest(pooled[k], used[:, k], _kept(draws[:, k], arm.seeds)) for k, kind in enumerate(kinds)}

    def _of_seeds(
        self, scores: list[Score], by_seed: np.ndarray, seeds: tuple[int, ...], used: np.ndarray
    ) -> Statistics:
        """Summarise (seeds, columns, draws) over seeds."""
        return self._summarise(scores, self._over_seeds(by_seed, seeds), used, _kept(by_seed, seeds))

    def _over_seeds(self, draws: np.ndarray, seeds: tuple[int, ...]) -> np.ndarray:
        """Average (seeds, columns, draws) over redrawn seeds; arms with the same seeds share the draw."""
        counts = self._seed_counts(seeds or (0,) * len(draws))
        return np.stack([mean_over_seeds(draws[:, k], counts) for k in range(draws.shape[1])])

    def _seed_counts(self, seeds: tuple[int, ...], at_least: int = 1) -> UInt8[np.ndarray, "seeds draws"]:
        """Draw seeds, again where a replicate has not got ``at_least`` different ones."""
        generator = np.random.default_rng([self._seed, 1, *(abs(seed) for seed in seeds)])
        counts = draw_counts(len(seeds), self._replicates, generator)
        while len(few := np.flatnonzero(np.count_nonzero(counts, axis=0) < at_least)):
            counts[:, few] = draw_counts(len(seeds), len(few), generator)[:, 1:]
        return counts

    def _summarise(
        self, scores: list[Score], draws: np.ndarray, used: np.ndarray, by_seed: np.ndarray | None = None
    ) -> Statistics:
        """Attach what each score rests on, and add the macro means; ``used`` is (cases, columns)."""
        each = [None if by_seed is None else by_seed[:, k] for k in range(len(scores))]
        statistics = {score: self._rest(draws[k], used[:, k], each[k]) for k, score in enumerate(scores)}
        for kind in dict.fromkeys(score._replace(finding=MACRO) for score in scores):
            columns = [k for k, score in enumerate(scores) if score._replace(finding=MACRO) == kind]
            defined = [k for k in columns if not np.isnan(draws[k, 0])]
            of_any = np.asarray(used[:, defined].any(axis=1))
            means = (
                None if by_seed is None else np.stack([mean_over_findings(of_one) for of_one in by_seed[:, defined]])
            )
            statistics[kind] = self._rest(mean_over_findings(draws[columns]), of_any, means)
        return statistics

    def _rest(self, draws: np.ndarray, used: np.ndarray, by_seed: np.ndarray | None = None) -> Draws:
        kept = None if by_seed is None else by_seed.astype(np.float32)
        return Draws(draws, int(used.sum()), len(np.unique(self.labels.patients[used])), kept)


def _kept(by_seed: np.ndarray, seeds: tuple[int, ...]) -> np.ndarray | None:
    return by_seed if len(seeds) > 1 else None
