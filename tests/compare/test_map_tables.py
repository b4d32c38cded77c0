"""Slices, ensembles, repeatability and pooled means: agreement with means by hand, pairing, and bad tables."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmpkd.compare.compare import compare_arms
from mmpkd.compare.ensembles import compare_ensembles
from mmpkd.compare.repeatability import compare_repeatability, stretch_both
from mmpkd.compare.slices import compare_slices
from mmpkd.errors import InputError

CASES = 24


def make_labels() -> pd.DataFrame:
    rows = [(f"c{k}", f"p{k // 2}", finding, 1.0) for k in range(CASES) for finding in ("nodule", "mass")]
    table = pd.DataFrame(rows, columns=["case", "patient", "finding", "label"])
    table.loc[table["case"] == "c0", "label"] = 0.0
    return table


def make_scores(seeds: tuple[int, ...] = (0, 1, 2), arms: tuple[str, ...] = ("hard", "mmpkd")) -> pd.DataFrame:
    rng = np.random.default_rng(5)
    rows = [
        (arm, seed, f"c{k}", finding, rng.random() + (arm == "mmpkd"))
        for arm in arms
        for seed in seeds
        for k in range(CASES)
        for finding in ("nodule", "mass")
        if finding == "nodule" or k % 3 == 0
    ]
    table = pd.DataFrame(rows, columns=["arm", "seed", "case", "finding", "value"])
    return table.assign(method="attention", policy="matched-area", metric="iou")


def find(table: pd.DataFrame, **wanted: str) -> pd.Series:
    rows = table
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, f"{len(rows)} rows for {wanted}"
    return rows.iloc[0]


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    return make_labels()


def test_pooled_is_the_mean_over_all_rois_and_macro_over_findings(labels):
    scores = make_scores()
    predictions = scores[["arm", "seed"]].drop_duplicates().merge(labels[["case", "finding"]], how="cross")
    predictions["probability"] = np.random.default_rng(1).random(len(predictions))
    table = compare_arms(predictions, labels, scores, replicates=100)
    mine = scores[scores["arm"] == "mmpkd"]
    by_seed = mine.groupby("seed")["value"].mean().mean()
    by_finding = mine.groupby(["seed", "finding"])["value"].mean().groupby("finding").mean()
    pooled = find(table, kind="arm", arm="mmpkd", metric="iou", finding="pooled")
    assert pooled["estimate"] == pytest.approx(by_seed, abs=1e-12)
    assert pooled["cases"] == CASES
    macro = find(table, kind="arm", arm="mmpkd", metric="iou", finding="macro")["estimate"]
    assert macro == pytest.approx(by_finding.mean(), abs=1e-12)
    assert abs(macro - pooled["estimate"]) > 1e-4
    assert find(table, kind="difference", metric="iou", finding="pooled")["low"] > 0.5


class TestSlices:
    def test_a_slice_by_roi_is_the_same_for_arms_and_baselines(self, labels):
        scores = make_scores()
        blind = make_scores((0,), ("chance",)).drop(columns="seed")
        small = pd.DataFrame({"case": [f"c{k}" for k in range(6)], "finding": "nodule"})
        table = compare_slices(scores, labels, {"small": small}, blind, replicates=50)
        inside = scores[scores["case"].isin(small["case"]) & (scores["finding"] == "nodule")]
        expected = inside[inside["arm"] == "hard"].groupby("seed")["value"].mean().mean()
        row = find(table, slice="small", kind="arm", arm="hard", finding="nodule")
        assert (row["estimate"], row["cases"], row["patients"]) == (pytest.approx(expected), 6, 3)
        chance = blind[blind["case"].isin(small["case"]) & (blind["finding"] == "nodule")]["value"].mean()
        assert find(table, kind="baseline", finding="nodule")["estimate"] == pytest.approx(chance)

    def test_true_positives_are_each_students_own_and_pairs_need_both(self, labels):
        scores = make_scores((0,))
        hits = scores[["arm", "seed", "case", "finding"]]
        keep = (hits["arm"] == "hard") & hits["case"].isin(["c1", "c2", "c3", "c4"])
        keep |= (hits["arm"] == "mmpkd") & hits["case"].isin(["c3", "c4", "c5"])
        hits = hits[keep & (hits["finding"] == "nodule")]
        blind = make_scores((0,), ("chance",)).drop(columns="seed")
        table = compare_slices(scores, labels, {"true positives": hits}, blind, replicates=50)
        assert find(table, kind="arm", arm="mmpkd", finding="nodule")["cases"] == 3
        values = scores[scores["finding"] == "nodule"].set_index(["arm", "case"])["value"]
        gap = np.mean([values["mmpkd", case] - values["hard", case] for case in ("c3", "c4")])
        row = find(table, kind="difference", reference_arm="hard", finding="nodule")
        assert (row["estimate"], row["cases"]) == (pytest.approx(gap), 2)
        assert not (table["kind"] == "baseline").any()
        assert find(table, kind="difference", arm="mmpkd", reference_arm="chance", finding="nodule")["cases"] == 3

    def test_an_roi_of_some_seeds_counts_and_a_seed_without_any_is_not_counted(self, labels):
        scores = make_scores((0, 1, 2), ("hard",))
        hits = pd.DataFrame(
            [("hard", 0, "c1", "nodule"), ("hard", 0, "c2", "nodule"), ("hard", 1, "c2", "nodule")],
            columns=["arm", "seed", "case", "finding"],
        )
        table = compare_slices(scores, labels, {"true positives": hits}, replicates=50)
        values = scores[scores["finding"] == "nodule"].set_index(["seed", "case"])["value"]
        expected = np.mean([values[0, "c1"], np.mean([values[0, "c2"], values[1, "c2"]])])
        row = find(table, kind="arm", finding="nodule")
        assert (row["estimate"], row["cases"], row["seeds"]) == (pytest.approx(expected), 2, 2)
        assert find(table, kind="arm", finding="macro")["estimate"] == pytest.approx(expected)

    def test_an_empty_slice_has_no_rows_and_a_broken_one_is_named(self, labels):
        nobody = pd.DataFrame({"case": ["c999"], "finding": ["nodule"]})
        assert compare_slices(make_scores(), labels, {"none": nobody}, replicates=10).empty
        with pytest.raises(InputError, match="slice 'small' lacks the column 'finding'"):
            compare_slices(make_scores(), labels, {"small": nobody[["case"]]}, replicates=10)


def test_an_ensemble_is_held_against_its_own_seeds(labels):
    scores = make_scores()
    single = scores.groupby(["arm", "case", "finding", "method", "policy", "metric"], as_index=False)["value"].mean()
    ensembles = single.assign(value=single["value"] + 0.25)
    table = compare_ensembles(ensembles, scores, labels, replicates=100)
    gain = find(table, kind="ensemble-gain", arm="hard", finding="nodule")
    assert (gain["estimate"], gain["low"], gain["high"]) == pytest.approx((0.25, 0.25, 0.25))
    own = find(table, kind="ensemble", arm="hard", finding="nodule")
    hard = scores[(scores["arm"] == "hard") & (scores["finding"] == "nodule")]["value"].mean()
    assert (own["estimate"], own["seeds"]) == (pytest.approx(hard + 0.25), 3)


def test_an_ensemble_is_held_against_baselines_too(labels):
    scores = make_scores()
    ensembles = scores[scores["seed"] == 1].drop(columns="seed")
    blind = make_scores((0,), ("mean-roi-prior",)).drop(columns="seed")
    table = compare_ensembles(ensembles, scores, labels, blind, replicates=100)
    pair = ensembles[ensembles["arm"] == "mmpkd"].merge(blind, on=["case", "finding"], suffixes=("", "_blind"))
    pair = pair[pair["finding"] == "nodule"]
    row = find(table, kind="difference", arm="mmpkd", reference_arm="mean-roi-prior", finding="nodule")
    assert row["estimate"] == pytest.approx((pair["value"] - pair["value_blind"]).mean(), abs=1e-12)
    assert row["low"] < row["estimate"] < row["high"]


def make_similarities(level: dict[tuple[str, str], float], seeds: int = 4) -> pd.DataFrame:
    rng = np.random.default_rng(8)
    pairs = [(s, t) for s in range(seeds) for t in range(s + 1, seeds)]
    rows = []
    for (kind, arm), mean in level.items():
        of_kind = [(s, s) for s in range(seeds)] if kind == "arms" else pairs
        other = "hard" if kind == "arms" else ""
        for s, t in of_kind:
            values = mean + 0.1 * rng.standard_normal(CASES)
            rows += [(kind, arm, other, s, t, f"c{k}", "nodule", value) for k, value in enumerate(values)]
    columns = ["kind", "arm", "reference_arm", "seed", "other_seed", "case", "finding", "value"]
    return pd.DataFrame(rows, columns=columns).assign(method="attention", metric="ssim")


LEVEL = {
    ("seeds", "hard"): 0.4,
    ("unrelated", "hard"): 0.1,
    ("seeds", "mmpkd"): 0.6,
    ("unrelated", "mmpkd"): 0.1,
    ("ensembles", "mmpkd"): 0.8,
    ("arms", "mmpkd"): 0.3,
}


@pytest.fixture(scope="module")
def table(labels: pd.DataFrame) -> pd.DataFrame:
    return compare_repeatability(make_similarities(LEVEL), labels, replicates=200)


class TestRepeatability:
    def test_each_kind_is_the_mean_over_pairs_and_cases(self, table):
        given = make_similarities(LEVEL)
        for kind, arm in LEVEL:
            expected = given[(given["kind"] == kind) & (given["arm"] == arm)]["value"].mean()
            row = find(table, kind=kind, arm=arm, finding="macro")
            assert row["estimate"] == pytest.approx(expected, abs=1e-12)
            assert row["low"] < expected < row["high"]

    def test_differences_subtract_the_right_levels(self, table):
        estimates = {
            (kind, arm): find(table, kind=kind, arm=arm, finding="nodule")["estimate"]
            for kind, arm in (*LEVEL, ("excess", "hard"), ("change", "mmpkd"), ("ensemble-gain", "mmpkd"))
        }
        assert estimates["excess", "hard"] == pytest.approx(estimates["seeds", "hard"] - estimates["unrelated", "hard"])
        assert estimates["change", "mmpkd"] == pytest.approx(estimates["seeds", "mmpkd"] - estimates["seeds", "hard"])
        assert estimates["ensemble-gain", "mmpkd"] == pytest.approx(
            estimates["ensembles", "mmpkd"] - estimates["seeds", "mmpkd"]
        )
        assert not ((table["kind"] == "change") & (table["arm"] == "hard")).any()
        for kind in ("seeds", "ensembles", "ensemble-gain", "change"):
            assert find(table, kind=kind, arm="mmpkd", finding="nodule")["seeds"] == 4

    def test_differences_are_over_the_cases_that_both_sides_have(self, labels):
        """A finding of one patient has no unrelated pair: its own similarity is no excess."""
        similarities = make_similarities({("seeds", "hard"): 0.0, ("unrelated", "hard"): 0.0})
        similarities["value"] = np.where(similarities["kind"] == "seeds", 0.200, 0.199)
        rare = similarities[similarities["case"] == "c4"].assign(finding="mass")
        rare["value"] = np.where(rare["kind"] == "seeds", 0.9, np.nan)
        table = compare_repeatability(pd.concat([similarities, rare]), labels, replicates=50)
        assert find(table, kind="seeds", finding="macro")["estimate"] == pytest.approx(0.55)
        macro = find(table, kind="excess", finding="macro")
        assert (macro["estimate"], macro["cases"]) == (pytest.approx(0.001), CASES)
        assert np.isnan(find(table, kind="excess", finding="mass")["estimate"])

    def test_a_change_is_over_the_cases_whose_maps_both_arms_have(self, labels):
        similarities = make_similarities({("seeds", "hard"): 0.3, ("seeds", "mmpkd"): 0.5})
        of_arm = {arm: part.pivot_table("value", "case") for arm, part in similarities.groupby("arm")}
        flat = (similarities["arm"] == "mmpkd") & (similarities["other_seed"] == 3)
        similarities.loc[flat & similarities["case"].isin(["c5", "c6"]), "value"] = np.nan
        row = find(compare_repeatability(similarities, labels, replicates=50), kind="change", finding="nodule")
        gap = (of_arm["mmpkd"] - of_arm["hard"]).drop(["c5", "c6"])["value"].mean()
        assert (row["estimate"], row["cases"]) == (pytest.approx(gap), CASES - 2)

    def test_the_gain_of_ensembles_leaves_the_seeds_as_they_are(self, labels):
        """One seed unlike the others moves single seeds, not the gain of the ensembles at hand."""
        similarities = make_similarities({("seeds", "hard"): 0.5, ("ensembles", "hard"): 0.8})
        apart = (similarities["kind"] == "seeds") & (similarities["other_seed"] == 3)
        similarities.loc[apart, "value"] -= 0.6
        row = find(compare_repeatability(similarities, labels, replicates=2000), kind="ensemble-gain", finding="macro")
        of_kind = {kind: part.pivot_table("value", "case")["value"] for kind, part in similarities.groupby("kind")}
        gap = (of_kind["ensembles"] - of_kind["seeds"])[[f"c{k}" for k in range(CASES)]].to_numpy()
        error = gap.reshape(-1, 2).mean(axis=1).std() / np.sqrt(CASES / 2)
        assert row["estimate"] == pytest.approx(gap.mean())
        assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * error, rel=0.1)

    def test_ensembles_without_their_seeds_are_refused(self, labels):
        with pytest.raises(InputError, match="'hard' hold `ensembles` and no `seeds`"):
            compare_repeatability(make_similarities({("ensembles", "hard"): 0.8}), labels, replicates=10)

    def test_tables_one_after_another_give_what_one_table_gives(self, labels):
        one, other = make_similarities(LEVEL), make_similarities(LEVEL, 3).assign(metric="spearman")
        streamed = compare_repeatability(iter([one, other]), labels, replicates=50)
        apart = [compare_repeatability(part, labels, replicates=50) for part in (one, other)]
        pd.testing.assert_frame_equal(streamed, pd.concat(apart, ignore_index=True))

    def test_seeds_widen_the_interval_when_they_disagree(self, labels):
        """One seed unlike the others: similarity depends on which seeds are drawn, and the interval says so."""
        alike = make_similarities({("seeds", "hard"): 0.5})
        apart = alike.copy()
        apart.loc[apart["other_seed"] == 3, "value"] -= 0.6
        widths = []
        for similarities in (alike, apart):
            row = find(compare_repeatability(similarities, labels, replicates=400), finding="macro")
            widths.append(row["high"] - row["low"])
        assert widths[1] > 3 * widths[0]

    def test_two_seeds_have_the_interval_of_their_one_pair_over_patients(self, labels):
        similarities = make_similarities({("seeds", "a"): 0.5}, 2)
        row = find(compare_repeatability(similarities, labels, replicates=4000), finding="macro")
        of_patients = similarities["value"].to_numpy().reshape(-1, 2).mean(axis=1)
        error = of_patients.std() / np.sqrt(len(of_patients))
        assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * error, rel=0.1)

    def test_three_seeds_have_an_interval_from_one_pair_to_another(self, labels):
        """Pairs alike in every case: three quarters of the draws of two different seeds are of one pair alone."""
        similarities = make_similarities({("seeds", "a"): 0.5}, 3)
        level = {(0, 1): 0.3, (0, 2): 0.5, (1, 2): 0.9}
        keys = zip(similarities["seed"], similarities["other_seed"], strict=True)
        similarities["value"] = [level[key] for key in keys]
        row = find(compare_repeatability(similarities, labels, replicates=500), finding="macro")
        assert (row["estimate"], row["low"], row["high"]) == pytest.approx((1.7 / 3, 0.3, 0.9))


EFFECTS = np.random.default_rng(2).normal(0.2, 0.1, 150)


@pytest.fixture(scope="module")
def additive() -> pd.DataFrame:
    """Maps whose similarity is h(i, j) = u_i + u_j for patients i and j, and about .3 more for one patient's own."""
    count = len(EFFECTS)
    cases = [f"c{k}" for k in range(count)]
    labels = pd.DataFrame({"case": cases, "patient": cases, "finding": "nodule", "label": 1.0})
    over_partners = EFFECTS + (EFFECTS.sum() - EFFECTS) / (count - 1)
    own = 0.3 + 2 * EFFECTS + np.random.default_rng(3).normal(0.0, 0.05, count)
    given = [
        labels.assign(kind=kind, value=values) for kind, values in {"unrelated": over_partners, "seeds": own}.items()
    ]
    similarities = pd.concat(given).drop(columns=["patient", "label"])
    similarities = similarities.assign(arm="hard", reference_arm="", seed=0, other_seed=1)
    return compare_repeatability(similarities.assign(method="attention", metric="ssim"), labels, replicates=4000)


