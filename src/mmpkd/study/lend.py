"""A teacher lent to another cohort: one study's teacher labels the cases of another, whose own labels it never sees.

The question of cross-domain transfer: does a student that goes on learning elsewhere gain from the old teacher, or must
privileged information be the new task's own? The table is one for `teacher: {kind: precomputed}`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmpkd.cohort.read import read_cohort
from mmpkd.errors import InputError, did_you_mean
from mmpkd.files import write_table
from mmpkd.progress import SILENT, Progress
from mmpkd.study.load import load_study
from mmpkd.teach.crossfit import teach
from mmpkd.teach.logits import bounded, to_logits
from mmpkd.teach.settings import build_teacher
from mmpkd.teach.soft_labels import ALL_TRAINING_CASES, SoftLabels

if TYPE_CHECKING:
    from mmpkd.cohort.cohort import Cohort
    from mmpkd.teach.settings import TeachSettings


def lend(
    lender: Path,
    borrower: Path,
    out: Path,
    findings: Sequence[str] = (),
    variant: str | None = None,
    progress: Progress = SILENT,
) -> int:
    """Write the lent soft labels and return how many cases have any.

    Args:
        lender: The study file whose teacher it is.
        borrower: The study file whose cases it labels; its teacher and students play no part.
        out: The table, Parquet.
        findings: ``OWN=THEIRS``, as for :func:`lend_teacher`.
        variant: Of the borrower's file.
        progress: Where to show progress.

    Raises:
        InputError: As :func:`lend_teacher`, or a finding is not written so.
    """
    pairs = [name.partition("=") for name in findings]
    if wrong := [name for name, (own, _, theirs) in zip(findings, pairs, strict=True) if not (own and theirs)]:
        raise InputError(f"--finding {wrong[0]}: is not OWN=THEIRS, such as --finding mass=nodule.")
    (lending, lending_root), (borrowing, borrowing_root) = (
        load_study(path, None, out.parent / "cohorts", progress, named)
        for path, named in ((lender, None), (borrower, variant))
    )
    table = lend_teacher(
        lending.teach,
        read_cohort(lending.cohort, lending_root).cohort,
        read_cohort(borrowing.cohort, borrowing_root).cohort,
        {own: theirs for own, _, theirs in pairs},
        progress,
    )
    write_table(out, table, {"lender": lending.name, "borrower": borrowing.name})
    return int(table["case"].nunique())


def lend_teacher(
    settings: TeachSettings, lender: Cohort, borrower: Cohort, findings: Mapping[str, str], progress: Progress = SILENT
) -> pd.DataFrame:
    """Return soft labels of every case of ``borrower`` by the teacher of ``lender``.

    The teacher is fitted to all training cases of the lender and scaled as its out-of-fold logits are there.

    Args:
        settings: The lender's ``teach`` settings.
        lender: The cohort that the teacher learns from.
        borrower: The cohort that it labels.
        findings: Finding of the borrower -> finding of the lender; where it is empty, those of the same name.
        progress: Where to show progress.

    Raises:
        InputError: The cohorts share no finding, one is named that is not there, either is multi-class, or the
            borrower lacks what the teacher reads.
    """
    pairs = _pairs(lender, borrower, findings)
    if "multi-class" in (lender.task, borrower.task):
        raise InputError("a teacher can be lent between multi-label cohorts only.")
    teacher = build_teacher(settings.teacher, lender.root)
    if not teacher.learns:
        raise InputError("a precomputed table knows its own cases only and cannot be lent; lend a teacher that learns.")
    if not teacher.informed(borrower.privileged).any():
        raise InputError(f"no case of the borrowing cohort has {teacher.needs}, which the teacher reads.")
    scalings = teach(lender, settings, progress).soft_labels.provenance.get("scalings")
    train = np.flatnonzero(lender.in_split("train"))
    teacher.fit(lender.privileged.take(train), lender.labels[train], lender.task, lender.findings, settings.seed)
    logits = to_logits(teacher.predict_proba(borrower.privileged), "multi-label")
    if scalings is not None:
        slopes, intercepts = np.asarray(scalings, dtype=float).T
        logits = bounded(slopes * logits + intercepts, "multi-label")
    chosen = logits[:, [lender.findings.index(source) for source in pairs.values()]]
    fold = np.full(len(borrower), ALL_TRAINING_CASES)
    return SoftLabels.from_matrix(borrower.cases.index, tuple(pairs), chosen, fold).table.dropna(subset="logit")


def _pairs(lender: Cohort, borrower: Cohort, findings: Mapping[str, str]) -> dict[str, str]:
    pairs = dict(findings) or {name: name for name in borrower.findings if name in lender.findings}
    problems = [
        f"lent finding {own}={other}: the {whose} cohort has no finding {name!r}{did_you_mean(name, cohort.findings)}"
        for own, other in pairs.items()
        for whose, name, cohort in (("borrowing", own, borrower), ("lending", other, lender))
        if name not in cohort.findings
    ]
    if problems:
        raise InputError(problems)
    if not pairs:
        raise InputError(
            f"the cohorts share no finding ({', '.join(borrower.findings)} against {', '.join(lender.findings)}); say "
            "which stands for which, with --finding OWN=THEIRS or with `findings: {OWN: THEIRS}` in a study file."
        )
    return pairs
