"""Arms against a reference arm and picture-blind baselines: estimates and paired intervals, one table.

Hierarchical bootstrap: a replicate redraws patients, with all their cases, and seeds; every arm, seed and
finding reads the same draws. Nothing here puts a result into words; that is ``mmpkd.compare.verdict``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mmpkd.compare.multiplicity import holm
from mmpkd.compare.paired import control_entries, localisation_entries, minus, only
from mmpkd.compare.rows import COLUMNS as ROW_COLUMNS
from mmpkd.compare.rows import Rows
from mmpkd.compare.statistics import Bootstrap
from mmpkd.compare.tables import Score, read_labels, read_predictions
from mmpkd.errors import InputError, did_you_mean
from mmpkd.evaluate.classification import MACRO
from mmpkd.evaluate.strata import POOLED

COLUMNS = (*ROW_COLUMNS, "p_holm", "role")
_FAMILY = ["kind", "arm", "reference_arm", "metric", "policy", "method"]


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
    controls: Sequence[str] = (),
    upper: str = "",
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
        controls: Arms that the primary endpoint's arm is held against too, in the primary endpoint alone.
        upper: The arm that was shown the ROIs, for the share of the headroom that the others take
            (:mod:`mmpkd.compare.headroom`); none by default.
        replicates: Bootstrap replicates.
        level: Coverage of the intervals.
        seed: Seed of the bootstrap.

    Returns:
        One row a statistic in :data:`COLUMNS`. ``kind`` is ``arm``, ``baseline``, ``difference`` (``arm`` -
        ``reference_arm``: the reference arm or, for localisation, a baseline), ``control`` (``arm`` - that control;
        none for the reference arm, whose difference is there) or ``headroom`` (a share, ``reference_arm`` the upper
        bound). Values are means over seeds;
        localisation is the mean over cases with a defined score, and ``macro`` the mean over findings. A
        difference uses the cases where both sides are defined. What is undefined (a finding without labels)
        is NaN and in no mean. ``p`` is that of a difference against 0; ``p_holm`` the same for single findings,
        corrected for the number of findings that the difference was measured in.

    Raises:
        InputError: A table lacks something, there is one patient only, or no such arm or endpoint.

    With one arm there is no difference and no primary row.

    Seeds are paired between arms that ran the same ones. Their part in an interval is taken from the variance between
    them, by t with their degrees of freedom (:mod:`mmpkd.compare.crossed`), since redrawing a few seeds understates it;
    with one seed only patients are redrawn, and the interval is that of the percentiles.
    """
    primary = primary or Endpoint()
    read = read_labels(labels)
    arms = read_predictions(predictions, read)
    if reference_arm not in arms:
        hint = did_you_mean(reference_arm, arms)
        raise InputError(f"there are no predictions of the reference arm {reference_arm!r}{hint}")
    if absent := [control for control in controls if control not in arms]:
        raise InputError(f"there are no predictions of the control arm {absent[0]!r}{did_you_mean(absent[0], arms)}")
    bootstrap = Bootstrap(read, replicates, seed)

    table = Rows(level)
    classified = {arm: bootstrap.classification(values) for arm, values in arms.items()}
    for arm, statistics in classified.items():
        table.add("arm", arm, "", statistics, len(arms[arm].seeds))
    for arm, statistics in classified.items():
        if arm != reference_arm:
            both = min(len(arms[arm].seeds), len(arms[reference_arm].seeds))
            table.add("difference", arm, reference_arm, minus(statistics, classified[reference_arm]), both)
    for entry in localisation_entries(localisation, baselines, bootstrap, reference_arm, upper):
        table.add(*entry)
    held_against = [control for control in controls if control not in (reference_arm, primary.arm)]
    for control in held_against if primary.arm in arms else ():
        gained = only(minus(classified[primary.arm], classified[control]), primary.score)
        table.add("control", primary.arm, control, gained, min(len(arms[arm].seeds) for arm in (primary.arm, control)))
    for entry in control_entries(localisation, bootstrap, primary.arm, held_against, primary.score):
        table.add(*entry)
    return _with_roles(_with_holm(table.finish()), primary, reference_arm)


def _with_holm(table: pd.DataFrame) -> pd.DataFrame:
    """Add ``p_holm``: p corrected for the number of findings that one difference was measured in."""
    of_finding = table[~table["finding"].isin([MACRO, POOLED])]
    corrected = of_finding.groupby(_FAMILY, sort=False)["p"].transform(lambda p: holm(p.to_numpy()))
    return table.assign(p_holm=corrected.reindex(table.index))


def _with_roles(table: pd.DataFrame, primary: Endpoint, reference_arm: str) -> pd.DataFrame:
    """Add the column ``role``; an endpoint that is not in the table is refused."""
    compared = (table["kind"] == "difference") & (table["reference_arm"] == reference_arm)
    asked = compared & (table["arm"] == primary.arm)
    for column, wanted in primary.score._asdict().items():
        asked &= table[column] == wanted
    if compared.any() and not asked.any():
        _refuse(table[compared], primary)
    return table.assign(role=np.where(asked, "primary", "exploratory"))


def _refuse(differences: pd.DataFrame, primary: Endpoint) -> None:
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
