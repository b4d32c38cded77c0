"""Shares of the headroom: by hand, undefined without room, and in the verdict's words."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmpkd.compare.compare import Endpoint, compare_arms
from mmpkd.compare.headroom import worth_boxes
from mmpkd.compare.verdict import verdict

CASES, SEEDS = 60, 3
SCORE = {"finding": "nodule", "method": "patch", "policy": "matched-area", "metric": "iou"}


def _tables(upper: float = 0.6) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    rng = np.random.default_rng(0)
    cases = [f"c{number}" for number in range(CASES)]
    truth = rng.integers(0, 2, CASES)
    labels = pd.DataFrame({"case": cases, "patient": cases, "finding": "nodule", "label": truth})
    means = {"hard": 0.2, "spatial": 0.4, "boxes-5": 0.35, "boxes-50": 0.5, "roi-supervised": upper}
    predictions, scores = [], []
    for arm, mean in means.items():
        for seed in range(SEEDS):
            noise = 0.02 * rng.normal(size=CASES)
            of_cell = {"arm": arm, "seed": seed, "case": cases}
            probability = 0.5 * truth + 0.3 * rng.random(CASES)
            predictions.append(pd.DataFrame({**of_cell, "finding": "nodule", "probability": probability}))
            scores.append(pd.DataFrame({**of_cell, **SCORE, "value": mean + noise}))
    prior = pd.DataFrame(
        {"arm": "mean-roi-prior", "case": cases, **SCORE, "value": 0.3 + 0.01 * rng.normal(size=CASES)}
    )
    return pd.concat(predictions), labels, pd.concat(scores), prior


def _compare(upper: float = 0.6) -> pd.DataFrame:
    predictions, labels, scores, prior = _tables(upper)
    primary = Endpoint("iou", "macro", "patch", "matched-area", "spatial")
    return compare_arms(predictions, labels, scores, prior, primary=primary, upper="roi-supervised", replicates=300)


def test_headroom_is_the_share_between_prior_and_upper_bound() -> None:
    table = _compare()
    assert set(table.query("kind == 'headroom'")["finding"]) == {"macro", "nodule", "pooled"}
    rows = table.query("kind == 'headroom' and finding == 'macro'").set_index("arm")
    assert rows.loc["spatial", "estimate"] == pytest.approx((0.4 - 0.3) / (0.6 - 0.3), abs=0.03)
    assert rows.loc["hard", "estimate"] == pytest.approx(-1 / 3, abs=0.03)
    assert rows.loc["spatial", "low"] < rows.loc["spatial", "estimate"] < rows.loc["spatial", "high"]
    assert "roi-supervised" not in rows.index


def test_without_room_there_is_no_share() -> None:
    rows = _compare(upper=0.2).query("kind == 'headroom'")
    assert rows[["estimate", "low", "high"]].isna().all(axis=None)


def test_the_verdict_names_the_upper_bound_and_the_boxes() -> None:
    primary = Endpoint("iou", "macro", "patch", "matched-area", "spatial")
    arms = ["hard", "spatial", "boxes-5", "boxes-50", "roi-supervised"]
    said = verdict(_compare(), primary, arms, boxes={"boxes-5": 5, "boxes-50": 50})["sentences"]
    (room,) = [sentence for sentence in said if sentence.startswith("Of the room between")]
    assert "'roi-supervised', which was shown the ROIs, 'spatial' takes 0.3" in room
    assert "By these estimates its privileged information is worth 5 to 50 boxes." in said


@pytest.mark.parametrize(
    ("value", "expected"), [(0.1, (0, 5)), (0.3, (5, 20)), (0.45, (20, 50)), (0.9, (50, None)), (0.2, (5, 20))]
)
def test_boxes_are_counted_up_to_the_first_that_is_not_reached(value: float, expected: tuple[int, int | None]) -> None:
    assert worth_boxes(value, {50: 0.5, 5: 0.2, 20: 0.4}) == expected


def test_findings_without_room_are_named_apart() -> None:
    predictions, labels, scores, prior = _tables()
    of_mass = {"finding": "mass"}
    tables = [pd.concat([table, table.assign(**of_mass)]) for table in (predictions, labels, scores)]
    blind = pd.concat([prior, prior.assign(**of_mass, value=0.7)])  # above the upper bound
    primary = Endpoint("iou", "macro", "patch", "matched-area", "spatial")
    table = compare_arms(*tables, blind, primary=primary, upper="roi-supervised", replicates=300)
    said = verdict(table, primary, ["hard", "spatial", "roi-supervised"])["sentences"]
    (by_finding,) = [sentence for sentence in said if sentence.startswith("Of that room by finding:")]
    assert "nodule 0.3" in by_finding
    assert "mass" not in by_finding
    expected = "In mass 'roi-supervised' is not shown to be above the prior, so there is no room to share."
    assert expected in said
