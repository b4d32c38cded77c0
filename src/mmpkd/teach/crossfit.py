"""From a cohort to soft labels: the teacher fitted fold by fold, over patients, calibrated on what was held out.

No image is read, and each finished fold is kept, so that a killed run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

import mmpkd
from mmpkd.cohort.cohort import Cohort, Task
from mmpkd.cohort.splits import assign_groups
from mmpkd.errors import InputError
from mmpkd.files import fingerprint, read_provenance, read_table, write_table
from mmpkd.progress import SILENT, Progress
from mmpkd.teach import diagnose
from mmpkd.teach.base import Teacher, TokenCount
from mmpkd.teach.calibrate import MIN_CASES, calibrate
from mmpkd.teach.logits import LOGIT_BOUND, to_logits
from mmpkd.teach.precomputed import PrecomputedTeacher
from mmpkd.teach.settings import TeachSettings, build_teacher
from mmpkd.teach.soft_labels import ALL_TRAINING_CASES, SoftLabels


@dataclass(frozen=True)
class Taught:
    """What came of teaching.

    Args:
        soft_labels: The teacher's logits, out of fold for training cases, with provenance.
        kind: The teacher's kind.
        warnings: Sentences for people.
        tokens_cut_share: Share of the text's tokens that did not fit into the encoder; ``None`` if none was used.
    """

    soft_labels: SoftLabels
    kind: str
    warnings: list[str] = field(default_factory=list)
    tokens_cut_share: float | None = None


@dataclass(frozen=True)
class _Part:
    """One fit: the cases learned from and the cases answered for, as positions in the cohort."""

    fold: int
    learn: np.ndarray
    answer: np.ndarray

    @property
    def title(self) -> str:
        return "all training cases" if self.fold == ALL_TRAINING_CASES else f"fold {self.fold}"


@dataclass(frozen=True)
class _Answer:
    logits: np.ndarray
    warnings: list[str]
    tokens: TokenCount | None


def teach(cohort: Cohort, settings: TeachSettings, progress: Progress = SILENT, folder: Path | None = None) -> Taught:
    """Make soft labels for every case of a cohort.

    Training cases are labelled out of fold: each by a teacher that has not seen its patient (Wolpert 1992, stacked
    generalisation). Validation and test cases are labelled by the teacher of all training cases. With
    ``out_of_fold: false`` that teacher labels the training cases too, as in the paper.

    Logits are clipped to ±10, calibrated (:func:`mmpkd.teach.calibrate.calibrate`) and clipped again. A precomputed
    teacher's table is checked and taken as it is.

    Args:
        cohort: Cases with text or metadata; images are not needed.
        settings: The teacher and how it is cross-fitted.
        progress: Where to show progress.
        folder: Where each finished fold is kept, and found again by the same settings on the same cohort.

    Raises:
        InputError: There are fewer training patients than folds, or the teacher can learn nothing in a fold.
    """
    teacher = build_teacher(settings.teacher, cohort.root)
    provenance = _provenance(cohort, settings)
    if isinstance(teacher, PrecomputedTeacher):
        given = teacher.soft_labels(cohort)
        return Taught(SoftLabels(given.table, provenance), str(settings.teacher["kind"]))
    parts = _plan(cohort, settings, teacher)
    logits = np.full((len(cohort), len(cohort.findings)), np.nan)
    fold = np.full(len(cohort), ALL_TRAINING_CASES, dtype=np.int64)
    answers = {}
    with progress.bar("Teacher", len(parts)) as advance:
        for part in parts:
            answer = answers[part.title] = _answer(cohort, teacher, part, settings.seed, folder, provenance)
            logits[part.answer] = answer.logits
            fold[part.answer] = part.fold
            advance(1)
    warnings = _merged({title: answer.warnings for title, answer in answers.items()})
    if settings.out_of_fold and settings.calibrate:
        # Fold -1 lends its logits only; its labels (validation and test) are hidden from the calibration.
        hidden = np.where((fold >= 0)[:, None], cohort.labels, np.nan)
        scaled = calibrate(logits, hidden, fold, cohort.task, cohort.findings)
        logits = scaled.logits
        provenance["scalings"] = [[scaling.slope, scaling.intercept] for scaling in scaled.scalings]
        warnings += _skipped(scaled.skipped, cohort.task)
    tokens = _total([answer.tokens for answer in answers.values()])
    warnings += _diagnosed(cohort, settings, teacher, logits, tokens)
    soft_labels = SoftLabels.from_matrix(cohort.cases.index, cohort.findings, logits, fold, provenance)
    share = None if tokens is None else tokens.cut_share
    return Taught(soft_labels, str(settings.teacher["kind"]), warnings, share)


def _plan(cohort: Cohort, settings: TeachSettings, teacher: Teacher) -> list[_Part]:
    train = np.flatnonzero(cohort.in_split("train"))
    if not len(train):
        raise InputError("the training split has no case, so there is nothing for the teacher to learn from.")
    if not teacher.informed(cohort.privileged.take(train)).any():
        raise InputError(
            f"no training case has {teacher.needs}, which the teacher reads; map its columns in the cohort, or choose "
            f"another teacher.kind."
        )
    if not settings.out_of_fold:
        return [_Part(ALL_TRAINING_CASES, train, np.arange(len(cohort)))]
    held_out = held_out_folds(cohort, settings)
    parts = [_Part(fold, train[held_out != fold], train[held_out == fold]) for fold in range(settings.folds)]
    others = np.flatnonzero(~cohort.in_split("train"))
    if len(others):
        parts.append(_Part(ALL_TRAINING_CASES, train, others))
    return [part for part in parts if len(part.answer)]


def held_out_folds(cohort: Cohort, settings: TeachSettings) -> Int[np.ndarray, " train"]:
    """Return the fold that holds each training case out, in the cohort's order: whole patients, alike in findings.

    Raises:
        InputError: There are fewer training patients than folds.
    """
    train = cohort.in_split("train")
    patients = cohort.cases["patient"].to_numpy()[train]
    count = len(pd.unique(patients))
    if count < settings.folds:
        raise InputError(
            f"teach.folds is {settings.folds}, but the training split has {count} "
            + (f"patients; use at most {count} folds." if count > 1 else "patient; out-of-fold soft labels need two.")
        )
    return assign_groups(patients, cohort.labels[train], [1 / settings.folds] * settings.folds, settings.seed)


def _answer(
    cohort: Cohort, teacher: Teacher, part: _Part, seed: int, folder: Path | None, provenance: dict[str, object]
) -> _Answer:
    key = fingerprint({"provenance": provenance, "fold": part.fold})
    path = None if folder is None else folder / f"teacher-{key}.parquet"
    cases = cohort.cases.index[part.answer]
    if path is not None and path.exists():
        made = read_provenance(path)
        stored = SoftLabels(read_table(path)).matrix(cases, cohort.findings)
        return _Answer(stored, made["warnings"], None if made["tokens"] is None else TokenCount(*made["tokens"]))
    answer = _fit(cohort, teacher, part, seed)
    if path is not None:
        fold = np.full(len(cases), part.fold)
        table = SoftLabels.from_matrix(cases, cohort.findings, answer.logits, fold).table
        tokens = None if answer.tokens is None else [answer.tokens.seen, answer.tokens.cut]
        write_table(path, table, {"key": key, "warnings": answer.warnings, "tokens": tokens})
    return answer


def _fit(cohort: Cohort, teacher: Teacher, part: _Part, seed: int) -> _Answer:
    privileged = cohort.privileged
    try:
        teacher.fit(privileged.take(part.learn), cohort.labels[part.learn], cohort.task, cohort.findings, seed)
        probabilities = teacher.predict_proba(privileged.take(part.answer))
    except InputError as error:
        raise InputError([f"teacher, {part.title}: {problem}" for problem in error.problems]) from None
    except Exception as error:
        error.add_note(f"while the teacher worked on {part.title}")
        raise
    _check_answer(probabilities, cohort.task, teacher, part)
    return _Answer(to_logits(probabilities, cohort.task), teacher.warnings, teacher.tokens)


def _check_answer(
    probabilities: Float[np.ndarray, "cases findings"], task: Task, teacher: Teacher, part: _Part
) -> None:
    """Hold a teacher, which may be a user's own, to its contract."""
    known = ~np.isnan(probabilities)
    good = bool(np.all((probabilities[known] >= 0) & (probabilities[known] <= 1)))
    if task == "multi-class" and good:
        rows = known.all(axis=1)
        good = bool((rows == known.any(axis=1)).all() and np.allclose(probabilities[rows].sum(axis=1), 1, atol=1e-4))
    if not good:
        raise ValueError(
            f"{type(teacher).__name__}.predict_proba, {part.title}: not probabilities in [0, 1]"
            + (" with rows that sum to 1" if task == "multi-class" else "")
        )


