"""What every registered teacher must do."""

import numpy as np
import pandas as pd
import pytest

from mmpkd import registry
from mmpkd.teach.base import Teacher
from mmpkd.teach.diagnose import auroc
from mmpkd.teach.settings import build_teacher

KINDS = ["tfidf", "tabular", "fusion", "weakened", "encoder-frozen", "encoder-fine-tune", "precomputed"]
TASKS = ["multi-label", "multi-class"]


@pytest.fixture(params=KINDS)
def kind(request):
    return request.param


@pytest.fixture
def make(kind, tiny_encoder, tmp_path, planted):
    """Return a function that builds the teacher afresh, with settings fit for a small cohort."""
    if kind.startswith("encoder"):
        mode = kind.removeprefix("encoder-")
        return lambda task: build_teacher(
            {"kind": "encoder", "model": str(tiny_encoder), "mode": mode, "epochs": 2, "device": "cpu"}
        )
    if kind != "precomputed":
        return lambda task: build_teacher(kind)

    def precomputed(task):
        cohort = planted(task=task)
        rows = [
            {"case": case, "finding": finding, "probability": (0.2 + 0.6 * cohort.labels[row, column])}
            for row, case in enumerate(cohort.cases.index)
            if cohort.text.iloc[row] is not None and row not in (3, 7)
            for column, finding in enumerate(cohort.findings)
        ]
        pd.DataFrame(rows).to_csv(tmp_path / "table.csv", index=False)
        return build_teacher({"kind": "precomputed", "table": "table.csv"}, tmp_path)

    return precomputed


def without_information(cohort, rows):
    """Return the cohort's privileged information with nothing known of some cases."""
    from dataclasses import replace

    text, metadata = cohort.text.copy(), cohort.metadata.copy()
    text.iloc[rows] = None
    metadata.iloc[rows] = np.nan
    return replace(cohort, text=text, metadata=metadata)


def test_every_registered_kind_is_held_to_this_contract():
    assert {name.split("-")[0] for name in KINDS} == set(registry.names("teachers"))


@pytest.mark.parametrize("task", TASKS)
def test_probabilities_are_in_range_and_nan_exactly_where_nothing_is_known(make, planted, task):
    cohort = without_information(planted(task=task), [3, 7])
    teacher = make(task).fit(cohort.privileged, cohort.labels, task, cohort.findings)
    found = teacher.predict_proba(cohort.privileged)
    assert found.shape == (len(cohort), 2)
    unknown = np.isnan(found)
    assert unknown.all(axis=1).nonzero()[0].tolist() == [3, 7]
    assert unknown.sum() == 4
    known = found[~unknown.any(axis=1)]
    assert (known >= 0).all()
    assert (known <= 1).all()
    if task == "multi-class":
        np.testing.assert_allclose(known.sum(axis=1), 1, atol=1e-6)


def test_fitting_again_forgets_what_was_learned_before(make, planted):
    first, second = planted(seed=1), planted(seed=2)
    inverted = 1 - first.labels
    again = make("multi-label")
    again.fit(first.privileged, inverted, "multi-label", first.findings)
    again.fit(second.privileged, second.labels, "multi-label", second.findings, seed=5)
    once = make("multi-label").fit(second.privileged, second.labels, "multi-label", second.findings, seed=5)
    np.testing.assert_array_equal(again.predict_proba(first.privileged), once.predict_proba(first.privileged))


def test_answers_do_not_depend_on_the_company_of_a_case(make, planted):
    cohort = planted()
    teacher = make("multi-label").fit(cohort.privileged, cohort.labels, "multi-label", cohort.findings)
    whole = teacher.predict_proba(cohort.privileged)
    order = np.array([40, 2, 11])
    np.testing.assert_allclose(teacher.predict_proba(cohort.privileged.take(order)), whole[order], atol=1e-6)


def test_no_case_at_all_gives_no_row(make, planted):
    cohort = planted()
    teacher = make("multi-label").fit(cohort.privileged, cohort.labels, "multi-label", cohort.findings)
    assert teacher.predict_proba(cohort.privileged.take(np.zeros(0, dtype=np.int64))).shape == (0, 2)


def test_settings_survive_being_written_out(make):
    teacher = make("multi-label")
    assert type(teacher).model_validate(teacher.to_data()).to_data() == teacher.to_data()
    assert isinstance(teacher, Teacher)


@pytest.mark.parametrize("kind", ["tfidf", "tabular", "fusion"], indirect=True)
def test_the_planted_signal_is_learned_and_missing_labels_are_passed_over(make, planted):
    cohort = planted(300)
    labels = cohort.labels.copy()
    labels[::3, 0] = np.nan
    teacher = make("multi-label").fit(cohort.privileged, labels, "multi-label", cohort.findings)
    new = planted(200, seed=9)
    found = teacher.predict_proba(new.privileged)
    assert [auroc(found[:, column], new.labels[:, column]) > 0.9 for column in range(2)] == [True, True]
