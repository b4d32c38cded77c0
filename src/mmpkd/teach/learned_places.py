"""The learned located teacher: fills what the rules leave unsaid of regions, from how other reports speak of them.

It is the study's own teacher with one output a (finding, region), taught what the rules say and cross-fitted over folds
of patients, so that no report is labelled by a teacher that learned from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from mmpkd.cohort.cohort import Cohort
from mmpkd.errors import InputError
from mmpkd.progress import SILENT, Progress
from mmpkd.teach.crossfit import Taught, teach
from mmpkd.teach.settings import TeachSettings, build_teacher
from mmpkd.teach.soft_labels import COLUMNS

_LEAST_CASES = 10  # of each answer, for a region to be learned at all
_JOINT = " in the "


def fill_unsaid(
    cohort: Cohort,
    rules: pd.DataFrame,
    regions: Sequence[str],
    settings: TeachSettings,
    progress: Progress = SILENT,
    folder: Path | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Return the rules' rows with further ones for regions of which they say nothing, and what to know of them.

    A training case without a finding, by its hard label, has it in no region: that is taught too, since reports
    rarely say where a finding is *not*.

    Args:
        cohort: With text.
        rules: Rows of the soft-label table, from :func:`mmpkd.teach.located.locate_findings`.
        regions: Of the scheme.
        settings: Of the teacher and its folds.
        progress: Where to show progress.
        folder: Where finished folds are kept.

    Raises:
        InputError: The teacher does not learn, or can learn nothing in a fold.
    """
    if not build_teacher(settings.teacher, cohort.root).learns:
        raise InputError(
            f"teach.located.learned: a teacher of kind {settings.teacher['kind']!r} learns nothing; leave 'learned' "
            "out, or choose another teacher.kind."
        )
    pairs = pd.MultiIndex.from_product([cohort.findings, regions])
    said = rules.pivot(index="case", columns=["finding", "region"], values="logit")
    logits = said.reindex(index=cohort.cases.index, columns=pairs).to_numpy(float)
    targets = _targets(logits, cohort.labels, len(regions))
    train = cohort.in_split("train")
    learnable = (np.minimum((targets[train] == 1).sum(0), (targets[train] == 0).sum(0))) >= _LEAST_CASES
    if not learnable.any():
        return rules, [
            f"the learned located teacher has nothing to learn from: no region of any finding is named {_LEAST_CASES} "
            "times in the training texts."
        ]
    kept = pairs[learnable]
    names = tuple(f"{finding}{_JOINT}{region}" for finding, region in kept)
    pseudo = replace(cohort, labels=targets[:, learnable], findings=names, task="multi-label", reference=None)
    taught = teach(pseudo, settings, progress, folder)
    learned = taught.soft_labels.matrix(cohort.cases.index, names)
    unsaid = np.isnan(logits[:, learnable]) & ~np.isnan(learned)
    rows = _rows(cohort, kept, learned, unsaid, taught)
    told = [f"{int(unsaid.sum())} regions that the rules leave unsaid are filled by a teacher that learned them."]
    if not learnable.all():
        silent = [finding for finding in cohort.findings if finding not in set(kept.get_level_values(0))]
        told[0] += f" Nothing could be learned of where {', '.join(silent)} is." if silent else ""
    return pd.concat([rules, rows], ignore_index=True), told + taught.warnings


def _targets(
    logits: Float[np.ndarray, "cases pairs"], labels: Float[np.ndarray, "cases findings"], regions: int
) -> Float[np.ndarray, "cases pairs"]:
    """Return 1 where the rules lean to present, 0 where to absent or the case has no such finding, NaN elsewhere."""
    absent = np.repeat(labels == 0, regions, axis=1)
    return np.where(np.isnan(logits), np.where(absent, 0.0, np.nan), (logits > 0).astype(float))


def _rows(
    cohort: Cohort, pairs: pd.MultiIndex, learned: np.ndarray, unsaid: np.ndarray, taught: Taught
) -> pd.DataFrame:
    fold = taught.soft_labels.table.groupby("case")["fold"].first().reindex(cohort.cases.index).to_numpy()
    case, pair = np.nonzero(unsaid)
    columns = {
        "case": cohort.cases.index.to_numpy()[case],
        "finding": pairs.get_level_values(0).to_numpy()[pair],
        "region": pairs.get_level_values(1).to_numpy()[pair],
        "logit": learned[case, pair],
        "fold": fold[case],
    }
    return pd.DataFrame(columns, columns=list(COLUMNS))
