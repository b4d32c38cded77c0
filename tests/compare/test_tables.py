"""Arrays of scored cases alone, and which scores of a baseline stand in for which."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mmpkd.compare.paired import localisation_entries
from mmpkd.compare.statistics import Bootstrap
from mmpkd.compare.tables import ArmValues, Labels, Score, align, read_labels, read_localisation, scored_labels
from mmpkd.errors import InputError

IOU, ATTENTION, LEGRAD = (Score("mass", method, "otsu", "iou") for method in ("", "attention", "legrad"))


@pytest.fixture(scope="module")
def labels() -> Labels:
    cases = [f"c{k}" for k in range(60)]
    patients = [f"p{k // 3}" for k in range(60)]
    return read_labels(pd.DataFrame({"case": cases, "patient": patients, "finding": "mass", "label": 1.0}))


def make_scores(method: str, level: float, arm: str = "hard", cases: range = range(7, 60, 4)) -> pd.DataFrame:
    rng = np.random.default_rng(len(method))
    names = [f"c{k}" for k in cases]
    table = pd.DataFrame({"arm": arm, "seed": 0, "case": names, "finding": "mass", "method": method})
    return table.assign(policy="otsu", metric="iou", value=level + 0.1 * rng.random(len(names)))


class TestScoredLabels:
    def test_cases_of_any_table_are_kept_with_their_patients_codes(self, labels):
        one, other = (make_scores("attention", 0.5, cases=cases) for cases in (range(9, 12), range(30, 2, -10)))
        kept = scored_labels(labels, one, None, other)
        assert kept.cases.tolist() == ["c9", "c10", "c11", "c20", "c30"]
        assert kept.patients.tolist() == [3, 3, 3, 6, 10]
        assert kept.matrix.shape == (5, 1)

    def test_statistics_are_those_over_all_cases_to_the_last_digit(self, labels):
        scores = make_scores("attention", 0.5)
        bootstrap = Bootstrap(labels, 50, 3)
        found = []
        for over in (bootstrap, bootstrap.among(scores)):
            columns, arms = read_localisation(scores, over.labels)
            found.append(over.localisation(arms["hard"], columns))
        assert len(bootstrap.among(scores).labels.cases) == 14 < len(bootstrap.labels.cases)
        for score, whole in found[0].items():
            np.testing.assert_array_equal(whole.draws, found[1][score].draws)
            assert (whole.cases, whole.patients) == (found[1][score].cases, found[1][score].patients)

    def test_a_case_without_labels_is_still_refused(self, labels):
        scores = make_scores("attention", 0.5, cases=range(58, 63))
        with pytest.raises(InputError, match="holds 3 cases that the labels do not"):
            read_localisation(scores, scored_labels(labels, scores))


class TestAlign:
    def test_scores_without_a_method_stand_in_for_every_method(self):
        values = ArmValues((), np.array([[[0.25], [0.5]]]))
        picked = align(values, [IOU], [LEGRAD, ATTENTION]).array
        np.testing.assert_array_equal(picked, [[[0.25, 0.25], [0.5, 0.5]]])

    def test_scores_of_one_method_do_not_stand_in_for_another(self):
        values = ArmValues((), np.array([[[0.25], [0.5]]]))
        picked = align(values, [ATTENTION], [LEGRAD, ATTENTION]).array
        np.testing.assert_array_equal(picked, [[[np.nan, 0.25], [np.nan, 0.5]]])

    def test_columns_that_other_baselines_filled_are_not_a_baselines_own(self):
        """One table of baselines: `chance` has no method, `untrained` has, and both have all columns."""
        have = [ATTENTION, IOU]
        chance = ArmValues((), np.array([[[np.nan, 0.25], [np.nan, 0.5]]]))
        np.testing.assert_array_equal(align(chance, have, [ATTENTION]).array, [[[0.25], [0.5]]])


def test_an_untrained_student_is_compared_by_the_methods_it_was_scored_for(labels):
    arms = pd.concat([make_scores("attention", 0.5), make_scores("legrad", 0.9)])
    untrained, chance = make_scores("attention", 0.2, "untrained"), make_scores("", 0.1, "chance")
    baselines = pd.concat([untrained, chance])
    entries = list(localisation_entries(arms, baselines, Bootstrap(labels, 50, 0), "none"))
    of = {(kind, reference): statistics for kind, _, reference, statistics, _ in entries if kind == "difference"}
    estimate = of["difference", "untrained"][ATTENTION].draws[0]
    assert estimate == pytest.approx(arms["value"][arms["method"] == "attention"].mean() - untrained["value"].mean())
    assert np.isnan(of["difference", "untrained"][LEGRAD].draws).all()
    for score in (ATTENTION, LEGRAD):
        mine = arms["value"][arms["method"] == score.method].mean()
        assert of["difference", "chance"][score].draws[0] == pytest.approx(mine - chance["value"].mean())


def test_a_method_that_no_baseline_was_scored_for_has_no_difference(labels):
    arms = pd.concat([make_scores("attention", 0.5), make_scores("legrad", 0.9)])
    entries = localisation_entries(arms, make_scores("attention", 0.2, "untrained"), Bootstrap(labels, 50, 0), "none")
    (paired,) = [statistics for kind, _, _, statistics, _ in entries if kind == "difference"]
    assert {score.method for score in paired} == {"attention"}
