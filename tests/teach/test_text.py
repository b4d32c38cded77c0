from dataclasses import replace

import numpy as np
import pytest

from mmpkd.errors import InputError
from mmpkd.teach.text import TfidfTeacher


def test_a_word_and_its_negation_are_told_apart(planted):
    cohort = planted(60)
    nodule = np.arange(60) % 2 == 0
    text = cohort.text.copy()
    text[:] = np.where(nodule, "there is a nodule , no effusion", "there is no nodule , an effusion")
    cohort = replace(cohort, text=text)
    labels = np.column_stack([nodule, ~nodule]).astype(float)
    found = TfidfTeacher().fit(cohort.privileged, labels, "multi-label", cohort.findings)
    probabilities = found.predict_proba(cohort.privileged)
    assert probabilities[nodule, 0].min() > 0.8
    assert probabilities[~nodule, 0].max() < 0.2


def test_single_letters_and_digits_are_words(planted):
    cohort = planted(40)
    left = np.arange(40) % 2 == 0
    text = cohort.text.copy()
    text[:] = np.where(left, "side l", "side r")
    labels = np.column_stack([left, left]).astype(float)
    privileged = replace(cohort, text=text).privileged
    found = TfidfTeacher().fit(privileged, labels, "multi-label", cohort.findings).predict_proba(privileged)
    assert found[left].min() > found[~left].max()


def test_more_regularisation_says_less(planted):
    cohort = planted()
    spreads = []
    for strength in (0.01, 100.0):
        teacher = TfidfTeacher(C=strength).fit(cohort.privileged, cohort.labels, "multi-label", cohort.findings)
        spreads.append(teacher.predict_proba(cohort.privileged).std())
    assert spreads[0] < 0.1 < spreads[1]


def test_texts_without_a_common_word_are_refused_without_being_quoted(planted):
    cohort = planted(8)
    text = cohort.text.copy()
    text[:] = [f"secret{index}" for index in range(8)]
    with pytest.raises(InputError, match="lower min_df") as caught:
        TfidfTeacher(min_df=2).fit(replace(cohort, text=text).privileged, cohort.labels, "multi-label", cohort.findings)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_no_text_and_no_label_are_told(planted):
    cohort = planted()
    with pytest.raises(InputError, match="both text and a label"):
        TfidfTeacher().fit(replace(cohort, text=None).privileged, cohort.labels, "multi-label", cohort.findings)
    with pytest.raises(InputError, match="both text and a label"):
        TfidfTeacher().fit(cohort.privileged, np.full((120, 2), np.nan), "multi-label", cohort.findings)
