"""Every statistic of one arm under the shared draws of one comparison, finding by finding and their mean.

The hierarchical bootstrap lives here: patients are redrawn with all their cases, seeds are redrawn over them.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mmpkd.compare.intervals import mean_over_findings, mean_over_seeds
from mmpkd.compare.resample import calibration_draws, discrimination_draws, draw_counts, mean_draws
from mmpkd.compare.tables import ArmValues, Labels, Score
from mmpkd.evaluate.classification import MACRO, METRICS


@dataclass(frozen=True)
class Draws:
    """One statistic of one arm: the sample's value (first) and its replicates, and what it rests on."""

    draws: Float[np.ndarray, " draws"]
    cases: int
    patients: int


Statistics = dict[Score, Draws]


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
            of_findings = self._over_seeds(draws.reshape(seeds, findings, -1), arm.seeds)
            scores = [Score(finding, "", "", metric) for finding in labels.findings]
            statistics |= self._summarise(scores, of_findings, ~np.isnan(labels.matrix))
        return statistics

    def localisation(self, arm: ArmValues, scores: list[Score]) -> Statistics:
        """Return the mean over cases of each localisation score, per finding and macro."""
        seeds, cases, columns = arm.array.shape
        flat = np.moveaxis(arm.array, 0, 1).reshape(cases, seeds * columns)
        draws = mean_draws(flat, self.labels.patients, self._patient_counts).reshape(seeds, columns, -1)
        return self._summarise(scores, self._over_seeds(draws, arm.seeds), ~np.isnan(arm.array).any(axis=0))

    def _over_seeds(self, draws: np.ndarray, seeds: tuple[int, ...]) -> np.ndarray:
        """Average (seeds, columns, draws) over redrawn seeds; arms with the same seeds share the draw."""
        generator = np.random.default_rng([self._seed, 1, *(abs(seed) for seed in seeds)])
        counts = draw_counts(len(draws), self._replicates, generator)
        return np.stack([mean_over_seeds(draws[:, k], counts) for k in range(draws.shape[1])])

    def _summarise(self, scores: list[Score], draws: np.ndarray, used: np.ndarray) -> Statistics:
        """Attach what each score rests on, and add the macro means; ``used`` is (cases, columns)."""
        statistics = {score: self._rest(draws[k], used[:, k]) for k, score in enumerate(scores)}
        for kind in dict.fromkeys(score._replace(finding=MACRO) for score in scores):
            columns = [k for k, score in enumerate(scores) if score._replace(finding=MACRO) == kind]
            defined = [k for k in columns if not np.isnan(draws[k, 0])]
            of_any = np.asarray(used[:, defined].any(axis=1))
            statistics[kind] = self._rest(mean_over_findings(draws[columns]), of_any)
        return statistics

    def _rest(self, draws: np.ndarray, used: np.ndarray) -> Draws:
        return Draws(draws, int(used.sum()), len(np.unique(self.labels.patients[used])))
