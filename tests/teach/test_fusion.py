from dataclasses import replace

import numpy as np
import pytest
from scipy.special import expit, logit

from mmpkd.errors import InputError
from mmpkd.teach.fusion import FusionTeacher
from mmpkd.teach.settings import build_teacher
from mmpkd.teach.tabular import TabularTeacher
from mmpkd.teach.text import TfidfTeacher


def fit(teacher, cohort):
    return teacher.fit(cohort.privileged, cohort.labels, cohort.task, cohort.findings)


def test_both_known_is_the_mean_logit_and_one_known_is_that_one(planted):
    cohort = planted()
    text, metadata = cohort.text.copy(), cohort.metadata.copy()
    text.iloc[0] = None
    metadata.iloc[1] = np.nan
    cohort = replace(cohort, text=text, metadata=metadata)
    found = fit(FusionTeacher(), cohort).predict_proba(cohort.privileged)
    by_text = fit(TfidfTeacher(), cohort).predict_proba(cohort.privileged)
    by_table = fit(TabularTeacher(), cohort).predict_proba(cohort.privileged)
    np.testing.assert_allclose(found[0], by_table[0])
    np.testing.assert_allclose(found[1], by_text[1])
    np.testing.assert_allclose(found[2:], expit((logit(by_text[2:]) + logit(by_table[2:])) / 2))


def test_parts_take_settings_of_their_own():
    teacher = build_teacher({"kind": "fusion", "text": {"kind": "tfidf", "C": 0.5}, "metadata": "tabular"})
    assert teacher.text["C"] == 0.5
    assert teacher.metadata["kind"] == "tabular"


def test_a_cohort_without_text_is_served_by_the_metadata_and_says_so(planted):
    cohort = replace(planted(), text=None)
    teacher = fit(FusionTeacher(), cohort)
    alone = fit(TabularTeacher(), cohort)
    np.testing.assert_allclose(
        teacher.predict_proba(cohort.privileged), alone.predict_proba(cohort.privileged), atol=1e-9
    )
    assert teacher.warnings == ["no labelled case has text, so that part of the fusion is left out"]


def test_swapped_parts_are_refused(planted):
    teacher = FusionTeacher(text="tabular", metadata="tfidf")
    with pytest.raises(InputError, match=r"teacher\.text: this part of a fusion reads metadata, not text"):
        fit(teacher, planted())


def test_a_precomputed_part_is_refused():
    with pytest.raises(InputError, match="must be a teacher that learns"):
        build_teacher({"kind": "fusion", "text": {"kind": "precomputed", "table": "x.csv"}})


def test_a_typo_in_a_part_is_told():
    with pytest.raises(InputError, match="did you mean 'max_features'"):
        build_teacher({"kind": "fusion", "text": {"kind": "tfidf", "max_feature": 3}})
