"""AUROCs and their covariance against R's pROC, against published tables, and against the definition pair by pair."""

from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmpkd.compare.delong import Contrast, contrast, delong, delong_difference, macro_auroc, macro_difference
from mmpkd.compare.structural import Aurocs, auroc_covariance
from mmpkd.errors import InputError

NAN = float("nan")
EXACT = {"rel": 0, "abs": 1e-12}


@pytest.fixture(scope="module")
def asah() -> pd.DataFrame:
    return pd.read_csv(Path(__file__).parent / "data" / "asah.csv", comment="#")


def by_pairs(scores: np.ndarray, labels: np.ndarray, patients: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Obuchowski's estimator as her paper writes it, for two columns with the same labels: loops, no ranks."""
    of = list(dict.fromkeys(patients))
    sums = {name: np.zeros((len(of), 2)) for name in ("one", "none")}
    counts = {name: np.zeros(len(of)) for name in ("one", "none")}
    aurocs = np.zeros(2)
    one, none = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)
    for column in range(2):
        for i, j in product(one, none):
            a, b = scores[i, column], scores[j, column]
            beats = 1.0 if a > b else 0.5 if a == b else 0.0
            aurocs[column] += beats / (len(one) * len(none))
            sums["one"][of.index(patients[i]), column] += beats / len(none)
            sums["none"][of.index(patients[j]), column] += beats / len(one)
    for i in range(len(labels)):
        if labels[i] == labels[i]:
            counts["one" if labels[i] == 1 else "none"][of.index(patients[i])] += 1
    gaps = {name: sums[name] - counts[name][:, None] * aurocs for name in sums}
    with_one, with_none = (counts["one"] > 0).sum(), (counts["none"] > 0).sum()
    with_any = (counts["one"] + counts["none"] > 0).sum()
    s10 = with_one / ((with_one - 1) * len(one)) * gaps["one"].T @ gaps["one"]
    s01 = with_none / ((with_none - 1) * len(none)) * gaps["none"].T @ gaps["none"]
    s11 = with_any / (with_any - 1) * gaps["one"].T @ gaps["none"]
    return aurocs, s10 / len(one) + s01 / len(none) + (s11 + s11.T) / (len(one) * len(none))


def test_asah_reaches_the_numbers_of_proc(asah: pd.DataFrame) -> None:
    wfns = delong(asah["wfns"].to_numpy(), asah["poor_outcome"].to_numpy())
    assert wfns.estimate == pytest.approx(0.823678861788618, **EXACT)
    assert wfns.standard_error**2 == pytest.approx(0.00146991470882363, **EXACT)
    assert wfns.interval()[1:] == pytest.approx((0.748534887819453, 0.898822835757783), **EXACT)
    difference = delong_difference(asah["wfns"].to_numpy(), asah["s100b"].to_numpy(), asah["poor_outcome"].to_numpy())
    assert difference.z == pytest.approx(2.20898359144091, **EXACT)
    assert difference.p == pytest.approx(0.0271757822291882, **EXACT)
    assert difference.interval()[1:] == pytest.approx((0.0104061769564846, 0.174214419249478), **EXACT)


def test_many_markers_at_once_have_the_covariances_of_proc(asah: pd.DataFrame) -> None:
    aurocs = auroc_covariance(asah[["s100b", "wfns", "ndka"]].to_numpy(), asah["poor_outcome"].to_numpy())
    assert aurocs.auroc == pytest.approx([0.73136856368563685, 0.82367886178861793, 0.61195799457994582], **EXACT)
    assert np.diag(aurocs.covariance) == pytest.approx(
        [0.0026686824571724378, 0.0014699147088236264, 0.0031908105493913021], **EXACT
    )
    assert aurocs.covariance[0, 1:] == pytest.approx([0.0011961556737675448, -0.00075616493805657884], **EXACT)
    assert (aurocs.covariance == aurocs.covariance.T).all()
    against = contrast(aurocs, np.array([1, 0, -1]))
    assert (against.z, against.p) == pytest.approx((1.3907700257355771, 0.16429517522305448), **EXACT)


def test_five_ratings_with_ties_of_hanley_and_mcneil() -> None:
    labels = np.repeat([0] * 5 + [1] * 5, [33, 6, 6, 11, 2, 3, 2, 2, 11, 33])
    ratings = np.repeat([1, 2, 3, 4, 5] * 2, [33, 6, 6, 11, 2, 3, 2, 2, 11, 33])
    found = delong(ratings, labels)
    assert found.estimate == pytest.approx(0.8931710615280595, **EXACT)
    assert found.standard_error == pytest.approx(0.030724408379381122, **EXACT)
    assert found.interval()[1:] == pytest.approx((0.832952, 0.953390), abs=5e-7)
    # The logit scale by hand: ln(.893171 / .106829) ± 1.959964 x .0307244 / .0954165 = 2.12356 ± .63112.
    assert found.interval(scale="logit")[1:] == pytest.approx((0.81644, 0.94018), abs=1e-5)


