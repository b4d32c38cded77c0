"""Comparison of arms: agreement with pure functions, pairing, hierarchy, missing things, and bad tables."""

import numpy as np
import pandas as pd
import pytest

from mmpkd.compare.compare import COLUMNS, Endpoint, compare_arms
from mmpkd.errors import InputError
from mmpkd.evaluate.classification import auroc, classification_scores

CASES, FINDINGS = 80, ("nodule", "mass")
KEYS = ["kind", "arm", "reference_arm", "metric", "policy", "method", "finding"]


def make_labels(seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    rows = [(f"c{k}", f"p{k // 2}", finding, float(rng.random() < 0.4)) for k in range(CASES) for finding in FINDINGS]
    return pd.DataFrame(rows, columns=["case", "patient", "finding", "label"])


def make_predictions(labels: pd.DataFrame, skill: dict[str, float], seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    tables = []
    for arm, gain in skill.items():
        for seed in seeds:
            noise = np.random.default_rng([seed, 7]).normal(size=len(labels))
            p = 1 / (1 + np.exp(-(gain * (2 * labels["label"].fillna(0) - 1) + noise)))
            tables.append(labels[["case", "finding"]].assign(arm=arm, seed=seed, probability=p))
    return pd.concat(tables, ignore_index=True)


def make_localisation(labels: pd.DataFrame, level: dict[str, float], seeds: tuple[int, ...] = (0, 1)) -> pd.DataFrame:
    positive = labels[labels["label"] == 1]
    tables = []
    for arm, value in level.items():
        for seed in seeds:
            noise = np.random.default_rng([seed, 9]).normal(0, 0.05, len(positive))
            table = positive[["case", "finding"]].assign(arm=arm, seed=seed, value=value + noise)
            tables.append(table.assign(method="attention", policy="matched-area", metric="iou"))
    return pd.concat(tables, ignore_index=True)


@pytest.fixture(scope="module")
def labels() -> pd.DataFrame:
    return make_labels()


@pytest.fixture(scope="module")
def predictions(labels: pd.DataFrame) -> pd.DataFrame:
    return make_predictions(labels, {"hard": 0.3, "mmpkd": 1.2})


@pytest.fixture(scope="module")
def localisation(labels: pd.DataFrame) -> pd.DataFrame:
    return make_localisation(labels, {"hard": 0.1, "mmpkd": 0.3})


@pytest.fixture(scope="module")
def baselines(labels: pd.DataFrame) -> pd.DataFrame:
    blind = make_localisation(labels, {"chance": 0.1, "mean-roi-prior": 0.3}, (5,))
    return blind.drop(columns="seed").assign(method="")


@pytest.fixture(scope="module")
def table(
    predictions: pd.DataFrame, labels: pd.DataFrame, localisation: pd.DataFrame, baselines: pd.DataFrame
) -> pd.DataFrame:
    return compare_arms(predictions, labels, localisation, baselines, replicates=200)


def find(table: pd.DataFrame, **wanted: str) -> pd.Series:
    rows = table
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, f"{len(rows)} rows for {wanted}"
    return rows.iloc[0]


def test_the_table_has_the_promised_columns_and_one_row_a_statistic(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == COLUMNS
    assert not table.duplicated(KEYS).any()
    assert set(table["kind"]) == {"arm", "difference", "baseline"}
    assert (table["role"] == "primary").sum() == 1


@pytest.mark.parametrize("metric", ["auroc", "average_precision", "brier", "calibration_error"])
def test_an_arms_estimate_is_the_mean_over_seeds_of_the_pure_metric(
    table: pd.DataFrame, predictions: pd.DataFrame, labels: pd.DataFrame, metric: str
) -> None:
    y = labels["label"].to_numpy().reshape(CASES, 2)
    values = []
    for seed in (0, 1):
        p = predictions[(predictions["arm"] == "mmpkd") & (predictions["seed"] == seed)]
        scores = classification_scores(p["probability"].to_numpy().reshape(CASES, 2), y, FINDINGS)
        values.append(scores.set_index(["finding", "metric"])["value"])
    for finding in (*FINDINGS, "macro"):
        expected = np.mean([value[finding, metric] for value in values])
        row = find(table, kind="arm", arm="mmpkd", metric=metric, finding=finding)
        assert row["estimate"] == pytest.approx(expected, abs=1e-12)
        assert (row["cases"], row["patients"], row["seeds"]) == (CASES, CASES // 2, 2)


def test_a_difference_is_between_the_arms_and_its_interval_holds_it(table: pd.DataFrame) -> None:
    row = find(table, kind="difference", metric="auroc", finding="macro")
    arms = [find(table, kind="arm", arm=arm, metric="auroc", finding="macro")["estimate"] for arm in ("mmpkd", "hard")]
    assert row["estimate"] == pytest.approx(arms[0] - arms[1])
    assert 0 < row["low"] < row["estimate"] < row["high"]
    assert (row["arm"], row["reference_arm"], row["role"]) == ("mmpkd", "hard", "primary")


def test_equal_arms_differ_by_exactly_nothing_because_draws_are_paired(labels: pd.DataFrame) -> None:
    table = compare_arms(make_predictions(labels, {"hard": 0.5, "mmpkd": 0.5}), labels, replicates=50)
    differences = table[table["kind"] == "difference"]
    assert len(differences) == 12
    assert (differences[["estimate", "low", "high"]] == 0).all(axis=None)


def test_localisation_is_the_mean_over_seeds_of_means_over_cases(
    table: pd.DataFrame, localisation: pd.DataFrame
) -> None:
    mine = localisation[localisation["arm"] == "mmpkd"]
    means = mine.groupby("finding")["value"].mean()
    for finding in FINDINGS:
        row = find(table, kind="arm", arm="mmpkd", metric="iou", finding=finding)
        assert row["estimate"] == pytest.approx(means[finding])
        assert row["cases"] == (mine[mine["seed"] == 0]["finding"] == finding).sum()
        assert (row["method"], row["policy"]) == ("attention", "matched-area")
    macro = find(table, kind="arm", arm="mmpkd", metric="iou", finding="macro")
    assert macro["estimate"] == pytest.approx(means.mean())


def test_arms_are_compared_with_baselines_whose_method_has_no_name(table: pd.DataFrame) -> None:
    row = find(table, kind="difference", arm="mmpkd", reference_arm="chance", finding="macro")
    assert row["low"] > 0.1
    assert find(table, kind="baseline", arm="chance", finding="macro")["seeds"] == 0
    prior = find(table, kind="difference", arm="mmpkd", reference_arm="mean-roi-prior", finding="macro")
    assert prior["low"] < 0 < prior["high"]


@pytest.mark.parametrize("loser", ["mmpkd", "hard"])
def test_a_difference_uses_only_cases_where_both_sides_are_defined(labels: pd.DataFrame, loser: str) -> None:
    scores = make_localisation(labels, {"hard": 0.1, "mmpkd": 0.1})
    lost = (scores["arm"] == loser) & (scores["value"] > 0.12)
    scores.loc[lost & (scores["seed"] == 0), "value"] = np.nan
    predictions = make_predictions(labels, {"hard": 0.5, "mmpkd": 0.6})
    row = find(
        compare_arms(predictions, labels, scores, replicates=50),
        kind="difference",
        metric="iou",
        finding="nodule",
    )
    of_nodule = scores[scores["finding"] == "nodule"]
    wide = of_nodule.pivot_table(index="case", columns=["arm", "seed"], values="value", dropna=False)
    whole = wide.dropna()
    assert len(whole) < len(wide)
    assert row["estimate"] == pytest.approx((whole["mmpkd"] - whole["hard"]).to_numpy().mean())
    assert row["cases"] == len(whole)


def test_seeds_that_disagree_widen_the_interval(labels: pd.DataFrame) -> None:
    agree = make_predictions(labels, {"hard": 0.5, "mmpkd": 0.8})
    differ = agree.copy()
    worse = (differ["arm"] == "mmpkd") & (differ["seed"] == 1)
    differ.loc[worse, "probability"] = 1 - differ.loc[worse, "probability"]
    widths = []
    for predictions in (agree, differ):
        row = find(compare_arms(predictions, labels, replicates=400), role="primary")
        widths.append(row["high"] - row["low"])
    assert widths[1] > 3 * widths[0]


def test_one_seed_leaves_only_patients_to_redraw(labels: pd.DataFrame) -> None:
    predictions = make_predictions(labels, {"hard": 0.3, "mmpkd": 1.2}, seeds=(4,))
    row = find(compare_arms(predictions, labels, replicates=200), role="primary")
    assert row["seeds"] == 1
    assert row["low"] < row["estimate"] < row["high"]


def test_arms_with_different_seeds_are_compared_by_their_means(labels: pd.DataFrame) -> None:
    predictions = make_predictions(labels, {"hard": 0.3, "mmpkd": 1.2}, seeds=(0, 1, 2))
    fewer = predictions[(predictions["arm"] == "hard") | (predictions["seed"] < 2)]
    table = compare_arms(fewer, labels, replicates=100)
    arms = [find(table, kind="arm", arm=arm, metric="auroc", finding="macro") for arm in ("mmpkd", "hard")]
    assert [row["seeds"] for row in arms] == [2, 3]
    row = find(table, role="primary")
    assert row["seeds"] == 2
    assert row["estimate"] == pytest.approx(arms[0]["estimate"] - arms[1]["estimate"])


def test_a_finding_without_labels_is_nan_and_not_in_the_mean(predictions: pd.DataFrame, labels: pd.DataFrame) -> None:
    gaps = labels.copy()
    gaps.loc[gaps["finding"] == "mass", "label"] = np.nan
    table = compare_arms(predictions, gaps, replicates=50)
    assert np.isnan(find(table, kind="arm", arm="mmpkd", metric="auroc", finding="mass")["estimate"])
    for metric in ("auroc", "average_precision", "brier", "calibration_error"):
        macro = find(table, kind="arm", arm="mmpkd", metric=metric, finding="macro")
        nodule = find(table, kind="arm", arm="mmpkd", metric=metric, finding="nodule")
        assert macro["estimate"] == nodule["estimate"]
        assert macro["low"] == nodule["low"]


def test_two_positive_patients_give_an_estimate_but_no_interval(labels: pd.DataFrame) -> None:
    rare = labels.copy()
    mass = rare["finding"] == "mass"
    rare.loc[mass, "label"] = rare.loc[mass, "patient"].isin(["p3", "p9"]).astype(float)
    predictions = make_predictions(rare, {"hard": 0.5, "mmpkd": 1.0})
    row = find(compare_arms(predictions, rare, replicates=500), kind="arm", arm="hard", metric="auroc", finding="mass")
    assert row["estimate"] > 0.5
    assert np.isnan([row["low"], row["high"]]).all()


def test_the_same_seed_gives_the_same_bytes_whatever_the_order_of_rows(
    predictions: pd.DataFrame, labels: pd.DataFrame, localisation: pd.DataFrame, baselines: pd.DataFrame
) -> None:
    first = compare_arms(predictions, labels, localisation, baselines, replicates=60)
    again = compare_arms(predictions[::-1], labels, localisation[::-1], baselines, replicates=60)
    order = [first.sort_values(KEYS, ignore_index=True), again.sort_values(KEYS, ignore_index=True)]
    pd.testing.assert_frame_equal(*order, check_exact=True)


def test_another_reference_and_endpoint(
    predictions: pd.DataFrame, labels: pd.DataFrame, localisation: pd.DataFrame
) -> None:
    endpoint = Endpoint("iou", "nodule", "attention", "matched-area", arm="hard")
    table = compare_arms(predictions, labels, localisation, reference_arm="mmpkd", primary=endpoint, replicates=50)
    row = find(table, role="primary")
    assert (row["metric"], row["finding"], row["arm"], row["reference_arm"]) == ("iou", "nodule", "hard", "mmpkd")
    assert row["high"] < 0


def test_one_arm_has_no_difference_and_no_primary_row(labels: pd.DataFrame) -> None:
    table = compare_arms(make_predictions(labels, {"hard": 0.5}), labels, replicates=20)
    assert set(table["kind"]) == {"arm"}
    assert set(table["role"]) == {"exploratory"}


def test_a_case_weighs_as_much_as_another_and_patients_are_what_is_redrawn(labels: pd.DataFrame) -> None:
    predictions = make_predictions(labels, {"hard": 0.5, "mmpkd": 0.8}, seeds=(0,))
    one = find(
        compare_arms(predictions, labels, replicates=300), kind="arm", arm="hard", metric="auroc", finding="mass"
    )
    mass = labels["finding"] == "mass"
    p = predictions[(predictions["arm"] == "hard") & (predictions["finding"] == "mass")]
    assert one["estimate"] == pytest.approx(auroc(p["probability"].to_numpy(), labels.loc[mass, "label"].to_numpy()))
    single = compare_arms(predictions, labels.assign(patient=labels["case"]), replicates=300)
    assert find(single, kind="arm", arm="hard", metric="auroc", finding="mass")["patients"] == CASES


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t.assign(patient="p0"), "of 1 patient; .* need at least two"),
        (lambda t: t.drop(columns="patient"), "labels lacks the column 'patient'"),
        (lambda t: pd.concat([t, t[:3]]), "3 rows that repeat"),
        (lambda t: t.assign(label=2.0), "a label is 2"),
        (lambda t: t.assign(patient=[None, *t["patient"][1:]]), "1 rows without a patient"),
        (lambda t: t.assign(patient=[f"x{k}" for k in range(len(t))]), "gives one case two patients"),
        (lambda t: t[4:], "holds 2 cases that the labels do not"),
    ],
)
def test_bad_labels_are_refused_in_words(predictions: pd.DataFrame, labels: pd.DataFrame, change, words: str) -> None:
    with pytest.raises(InputError, match=words):
        compare_arms(predictions, change(labels), replicates=10)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t: t[t["arm"] != "hard"], "no predictions of the reference arm 'hard'"),
        (lambda t: t.replace({"arm": {"mmpkd": "mmpdk"}}), "arm 'mmpkd', which has no scores; did you mean 'mmpdk'"),
        (lambda t: t[3:], "arm 'hard', seed 0 lack 3 of 160 labelled"),
        (lambda t: t.assign(probability=1.2), "probability outside 0 to 1"),
        (lambda t: t.assign(probability="high"), "'probability' of the predictions is not numeric"),
        (lambda t: pd.concat([t, t[:1]]), "1 rows that repeat"),
    ],
)
def test_bad_predictions_are_refused_in_words(
    predictions: pd.DataFrame, labels: pd.DataFrame, change, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        compare_arms(change(predictions), labels, replicates=10)


@pytest.mark.parametrize(
    ("endpoint", "words"),
    [
        (Endpoint("aurocc"), "metric is 'aurocc', which has no scores; did you mean 'auroc'"),
        (Endpoint(finding="nodules"), "finding is 'nodules'.*did you mean 'nodule'"),
        (Endpoint("iou", policy="matched-area"), "method is ''.*attention"),
        (Endpoint("iou", method="attention", policy="top-area=0.1"), "policy is 'top-area=0.1'"),
    ],
)
def test_an_endpoint_that_was_not_measured_is_refused(
    predictions: pd.DataFrame, labels: pd.DataFrame, localisation: pd.DataFrame, endpoint: Endpoint, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        compare_arms(predictions, labels, localisation, primary=endpoint, replicates=10)


def test_localisation_without_seeds_is_not_mistaken_for_an_arms(
    predictions: pd.DataFrame, labels: pd.DataFrame, baselines: pd.DataFrame
) -> None:
    with pytest.raises(InputError, match="lacks the column 'seed'"):
        compare_arms(predictions, labels, baselines, replicates=10)


@pytest.mark.parametrize("finding", ["macro", "mass"])
def test_the_primary_arm_is_held_against_controls_in_the_primary_score_alone(
    labels: pd.DataFrame, finding: str
) -> None:
    predictions = make_predictions(labels, {"hard": 0.3, "mmpkd": 1.2, "twice": 0.8})
    asked = Endpoint(finding=finding)
    table = compare_arms(predictions, labels, primary=asked, controls=["twice", "hard"], replicates=100)
    row = find(table, kind="control")
    assert (row["arm"], row["reference_arm"], row["metric"], row["finding"]) == ("mmpkd", "twice", "auroc", finding)
    own = find(table, kind="arm", arm="mmpkd", metric="auroc", finding=finding)["estimate"]
    assert row["estimate"] == pytest.approx(
        own - find(table, kind="arm", arm="twice", metric="auroc", finding=finding)["estimate"]
    )
    without = compare_arms(predictions, labels, primary=asked, replicates=100)
    pd.testing.assert_frame_equal(table[table["kind"] != "control"], without, check_exact=True)
    turned = compare_arms(predictions, labels, reference_arm="twice", primary=asked, controls=["twice"], replicates=100)
    assert "control" not in set(turned["kind"])
    same = find(turned, kind="difference", arm="mmpkd", metric="auroc", finding=finding)
    assert list(same[["estimate", "low", "high"]]) == list(row[["estimate", "low", "high"]])


@pytest.mark.parametrize("finding", ["macro", "pooled", "nodule"])
def test_controls_of_a_map_endpoint_are_what_a_reference_arm_would_be(labels: pd.DataFrame, finding: str) -> None:
    level = {"hard": 0.1, "mmpkd": 0.3, "twice": 0.25}
    predictions, localisation = make_predictions(labels, level), make_localisation(labels, level)
    twice = np.flatnonzero(localisation["arm"] == "twice")
    value = localisation["value"].to_numpy().copy()
    value[twice] += np.random.default_rng(5).normal(0, 0.05, len(twice))
    value[twice[::7]] = np.nan
    localisation["value"] = value
    asked = Endpoint("iou", finding, "attention", "matched-area")
    arguments = {"primary": asked, "replicates": 100}
    row = find(compare_arms(predictions, labels, localisation, controls=["twice"], **arguments), kind="control")
    turned = compare_arms(predictions, labels, localisation, reference_arm="twice", **arguments)
    same = find(turned, kind="difference", arm="mmpkd", metric="iou", finding=finding)
    columns = ["estimate", "low", "high", "cases", "patients", "seeds"]
    assert list(row[columns]) == list(same[columns])
    assert row["low"] < row["estimate"] < row["high"]


def test_an_unknown_control_is_refused(predictions: pd.DataFrame, labels: pd.DataFrame) -> None:
    with pytest.raises(InputError, match="no predictions of the control arm 'longr'"):
        compare_arms(predictions, labels, controls=["longr"], replicates=20)


def test_an_unknown_endpoint_is_refused_with_controls_too(labels: pd.DataFrame) -> None:
    predictions = make_predictions(labels, {"hard": 0.3, "mmpkd": 1.2, "twice": 0.8})
    with pytest.raises(InputError, match="the primary endpoint's finding is 'nodul'"):
        compare_arms(predictions, labels, primary=Endpoint(finding="nodul"), controls=["twice"], replicates=20)
