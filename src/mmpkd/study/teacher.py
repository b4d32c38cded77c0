"""The teacher's record: how good its soft labels are, out of fold and on the test split, and what to beware of."""

from __future__ import annotations

import numpy as np

from mmpkd.cohort.cohort import Cohort
from mmpkd.compare.teacher import score_teacher
from mmpkd.study.settings import StudySettings
from mmpkd.teach.crossfit import Taught
from mmpkd.teach.settings import TeachSettings


def teacher_record(cohort: Cohort, study: StudySettings, taught: Taught) -> dict[str, object]:
    """Return the content of ``teacher.json``.

    ``findings`` and ``macro`` are of the training cases (out of fold unless the study says otherwise), ``test`` is of
    the teacher that saw all training cases, on the test split. Intervals are patient-cluster bootstraps.
    """
    return describe_teacher(cohort, study.teach, taught, study.compare.replicates, study.compare.seed)


def describe_teacher(
    cohort: Cohort, settings: TeachSettings, taught: Taught, replicates: int, seed: int
) -> dict[str, object]:
    """Return the record without a study: `mmpkd teach` on a table alone."""
    logits = taught.soft_labels.matrix(cohort.cases.index, cohort.findings)

    def scored(cases: np.ndarray) -> dict[str, dict[str, object]]:
        reference = None if cohort.reference is None else cohort.reference[cases]
        return score_teacher(
            logits[cases],
            cohort.labels[cases],
            reference,
            cohort.cases["patient"].to_numpy()[cases],
            cohort.findings,
            replicates=replicates,
            seed=seed,
            task=cohort.task,
        )

    return {
        "kind": taught.kind,
        "settings": settings.to_data(),
        **scored(cohort.in_split("train")),
        "test": scored(cohort.in_split("test")),
        "folds": settings.folds,
        "out_of_fold": settings.out_of_fold,
        "warnings": list(taught.warnings),
        "tokens_cut_share": taught.tokens_cut_share,
    }