def _provenance(cohort: Cohort, settings: TeachSettings) -> dict[str, object]:
    return {
        "made_by": f"mmpkd {mmpkd.__version__}",
        "settings": settings.to_data(),
        "cohort": cohort.name,
        "task": cohort.task,
        "findings": list(cohort.findings),
        "input": _content_hash(cohort),
        "logit_bound": LOGIT_BOUND,
    }


def _content_hash(cohort: Cohort) -> str:
    """Hash all that soft labels depend on. Only a digest is kept: no text and no patient can be read from it."""
    digest = hashlib.blake2b(digest_size=8)
    series = [cohort.cases.index.to_series(), cohort.cases["patient"], cohort.cases["split"]]
    if cohort.text is not None:
        series.append(cohort.text)
    if cohort.metadata is not None:
        series += [cohort.metadata[name] for name in cohort.metadata.columns]
        digest.update(repr(list(map(str, cohort.metadata.columns))).encode())
    for column in series:
        digest.update(pd.util.hash_pandas_object(column, index=False).to_numpy().tobytes())
    digest.update(np.ascontiguousarray(cohort.labels, dtype=np.float64).tobytes())
    return digest.hexdigest()


def _merged(by_part: dict[str, list[str]]) -> list[str]:
    """Tell a warning once, with the fits that it came from."""
    where: dict[str, list[str]] = {}
    for title, sentences in by_part.items():
        for sentence in dict.fromkeys(sentences):
            where.setdefault(sentence, []).append(title)
    every = len(by_part)
    return [
        f"teacher: {sentence}." if len(titles) == every else f"teacher, {', '.join(titles)}: {sentence}."
        for sentence, titles in where.items()
    ]


