"""Arms against a reference arm and picture-blind baselines: estimates and paired intervals, one table.

Hierarchical bootstrap: a replicate redraws patients, with all their cases, and seeds; every arm, seed and
finding reads the same draws. Nothing here puts a result into words; that is ``mmpkd.compare.verdict``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmpkd.compare.intervals import percentile_interval
from mmpkd.compare.statistics import Bootstrap, Draws, Statistics
from mmpkd.compare.tables import ArmValues, Score, align, read_labels, read_localisation, read_predictions
from mmpkd.errors import InputError, did_you_mean
from mmpkd.evaluate.classification import MACRO

COLUMNS = (
    "kind",
    "arm",
    "reference_arm",
    "metric",
    "policy",
    "method",
    "finding",
    "estimate",
    "low",
    "high",
    "cases",
    "patients",
    "seeds",
    "role",
)


@dataclass(frozen=True)
class Endpoint:
    """What a study asks: the difference ``arm`` - reference arm of one metric.

    Args:
        metric: As ``auroc`` or ``iou``.
        finding: A finding, or ``macro`` for the mean over findings.
        method: Map method, for a localisation metric.
        policy: Threshold policy, for a metric that needs one.
        arm: The arm that is compared with the reference arm.
    """

    metric: str = "auroc"
    finding: str = MACRO
    method: str = ""
    policy: str = ""
    arm: str = "mmpkd"

    @property
    def score(self) -> Score:
        """The endpoint without its arm."""
        return Score(self.finding, self.method, self.policy, self.metric)


def compare_arms(
    predictions: pd.DataFrame,
    labels: pd.DataFrame,
    localisation: pd.DataFrame | None = None,
    baselines: pd.DataFrame | None = None,
    *,
    reference_arm: str = "hard",
    primary: Endpoint | None = None,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Compare arms over the cases that ``labels`` names (one split, usually test).

    Args:
        predictions: ``arm``, ``seed``, ``case``, ``finding``, ``probability``; every arm and seed on the same
            cases.
        labels: ``case``, ``patient``, ``finding``, ``label`` (1, 0, NaN).
        localisation: ``arm``, ``seed``, ``case``, ``finding``, ``method``, ``policy``, ``metric``, ``value``.
        baselines: The same without ``seed`` (``mmpkd.evaluate.baselines``).
        reference_arm: Every other arm is compared with it.
        primary: The endpoint named before the run; its difference gets the role ``primary``, all else is
            ``exploratory``. Macro AUROC of ``mmpkd`` by default.
        replicates: Bootstrap replicates.
        level: Coverage of the percentile intervals.
        seed: Seed of the bootstrap.

    Returns:
        One row a statistic in :data:`COLUMNS`. ``kind`` is ``arm``, ``baseline`` or ``difference`` (``arm`` -
        ``reference_arm``: the reference arm or, for localisation, a baseline). Values are means over seeds;
        localisation is the mean over cases with a defined score, and ``macro`` the mean over findings. A
        difference uses the cases where both sides are defined. What is undefined (a finding without labels)
        is NaN and in no mean.

    Raises:
        InputError: A table lacks something, there is one patient only, or no such arm or endpoint.

    With one arm there is no difference and no primary row.

    Seeds are paired between arms that ran the same ones. With a few seeds the percentile interval understates
    their part (by a factor of about sqrt((S - 1) / S)); with one seed only patients are redrawn.
    """
    primary = primary or Endpoint()
    read = read_labels(labels)
    arms = read_predictions(predictions, read)
    if reference_arm not in arms:
        hint = did_you_mean(reference_arm, arms)
        raise InputError(f"there are no predictions of the reference arm {reference_arm!r}{hint}")
    bootstrap = Bootstrap(read, replicates, seed)

    table = _Table(level, primary, reference_arm)
    classified = {arm: bootstrap.classification(values) for arm, values in arms.items()}
    for arm, statistics in classified.items():
        table.add("arm", arm, "", statistics, len(arms[arm].seeds))
    for arm, statistics in classified.items():
        if arm != reference_arm:
            both = min(len(arms[arm].seeds), len(arms[reference_arm].seeds))
            table.add("difference", arm, reference_arm, _minus(statistics, classified[reference_arm]), both)
    for entry in _localisation(localisation, baselines, bootstrap, reference_arm):
        table.add(*entry)
    return table.finish()


_Entry = tuple[str, str, str, Statistics, int]


def _localisation(
    localisation: pd.DataFrame | None,
    baselines: pd.DataFrame | None,
    bootstrap: Bootstrap,
    reference_arm: str,
) -> Iterator[_Entry]:
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

    references: dict[str, tuple[ArmValues, Statistics]] = {}
    if reference_arm in arms:
        references[reference_arm] = arms[reference_arm], own[reference_arm]
    if baselines is not None and len(baselines):
        known, tables = read_localisation(
            baselines.drop(columns="seed", errors="ignore"), bootstrap.labels, "baselines"
        )
        for name, values in tables.items():
            yield "baseline", name, "", bootstrap.localisation(values, known), 0
            aligned = align(values, known, scores)
            references[name] = aligned, bootstrap.localisation(aligned, scores) if scores else {}

    for arm, values in arms.items():
        for name, (reference, statistics) in references.items():
            if name != arm:
                seeds = min(len(values.seeds), len(reference.seeds) or len(values.seeds))
                paired = _paired(bootstrap, scores, (values, own[arm]), (reference, statistics))
                yield "difference", arm, name, paired, seeds


def _paired(
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
    return _minus(*sides)


def _minus(arm: Statistics, reference: Statistics) -> Statistics:
    return {
        score: Draws(mine.draws - reference[score].draws, mine.cases, mine.patients)
        for score, mine in arm.items()
        if score in reference
    }


class _Table:
    """Collects rows of the comparison and marks the primary one."""

    def __init__(self, level: float, primary: Endpoint, reference_arm: str) -> None:
        self._level, self._primary, self._reference_arm = level, primary, reference_arm
        self._rows: list[tuple[object, ...]] = []

    def add(self, kind: str, arm: str, reference: str, statistics: Statistics, seeds: int) -> None:
        for score, statistic in statistics.items():
            interval = percentile_interval(statistic.draws, self._level)
            asked = self._primary.arm, self._reference_arm, self._primary.score
            role = "primary" if kind == "difference" and (arm, reference, score) == asked else "exploratory"
            what = (score.metric, score.policy, score.method, score.finding)
            self._rows.append(
                (kind, arm, reference, *what, *interval, statistic.cases, statistic.patients, seeds, role)
            )

    def finish(self) -> pd.DataFrame:
        table = pd.DataFrame(self._rows, columns=list(COLUMNS))
        differences = table[(table["kind"] == "difference") & (table["reference_arm"] == self._reference_arm)]
        if len(differences) and not (table["role"] == "primary").any():
            self._refuse(differences)
        return table

    def _refuse(self, differences: pd.DataFrame) -> None:
        primary = self._primary
        if not (differences["arm"] == primary.arm).any():
            hint = did_you_mean(primary.arm, set(differences["arm"]))
            raise InputError(f"the primary endpoint compares the arm {primary.arm!r}, which has no scores{hint}")
        differences = differences[differences["arm"] == primary.arm]
        for column in ("metric", "finding", "method", "policy"):
            name, known = getattr(primary, column), set(differences[column])
            if name not in known:
                hint = did_you_mean(name, known)
                raise InputError(f"the primary endpoint's {column} is {name!r}, which has no scores{hint}")
            differences = differences[differences[column] == name]