class TestUnrelatedPairs:
    def test_the_interval_is_that_of_a_mean_in_which_each_patient_enters_twice(self, additive):
        """The mean of u_i + u_j over pairs of n patients varies by 4 var(u) / n."""
        row = find(additive, kind="unrelated", finding="nodule")
        assert row["estimate"] == pytest.approx(2 * EFFECTS.mean())
        error = 2 * EFFECTS.std() / np.sqrt(len(EFFECTS))
        assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * error, rel=0.06)

    def test_the_excess_pairs_it_with_the_same_patients_seeds(self, additive):
        """Seeds vary as 2 u_i too, so that the patients' effects cancel and the noise is left."""
        row = find(additive, kind="excess", finding="nodule")
        error = 0.05 / np.sqrt(len(EFFECTS))
        assert row["estimate"] == pytest.approx(0.3, abs=3 * error)
        assert (row["high"] - row["low"]) / 2 == pytest.approx(1.96 * error, rel=0.15)

    def test_stretching_doubles_the_distance_from_the_mean_of_each_pair_and_column(self):
        values = np.array([[[1.0, 5.0], [3.0, np.nan], [8.0, 7.0]]])
        expected = [[[-2.0, 4.0], [2.0, np.nan], [12.0, 8.0]]]
        np.testing.assert_allclose(stretch_both(values), expected)
        assert np.isnan(stretch_both(np.full((1, 2, 1), np.nan))).all()