def test_a_monotone_transform_and_the_order_of_cases_change_nothing() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.random(60) < 0.4, rng.normal(size=60).round(1)
    order = rng.permutation(60)
    assert delong(np.exp(scores)[order], labels[order]) == pytest.approx(delong(scores, labels), abs=1e-12)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_patients_enter_as_the_definition_pair_by_pair_says(missing: float) -> None:
    rng = np.random.default_rng(1)
    patients = rng.integers(0, 15, 50)
    scores = (rng.normal(size=(50, 2)) + rng.normal(size=(15, 1))[patients]).round(1)
    labels = (scores[:, 0] + rng.normal(size=50) > 0.3).astype(float)
    labels[rng.random(50) < missing] = NAN
    auroc, covariance = by_pairs(scores, labels, patients)
    names = np.array([f"p{patient}" for patient in patients])
    found = auroc_covariance(scores, labels, names)
    assert found.auroc == pytest.approx(auroc, **EXACT)
    assert found.covariance == pytest.approx(covariance, **EXACT)


def test_one_case_a_patient_is_delong_itself() -> None:
    rng = np.random.default_rng(2)
    scores, labels = rng.random((40, 2)), rng.random(40) < 0.5
    alone = auroc_covariance(scores, labels)
    _, covariance = by_pairs(scores, labels.astype(float), np.arange(40))
    assert alone.covariance == pytest.approx(covariance, **EXACT)


def test_a_patient_read_twice_does_not_halve_the_variance() -> None:
    rng = np.random.default_rng(3)
    scores, labels = rng.random(80), rng.random(80) < 0.4
    once = delong(scores, labels)
    twice = delong(np.tile(scores, 2), np.tile(labels, 2), np.tile(np.arange(80), 2))
    assert twice.standard_error == pytest.approx(once.standard_error, rel=1e-12)
    assert delong(np.tile(scores, 2), np.tile(labels, 2)).standard_error < 0.72 * once.standard_error


def test_missing_labels_leave_the_case_out_with_its_score() -> None:
    scores, labels = np.array([0.1, 0.4, 0.35, 0.8, NAN]), np.array([0, 0, 1, 1, NAN])
    assert delong(scores, labels) == delong(scores[:4], labels[:4])
    assert delong(scores, labels).estimate == 0.75


def test_findings_with_labels_of_their_own_covary_through_their_patients() -> None:
    # The same finding under two sets of labels that differ in one case only must covary nearly as with itself.
    rng = np.random.default_rng(4)
    labels = np.repeat((rng.random(200) < 0.4)[:, None], 2, axis=1).astype(float)
    labels[7, 1] = NAN
    scores = np.repeat(rng.normal(size=200)[:, None] + labels[:, :1], 2, axis=1)
    covariance = auroc_covariance(scores, labels).covariance
    assert covariance[0, 1] == pytest.approx(covariance[0, 0], rel=0.03)
    # Nor does the shape of the labels matter where they are the same.
    labels[7, 1] = labels[7, 0]
    assert auroc_covariance(scores, labels).covariance[0, 1] == pytest.approx(covariance[0, 0], **EXACT)


def test_the_covariance_over_findings_is_what_resampled_patients_vary_by() -> None:
    rng = np.random.default_rng(5)
    patients, findings, studies = 80, 3, 3000
    aurocs = np.empty((studies, findings))
    estimated = np.zeros((findings, findings))
    for study in range(studies):
        hard = rng.normal(size=(patients, 1))
        labels = (hard + rng.normal(size=(patients, findings)) > 0).astype(float)
        scores = labels + 0.8 * hard + rng.normal(size=(patients, findings))
        if study < 100:
            aurocs[study], covariance = auroc_covariance(scores, labels)
            estimated += covariance / 100
        else:
            aurocs[study] = [delong_free(scores[:, k], labels[:, k]) for k in range(findings)]
    true = np.cov(aurocs.T)
    assert np.diag(estimated) == pytest.approx(np.diag(true), rel=0.15)
    off = ~np.eye(findings, dtype=bool)
    assert estimated[off].mean() == pytest.approx(true[off].mean(), rel=0.25)


def delong_free(scores: np.ndarray, labels: np.ndarray) -> float:
    return float((scores[labels == 1][:, None] > scores[labels == 0]).mean())


def test_the_covariance_has_no_negative_eigenvalue() -> None:
    rng = np.random.default_rng(6)
    patients = rng.integers(0, 6, 40)
    labels = (rng.random((40, 4)) < 0.5).astype(float)
    labels[rng.random((40, 4)) < 0.3] = NAN
    covariance = auroc_covariance(rng.random((40, 8)), np.tile(labels, 2), patients).covariance
    assert np.linalg.eigvalsh(covariance).min() > -1e-12


