"""What is in a cohort, in numbers, and what in it could deceive: leaks between splits, columns that are the label."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from mmpkd.cohort.cohort import SPLITS, Cohort

_NEARLY_THE_LABEL = 0.99
_FEW = 10


def summarise(cohort: Cohort) -> dict[str, Any]:
    """Return cases, patients, prevalence, missing labels and coverage as plain data (the content of cohort.json)."""
    splits = {
        split: {
            "cases": int(cohort.in_split(split).sum()),
            "patients": int(cohort.cases["patient"][cohort.in_split(split)].nunique()),
        }
        for split in SPLITS
    }
    findings = {
        name: {
            "positive": int((column == 1).sum()),
            "negative": int((column == 0).sum()),
            "missing": int(np.isnan(column).sum()),
        }
        for name, column in zip(cohort.findings, cohort.labels.T, strict=True)
    }
    return {
        "name": cohort.name,
        "task": cohort.task,
        "cases": len(cohort),
        "patients": int(cohort.cases["patient"].nunique()),
        "splits": splits,
        "findings": findings,
        "text": _text(cohort),
        "metadata": _metadata(cohort),
        "rois": _rois(cohort),
    }


def _text(cohort: Cohort) -> dict[str, Any] | None:
    if cohort.text is None:
        return None
    words = cohort.text.dropna().str.count(r"\S+")
    return {"cases": len(words), "median_words": float(words.median()) if len(words) else 0.0}


def _metadata(cohort: Cohort) -> dict[str, Any] | None:
    if cohort.metadata is None:
        return None
    return {
        str(name): {
            "type": "category" if isinstance(column.dtype, pd.CategoricalDtype) else "number",
            "missing": int(column.isna().sum()),
        }
        for name, column in cohort.metadata.items()
    }


def _rois(cohort: Cohort) -> dict[str, int] | None:
    if cohort.rois is None:
        return None
    pairs = cohort.rois.drop_duplicates(["case", "finding"])["finding"].value_counts()
    return {name: int(pairs.get(name, 0)) for name in cohort.findings}


def find_leaks(cohort: Cohort, digests: Sequence[str] | None = None) -> list[str]:
    """Return warnings, one sentence each: what may make a result look better than it is.

    Patients or identical images across splits or patients, a metadata column that by itself tells a label with an AUROC
    of at least .99, and text that names a finding.

    Args:
        cohort: The cohort.
        digests: Hash of each case's image file, equal for identical files.
    """
    warnings = []
    split = cohort.cases["split"].to_numpy()
    spread = cohort.cases.groupby("patient")["split"].nunique()
    if (spread > 1).any():
        warnings.append(f"{(spread > 1).sum()} patients have cases in more than one split; split by patient.")
    if digests is not None:
        warnings += _identical_images(digests, split, cohort.cases["patient"].to_numpy())
    for column, finding, score in _columns_that_tell(cohort):
        warnings.append(
            f"the metadata column {column!r} tells {finding!r} by itself (AUROC {score:.3f}): it may be the label "
            "under another name; run the teacher with and without it."
        )
    return warnings + _text_that_names(cohort)


def _identical_images(digests: Sequence[str], split: np.ndarray, patients: np.ndarray) -> list[str]:
    frame = pd.DataFrame({"digest": list(digests), "split": split, "patient": patients})
    counts = frame[frame["digest"] != ""].groupby("digest").nunique()
    across, among = int((counts["split"] > 1).sum()), int((counts["patient"] > 1).sum())
    told = []
    if across:
        told.append(
            f"{across} images stand identically in more than one split; give them one split or drop the copies."
        )
    if among:
        told.append(f"{among} images stand identically under more than one patient; merge those patients.")
    return told


def _columns_that_tell(cohort: Cohort) -> list[tuple[str, str, float]]:
    if cohort.metadata is None:
        return []
    train = cohort.in_split("train")
    found = []
    for name, column in cohort.metadata.items():
        for finding, labels in zip(cohort.findings, cohort.labels.T, strict=True):
            known = train & ~np.isnan(labels) & column.notna().to_numpy()
            score = _best_auroc(column[known], labels[known])
            if score >= _NEARLY_THE_LABEL:
                found.append((str(name), finding, score))
    return found


def _best_auroc(column: pd.Series[Any], labels: np.ndarray) -> float:
    """Return the AUROC of the column's best ordering: numbers either way, categories by their own rate."""
    positives, negatives = int(labels.sum()), int((1 - labels).sum())
    if min(positives, negatives) < _FEW:
        return 0.5
    if isinstance(column.dtype, pd.CategoricalDtype):
        if column.nunique() > len(column) / 5:  # nearly an identifier: every rate would be its own label
            return 0.5
        rates = pd.Series(labels).groupby(column.to_numpy()).transform("mean").to_numpy()
    else:
        rates = column.to_numpy(float)
    ranks = rankdata(rates)
    auroc = (ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives)
    return float(max(auroc, 1 - auroc))


def _text_that_names(cohort: Cohort) -> list[str]:
    if cohort.text is None:
        return []
    text = cohort.text.fillna("").str.casefold()
    told = []
    for finding, labels in zip(cohort.findings, cohort.labels.T, strict=True):
        word = re.escape(finding.casefold().replace("_", " "))
        named = text.str.contains(rf"\b{word}\b", regex=True).to_numpy()
        positive = (labels == 1) & (text != "").to_numpy()
        if positive.sum() >= _FEW and named[positive].mean() > 0.5:
            told.append(
                f"the text names {finding!r} in {named[positive].mean():.0%} of its positive cases: a teacher may read "
                "the label off it, and its soft labels are then smoothed hard labels."
            )
    return told


def format_summary(summary: Mapping[str, Any]) -> str:
    """Return the summary as lines for a terminal."""
    lines = [f"{summary['name']}: {summary['cases']} cases of {summary['patients']} patients, {summary['task']}", ""]
    lines += [
        f"  {split:6s} {of['cases']:8d} cases {of['patients']:8d} patients" for split, of in summary["splits"].items()
    ]
    lines += ["", f"  {'finding':28s}{'positive':>10s}{'negative':>10s}{'missing':>10s}{'prevalence':>12s}"]
    for name, of in summary["findings"].items():
        observed = of["positive"] + of["negative"]
        share = f"{of['positive'] / observed:.1%}" if observed else "-"
        lines.append(f"  {name:28s}{of['positive']:10d}{of['negative']:10d}{of['missing']:10d}{share:>12s}")
    text, metadata, rois = summary["text"], summary["metadata"], summary["rois"]
    lines += ["", "  text: " + (f"{text['cases']} cases, median {text['median_words']:.0f} words" if text else "none")]
    lines.append("  metadata: " + ("" if metadata else "none"))
    for name, of in (metadata or {}).items():
        lines.append(f"    {name:26s}{of['type']:>10s}{of['missing']:10d} missing")
    lines.append("  ROIs: " + (", ".join(f"{name} {count}" for name, count in rois.items()) if rois else "none"))
    sizes = summary.get("image_sizes_px")
    if sizes:
        lines.append(f"  image sizes: {sizes['smallest']} to {sizes['largest']} px (height x width)")
    warnings = summary.get("warnings") or []
    lines += ["", f"{len(warnings)} warnings" + (":" if warnings else ".")]
    return "\n".join([*lines, *(f"  - {warning}" for warning in warnings)])
