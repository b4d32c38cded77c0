"""Each check on arrays made to show its sign, and on arrays that do not."""

from __future__ import annotations

import numpy as np
import pytest

from mmpkd.compare.intervals import Interval
from mmpkd.compare.resample import draw_counts
from mmpkd.diagnose import students, teacher
from mmpkd.diagnose.information import Criterion

NAN = float("nan")
UNDEFINED = Interval(NAN, NAN, NAN)
RNG_SEED = 0


def _cohort(cases: int = 300) -> tuple[np.random.Generator, np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(RNG_SEED)
    labels = (rng.random((cases, 2)) < 0.4).astype(float)
    return rng, labels, np.arange(cases), draw_counts(cases, 400, rng)


def test_a_teacher_of_the_students_own_scores_has_no_gap() -> None:
    rng, labels, patients, counts = _cohort()
    student = labels + rng.normal(size=(3, *labels.shape))
    gap = teacher.teacher_advantage(student[0], student[:1], labels, patients, counts)
    assert gap.estimate == 0
    better = teacher.teacher_advantage(labels + 0.3 * rng.normal(size=labels.shape), student, labels, patients, counts)
    assert better.low > 0.1
    check = teacher.teacher_gap(better, "hard")
    assert (check.outcome, check.remedy) == ("fine", "")


@pytest.mark.parametrize(
    ("check", "outcome"),
    [
        (teacher.teacher_gap(Interval(0.05, 0.01, 0.09), "hard"), "concern"),
        (teacher.teacher_gap(UNDEFINED, "hard"), "unknown"),
        (teacher.teacher_saturated(["effusion"], 5, out_of_fold=False), "concern"),
        (teacher.teacher_saturated([], 5, out_of_fold=True), "fine"),
        (teacher.teacher_calibrated(0.2), "concern"),
        (teacher.teacher_calibrated(0.02), "fine"),
        (teacher.teacher_calibrated(None), "unknown"),
        (teacher.added_information(Interval(0.1, -0.02, 0.22)), "concern"),
        (teacher.added_information(Interval(0.1, 0.02, 0.18)), "fine"),
        (teacher.added_information(UNDEFINED), "unknown"),
        (teacher.can_help(Criterion(0.1, 0.2, Interval(-0.1, -0.2, 0.0))), "concern"),
        (teacher.can_help(Criterion(0.2, 0.1, Interval(0.1, 0.02, 0.18))), "fine"),
        (teacher.can_help(Criterion(0.2, 0.1, Interval(0.1, -0.02, 0.22))), "unknown"),
        (teacher.can_help(Criterion(NAN, NAN, UNDEFINED)), "unknown"),
        (teacher.spatial_content(None, "metadata"), "concern"),
        (teacher.spatial_content(0.05, "text"), "concern"),
        (teacher.spatial_content(0.6, "text"), "fine"),
        (teacher.spatial_content(NAN, "text"), "unknown"),
        (students.falling_with_lambda({}, {}), "unknown"),
        (students.falling_with_lambda({"a": Interval(-0.1, -0.2, -0.01)}, {"a": 0.9}), "concern"),
        (students.falling_with_lambda({"a": Interval(-0.1, -0.2, 0.01)}, {"a": 0.9}), "fine"),
        (students.varying_maps(None, "mmpkd"), "unknown"),
        (students.varying_maps(Interval(0.1, -0.1, 0.3), "mmpkd"), "concern"),
        (students.varying_maps(Interval(0.3, 0.1, 0.5), "mmpkd"), "fine"),
    ],
)
def test_a_remedy_stands_where_there_is_concern_and_nowhere_else(check: teacher.Check, outcome: str) -> None:
    assert check.outcome == outcome
    assert bool(check.remedy) == (outcome == "concern")
    assert check.found.endswith(".")


def test_the_remedy_for_a_saturated_teacher_depends_on_how_it_was_made() -> None:
    in_sample = teacher.teacher_saturated(["effusion"], 5, out_of_fold=False)
    out_of_fold = teacher.teacher_saturated(["effusion"], 5, out_of_fold=True)
    assert "out_of_fold: true" in in_sample.remedy
    assert "out_of_fold" not in out_of_fold.remedy


def test_lambdas_stand_in_their_order() -> None:
    differences = {"strong": Interval(-0.1, -0.2, -0.05), "weak": Interval(0.01, 0.0, 0.02)}
    check = students.falling_with_lambda(differences, {"strong": 0.9, "weak": 0.1})
    assert check.found.index("λ = 0.1") < check.found.index("λ = 0.9")
    assert "'strong'" in check.remedy
    assert "'weak'" not in check.remedy


def test_training_that_still_rises_is_under_training() -> None:
    rising, flat = np.linspace(0.5, 0.9, 20), np.minimum(np.linspace(0.5, 1.5, 20), 0.8)
    assert students.under_trained({"hard": [rising, rising]}, None).outcome == "concern"
    assert students.under_trained({"hard": [flat]}, None).outcome == "fine"
    assert students.under_trained({"hard": [flat]}, Interval(0.05, 0.02, 0.08)).outcome == "concern"
    assert students.under_trained({"hard": [flat]}, Interval(0.01, -0.02, 0.03)).outcome == "fine"
    assert students.under_trained({"hard": [np.full(20, NAN)]}, None).outcome == "unknown"


def test_a_student_of_the_teacher_repeats_its_errors() -> None:
    rng, labels, patients, counts = _cohort()
    scores = labels + rng.normal(size=labels.shape)  # a teacher with errors
    own = labels + rng.normal(size=(3, *labels.shape))
    copied = scores + 0.2 * rng.normal(size=(3, *labels.shape))
    passed_on = students.transferred_errors(scores, copied, own, labels, patients, counts)
    assert passed_on.outcome == "concern"
    other = labels + rng.normal(size=(3, *labels.shape))
    assert students.transferred_errors(scores, other, own, labels, patients, counts).outcome == "fine"


def test_a_teacher_without_errors_passes_none_on() -> None:
    rng, labels, patients, counts = _cohort()
    own = labels + rng.normal(size=(2, *labels.shape))
    assert students.transferred_errors(labels, own, own, labels, patients, counts).outcome == "unknown"
