"""The teacher's section of the report: scores with intervals, calibration, entropy, warnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from mmpkd.report.axes import Series
from mmpkd.report.data import MACRO, ReportData
from mmpkd.report.figures import ForestRow, forest
from mmpkd.report.glossary import describe_metric, plain
from mmpkd.report.svg import ARM_COLOURS
from mmpkd.report.tables import Cell, Group, Line, Table, cell, read_estimate
from mmpkd.report.words import NO_NUMBER, decimal, finding_words, phrase, whole


@dataclass(frozen=True)
class Teacher:
    """The teacher's section."""

    figure: Markup | None
    scores: Table
    facts: tuple[tuple[str, str], ...]
    warnings: tuple[str, ...]
    has_reference: bool
    out_of_fold: bool


def teacher_panel(data: ReportData) -> Teacher | None:
    """Return the teacher's scores, ``None`` where no teacher was scored."""
    if data.teacher is None:
        return None
    parts = [(data.teacher, _training_words(data.teacher)), (data.teacher.get("test") or {}, "Test cases")]
    scored = [(_scores(part), title) for part, title in parts]
    has_reference = any(
        read_estimate(score, "reference_auroc").defined for scores, _ in scored for score in scores.values()
    )
    columns = ("AUROC, labels", *(("AUROC, reference labels",) if has_reference else ()))
    columns += ("Brier score", "Calibration error", "Entropy, bits", "Cases", "Positive")
    groups = [Group(title, _teacher_lines(scores, has_reference)) for scores, title in scored if scores]
    training = scored[0][0]
    return Teacher(
        figure=_teacher_figure(training, has_reference, _training_words(data.teacher)) if training else None,
        scores=Table(columns, tuple(groups)),
        facts=_teacher_facts(data.teacher),
        warnings=tuple(str(warning) for warning in data.teacher.get("warnings") or ()),
        has_reference=has_reference,
        out_of_fold=data.teacher.get("out_of_fold") is not False,
    )


def _training_words(teacher: Mapping[str, Any]) -> str:
    return "Training cases, in sample" if teacher.get("out_of_fold") is False else "Training cases, out of fold"


def _scores(part: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """Return the scores per finding and, last, their macro mean."""
    scores = {name: score for name, score in (part.get("findings") or {}).items() if isinstance(score, Mapping)}
    return {**scores, MACRO: part["macro"]} if part.get("macro") else scores


def _teacher_lines(scores: Mapping[str, Mapping[str, Any]], has_reference: bool) -> tuple[Line, ...]:
    lines = []
    for name, score in scores.items():
        keys = ("auroc", "reference_auroc") if has_reference else ("auroc",)
        cells = [cell(read_estimate(score, key), describe_metric("auroc")) for key in keys]
        cells += [Cell(decimal(score.get(key))) for key in ("brier", "calibration_error", "entropy_bits")]
        cells += [Cell(whole(score.get(key)) or NO_NUMBER) for key in ("cases", "positives")]
        lines.append(Line(finding_words(name), finding_words(name), "", False, tuple(cells)))
    return tuple(lines)


def _teacher_figure(scores: Mapping[str, Mapping[str, Any]], has_reference: bool, cases: str) -> Markup:
    looks = [Series("against the labels", ARM_COLOURS[2], "o")]
    names = ["auroc"]
    if has_reference:
        looks.append(Series("against reference labels", ARM_COLOURS[3], "D"))
        names.append("reference_auroc")
    rows = [
        ForestRow(finding_words(name), tuple(read_estimate(score, n) for n in names), name == MACRO)
        for name, score in scores.items()
    ]
    return forest(
        "teacher",
        rows,
        looks,
        axis_label=f"AUROC ({cases[:1].lower() + cases[1:]})",
        line_at=0.5,
        bounds=(0, 1),
        description="The teacher's AUROC per finding with intervals.",
    )


def _teacher_facts(teacher: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    facts = [("Kind", str(teacher.get("kind") or "not stated"))]
    if teacher.get("folds") is not None and teacher.get("out_of_fold") is not False:
        facts.append(("Folds", f"{teacher['folds']}, of whole patients"))
    if isinstance(teacher.get("tokens_cut_share"), int | float):
        facts.append(("Tokens cut", f"{100 * teacher['tokens_cut_share']:.1f}% of the text's tokens"))
    settings = teacher.get("settings")
    if isinstance(settings, Mapping):
        inner = settings.get("teacher")
        flat = {**settings, **inner} if isinstance(inner, Mapping) else settings
        told = ("kind", "folds", "teacher")
        facts += [(plain(str(key)).capitalize(), phrase(value)) for key, value in flat.items() if key not in told]
    return tuple((name, value) for name, value in facts if value)