def _skipped(names: Sequence[str], task: Task) -> list[str]:
    if not names:
        return []
    what = "the classes" if task == "multi-class" else ", ".join(f"'{name}'" for name in names)
    need = "labelled cases" if task == "multi-class" else "cases of each class"
    return [f"teacher: {what} could not be calibrated: fewer than {MIN_CASES} held-out {need}."]


def _diagnosed(
    cohort: Cohort, settings: TeachSettings, teacher: Teacher, logits: np.ndarray, tokens: TokenCount | None
) -> list[str]:
    train = cohort.in_split("train")
    privileged = cohort.privileged.take(train)
    saturated = diagnose.saturated_findings(logits[train], cohort.findings, cohort.task)
    sentences = diagnose.describe_saturation(saturated, settings.out_of_fold)
    if privileged.metadata is not None:
        read = privileged.metadata[teacher.metadata_columns(privileged)]
        sentences += diagnose.telltale_columns(read, cohort.labels[train], cohort.findings)
    sentences += diagnose.describe_coverage(teacher.informed(privileged), teacher.needs)
    sentences += diagnose.describe_cut(tokens)
    return sentences


def _total(counts: Sequence[TokenCount | None]) -> TokenCount | None:
    known = [count for count in counts if count is not None]
    if not known:
        return None
    return TokenCount(sum(count.seen for count in known), sum(count.cut for count in known))
