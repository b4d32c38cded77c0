"""The stage `teach` of a study: soft labels, embeddings where they are asked for, and the teacher's record.

The record says how good the soft labels are, out of fold and on the test split, and what to beware of.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from mmpkd.cohort.cohort import Cohort
from mmpkd.compare.teacher import score_teacher
from mmpkd.files import write_json, write_table
from mmpkd.folder import RunFolder
from mmpkd.progress import SILENT, Progress
from mmpkd.study.located import with_located
from mmpkd.study.settings import StudySettings
from mmpkd.teach.crossfit import Taught, teach
from mmpkd.teach.embed import embed
from mmpkd.teach.settings import TeachSettings


def write_taught(
    study: StudySettings,
    cohort: Cohort,
    root: Path,
    folder: RunFolder,
    provenance: Mapping[str, object],
    progress: Progress = SILENT,
) -> None:
    """Fit the teacher and write all that it leaves in the run folder; the soft labels last, so they end the stage.

    Args:
        study: Settings.
        cohort: Read from its tables alone: the teacher sees no image.
        root: The cohort's root.
        folder: Of the run.
        provenance: What made the tables.
        progress: Where to show progress.

    Raises:
        InputError: The teacher can learn nothing, or the study asks of the text what it does not say.
    """
    folds = folder.path / "teacher-folds"
    taught = teach(cohort, study.teach, progress, folds)
    soft_labels, told = with_located(taught.soft_labels, cohort, study, progress, folds)
    taught = replace(taught, warnings=[*taught.warnings, *told])
    write_json(folder.teacher, teacher_record(cohort, study, taught))
    if study.teach.embedding is not None:
        values = embed(cohort.privileged, cohort.in_split("train"), study.teach.embedding, root)
        table = pd.DataFrame(values, columns=[f"e{column}" for column in range(values.shape[1])])
        table.insert(0, "case", cohort.cases.index.to_numpy())
        write_table(folder.embeddings, table, provenance)
    replace(soft_labels, provenance={**soft_labels.provenance, **provenance}).write(folder.soft_labels)


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
