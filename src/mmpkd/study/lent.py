"""A study taught by another study's teacher: its soft labels are written once, then used as a precomputed table."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from mmpkd.cohort.read import read_cohort
from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError
from mmpkd.files import fingerprint, write_table
from mmpkd.progress import SILENT, Progress
from mmpkd.settings import Settings
from mmpkd.study.inputs import study_fingerprint
from mmpkd.study.settings import StudySettings

KEY = "lent"


class LentTeacher(Settings):
    """What a study file says under ``teach: {teacher: {lent: ...}}``, in place of a teacher of its own.

    The lender's patients should be others: its teacher has learned from all its training cases, so that patients of
    both would get soft labels in sample.

    Args:
        study: The lender's study file, relative to this one; this file itself if it is not given, another of whose
            variants is then the lender.
        variant: Which variant of the lender's file, if it has some.
        findings: Own finding -> the lender's that stands for it; where it is empty, those of the same name.
    """

    study: Path | None = None
    variant: str | None = None
    findings: dict[str, str] = Field(default_factory=dict)


def lent_teacher(data: Mapping[str, Any], path: Path) -> LentTeacher | None:
    """Return what the study ``data`` of ``path`` says of a lent teacher; ``None`` if its teacher is its own."""
    teacher = teach.get("teacher") if isinstance(teach := data.get("teach"), Mapping) else None
    if not isinstance(teacher, Mapping) or KEY not in teacher:
        return None
    if other := [str(key) for key in teacher if key != KEY]:
        raise InputError(
            f"{path}, 'teach.teacher': {other[0]!r} stands beside 'lent'; leave it out, the settings are the lender's."
        )
    return LentTeacher.from_data(teacher[KEY], source=f"{path}, 'teach.teacher.lent'")


def precomputed(
    lender: StudySettings,
    lender_root: Path,
    findings: Mapping[str, str],
    borrower: CohortSettings,
    root: Path,
    cohorts: Path,
    progress: Progress = SILENT,
) -> dict[str, str]:
    """Return a precomputed teacher with the lender's soft labels of the borrower's cases.

    Their table is written beside the cohorts unless that has been done; its name says what it was made from.

    Raises:
        InputError: As :func:`mmpkd.study.lend.lend_teacher`.
    """
    from mmpkd.study.lend import lend_teacher

    lending = StudySettings(cohort=lender.cohort, teach=lender.teach)
    made_from = [study_fingerprint(lending, lender_root), study_fingerprint(StudySettings(cohort=borrower), root)]
    table = cohorts / f"lent-{fingerprint([*made_from, sorted(findings.items())])}.parquet"
    if not table.is_file():
        own, theirs = read_cohort(borrower, root).cohort, read_cohort(lender.cohort, lender_root).cohort
        write_table(table, lend_teacher(lender.teach, theirs, own, findings, progress), {"lender": lender.name})
    return {"kind": "precomputed", "table": Path(os.path.relpath(table, root)).as_posix()}
