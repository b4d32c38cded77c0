"""Similarity of maps against the depth down to which a student's weights are randomised, with intervals."""

from __future__ import annotations

import pandas as pd

from mmpkd.compare.rows import COLUMNS as ROW_COLUMNS
from mmpkd.compare.rows import Rows
from mmpkd.compare.statistics import Bootstrap
from mmpkd.compare.tables import read_labels, read_localisation

COLUMNS = ("depth", "layer", *ROW_COLUMNS)
RANDOMISED = "randomised"


def compare_sanity(
    similarities: pd.DataFrame,
    labels: pd.DataFrame,
    *,
    arm: str,
    replicates: int = 2000,
    level: float = 0.95,
    seed: int = 0,
) -> pd.DataFrame:
    """Average the similarities of each depth over cases, per finding, macro and pooled.

    Args:
        similarities: ``depth``, ``layer``, ``case``, ``finding``, ``method``, ``metric``, ``value``, for one student.
        labels: ``case``, ``patient``, ``finding``, ``label``.
        arm: The student's arm, for the table.
        replicates: Bootstrap replicates; patients are redrawn.
        level: Coverage of the percentile intervals.
        seed: Seed of the bootstrap.

    Returns:
        :data:`COLUMNS`, ``kind`` being ``randomised``.
    """
    bootstrap = Bootstrap(read_labels(labels), replicates, seed)
    tables = []
    for _, table in similarities.groupby(["depth", "layer"], sort=False):
        scores, values = read_localisation(
            table.drop(columns=["depth", "layer"]).assign(arm=arm, policy=""), bootstrap.labels, "similarities"
        )
        rows = Rows(level)
        rows.add(RANDOMISED, arm, "", bootstrap.localisation(values[arm], scores), 1)
        tables.append(rows.finish().assign(depth=table["depth"].iloc[0], layer=table["layer"].iloc[0]))
    return pd.concat(tables, ignore_index=True)[list(COLUMNS)]
