"""A weakened teacher is the teacher itself at no dose, worse at each dose, and the same each time."""

from dataclasses import replace

import numpy as np
import pytest

from mmpkd.errors import InputError
from mmpkd.teach.diagnose import auroc
from mmpkd.teach.settings import build_teacher
from mmpkd.teach.text import TfidfTeacher
from mmpkd.teach.weakened import WeakenedTeacher


def fit(teacher, cohort):
    return teacher.fit(cohort.privileged, cohort.labels, cohort.task, cohort.findings)


def answers(cohort, **doses):
    return fit(WeakenedTeacher(**doses), cohort).predict_proba(cohort.privileged)


def test_no_dose_is_the_teacher_itself(planted):
    cohort = planted()
    plain = fit(TfidfTeacher(), cohort).predict_proba(cohort.privileged)
    np.testing.assert_array_equal(answers(cohort), plain)


@pytest.mark.parametrize("dose", [{"patients": 0.1}, {"words": 0.3}, {"flipped": 0.4}])
def test_each_dose_weakens(planted, dose):
    cohort = planted()
    weak, plain = (
        np.mean([auroc(found[:, k], cohort.labels[:, k]) for k in range(found.shape[1])])
        for found in (answers(cohort, **dose), answers(cohort))
    )
    assert weak < plain
    np.testing.assert_array_equal(answers(cohort, **dose), answers(cohort, **dose))


def test_words_go_by_case_whoever_stands_beside_it(planted):
    cohort = planted()
    teacher = fit(WeakenedTeacher(words=0.5), cohort)
    together = teacher.predict_proba(cohort.privileged)
    alone = teacher.predict_proba(cohort.privileged.take(np.array([3])))
    np.testing.assert_allclose(alone[0], together[3])


def test_cases_without_text_stay_unknown(planted):
    cohort = planted()
    text = cohort.text.copy()
    text.iloc[0] = None
    cohort = replace(cohort, text=text)
    assert np.isnan(answers(cohort, words=0.5)[0]).all()


def test_a_class_cannot_be_turned_round(planted):
    cohort = planted()
    with pytest.raises(InputError, match=r"teacher\.flipped: labels can be turned round in a multi-label cohort only"):
        WeakenedTeacher(flipped=0.1).fit(cohort.privileged, cohort.labels, "multi-class", cohort.findings)


def test_a_typo_in_the_teacher_is_told():
    with pytest.raises(InputError, match="did you mean 'max_features'"):
        build_teacher({"kind": "weakened", "teacher": {"kind": "tfidf", "max_feature": 3}})
