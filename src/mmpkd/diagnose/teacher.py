"""Signs of a teacher that cannot help: no better than the images, too sure, or only an echo of the labels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int, Shaped

from mmpkd.compare.crossed import seeds_by_patients
from mmpkd.compare.intervals import Interval, mean_over_findings
from mmpkd.compare.resample import discrimination_draws
from mmpkd.diagnose.check import Check, judged, shown, unknown
from mmpkd.diagnose.information import Criterion

GAP = 0.1
CALIBRATION_ERROR = 0.1
PLACED_SHARE = 0.2


def teacher_advantage(
    teacher: Float[np.ndarray, "cases findings"],
    students: Float[np.ndarray, "seeds cases findings"],
    labels: Float[np.ndarray, "cases findings"],
    patients: Int[np.ndarray, " cases"],
    counts: Shaped[np.ndarray, "patients draws"],
) -> Interval:
    """Return the teacher's macro AUROC less the students', with an interval over patients and seeds.

    Args:
        teacher: Scores, NaN where it knows nothing (the case is left out of that finding for both).
        students: Scores on the same cases, a layer a seed.
        labels: 1, 0 or NaN.
        patients: Number of each case's patient.
        counts: Draws of patients, from :func:`mmpkd.compare.resample.draw_counts`.
    """
    wanted = np.where(np.isnan(teacher), np.nan, labels)
    layers = np.concatenate([np.nan_to_num(teacher)[None], students])
    columns = np.concatenate(list(layers), axis=1)
    draws, _ = discrimination_draws(columns, np.tile(wanted, len(layers)), patients, counts)
    macro = np.stack([mean_over_findings(each) for each in draws.reshape(len(layers), wanted.shape[1], -1)])
    return seeds_by_patients(macro[0] - macro[1:], len(counts)).interval()


def teacher_gap(gap: Interval, arm: str) -> Check:
    """Judge the teacher's macro AUROC less that of the students without it, on the same cases."""
    if np.isnan(gap.estimate):
        return unknown("teacher-gap", f"The teacher and '{arm}' cannot be compared on the test cases.")
    verb = "exceeds" if gap.estimate >= GAP else "does not clearly exceed"
    return judged(
        "teacher-gap",
        gap.estimate < GAP,
        f"The teacher's AUROC {verb} that of '{arm}' on the test cases: by {shown(gap)}; {GAP:g} is asked for.",
        "Give the teacher more (the whole report, other columns, a better encoder); a teacher that knows no more than "
        "the images has nothing to pass on.",
    )


def teacher_saturated(saturated: Sequence[str], findings: int, out_of_fold: bool) -> Check:
    """Judge how many findings have soft labels that are as good as hard (``mmpkd.teach.diagnose``)."""
    return judged(
        "teacher-saturated",
        bool(saturated),
        f"The soft labels of {len(saturated)} of {findings} findings are as sure as hard labels"
        + (f" ({', '.join(saturated)})." if saturated else "."),
        "Set teach.out_of_fold: true; a teacher that labels its own training cases repeats their labels."
        if not out_of_fold
        else "The privileged information nearly contains the label: expect label smoothing to do as well; raise the "
        "temperature, or leave out the telltale column (teacher.exclude).",
    )


def teacher_calibrated(error: float | None) -> Check:
    """Judge the mean calibration error over findings of the training cases' soft labels."""
    if error is None:
        return unknown("teacher-calibrated", "The teacher's calibration is undefined: too few labels.")
    return judged(
        "teacher-calibrated",
        error > CALIBRATION_ERROR,
        f"The soft labels' calibration error is {error:.3f} (mean over findings); {CALIBRATION_ERROR:g} is too much.",
        "Set teach.calibrate: true, or fit the teacher on more cases: a student learns probabilities as they are.",
    )


def added_information(agreement: Interval) -> Check:
    """Judge what soft labels know of the image among cases with the same hard label."""
    if np.isnan(agreement.estimate):
        return unknown("information-gain", "Too few validation and test cases with the same label.")
    return judged(
        "information-gain",
        not agreement.low > 0,
        "Among cases with the same label, soft labels and a student of images and hard labels agree with a rank "
        f"correlation of {shown(agreement)}; 0 would mean that soft labels add nothing.",
        "Soft labels seem to add nothing that an image shows: compare with the controls 'shuffled' and "
        "'label-smoothing' before crediting anything to them.",
    )


def can_help(criterion: Criterion) -> Check:
    """Judge the criterion of :func:`mmpkd.diagnose.information.distillation_criterion`."""
    gap = criterion.difference
    if np.isnan(gap.estimate):
        return unknown("can-help", "Too few validation and test cases for an estimate of mutual information.")
    found = (
        f"Teacher and image-only student share {criterion.teacher_student:.3f} bits, student and label "
        f"{criterion.student_label:.3f} bits; distillation can be expected to help where the difference, {shown(gap)}, "
        "is above 0."
    )
    if gap.low <= 0 < gap.estimate:
        return unknown("can-help", found)
    return judged(
        "can-help",
        gap.estimate <= 0,
        found,
        "Little of what the teacher knows shows in the images: expect no gain over hard labels; try another kind of "
        "privileged information first.",
    )


def spatial_content(placed: float | None, source: str) -> Check:
    """Judge the share of cases whose privileged information says where; ``None`` where there is no text to read.

    Args:
        placed: Share of the reports that affirm a finding which say where one is (``mmpkd.teach.located``).
        source: What privileged information is, for the sentence.
    """
    remedy = (
        "Expect no better maps from it: a soft label per finding says what, never where. Use reports that name places "
        "and the arm 'spatial' (docs/spatial.md)."
    )
    if placed is not None and np.isnan(placed):
        return unknown("spatial-content", "The texts affirm no finding that the lexicon of places knows.")
    if placed is None:
        found = f"The privileged information ({source}) says nothing of place."
        return judged("spatial-content", True, found, remedy)
    return judged(
        "spatial-content",
        placed < PLACED_SHARE,
        f"{placed:.0%} of the training reports that affirm a finding say where; {PLACED_SHARE:.0%} is asked for.",
        remedy,
    )