def test_macro_is_the_mean_with_the_covariance_between_findings() -> None:
    rng = np.random.default_rng(7)
    labels = (rng.random((90, 3)) < 0.4).astype(float)
    first, second = labels + rng.normal(size=(90, 3)), labels + rng.normal(size=(90, 3))
    aurocs = auroc_covariance(np.concatenate([first, second], axis=1), np.tile(labels, 2))
    macro, difference = macro_auroc(first, labels), macro_difference(first, second, labels)
    assert macro.estimate == pytest.approx(aurocs.auroc[:3].mean(), **EXACT)
    assert macro.standard_error**2 == pytest.approx(aurocs.covariance[:3, :3].sum() / 9, **EXACT)
    assert difference.estimate == pytest.approx(aurocs.auroc[:3].mean() - aurocs.auroc[3:].mean(), **EXACT)
    signs = np.repeat([1, -1], 3)
    assert difference.standard_error**2 == pytest.approx(signs @ aurocs.covariance @ signs / 9, **EXACT)


def test_a_finding_with_one_class_only_leaves_the_macro_and_is_nan_alone() -> None:
    rng = np.random.default_rng(8)
    labels = (rng.random((50, 2)) < 0.4).astype(float)
    scores = rng.random((50, 2))
    empty = np.concatenate([labels, np.zeros((50, 1)), np.full((50, 1), NAN)], axis=1)
    wide = np.concatenate([scores, scores], axis=1)
    assert macro_auroc(wide, empty) == pytest.approx(macro_auroc(scores, labels), abs=1e-12)
    assert macro_difference(wide, 1 - wide, empty) == pytest.approx(
        macro_difference(scores, 1 - scores, labels), abs=1e-12
    )
    alone = delong(scores[:, 0], np.zeros(50))
    assert np.isnan(alone[:4]).all()
    assert alone.degenerate
    assert np.isnan(macro_auroc(scores, np.zeros((50, 2))).estimate)


def test_a_perfect_auroc_has_no_variance_and_says_so() -> None:
    perfect = delong(np.array([0.1, 0.2, 0.8, 0.9, 0.7]), np.array([0, 0, 1, 1, 1]))
    assert (perfect.estimate, perfect.standard_error, perfect.degenerate) == (1.0, 0.0, True)
    assert np.isnan([perfect.z, perfect.p]).all()
    assert np.isnan(perfect.interval()[1:]).all()


def test_constant_scores_are_degenerate_at_one_half() -> None:
    constant = delong(np.full(5, 0.3), np.array([0, 0, 1, 1, 1]))
    assert constant == Contrast(0.5, 0.0, 0.0, 1.0, True)


def test_identical_markers_do_not_differ(asah: pd.DataFrame) -> None:
    wfns, labels = asah["wfns"].to_numpy(), asah["poor_outcome"].to_numpy()
    assert delong_difference(wfns, wfns, labels) == Contrast(0.0, 0.0, 0.0, 1.0, True)
    assert delong_difference(wfns, wfns**2, labels).p == 1.0


def test_positives_of_one_patient_have_an_auroc_without_a_variance() -> None:
    scores, labels = np.array([0.1, 0.2, 0.8, 0.15, 0.7]), np.array([0, 0, 1, 1, 0])
    found = delong(scores, labels, np.array([0, 1, 2, 2, 3]))
    assert found.estimate == pytest.approx(4 / 6)
    assert np.isnan(found.standard_error)
    assert found.degenerate
    assert np.isnan(found.p)


@pytest.mark.parametrize(
    ("scores", "labels", "patients", "says"),
    [
        (np.zeros((3, 1)), np.zeros(4), None, "labels"),
        (np.zeros((3, 1)), np.zeros(3), np.zeros(2), "one patient a case"),
        (np.array([[NAN], [1.0]]), np.array([0, 1]), None, "NaN where its case has a label"),
        (np.zeros((2, 1)), np.array([0, 2]), None, "labels are 1, 0 or NaN"),
    ],
)
def test_arrays_that_do_not_fit_are_refused(
    scores: np.ndarray, labels: np.ndarray, patients: np.ndarray | None, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        auroc_covariance(scores, labels, patients)


def test_levels_scales_weights_and_lengths_are_checked() -> None:
    found = contrast(Aurocs(np.array([0.8]), np.array([[1e-3]])), np.ones(1))
    with pytest.raises(InputError, match="between 0 and 1"):
        found.interval(95.0)
    with pytest.raises(InputError, match="'plain' or 'logit'"):
        found.interval(scale="log")
    with pytest.raises(InputError, match="not for a difference"):
        contrast(Aurocs(np.array([0.8]), np.array([[1e-3]])), -np.ones(1)).interval(scale="logit")
    with pytest.raises(InputError, match="one a column"):
        contrast(Aurocs(np.array([0.8]), np.array([[1e-3]])), np.ones(2))
    with pytest.raises(InputError, match="the same cases"):
        delong_difference(np.zeros(3), np.zeros(4), np.zeros(3))
