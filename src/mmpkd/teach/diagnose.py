"""What is worth saying about a teacher before a student learns from it, in words.

Judged from its soft labels and its privileged information alone; whether it beats the image-only student is
judged where there is one (``mmpkd.study``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from mmpkd.cohort.cohort import Task
from mmpkd.teach.base import TokenCount
from mmpkd.teach.logits import to_probabilities

SATURATED_SHARE = 0.9
SATURATED_ENTROPY = 0.1
TELLTALE_AUROC = 0.95
CUT_SHARE = 0.02
UNINFORMED_SHARE = 0.5


def mean_entropy_bits(probabilities: Float[np.ndarray, " cases"]) -> float:
    """Return the mean of -p log2 p - (1 - p) log2(1 - p); NaN for no case."""
    p = probabilities[~np.isnan(probabilities)]
    if not len(p):
        return float("nan")
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where((p == 0) | (p == 1), 0.0, -p * np.log2(p) - (1 - p) * np.log2(1 - p))
    return float(terms.mean())


def saturated_findings(logits: Float[np.ndarray, "cases findings"], findings: Sequence[str], task: Task) -> list[str]:
    """Return the findings whose soft labels say hardly more than hard labels would.

    That is: at least 90% of the probabilities lie outside [0.01, 0.99], *and* their mean entropy is below 10% of the
    entropy of their mean. (A rare finding alone has many small probabilities but no such fall in entropy.)
    """
    probabilities = to_probabilities(logits, task)
    found = []
    for column, name in enumerate(findings):
        p = probabilities[:, column]
        p = p[~np.isnan(p)]
        if not len(p):
            continue
        outside = np.mean((p < 0.01) | (p > 0.99))
        prior = mean_entropy_bits(np.array([p.mean()]))
        if outside >= SATURATED_SHARE and mean_entropy_bits(p) < SATURATED_ENTROPY * prior:
            found.append(name)
    return found


def describe_saturation(saturated: Sequence[str], out_of_fold: bool) -> list[str]:
    """Return one sentence with what to do, or none."""
    if not saturated:
        return []
    remedy = (
        "the privileged information nearly contains the label, so compare with label smoothing"
        if out_of_fold
        else "set out_of_fold: true"
    )
    return [
        f"the teacher is saturated for {_listed(saturated)}: its soft labels are close to hard labels and teach "
        f"little beyond them; {remedy}."
    ]


def telltale_columns(
    metadata: pd.DataFrame, labels: Float[np.ndarray, "cases findings"], findings: Sequence[str]
) -> list[str]:
    """Return a sentence for each metadata column that alone nearly tells a label (AUROC of at least 0.95).

    A number is scored as it is, in the better direction; a category by the finding's rate in it among the *other*
    cases, so that a column of identifiers does not pass for a tell-tale.
    """
    sentences = []
    for name in metadata.columns:
        for column, finding in enumerate(findings):
            score = _column_auroc(metadata[name], labels[:, column])
            if score >= TELLTALE_AUROC:
                sentences.append(
                    f"the metadata column '{name}' alone tells '{finding}' with AUROC {score:.2f}; if it was written "
                    f"knowing the label, leave it out (teacher.exclude)."
                )
    return sentences


def describe_coverage(informed: np.ndarray, needs: str) -> list[str]:
    """Return a sentence when most training cases lack what the teacher reads."""
    lacking = 1 - informed.mean() if len(informed) else 0.0
    if lacking <= UNINFORMED_SHARE:
        return []
    return [f"{lacking:.0%} of the training cases lack {needs}: they keep their hard labels only."]


def describe_cut(tokens: TokenCount | None) -> list[str]:
    """Return a sentence when a notable share of the text did not fit into the encoder."""
    if tokens is None or tokens.cut_share < CUT_SHARE:
        return []
    return [
        f"{tokens.cut_share:.0%} of the tokens did not fit into the encoder; choose the report's sections that matter "
        f"(cohort.text.sections), or `long: windows`."
    ]


def auroc(scores: np.ndarray, labels: np.ndarray) -> float:
    """Return the share of (positive, negative) pairs in order, ties half; NaN for one class only."""
    known = ~np.isnan(scores) & ~np.isnan(labels)
    scores, positive = scores[known], labels[known] == 1
    count = int(positive.sum())
    others = len(positive) - count
    if not count or not others:
        return float("nan")
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def _column_auroc(column: pd.Series, labels: np.ndarray) -> float:
    known = ~np.isnan(labels) & column.notna().to_numpy()
    y = labels[known]
    values = column[known]
    if min(y.sum(), len(y) - y.sum()) < 5:  # too few for an AUROC to mean anything
        return float("nan")
    if pd.api.types.is_numeric_dtype(values.dtype):
        area = auroc(values.to_numpy(float), y)
        return max(area, 1 - area)
    codes = pd.factorize(values)[0]
    total, count = np.bincount(codes, weights=y)[codes], np.bincount(codes)[codes]
    prior = y.mean()
    return auroc((total - y + prior) / (count - 1 + 1), y)


def _listed(names: Sequence[str]) -> str:
    quoted = [f"'{name}'" for name in names]
    return quoted[0] if len(quoted) == 1 else f"{', '.join(quoted[:-1])} and {quoted[-1]}"
