"""Reads from a run folder what the checks of `mmpkd.diagnose` look at; what is not there yet is unknown."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmpkd.compare.controls import CONTROLS
from mmpkd.compare.intervals import Interval
from mmpkd.compare.resample import draw_counts
from mmpkd.diagnose import students, teacher
from mmpkd.diagnose.check import Check, unknown
from mmpkd.diagnose.information import agreement_within_labels, distillation_criterion
from mmpkd.distil.arms import WITHOUT_SOFT_LABELS
from mmpkd.evaluate.classification import MACRO
from mmpkd.files import read_json, read_table
from mmpkd.teach.diagnose import saturated_findings
from mmpkd.teach.located import placed_share
from mmpkd.teach.soft_labels import SoftLabels

if TYPE_CHECKING:
    from mmpkd.cohort.cohort import Cohort
    from mmpkd.folder import CellFolder, RunFolder
    from mmpkd.study.settings import StudySettings

_TEACHER = ("teacher-gap", "teacher-saturated", "teacher-calibrated", "information-gain", "can-help", "error-transfer")


def diagnose(study: StudySettings, cohort: Cohort, folder: RunFolder) -> list[Check]:
    """Return every check, the teacher's first.

    Args:
        study: Settings.
        cohort: With its privileged information; no image is read.
        folder: The run folder, however far the run has come.
    """
    found = _Found(study, cohort, folder)
    of_teacher = _teacher(found) if found.soft is not None else _without_teacher()
    return [*of_teacher, _spatial(cohort), _lambda(found), _training(found), _maps(found)]


@dataclass(frozen=True)
class _Found:
    """What a run folder holds so far."""

    study: StudySettings
    cohort: Cohort
    folder: RunFolder

    @cached_property
    def soft(self) -> np.ndarray | None:
        if not self.folder.soft_labels.is_file():
            return None
        return SoftLabels.read(self.folder.soft_labels).matrix(self.cohort.cases.index, self.cohort.findings)

    @cached_property
    def reference(self) -> str:
        named = self.study.compare.reference_arm
        return named if named in self.study.arms else next(iter(self.study.arms))

    @cached_property
    def distilled(self) -> list[str]:
        """Names of the arms with the teacher's own soft labels, for the primary endpoint's arm first."""
        other = (*WITHOUT_SOFT_LABELS, *CONTROLS)
        names = [name for name, arm in self.study.arms.items() if arm.kind not in other and "zones-" not in arm.kind]
        return sorted(names, key=lambda name: name != self.study.compare.primary.arm)

    @cached_property
    def comparison(self) -> pd.DataFrame | None:
        return read_table(self.folder.comparison) if self.folder.comparison.is_file() else None

    def cells(self, arm: str) -> dict[int, CellFolder]:
        return {seed: self.folder.cell(arm, seed) for seed in self.study.seeds}

    def scores(self, arm: str, cases: np.ndarray) -> dict[int, np.ndarray]:
        """Return each finished seed's probabilities (cases, findings)."""
        index = self.cohort.cases.index[cases]
        tables = {seed: cell.predictions for seed, cell in self.cells(arm).items() if cell.predictions.is_file()}
        wide = {seed: read_table(path).pivot(index="case", columns="finding") for seed, path in tables.items()}
        return {
            seed: table["probability"].loc[index, list(self.cohort.findings)].to_numpy(float)
            for seed, table in wide.items()
        }

    def difference(self, arm: str, metric: str = "auroc") -> Interval | None:
        """Return an arm's macro difference from the reference arm."""
        if self.comparison is None:
            return None
        rows = self.comparison
        rows = rows[(rows["kind"] == "difference") & (rows["arm"] == arm) & (rows["reference_arm"] == self.reference)]
        rows = rows[(rows["metric"] == metric) & (rows["finding"] == MACRO)]
        return None if rows.empty else _interval(rows.iloc[0])


def _without_teacher() -> list[Check]:
    return [unknown(name, "No teacher has written soft labels yet.") for name in _TEACHER]


