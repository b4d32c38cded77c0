"""What soft labels tell beyond hard ones: known mutual information, and signs where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from mmpkd.diagnose.information import agreement_within_labels, distillation_criterion

CASES = 600


def _correlated(rng: np.random.Generator, correlation: float) -> tuple[np.ndarray, np.ndarray]:
    teacher, noise = rng.normal(size=(2, CASES, 2))
    return teacher, correlation * teacher + np.sqrt(1 - correlation**2) * noise


def test_mutual_information_is_that_of_a_gaussian_pair() -> None:
    rng = np.random.default_rng(0)
    teacher, student = _correlated(rng, 0.8)
    labels = (rng.random((CASES, 2)) < 0.5).astype(float)
    criterion = distillation_criterion(teacher, student, labels, np.arange(CASES))
    assert criterion.teacher_student == pytest.approx(-0.5 * np.log2(1 - 0.8**2), abs=0.1)
    assert criterion.student_label == pytest.approx(0.0, abs=0.03)
    assert criterion.difference.low > 0


def test_a_teacher_that_shares_nothing_with_the_images_cannot_help() -> None:
    rng = np.random.default_rng(1)
    labels = (rng.random((CASES, 2)) < 0.5).astype(float)
    student, teacher = labels + 0.5 * rng.normal(size=labels.shape), rng.normal(size=labels.shape)
    criterion = distillation_criterion(teacher, student, labels, np.arange(CASES))
    assert criterion.difference.high < 0


def test_the_criterion_reads_ranks_only() -> None:
    rng = np.random.default_rng(2)
    teacher, student = _correlated(rng, 0.5)
    labels = (rng.random((CASES, 2)) < 0.5).astype(float)
    plain = distillation_criterion(teacher, student, labels, np.arange(CASES))
    bent = distillation_criterion(np.exp(teacher), student**3, labels, np.arange(CASES))
    assert bent == plain


def test_too_few_cases_leave_it_unknown() -> None:
    few = np.zeros((8, 1))
    criterion = distillation_criterion(few, few, few, np.arange(8))
    assert np.isnan([criterion.teacher_student, criterion.student_label, *criterion.difference]).all()
    assert np.isnan(agreement_within_labels(few, few, few)).all()


def test_an_echo_of_the_labels_agrees_with_no_student_within_them() -> None:
    rng = np.random.default_rng(3)
    labels = (rng.random((CASES, 2)) < 0.5).astype(float)
    echo = 3 * labels + 0.1 * rng.normal(size=labels.shape)
    student = labels + rng.normal(size=labels.shape)
    assert agreement_within_labels(echo, student, labels).low < 0 < agreement_within_labels(echo, student, labels).high
    assert np.corrcoef(echo[:, 0], student[:, 0])[0, 1] > 0.3


def test_agreement_within_labels_is_spearmans_correlation() -> None:
    rng = np.random.default_rng(4)
    teacher, student = _correlated(rng, 0.6)
    labels = (rng.random((CASES, 2)) < 0.5).astype(float)
    found = agreement_within_labels(teacher, student, labels)
    assert found.low < 6 / np.pi * np.arcsin(0.3) < found.high  # Spearman's rho of a Gaussian pair
    assert found.high - found.low == pytest.approx(2 * 1.96 * 1.03 / np.sqrt(2 * CASES - 12) * (1 - 0.58**2), rel=0.1)


def test_what_the_teacher_does_not_know_is_left_out() -> None:
    rng = np.random.default_rng(5)
    teacher, student = _correlated(rng, 0.6)
    labels = (rng.random((CASES, 2)) < 0.5).astype(float)
    teacher[::2, 0] = np.nan
    kept = distillation_criterion(teacher[1::2, :1], student[1::2, :1], labels[1::2, :1], np.arange(CASES // 2))
    whole = distillation_criterion(teacher[:, :1], student[:, :1], labels[:, :1], np.arange(CASES))
    assert whole.teacher_student == kept.teacher_student
