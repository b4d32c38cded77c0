"""How good a teacher's soft labels are, in the form of ``teacher.json``. No student, no run folder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float, Shaped

from mmpkd.compare.intervals import Interval, mean_over_findings, percentile_interval
from mmpkd.compare.resample import discrimination_draws, draw_counts
from mmpkd.errors import InputError
from mmpkd.evaluate.classification import brier, calibration_error, check_labels

_PLAIN = ("brier", "calibration_error", "entropy_bits")


def score_teacher(
    logits: Float[np.ndarray, "cases findings"],
    labels: Shaped[np.ndarray, "label_cases label_findings"],
    reference: Shaped[np.ndarray, "reference_cases reference_findings"] | None,
    patients: Sequence[str] | Shaped[np.ndarray, " patients"],
    findings: Sequence[str],
    *,
    replicates: int = 2000,
    seed: int = 0,
    level: float = 0.95,
    task: Literal["multi-label", "multi-class"] = "multi-label",
) -> dict[str, dict[str, object]]:
    """Score soft labels against the labels the teacher was fitted to, and against better ones if there are.

    Args:
        logits: (cases, findings): log-odds, or log-probabilities in a multi-class cohort; NaN where the
            teacher knows nothing (the case is left out of that finding).
        labels: (cases, findings), 1, 0 or NaN.
        reference: The same by a better reader, or ``None``.
        patients: Patient of each case: the unit that the bootstrap redraws.
        findings: Names of the columns.
        replicates: Bootstrap replicates.
        seed: Seed of the bootstrap.
        level: Coverage of the percentile intervals.
        task: How logits become probabilities.

    Returns:
        Plain data for JSON, ``None`` where undefined. ``findings``: for each name ``auroc``, ``auroc_low``,
        ``auroc_high``, ``brier``, ``calibration_error``, ``entropy_bits`` (mean entropy of the probability of
        the finding), ``cases``, ``positives`` and ``reference_auroc`` with its limits. ``macro``: the means
        over the findings where each is defined, without counts. With fewer than two patients, no limits.
    """
    shapes = {logits.shape, labels.shape, *([] if reference is None else [reference.shape])}
    if shapes != {(len(patients), len(findings))}:
        given = ", ".join(map(str, sorted(shapes)))
        raise InputError(
            f"the soft labels and labels have the shapes {given} for {len(patients)} patients' entries and "
            f"{len(findings)} findings; give (cases, findings) everywhere and one patient a case."
        )
    known = ~np.isnan(logits)
    probabilities = _probabilities(logits, task)
    codes, names = pd.factorize(np.asarray(patients, dtype=object))
    if len(names) < 2:  # nobody to redraw: the sample alone, and no interval
        counts = np.ones((len(names), 1), dtype=np.uint8)
    else:
        counts = draw_counts(len(names), replicates, np.random.default_rng([seed, 0]))

    def intervals(target: np.ndarray) -> list[Interval]:
        draws, _ = discrimination_draws(logits, target, codes, counts)
        return [percentile_interval(row, level) for row in (*draws, mean_over_findings(draws))]

    seen = np.where(known, check_labels(labels), np.nan)
    aurocs = intervals(seen)
    better = None if reference is None else intervals(np.where(known, check_labels(reference), np.nan))
    plain = [
        {
            "brier": brier(probabilities[:, k], seen[:, k]),
            "calibration_error": calibration_error(probabilities[:, k], seen[:, k]),
            "entropy_bits": entropy_bits(probabilities[known[:, k], k]),
        }
        for k in range(len(findings))
    ]
    macro = {name: _mean([scores[name] for scores in plain]) for name in _PLAIN}
    rows: list[dict[str, object]] = []
    for k, scores in enumerate((*plain, macro)):
        row = {**_named("auroc", aurocs[k]), **{name: _json(value) for name, value in scores.items()}}
        if k < len(findings):
            row |= {"cases": int((~np.isnan(seen[:, k])).sum()), "positives": int((seen[:, k] == 1).sum())}
        rows.append(row | _named("reference_auroc", None if better is None else better[k]))
    return {"findings": dict(zip(findings, rows, strict=False)), "macro": rows[-1]}


def entropy_bits(probabilities: Float[np.ndarray, " cases"]) -> float:
    """Return the mean of ``-p log2 p - (1 - p) log2 (1 - p)``, from 0 (hard labels) to 1; NaN of no case."""
    p = np.clip(np.stack([probabilities, 1.0 - probabilities]), 0.0, 1.0)
    if not p.size:
        return float("nan")
    bits = -p * np.log2(p, out=np.zeros_like(p), where=p > 0)
    return float(bits.sum(axis=0).mean())


def _probabilities(logits: np.ndarray, task: str) -> np.ndarray:
    """Return probabilities, 0.5 where the logit is NaN (those cells are masked wherever they are used)."""
    filled = np.where(np.isnan(logits), 0.0 if task == "multi-label" else np.log(0.5), logits)
    if task == "multi-label":
        logistic: np.ndarray = 0.5 * (1.0 + np.tanh(0.5 * filled))
        return logistic
    return np.clip(np.exp(filled), 0.0, 1.0)


def _named(name: str, interval: Interval | None) -> dict[str, object]:
    values = (None, None, None) if interval is None else tuple(map(_json, interval))
    return dict(zip((name, f"{name}_low", f"{name}_high"), values, strict=True))


def _mean(values: list[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")


def _json(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
