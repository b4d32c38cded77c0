"""Slices of a study's localisation scores: true positives of each student, and sizes of the ROI."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmpkd.evaluate.strata import roi_size_strata, stratum_names
from mmpkd.evaluate.tuning import youden_threshold
from mmpkd.study.cell import CellWork

TRUE_POSITIVES = "true positives"


def roi_slices(work: CellWork, predictions: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """Return the (case, finding) pairs of each slice, in the form of :func:`mmpkd.compare.slices.compare_slices`.

    Args:
        work: What the study's cells share.
        predictions: Of all cells, validation and test: ``arm``, ``seed``, ``case``, ``split``, ``finding``,
            ``probability``. A student's threshold for a finding is Youden's on its validation cases.
    """
    slices = {TRUE_POSITIVES: _true_positives(work, predictions)}
    targets = pd.DataFrame(
        [(target.case, target.finding, target.mask.mean()) for target in work.targets],
        columns=["case", "finding", "area"],
    )
    stratum = roi_size_strata(targets["area"].to_numpy())
    for name in stratum_names():
        slices[f"ROI {name}"] = targets.loc[stratum == name, ["case", "finding"]]
    return slices


def _true_positives(work: CellWork, predictions: pd.DataFrame) -> pd.DataFrame:
    keys = ["arm", "seed", "finding"]
    long = {
        name: pd.DataFrame(
            {
                "case": np.repeat(work.cohort.cases.index.to_numpy(), len(work.cohort.findings)),
                "finding": np.tile(np.array(work.cohort.findings, dtype=object), len(work.cohort.cases)),
                "label": matrix.ravel(),
            }
        )
        for name, matrix in (("val", work.cohort.labels), ("test", work.cohort.evaluation_labels))
    }
    validated = predictions[predictions["split"] == "val"].merge(long["val"], on=["case", "finding"])
    thresholds = [
        (*key, youden_threshold(group["label"].to_numpy(), group["probability"].to_numpy()))
        for key, group in validated.groupby(keys, sort=False)
    ]
    tested = predictions[predictions["split"] == "test"].merge(long["test"], on=["case", "finding"])
    tested = tested.merge(pd.DataFrame(thresholds, columns=[*keys, "threshold"]), on=keys, how="left")
    called = tested["probability"] >= tested["threshold"].fillna(0.5)
    return tested.loc[np.asarray(called & (tested["label"] == 1)), ["arm", "seed", "case", "finding"]]
