"""What soft labels tell beyond hard ones, and whether a student can take it up: before any distillation."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Shaped
from scipy.stats import rankdata
from sklearn.feature_selection import mutual_info_classif, mutual_info_regression

from mmpkd.compare.intervals import Interval

MIN_CASES = 30
MIN_STRATUM = 10
_GROUPS = 10
_QUANTILE = 1.96


class Criterion(NamedTuple):
    """Mutual information in bits, means over findings, and the difference with its interval.

    Args:
        teacher_student: I(T; S) of the teacher's and the image-only student's logits.
        student_label: I(S; Y) of the student's logit and the hard label.
        difference: The first less the second; NaN limits with fewer than ten patients.
    """

    teacher_student: float
    student_label: float
    difference: Interval


def distillation_criterion(
    teacher: Float[np.ndarray, "cases findings"],
    student: Float[np.ndarray, "cases findings"],
    labels: Float[np.ndarray, "cases findings"],
    patients: Shaped[np.ndarray, " cases"],
) -> Criterion:
    r"""Return whether distillation can be expected to help: where :math:`I(T; S) > I(S; Y)`.

    Nearest-neighbour estimates (Kraskov et al. 2004, Ross 2014) of scikit-learn with 3 neighbours, on ranks, which
    changes no mutual information. The interval is a jackknife over ten groups of patients, by normal theory; kNN
    estimates do not stand redrawing with replacement.

    Args:
        teacher: Logits; NaN where the teacher knows nothing.
        student: Logits of a student of the images alone, on cases that it was not trained on.
        labels: 1, 0 or NaN: those that the student learned from.
        patients: Patient of each case.

    Source: arXiv 2510.13182, with logits as the representations.
    """
    sample = _criterion(teacher, student, labels)
    groups = np.unique(patients, return_inverse=True)[1] % _GROUPS
    if len(np.unique(groups)) < _GROUPS:
        return Criterion(*sample, Interval(sample[0] - sample[1], float("nan"), float("nan")))
    left_out = np.array([_criterion(teacher[kept], student[kept], labels[kept]) for kept in _without(groups)])
    gaps = left_out[:, 0] - left_out[:, 1]
    error = float(np.sqrt((_GROUPS - 1) / _GROUPS * ((gaps - gaps.mean()) ** 2).sum()))
    gap = sample[0] - sample[1]
    return Criterion(*sample, Interval(gap, gap - _QUANTILE * error, gap + _QUANTILE * error))


def agreement_within_labels(
    teacher: Float[np.ndarray, "cases findings"],
    student: Float[np.ndarray, "cases findings"],
    labels: Float[np.ndarray, "cases findings"],
) -> Interval:
    r"""Return the rank correlation of soft labels and an image-only student among cases with the same label.

    Spearman's correlation in each (finding, label) with at least 10 cases, joined by Fisher's z:

    .. math:: \bar z = \frac{\sum_g (n_g - 3) \operatorname{artanh} r_g}{\sum_g (n_g - 3)}, \qquad
              SE = \frac{1.03}{\sqrt{\sum_g (n_g - 3)}}

    Where it is 0 the soft labels know nothing of the image that hard labels do not. The standard error takes findings
    for independent. NaN without any such group.

    Source: Fieller, Hartley and Pearson 1957, Biometrika 44:470 (the standard error of Spearman's correlation).
    """
    weights, values = [], []
    for column in range(labels.shape[1]):
        for value in (0.0, 1.0):
            cases = (labels[:, column] == value) & ~np.isnan(teacher[:, column]) & ~np.isnan(student[:, column])
            if cases.sum() < MIN_STRATUM:
                continue
            ranks = [rankdata(logits[cases, column]) for logits in (teacher, student)]
            if min(np.ptp(rank) for rank in ranks) == 0:
                continue
            correlation = np.clip(np.corrcoef(ranks[0], ranks[1])[0, 1], -0.999999, 0.999999)
            values.append(float(np.arctanh(correlation)))
            weights.append(int(cases.sum()) - 3)
    if not weights:
        return Interval(*[float("nan")] * 3)
    mean = float(np.average(values, weights=weights))
    width = _QUANTILE * 1.03 / np.sqrt(sum(weights))
    return Interval(*(float(np.tanh(value)) for value in (mean, mean - width, mean + width)))


def _criterion(teacher: np.ndarray, student: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
    shared, learned = [], []
    for column in range(labels.shape[1]):
        known = ~(np.isnan(teacher[:, column]) | np.isnan(student[:, column]) | np.isnan(labels[:, column]))
        t, s, y = (part[known, column] for part in (teacher, student, labels))
        if len(y) < MIN_CASES or min(np.count_nonzero(y == 0), np.count_nonzero(y == 1)) < MIN_STRATUM:
            continue
        ranks = rankdata(s)[:, None] / len(s)
        shared.append(mutual_info_regression(ranks, rankdata(t) / len(t), random_state=0)[0])
        learned.append(mutual_info_classif(ranks, y.astype(int), random_state=0)[0])
    if not shared:
        return float("nan"), float("nan")
    return float(np.mean(shared) / np.log(2)), float(np.mean(learned) / np.log(2))


def _without(groups: np.ndarray) -> list[np.ndarray]:
    return [groups != group for group in range(_GROUPS)]
