"""What a reader must bear in mind before believing a comparison.

Controls (:mod:`mmpkd.compare.controls`), seeds, patients, undefined findings, the teacher, the number of looks: one
function each, which returns no sentence or one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mmpkd.compare.controls import credit_caveat
from mmpkd.compare.reading import MACRO_AUROC, Found, Reading
from mmpkd.compare.words import figures, listed
from mmpkd.evaluate.classification import MACRO

TEACHER_GAP = 0.1
FEW_SEEDS = 5
FEW_PATIENTS = 30


def caveats(reading: Reading, asked: Found, teacher: Mapping[str, Any]) -> list[str]:
    """Return every caveat that holds, the weightiest first."""
    return [
        *credit_caveat(reading, asked),
        *_seeds(asked),
        *_patients(asked),
        *_undefined(reading),
        *_teacher_gap(reading, teacher),
        *_exploratory(reading),
    ]


def _seeds(asked: Found) -> list[str]:
    if asked.seeds == 1:
        return [
            "One seed of each arm was trained: the intervals cover the choice of test patients only. "
            "Training again with another seed could change the answer; run at least 3, better 5."
        ]
    if asked.seeds < FEW_SEEDS:
        return [
            f"{asked.seeds} seeds are few: the part of the intervals that comes from training again is rough; "
            "they are wide for that, and can still be too narrow where seeds differ much more than patients."
        ]
    return []


def _patients(asked: Found) -> list[str]:
    if asked.patients >= FEW_PATIENTS:
        return []
    return [f"{asked.patients} test patients are few: bootstrap intervals are then rather too narrow."]


def _undefined(reading: Reading) -> list[str]:
    names = reading.undefined_findings()
    if reading.primary.finding != MACRO or not names:
        return []
    return [f"Undefined on the test cases (too few labels or ROIs) and not in the mean: {listed(names)}."]


def _teacher_gap(reading: Reading, teacher: Mapping[str, Any]) -> list[str]:
    taught, where = _comparable_auroc(teacher)
    student = reading.arm(reading.reference, MACRO_AUROC)
    if taught is None or student is None or not taught - student.interval.estimate < TEACHER_GAP:
        return []
    theirs, own = figures(taught)[0], figures(student.interval.estimate)[0]
    return [
        f"The teacher's AUROC ({theirs}, {where}) is not {TEACHER_GAP:g} above that of "
        f"'{reading.reference}' ({own}, test cases): it may know little that the images do not tell."
    ]


def _comparable_auroc(teacher: Mapping[str, Any]) -> tuple[float | None, str]:
    """Return the teacher's AUROC that is nearest to how students are scored: test cases, reference labels."""
    for macro, where in (
        ((teacher.get("test") or {}).get("macro") or {}, "test cases"),
        (teacher.get("macro") or {}, "training cases"),
    ):
        for name in ("reference_auroc", "auroc"):
            if macro.get(name) is not None:
                return macro[name], where
    return None, ""


def _exploratory(reading: Reading) -> list[str]:
    number = reading.exploratory_count()
    if not number:
        return []
    return [
        f"All other differences ({number} with an interval) are exploratory and not corrected for their "
        "number: some intervals exclude 0 by chance alone."
    ]
