"""What is in a cohort, in numbers: for `mmpkd check`, for cohort.json, for the report. Judges nothing.

What could deceive is found by `mmpkd.cohort.leaks`. Nothing here names a case, a patient or a path.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Float

from mmpkd.cohort.cohort import SPLITS, Cohort
from mmpkd.cohort.leaks import find_leaks

__all__ = ["find_leaks", "format_summary", "summarise"]


def summarise(cohort: Cohort) -> dict[str, Any]:
    """Return cases, patients, labels and coverage as plain data (the content of cohort.json).

    ``findings`` holds for each finding the number of positive, negative and missing labels, the prevalence (share of
    positives among labelled cases, ``None`` without any), and the same counts in each split. ``reference`` holds the
    counts of the better reader's labels and the share of cases where both agree. ``rois`` counts cases with an ROI.
    """
    patients = cohort.cases["patient"]
    splits = {split: cohort.in_split(split) for split in SPLITS}
    return {
        "name": cohort.name,
        "task": cohort.task,
        "cases": len(cohort),
        "patients": int(patients.nunique()),
        "splits": {
            split: {"cases": int(inside.sum()), "patients": int(patients[inside].nunique())}
            for split, inside in splits.items()
        },
        "findings": {
            name: {**_counts(labels), "splits": {split: _counts(labels[inside]) for split, inside in splits.items()}}
            for name, labels in zip(cohort.findings, cohort.labels.T, strict=True)
        },
        "reference": _reference(cohort),
        "text": _text(cohort),
        "metadata": _metadata(cohort),
        "rois": _rois(cohort),
    }


def _counts(labels: Float[np.ndarray, " cases"]) -> dict[str, Any]:
    positive, negative = int((labels == 1).sum()), int((labels == 0).sum())
    return {
        "positive": positive,
        "negative": negative,
        "missing": int(np.isnan(labels).sum()),
        "prevalence": positive / (positive + negative) if positive + negative else None,
    }


def _reference(cohort: Cohort) -> dict[str, Any] | None:
    if cohort.reference is None:
        return None
    told = {}
    for name, labels, better in zip(cohort.findings, cohort.labels.T, cohort.reference.T, strict=True):
        both = ~np.isnan(labels) & ~np.isnan(better)
        told[name] = {**_counts(better), "agreement": float((labels == better)[both].mean()) if both.any() else None}
    return told


def _text(cohort: Cohort) -> dict[str, Any] | None:
    if cohort.text is None:
        return None
    texts = cohort.text.dropna()
    words = [len(text.split()) for text in texts]
    return {
        "cases": len(words),
        "coverage": len(words) / max(len(cohort), 1),
        "median_words": float(np.median(words)) if words else 0.0,
    }


def _metadata(cohort: Cohort) -> dict[str, Any] | None:
    if cohort.metadata is None:
        return None
    return {
        str(name): {
            "type": "category" if isinstance(column.dtype, pd.CategoricalDtype) else "number",
            "values": int(column.nunique()),
            "missing": int(column.isna().sum()),
            "missing_share": float(column.isna().mean()),
        }
        for name, column in cohort.metadata.items()
    }


def _rois(cohort: Cohort) -> dict[str, int] | None:
    if cohort.rois is None:
        return None
    cases = cohort.rois.drop_duplicates(["case", "finding"])["finding"].value_counts()
    return {name: int(cases.get(name, 0)) for name in cohort.findings}


def format_summary(summary: Mapping[str, Any]) -> str:
    """Return the summary as lines for a terminal, within 100 columns as far as names and warnings allow."""
    lines = [
        f"{summary['name']}: {summary['cases']:,} cases of {summary['patients']:,} patients, {summary['task']}",
        "",
        *_table(
            ("split", "cases", "patients"),
            [(split, f"{of['cases']:,}", f"{of['patients']:,}") for split, of in summary["splits"].items()],
        ),
        "",
        *_findings(summary),
        "",
    ]
    text, metadata, sizes = summary["text"], summary["metadata"], summary.get("image_sizes_px")
    lines.append(
        f"  text: {text['cases']:,} cases ({text['coverage']:.0%}), median {text['median_words']:.0f} words"
        if text
        else "  text: none"
    )
    if metadata:
        rows = [
            (name, of["type"], f"{of['values']:,}", f"{of['missing']:,}", f"{of['missing_share']:.0%}")
            for name, of in metadata.items()
        ]
        lines += ["", *_table(("metadata", "type", "values", "missing", "share"), rows)]
    else:
        lines.append("  metadata: none")
    if summary["rois"] is None:
        lines.append("  ROIs: none")
    if sizes:
        lines.append(f"  image sizes: {sizes['smallest']} to {sizes['largest']} px (height x width)")
    steps = (summary.get("image_steps") or {}).items()
    lines += [f"  DICOM, {names}: {number:,}" for names, number in steps]
    warnings = summary.get("warnings") or []
    count = f"{len(warnings)} warning" + ("s" if len(warnings) != 1 else "")
    return "\n".join([*lines, "", count + (":" if warnings else "."), *(f"  - {warning}" for warning in warnings)])


def _findings(summary: Mapping[str, Any]) -> list[str]:
    header = ["finding", "positive", "negative", "missing", "prevalence"]
    header += [f"in {split}" for split in SPLITS]
    if summary["reference"] is not None:
        header.append("agreement")
    if summary["rois"] is not None:
        header.append("ROIs")
    rows = []
    for name, of in summary["findings"].items():
        row = [name, *(f"{of[key]:,}" for key in ("positive", "negative", "missing")), _share(of["prevalence"])]
        row += [_share(of["splits"][split]["prevalence"]) for split in SPLITS]
        if summary["reference"] is not None:
            row.append(_share(summary["reference"][name]["agreement"]))
        if summary["rois"] is not None:
            row.append(f"{summary['rois'][name]:,}")
        rows.append(row)
    return _table(header, rows)


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return aligned lines, the first column to the left and the others to the right."""
    first, *others = ([len(cell) for cell in column] for column in zip(header, *rows, strict=True))
    layout = "  ".join(["  {:<" + str(max(first)) + "}", *(f"{{:>{max(widths)}}}" for widths in others)])
    return [layout.format(*row) for row in (header, *rows)]
