"""What in a cohort could make a result look better than it is. Warnings only: none of it stops a run.

Columns and words are tested on training cases, one at a time; a leak that needs several of them stays unseen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from scipy.stats import rankdata

from mmpkd.cohort.cohort import Cohort

_NEARLY_THE_LABEL = 0.99  # AUROC of one column
_TELLING_WORD = 0.98  # AUROC of one word's presence, (sensitivity + specificity) / 2
_FEW = 10  # positives or negatives below which nothing is said
_MANY_TEXTS = 20_000  # enough for the words; more would only cost time
_SMOOTH = 0.5


def find_leaks(cohort: Cohort, digests: Sequence[str] | None = None) -> list[str]:
    """Return one sentence for each thing that may flatter a result.

    Patients in more than one split; identical images across splits or patients; a metadata column, or its being blank,
    that alone tells a label with an AUROC of at least .99; a word whose presence does so with .98; text that names a
    finding in most of its positives and few of its negatives.

    Args:
        cohort: The cohort.
        digests: Hash of each case's image file, equal for identical files, blank where unknown.
    """
    warnings = []
    spread = cohort.cases.groupby("patient", sort=False)["split"].nunique()
    if (spread > 1).any():
        warnings.append(f"{(spread > 1).sum()} patients have cases in more than one split; split by patient.")
    if digests is not None:
        warnings += _identical_images(cohort, digests)
    return warnings + _telling_columns(cohort) + _telling_text(cohort)


def _identical_images(cohort: Cohort, digests: Sequence[str]) -> list[str]:
    frame = cohort.cases[["split", "patient"]].assign(digest=list(digests))
    counts = frame[frame["digest"] != ""].groupby("digest", sort=False).nunique()
    across, among = int((counts["split"] > 1).sum()), int((counts["patient"] > 1).sum())
    told = []
    if across:
        told.append(
            f"{across} images stand identically in more than one split; give them one split or drop the copies."
        )
    if among:
        told.append(f"{among} images stand identically under more than one patient; merge those patients.")
    return told


def _telling_columns(cohort: Cohort) -> list[str]:
    if cohort.metadata is None:
        return []
    train = cohort.in_split("train")
    told = []
    for name, column in cohort.metadata.items():
        for finding, labels in zip(cohort.findings, cohort.labels.T, strict=True):
            known = train & ~np.isnan(labels)
            score = _auroc_of_column(column[known], labels[known])
            blank = _auroc_of_presence(column[known].isna().to_numpy(), labels[known])
            if score >= _NEARLY_THE_LABEL:
                told.append(
                    f"the metadata column {str(name)!r} tells {finding!r} by itself (AUROC {score:.3f}): it may be the "
                    f"label under another name; run the teacher with and without it."
                )
            elif max(blank, 1 - blank) >= _NEARLY_THE_LABEL:
                told.append(
                    f"whether the metadata column {str(name)!r} is blank tells {finding!r} by itself (AUROC "
                    f"{max(blank, 1 - blank):.3f}); find out why before believing a teacher that reads it."
                )
    return told


def _auroc_of_column(column: pd.Series[Any], labels: Float[np.ndarray, " cases"]) -> float:
    """Return the AUROC of a column's values that are not missing: numbers in the better direction, categories by the
    positive rate of the other cases of their category (so that an identifier does not tell its own label).
    """
    there = column.notna().to_numpy()
    column, labels = column[there], labels[there]
    if not isinstance(column.dtype, pd.CategoricalDtype):
        score = _auroc(column.to_numpy(np.float64), labels)
        return max(score, 1 - score)
    codes = column.cat.codes.to_numpy()
    of_code = pd.DataFrame({"code": codes, "label": labels}).groupby("code")["label"]
    total, size = of_code.transform("sum").to_numpy(), of_code.transform("size").to_numpy()
    return _auroc((total - labels + _SMOOTH) / (size - 1 + 2 * _SMOOTH), labels)


def _auroc(scores: Float[np.ndarray, " cases"], labels: Float[np.ndarray, " cases"]) -> float:
    """Return the AUROC by ranks (ties count half), .5 where either class has fewer than ten cases."""
    positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
    if min(positives, negatives) < _FEW:
        return 0.5
    ranks = rankdata(scores)
    return float((ranks[labels == 1].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def _auroc_of_presence(present: Bool[np.ndarray, " cases"], labels: Float[np.ndarray, " cases"]) -> float:
    return _auroc(present.astype(np.float64), labels)


def _telling_text(cohort: Cohort) -> list[str]:
    if cohort.text is None:
        return []
    rows = np.flatnonzero(cohort.in_split("train") & cohort.text.notna().to_numpy())
    rows = rows[:: max(1, -(-len(rows) // _MANY_TEXTS))]
    if not len(rows):
        return []
    texts = [str(text).casefold() for text in cohort.text.iloc[rows]]
    return _names_of_findings(cohort, rows, texts) + _telling_words(cohort, rows, texts)


def _names_of_findings(cohort: Cohort, rows: np.ndarray, texts: list[str]) -> list[str]:
    told = []
    for finding, column in zip(cohort.findings, cohort.labels.T, strict=True):
        labels = column[rows]
        pattern = _pattern_of(finding)
        if min((labels == 1).sum(), (labels == 0).sum()) < _FEW or pattern is None:
            continue
        named = np.array([pattern.search(text) is not None for text in texts])
        in_positives, in_negatives = named[labels == 1].mean(), named[labels == 0].mean()
        if in_positives >= 0.5 and in_negatives <= in_positives / 5:
            told.append(
                f"the text names {finding!r} in {in_positives:.0%} of its positive and {in_negatives:.0%} of its "
                f"negative training cases: a teacher can read the label off, and its soft labels then say little more "
                f"than the label does."
            )
    return told


def _pattern_of(finding: str) -> re.Pattern[str] | None:
    """Return a pattern for the finding's name as people write it: ``covid19`` also as COVID-19."""
    words = re.findall(r"[^\W\d_]+|\d+", finding.casefold())
    if not any(len(word) > 2 for word in words):
        return None
    return re.compile(r"\b" + r"[\W_]*".join(map(re.escape, words)) + r"\b")


def _telling_words(cohort: Cohort, rows: np.ndarray, texts: list[str]) -> list[str]:
    """Count in how many positives and negatives each word stands; name the word that tells most, where it tells all."""
    words: dict[str, int] = {}
    of_text = [
        [words.setdefault(word, len(words)) for word in set(re.findall(r"[^\W\d_]{2,}", text))] for text in texts
    ]
    text_of = np.repeat(np.arange(len(texts)), [len(found) for found in of_text])
    word_of = np.array([word for found in of_text for word in found], np.int64)
    names = list(words)
    told = []
    for finding, column in zip(cohort.findings, cohort.labels.T, strict=True):
        labels = column[rows]
        positives, negatives = int((labels == 1).sum()), int((labels == 0).sum())
        if min(positives, negatives) < _FEW:
            continue
        true = np.bincount(word_of, (labels == 1)[text_of], len(names))
        false = np.bincount(word_of, (labels == 0)[text_of], len(names))
        scores = (true / positives + 1 - false / negatives) / 2
        scores = np.maximum(scores, 1 - scores)
        best = int(scores.argmax()) if len(scores) else -1
        if best >= 0 and scores[best] >= _TELLING_WORD:
            told.append(
                f"whether the text has the word {names[best]!r} tells {finding!r} by itself (AUROC "
                f"{scores[best]:.3f}): the text may state the label, or carry a template that follows it."
            )
    return told
