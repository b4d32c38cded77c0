from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmpkd.errors import InputError
from mmpkd.teach.diagnose import auroc
from mmpkd.teach.tabular import TabularTeacher


def fit(teacher, cohort):
    return teacher.fit(cohort.privileged, cohort.labels, cohort.task, cohort.findings)


def test_an_excluded_column_is_not_read(planted):
    cohort = planted(300)
    whole = fit(TabularTeacher(), cohort).predict_proba(cohort.privileged)[:, 0]
    less = fit(TabularTeacher(exclude=["size_mm"]), cohort).predict_proba(cohort.privileged)[:, 0]
    assert auroc(whole, cohort.labels[:, 0]) > 0.95
    assert auroc(less, cohort.labels[:, 0]) < 0.75
    changed = replace(cohort, metadata=cohort.metadata.assign(size_mm=0.0))
    np.testing.assert_array_equal(
        fit(TabularTeacher(exclude=["size_mm"]), cohort).predict_proba(changed.privileged)[:, 0], less
    )


def test_columns_chooses_and_exclude_takes_away(planted):
    privileged = planted().privileged
    assert TabularTeacher().metadata_columns(privileged) == ["size_mm", "side"]
    assert TabularTeacher(columns=["side"]).metadata_columns(privileged) == ["side"]
    assert TabularTeacher(exclude=["side"]).metadata_columns(privileged) == ["size_mm"]


def test_unknown_columns_are_told_all_at_once_with_the_near_miss(planted):
    with pytest.raises(InputError) as caught:
        fit(TabularTeacher(columns=["sid"], exclude=["size"]), planted())
    assert len(caught.value.problems) == 2
    assert "no metadata column 'sid'; did you mean 'side'?" in str(caught.value)


def test_excluding_every_column_is_refused(planted):
    with pytest.raises(InputError, match="leaves no metadata column"):
        fit(TabularTeacher(exclude=["side", "size_mm"]), planted())


def test_a_category_that_training_has_not_seen_counts_as_missing(planted):
    cohort = planted(200)
    teacher = fit(TabularTeacher(columns=["side"]), cohort)
    side = cohort.metadata["side"].astype(object)
    unseen, missing = side.copy(), side.copy()
    unseen.iloc[0], missing.iloc[0] = "elsewhere", np.nan
    answers = []
    for column in (unseen, missing):
        privileged = replace(
            cohort, metadata=cohort.metadata.assign(side=column.astype("category"), size_mm=1.0)
        ).privileged
        answers.append(TabularTeacher(columns=["side"]) and teacher.predict_proba(privileged.take(np.array([1, 2]))))
    np.testing.assert_array_equal(answers[0], answers[1])
    both = fit(TabularTeacher(), cohort)
    rows = [
        replace(cohort, metadata=cohort.metadata.assign(side=column.astype("category"))).privileged.take(np.array([0]))
        for column in (unseen, missing)
    ]
    np.testing.assert_array_equal(both.predict_proba(rows[0]), both.predict_proba(rows[1]))


def test_category_codes_do_not_matter_only_their_names_do(planted):
    cohort = planted(200)
    teacher = fit(TabularTeacher(), cohort)
    turned = cohort.metadata["side"].cat.reorder_categories(["none", "r", "l", "both"])
    same = replace(cohort, metadata=cohort.metadata.assign(side=turned)).privileged
    np.testing.assert_array_equal(teacher.predict_proba(same), teacher.predict_proba(cohort.privileged))


def test_a_missing_value_is_information_not_an_error(planted):
    cohort = planted(300)
    gone = cohort.labels[:, 0] == 1
    metadata = cohort.metadata.assign(size_mm=np.where(gone, np.nan, 1.0))
    cohort = replace(cohort, metadata=metadata)
    found = fit(TabularTeacher(columns=["size_mm", "side"]), cohort).predict_proba(cohort.privileged)
    assert auroc(found[:, 0], cohort.labels[:, 0]) > 0.99


def test_more_categories_than_the_trees_can_hold_keep_the_frequent_ones(planted):
    cohort = planted(1000)
    names = [f"id{index}" for index in range(600)] + ["common"] * 400
    labels = np.column_stack([np.arange(1000) >= 600] * 2).astype(float)
    metadata = pd.DataFrame({"code": pd.Categorical(names)}, index=cohort.cases.index)
    cohort = replace(cohort, metadata=metadata, labels=labels)
    found = fit(TabularTeacher(), cohort).predict_proba(cohort.privileged)[:, 0]
    assert found[600:].min() > 0.9


def test_flags_and_plain_strings_are_read_too(planted):
    cohort = planted(200)
    flags = cohort.labels[:, 0] == 1
    words = np.where(cohort.labels[:, 1] == 1, "yes", "no")
    metadata = pd.DataFrame({"flag": flags, "word": words}, index=cohort.cases.index)
    cohort = replace(cohort, metadata=metadata)
    found = fit(TabularTeacher(), cohort).predict_proba(cohort.privileged)
    assert auroc(found[:, 0], cohort.labels[:, 0]) == 1
    assert auroc(found[:, 1], cohort.labels[:, 1]) == 1
