"""One statistic's draws: its interval and p-value with one seed, several, and where nothing varied."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmpkd.compare.compare import compare_arms
from mmpkd.compare.crossed import seeds_by_patients
from mmpkd.compare.intervals import percentile_interval
from mmpkd.compare.statistics import Draws

RNG = np.random.default_rng(0)
PATIENTS, REPLICATES = 50, 999
BY_SEED = (0.05 + 0.02 * RNG.normal(size=(4, 1)) + 0.01 * RNG.normal(size=(4, 1 + REPLICATES))).astype(np.float32)


def _several() -> Draws:
    return Draws(BY_SEED.mean(axis=0).astype(float), 80, PATIENTS, BY_SEED)


def _one(values: np.ndarray) -> Draws:
    return Draws(values, 80, PATIENTS)


def test_several_seeds_have_the_interval_of_seeds_by_patients() -> None:
    found, expected = _several(), seeds_by_patients(BY_SEED.astype(float), PATIENTS)
    assert found.interval(0.9) == pytest.approx(expected.interval(0.9), abs=1e-6)
    assert found.p() == pytest.approx(expected.p(), rel=1e-4)


def test_one_seed_has_the_percentiles_of_its_draws() -> None:
    values = 0.02 + 0.01 * RNG.normal(size=1 + REPLICATES)
    found = _one(values)
    assert found.interval() == percentile_interval(values)
    below = np.count_nonzero(values[1:] <= 0)
    assert found.p() == pytest.approx(2 * (1 + below) / (1 + REPLICATES))


def test_an_interval_without_0_and_a_p_below_its_level_agree() -> None:
    for shift in np.linspace(0.0, 0.05, 21):
        for found in (_one(shift + 0.01 * RNG.normal(size=4000)), _several()):
            low, high = found.interval()[1:]
            assert (low > 0 or high < 0) == (found.p() < 0.05) or abs(found.p() - 0.05) < 0.005


def test_an_arm_less_itself_is_0_everywhere_and_has_no_p_below_1() -> None:
    nothing = _several().minus(_several())
    assert nothing.interval() == (0, 0, 0)
    assert nothing.p() == 1.0


def test_an_arm_less_a_baseline_keeps_its_seeds() -> None:
    baseline = _one(0.01 * RNG.normal(size=1 + REPLICATES))
    found = _several().minus(baseline)
    assert found.by_seed is not None
    np.testing.assert_allclose(found.by_seed.mean(axis=0), found.draws, atol=1e-6)


def test_unlike_numbers_of_seeds_fall_back_to_percentiles() -> None:
    found = _several().minus(Draws(BY_SEED[:3].mean(axis=0).astype(float), 80, PATIENTS, BY_SEED[:3]))
    assert found.by_seed is None
    assert found.interval() == percentile_interval(found.draws)


def test_what_is_undefined_has_neither() -> None:
    values = np.full(1 + REPLICATES, np.nan)
    assert np.isnan([*_one(values).interval(), _one(values).p()]).all()


def test_levels_stay_between_0_and_1_and_findings_are_corrected_for_their_number() -> None:

    cases = [f"c{number}" for number in range(40)]
    truth = RNG.integers(0, 2, (40, 3))
    rows = []
    for arm, noise in (("hard", 1.0), ("mmpkd", 0.1)):
        for seed in range(3):
            scores = truth + noise * RNG.normal(size=truth.shape)
            for column, finding in enumerate("abc"):
                of_cell = {"arm": arm, "seed": seed, "case": cases, "finding": finding}
                rows.append(pd.DataFrame({**of_cell, "probability": 1 / (1 + np.exp(-scores[:, column]))}))
    labels = pd.concat(
        [
            pd.DataFrame({"case": cases, "patient": cases, "finding": finding, "label": truth[:, column]})
            for column, finding in enumerate("abc")
        ]
    )
    table = compare_arms(pd.concat(rows), labels, replicates=300)
    levels = table[(table["kind"] == "arm") & (table["metric"] == "auroc")]
    assert levels["high"].max() <= 1.0
    assert levels["p"].isna().all()
    gaps = table[(table["kind"] == "difference") & (table["metric"] == "auroc")].set_index("finding")
    assert np.isnan(gaps.loc["macro", "p_holm"])
    single = gaps.loc[list("abc")]
    assert (single["p_holm"] >= single["p"]).all()
    assert single["p_holm"].min() == pytest.approx(3 * single["p"].min())
