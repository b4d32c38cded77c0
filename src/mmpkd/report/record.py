"""What went in and what ran: training curves, the cohort, versions and times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from mmpkd.report.data import ReportData
from mmpkd.report.figures import curves, label_counts
from mmpkd.report.glossary import plain
from mmpkd.report.tables import compared_arms
from mmpkd.report.words import duration, phrase, whole


def training_figures(data: ReportData) -> tuple[Markup, ...]:
    """Return the training curves: validation AUROC, then every part of the training loss."""
    names = dict.fromkeys(name for history in data.histories for name in history.series)
    order = sorted(names, key=lambda name: name != "val_auroc")
    return tuple(
        curves(
            f"curve-{name.replace('_', '-')}",
            _curve_title(name),
            name,
            data.histories,
            compared_arms(data),
            description=f"{_curve_title(name)} by epoch, one line a seed.",
        )
        for name in order
    )


def _curve_title(name: str) -> str:
    if name == "val_auroc":
        return "Validation AUROC"
    if name == "train_loss":
        return "Training loss, total"
    return f"Training loss, {plain(name.removeprefix('train_'))} part"


def cohort_panel(data: ReportData) -> dict[str, Any] | None:
    """Return the cohort's section, tolerant of what its summary lacks."""
    if data.cohort is None:
        return None
    cohort = data.cohort
    findings = {name: c for name, c in (cohort.get("findings") or {}).items() if isinstance(c, Mapping)}
    counts = {
        plain(str(name)): (_count(count, "positive"), _count(count, "negative"), _count(count, "missing"))
        for name, count in findings.items()
    }
    rois = cohort.get("rois") or {}
    splits = {name: s for name, s in (cohort.get("splits") or {}).items() if isinstance(s, Mapping)}
    facts = [("Name", str(cohort.get("name", ""))), ("Task", str(cohort.get("task", "")))]
    facts += [("Cases", whole(cohort.get("cases"))), ("Patients", whole(cohort.get("patients")))]
    for key in ("text", "metadata"):
        facts.append((key.capitalize(), phrase(cohort.get(key)) if cohort.get(key) else "none"))
    return {
        "facts": [(name, value) for name, value in facts if value],
        "splits": [(name, whole(s.get("cases")), whole(s.get("patients"))) for name, s in splits.items()],
        "figure": label_counts("labels", counts, description="Labels per finding.") if counts else None,
        "findings": [
            (
                name,
                *(f"{count:,}" for count in c),
                whole(rois.get(original)) if isinstance(rois, Mapping) else "",
            )
            for (name, c), original in zip(counts.items(), findings, strict=True)
        ],
        "warnings": [str(warning) for warning in cohort.get("warnings") or ()],
    }


def run_panel(data: ReportData) -> dict[str, Any]:
    """Return what ran: identity, versions, times."""
    run = data.run
    facts = [
        ("mmpkd", phrase(run.get("mmpkd_version"))),
        ("Study fingerprint", phrase(run.get("study_fingerprint"))),
        ("Arms", ", ".join(data.arms)),
        ("Seeds", ", ".join(str(seed) for seed in data.seeds)),
        ("Workers", phrase(run.get("workers"))),
        ("Threads a worker", phrase(run.get("threads"))),
        ("Python", phrase(run.get("python"))),
        ("Platform", phrase(run.get("platform"))),
    ]
    versions = run.get("versions")
    seconds = run.get("seconds")
    return {
        "facts": [(name, value) for name, value in facts if value],
        "versions": sorted(versions.items()) if isinstance(versions, Mapping) else [],
        "seconds": [(plain(str(k)), duration(v)) for k, v in seconds.items() if isinstance(v, int | float)]
        if isinstance(seconds, Mapping)
        else [],
    }


def _count(counts: Mapping[str, Any], key: str) -> int:
    return int(counts.get(key) or 0)
