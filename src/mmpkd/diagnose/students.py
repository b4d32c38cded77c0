"""Signs of students that were not helped, or helped for another reason: λ, errors passed on, training, maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from mmpkd.compare.crossed import seeds_by_patients
from mmpkd.compare.intervals import Interval
from mmpkd.compare.resample import mean_draws
from mmpkd.compare.words import listed
from mmpkd.diagnose.check import Check, judged, shown, unknown

RISING = 0.005
_LAST = 0.25


def falling_with_lambda(differences: Mapping[str, Interval], lambdas: Mapping[str, float]) -> Check:
    """Judge the distilled arms' macro AUROC less the reference arm's, in order of λ."""
    if not differences:
        return unknown("lambda", "No arm with soft labels has been compared.")
    order = sorted(differences, key=lambda arm: lambdas[arm])
    worse = [arm for arm in order if differences[arm].high < 0]
    said = ", ".join(f"{shown(differences[arm])} with '{arm}' (λ = {lambdas[arm]:g})" for arm in order)
    return judged(
        "lambda",
        bool(worse),
        f"AUROC less that of hard labels alone: {said}.",
        f"AUROC falls in {listed(worse) if worse else ''}: lower λ, or the student takes the teacher's mistakes for "
        "truth.",
    )


def under_trained(histories: Mapping[str, Sequence[Float[np.ndarray, " epochs"]]], longer: Interval | None) -> Check:
    """Judge whether validation AUROC still rose when training ended.

    The gain is the mean of the last quarter of the epochs less that of the quarter before, over an arm's seeds.

    Args:
        histories: Validation AUROC of each epoch, for each seed of each arm.
        longer: Macro AUROC of twice the epochs less that of hard labels, where that control ran.
    """
    gains = {}
    for arm, seeds in histories.items():
        rises = [_rise(values) for values in seeds if len(values) >= 4]
        if rises and not np.isnan(rises).all():
            gains[arm] = float(np.nanmean(rises))
    if not gains:
        return unknown("under-trained", "There is no validation AUROC over at least four epochs.")
    rising = [arm for arm, gain in gains.items() if gain > RISING]
    said = f"Validation AUROC rose by up to {max(gains.values()):.3f} over the last quarter of training"
    by_longer = longer is not None and longer.low > 0
    if longer is not None:
        said += f", and twice the epochs changed AUROC by {shown(longer)}"
    where = f" ({listed(rising)})" if rising else ""
    return judged(
        "under-trained",
        bool(rising) or by_longer,
        f"{said}.",
        f"Students were still learning{where}: raise training.epochs; under-trained students show false gains, since "
        "soft labels also speed training up.",
    )


def transferred_errors(
    teacher: Float[np.ndarray, "cases findings"],
    with_teacher: Float[np.ndarray, "seeds cases findings"],
    without: Float[np.ndarray, "seeds cases findings"],
    labels: Float[np.ndarray, "cases findings"],
    patients: Int[np.ndarray, " cases"],
    counts: Shaped[np.ndarray, "patients draws"],
) -> Check:
    r"""Judge whether students repeat the teacher where it is wrong, more often than students without it.

    A decision is a score above its finding's :math:`1 - \pi` quantile, :math:`\pi` the prevalence, so that all decide
    for the finding equally often. The difference is over the (case, finding) where the teacher decides wrongly, with
    the interval of :func:`mmpkd.compare.crossed.seeds_by_patients`.

    Args:
        teacher: Scores, NaN where it knows nothing.
        with_teacher: Students' scores on the same cases.
        without: Scores of as many students trained from the same seeds on hard labels.
        labels: 1, 0 or NaN.
        patients: Number of each case's patient.
        counts: Draws of patients, from :func:`mmpkd.compare.resample.draw_counts`.
    """
    known = ~np.isnan(teacher) & ~np.isnan(labels)
    thought = _decide(teacher, labels, known)
    wrong = known & (thought != (labels == 1))
    if not wrong.any() or len(with_teacher) != len(without):
        return unknown("error-transfer", "The teacher makes no mistake on the test cases.")
    differences = []
    for one, other in zip(with_teacher, without, strict=True):
        repeats = [np.where(wrong, _decide(scores, labels, known) == thought, np.nan) for scores in (one, other)]
        differences.append(_share(repeats[0], patients, counts) - _share(repeats[1], patients, counts))
    interval = seeds_by_patients(np.stack(differences), len(counts)).interval()
    return judged(
        "error-transfer",
        interval.low > 0,
        f"Where the teacher is wrong ({int(wrong.sum())} decisions on test cases), distilled students repeat it more "
        f"often than students without it by {shown(interval)}.",
        "The teacher's mistakes reach the student: lower λ, or mend the teacher where it errs (negations, missing "
        "sections).",
    )


def varying_maps(excess: Interval | None, arm: str) -> Check:
    """Judge the similarity of two seeds' maps of an image less that of maps of unrelated images."""
    if excess is None or np.isnan(excess.estimate):
        return unknown("varying-maps", "Maps of two seeds have not been compared.")
    return judged(
        "varying-maps",
        not excess.low > 0,
        f"Maps of two seeds of '{arm}' are more alike on the same image than on unrelated ones by {shown(excess)} "
        "(rank correlation).",
        "The maps are not repeatable: average them over seeds (the report's ensembles), use the patch head or the "
        "consistency term, and do not read a single student's map.",
    )


def _rise(values: np.ndarray) -> float:
    last = max(1, round(_LAST * len(values)))
    return float(np.mean(values[-last:]) - np.mean(values[-2 * last : -last]))


def _decide(scores: np.ndarray, labels: np.ndarray, known: np.ndarray) -> Bool[np.ndarray, "cases findings"]:
    decided = np.zeros(scores.shape, dtype=bool)
    for column in range(scores.shape[1]):
        cases = known[:, column]
        if cases.any():
            prevalence = float(np.mean(labels[cases, column]))
            decided[:, column] = scores[:, column] > np.quantile(scores[cases, column], 1 - prevalence)
    return decided


def _share(repeats: np.ndarray, patients: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the mean over all defined (case, finding) under the draws."""
    findings = repeats.shape[1]
    flat = repeats.T.reshape(-1, 1)
    share: np.ndarray = mean_draws(flat, np.tile(patients, findings), counts)[0]
    return share