def _teacher(found: _Found) -> list[Check]:
    study, cohort, soft = found.study, found.cohort, found.soft
    assert soft is not None  # noqa: S101  (the caller looked)
    record = read_json(found.folder.teacher) if found.folder.teacher.is_file() else {}
    train = cohort.in_split("train")
    saturated = saturated_findings(soft[train], cohort.findings, cohort.task)
    checks = [
        teacher.teacher_saturated(saturated, len(cohort.findings), study.teach.out_of_fold),
        teacher.teacher_calibrated((record.get("macro") or {}).get("calibration_error")),
    ]
    held = np.flatnonzero(cohort.in_split("val") | cohort.in_split("test"))
    alone = found.scores(found.reference, held)
    if not alone:
        why = f"No student of '{found.reference}' has been trained yet."
        missing = ("teacher-gap", "information-gain", "can-help", "error-transfer")
        return [*checks, *(unknown(name, why) for name in missing)]
    student = np.mean(list(alone.values()), axis=0)
    patients = cohort.cases["patient"].to_numpy()
    learned = soft[held], student, cohort.labels[held]
    return [
        *_on_test(found),
        *checks,
        teacher.added_information(agreement_within_labels(*learned)),
        teacher.can_help(distillation_criterion(*learned, patients[held])),
    ]


def _on_test(found: _Found) -> list[Check]:
    """The teacher's gap and the transfer of its errors, over the test cases."""
    cohort, soft = found.cohort, found.soft
    assert soft is not None  # noqa: S101  (the caller looked)
    test = np.flatnonzero(cohort.in_split("test"))
    codes, names = pd.factorize(cohort.cases["patient"].to_numpy()[test])
    settings = found.study.compare
    if len(names) < 2:
        why = "There are fewer than two test patients."
        return [unknown("teacher-gap", why), unknown("error-transfer", why)]
    counts = draw_counts(len(names), settings.replicates, np.random.default_rng([settings.seed, 0]))
    labels, alone = cohort.evaluation_labels[test], found.scores(found.reference, test)
    gap = teacher.teacher_advantage(soft[test], np.stack(list(alone.values())), labels, codes, counts)
    checks = [teacher.teacher_gap(gap, found.reference)]
    taught = found.scores(found.distilled[0], test) if found.distilled else {}
    seeds = [seed for seed in alone if seed in taught]
    if not seeds:
        return [*checks, unknown("error-transfer", "No student has learned from the teacher yet.")]
    with_teacher, without = (np.stack([scores[seed] for seed in seeds]) for scores in (taught, alone))
    return [*checks, students.transferred_errors(soft[test], with_teacher, without, labels, codes, counts)]


def _spatial(cohort: Cohort) -> Check:
    if cohort.text is None:
        source = "none" if cohort.metadata is None else "metadata"
        return teacher.spatial_content(None, source)
    train = cohort.in_split("train")
    return teacher.spatial_content(placed_share(cohort.text[train]), "text")


def _lambda(found: _Found) -> Check:
    epochs = found.study.training.epochs
    differences, lambdas = {}, {}
    for arm in found.distilled:
        difference = found.difference(arm)
        if difference is not None and not np.isnan(difference.low):
            objective = found.study.arms[arm].objective
            each = [objective.weights(found.cohort.findings, epoch, epochs).mean() for epoch in range(epochs)]
            differences[arm], lambdas[arm] = difference, float(np.mean(each))
    return students.falling_with_lambda(differences, lambdas)


def _training(found: _Found) -> Check:
    histories = {
        arm: [read_table(cell.history)["val_auroc"].to_numpy(float) for cell in cells if cell.history.is_file()]
        for arm, cells in ((arm, found.cells(arm).values()) for arm in found.study.arms)
    }
    longer = next((name for name, arm in found.study.arms.items() if arm.kind == "longer"), None)
    return students.under_trained(histories, None if longer is None else found.difference(longer))


def _maps(found: _Found) -> Check:
    arm = found.study.compare.primary.arm
    if not found.folder.repeatability.is_file():
        return students.varying_maps(None, arm)
    rows = read_table(found.folder.repeatability)
    rows = rows[(rows["kind"] == "excess") & (rows["arm"] == arm)]
    rows = rows[(rows["metric"] == "spearman") & (rows["finding"] == MACRO)]
    return students.varying_maps(None if rows.empty else _interval(rows.iloc[0]), arm)


def _interval(row: pd.Series) -> Interval:
    return Interval(float(row["estimate"]), float(row["low"]), float(row["high"]))
