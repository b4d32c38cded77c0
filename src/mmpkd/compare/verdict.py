"""The verdict: what a comparison shows, does not show, and may not be credited with, in plain words.

Reads the comparison table and computes nothing new. Words for one difference are in ``mmpkd.compare.words``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from mmpkd.compare.caveats import caveats
from mmpkd.compare.compare import Endpoint
from mmpkd.compare.controls import control_sentences
from mmpkd.compare.headroom import worth_boxes
from mmpkd.compare.intervals import Interval
from mmpkd.compare.power import detectable_by_interval
from mmpkd.compare.reading import MACRO_AUROC, Found, Reading
from mmpkd.compare.tables import Score
from mmpkd.compare.words import better_direction, counted, figures, listed, metric_words, with_interval
from mmpkd.evaluate.baselines import CHANCE, MEAN_ROI_PRIOR
from mmpkd.evaluate.classification import MACRO
from mmpkd.evaluate.classification import METRICS as CLASSIFICATION


def verdict(
    comparison: pd.DataFrame,
    primary: Endpoint,
    arms_ran: Sequence[str],
    teacher: Mapping[str, Any] | None = None,
    *,
    level: float = 0.95,
    equivalence_margin: float | None = None,
    kinds: Mapping[str, str] | None = None,
    boxes: Mapping[str, int] | None = None,
    remarks: Sequence[str] = (),
) -> dict[str, Any]:
    """Put a comparison into words.

    Args:
        comparison: From :func:`mmpkd.compare.compare.compare_arms`.
        primary: The endpoint that the study names.
        arms_ran: Names of the arms that ran, controls among them.
        teacher: Content of ``teacher.json``, if there is a teacher.
        level: Coverage of the intervals in ``comparison``.
        equivalence_margin: Largest change of macro AUROC that counts as none, set before the run. Without it
            AUROC is never called stable. With it, AUROC is called equivalent where the whole interval lies
            inside the margin (stricter than two one-sided tests at ``1 - level``).
        kinds: Kind of each arm by its name, where it is not the name itself: controls are known by it.
        boxes: Number of boxes of each arm that was shown so many.
        remarks: Further caveats, known to the study alone.

    Returns:
        ``question``, ``answer`` (one sentence), ``sentences`` and ``caveats``: plain text, ready for JSON.
    """
    reading = Reading(comparison, primary, list(arms_ran), level, kinds or {})
    what = _what(primary.score)
    asked = reading.difference(reading.reference, primary.score) if reading.reference else None
    if asked is None:
        return _nothing_to_compare(reading, what)
    said = reading.change(asked).sentence(
        f"the {what}", primary.arm, reading.reference, better_direction(primary.metric)
    )
    return {
        "question": (
            f"Does the image-only student trained as '{primary.arm}' differ from "
            f"'{reading.reference}' in {what} on the test cases?"
        ),
        "answer": _sentence(said),
        "sentences": [
            _basis(reading, asked),
            *_power(reading, asked),
            *_by_finding(reading),
            *control_sentences(reading, asked),
            *_discrimination(reading, equivalence_margin),
            *_other_maps(reading),
            *_localisation(reading),
            *_headroom(reading, boxes or {}),
            *_teacher(teacher or {}),
        ],
        "caveats": [*caveats(reading, asked, teacher or {}), *remarks],
    }


def _nothing_to_compare(reading: Reading, what: str) -> dict[str, Any]:
    alone = len(reading.arms_ran) == 1
    why = f"only the arm {listed(reading.arms_ran)} ran" if alone else "this difference was not measured"
    return {
        "question": f"Does the image-only student trained as '{reading.primary.arm}' differ in {what}?",
        "answer": f"This cannot be told: {why}.",
        "sentences": [],
        "caveats": ["Add a second arm to the study for a comparison."] if alone else [],
    }


def _basis(reading: Reading, asked: Found) -> str:
    arms = []
    for arm in (reading.primary.arm, reading.reference):
        found = reading.arm(arm, reading.primary.score)
        arms.append(f"{'undefined' if found is None else with_interval(found.interval)} with '{arm}'")
    return (
        "This is the primary endpoint, the one that the study file names. It rests on "
        f"{counted(asked.cases, 'test case')} of {counted(asked.patients, 'patient')} and on "
        f"{counted(asked.seeds, 'seed')} of each arm: {arms[0]}, {arms[1]} "
        f"({100 * reading.level:g}% intervals in brackets)."
    )


def _power(reading: Reading, asked: Found) -> list[str]:
    """What the study could have seen, where it has seen nothing."""
    smallest = detectable_by_interval(asked.interval, reading.level)
    if reading.change(asked).outcome != "open" or np.isnan(smallest):
        return []
    return [f"A true difference of {figures(smallest)[0]} or more would have been found with a chance of 80%."]


def _by_finding(reading: Reading) -> list[str]:
    """The primary endpoint in each finding, where it is their mean, corrected for their number."""
    found = reading.by_finding()
    if reading.primary.finding != MACRO or len(found) < 2:
        return []
    sure = {name: each for name, (each, p) in found.items() if p <= 1 - reading.level}
    parts = []
    for outcome in ("higher", "lower"):
        names = [name for name, each in sure.items() if (each.interval.estimate > 0) == (outcome == "higher")]
        if names:
            parts.append(f"{outcome} with '{reading.primary.arm}' in {listed(names)}")
    if len(sure) < len(found):
        parts.append(f"no difference shown in {'any finding' if not sure else 'the others'}")
    return [f"Finding by finding, corrected for their number (Holm, {len(found)}): {', '.join(parts)}."]


_BY_OUTCOME = {"higher": "higher by", "lower": "lower by", "open": "none shown by", "unknown": "unknown by"}


def _discrimination(reading: Reading, margin: float | None) -> list[str]:
    """Macro AUROC, unless it is the primary endpoint itself; and whether it may be called stable."""
    found = reading.difference(reading.reference, MACRO_AUROC)
    if found is None:
        return []
    change, sentences = reading.change(found), []
    if reading.primary.score != MACRO_AUROC:
        sentences.append(_exploratory(reading, found, MACRO_AUROC))
    if change.outcome == "unknown":
        return sentences
    if margin is not None:
        inside = -margin < change.interval.low and change.interval.high < margin
        said = "lies inside: AUROC is equivalent by that margin" if inside else "does not lie inside"
        return [*sentences, f"Against the margin of ±{margin:g} set for AUROC, the interval {said}."]
    if change.outcome == "open":
        sentences.append(
            "That no difference in AUROC is shown does not make AUROC stable: for that a margin must be set "
            "before the run and the whole interval must lie inside it, and none was set."
        )
    return sentences


def _other_maps(reading: Reading) -> list[str]:
    """The primary endpoint by the other map methods that were scored: one that is trained is partly learnt as a map."""
    asked = reading.primary.score
    told: dict[str, list[str]] = {}
    for method in reading.other_methods() if asked.method else ():
        found = reading.difference(reading.reference, asked._replace(method=method))
        if found is not None:
            told.setdefault(_BY_OUTCOME[reading.change(found).outcome], []).append(method)
    said = "; ".join(f"{outcome} {listed(methods)}" for outcome, methods in told.items())
    return [f"Exploratory, the same difference by other map methods: {said}."] if said else []


def _localisation(reading: Reading) -> list[str]:
    """Where the maps look: against the other arm, chance and the picture-blind prior."""
    asked = reading.primary.score
    score = reading.overlap_score() if asked.metric in CLASSIFICATION else asked
    if score is None:
        return []
    found = reading.difference(reading.reference, score)
    compared = [] if found is None or score == asked else [_exploratory(reading, found, score)]
    if better_direction(score.metric) == 0:
        return compared
    blind = [_against_blind(reading, arm, score) for arm in (reading.primary.arm, reading.reference)]
    return compared + [sentence for sentence in blind if sentence]


def _headroom(reading: Reading, boxes: Mapping[str, int]) -> list[str]:
    """What the primary arm takes of what could be gained, and how many boxes its information is worth."""
    asked = reading.primary.score
    score = reading.overlap_score() if asked.metric in CLASSIFICATION else asked
    taken = None if score is None else reading.headroom(score)
    if score is None or taken is None or better_direction(score.metric) <= 0:
        return []
    arm, (upper, share) = reading.primary.arm, taken
    sentences = []
    if not np.isnan(share.interval.estimate):
        what = f"Of the room between a picture-blind prior and '{upper}', which was shown the ROIs"
        sentences.append(f"{what}, '{arm}' takes {with_interval(share.interval)} ({_what(score)}).")
        sentences += _headroom_by_finding(reading, score, upper)
    own = reading.arm(arm, score)
    shown = {count: found for name, count in boxes.items() if (found := reading.arm(name, score))}
    if own is not None and shown:
        least, most = worth_boxes(
            own.interval.estimate, {count: found.interval.estimate for count, found in shown.items()}
        )
        worth = f"at least {least}" if most is None else f"{least} to {most}" if least else f"fewer than {most}"
        sentences.append(f"By these estimates its privileged information is worth {worth} boxes.")
    return sentences


def _headroom_by_finding(reading: Reading, score: Score, upper: str) -> list[str]:
    """The same for single findings, where there are several: which of them have a place to be told at all."""
    if len(reading.findings) < 2:
        return []
    found = {name: taken[1].interval for name in reading.findings if (taken := reading.headroom(score, name))}
    with_room = {name: share for name, share in found.items() if not np.isnan(share.low)}
    without = [name for name in found if name not in with_room]
    shown = ", ".join(f"{name} {with_interval(share)}" for name, share in with_room.items())
    sentences = [f"Of that room by finding: {shown}."] if shown else []
    if without:
        none = f"'{upper}' is not shown to be above the prior, so there is no room to share"
        sentences.append(f"In {', '.join(without)} {none}.")
    return sentences


def _against_blind(reading: Reading, arm: str, score: Score) -> str:
    own, chance = reading.arm(arm, score), reading.difference(CHANCE, score, arm)
    if own is None or chance is None:
        return ""
    opening = f"The maps of '{arm}' ({_what(score)}, {with_interval(own.interval)})"
    standing = reading.standing(chance, score.metric)
    if standing == "unknown":
        return f"{opening} cannot be judged against chance: there are too few ROIs for an interval."
    shown = f"({_shown(reading, chance)})"
    if standing == "better":
        return f"{opening} find the ROIs better than chance {shown}{_against_prior(reading, arm, score)}."
    verb = "find the ROIs worse than chance" if standing == "worse" else "are not shown to do better than chance"
    return f"{opening} {verb} {shown}."


def _against_prior(reading: Reading, arm: str, score: Score) -> str:
    prior = reading.difference(MEAN_ROI_PRIOR, score, arm)
    if prior is None:
        return "; no picture-blind prior was scored, so habit of place alone is not ruled out"
    words = {
        "better": ", and better than",
        "worse": ", but worse than",
        "open": ", but are not shown to do better than",
        "unknown": "; nothing can be concluded against",
    }[reading.standing(prior, score.metric)]
    limits = "" if np.isnan(prior.interval.low) else f" ({_shown(reading, prior)})"
    return f"{words} a picture-blind prior of where such ROIs sit{limits}"


def _shown(reading: Reading, found: Found) -> str:
    return f"difference {figures(found.interval.estimate)[0]}, {reading.change(found).limits}"


def _exploratory(reading: Reading, found: Found, score: Score) -> str:
    said = reading.change(found).sentence(
        f"the {_what(score)}", reading.primary.arm, reading.reference, better_direction(score.metric)
    )
    return _sentence(f"exploratory: {said}")


def _teacher(teacher: Mapping[str, Any]) -> list[str]:
    macro = teacher.get("macro") or {}
    if macro.get("auroc") is None:
        return []
    how = {True: "out of fold", False: "in sample, which flatters it"}.get(
        teacher.get("out_of_fold", None), "on training cases"
    )
    said = f"The teacher's AUROC (mean over findings, {how}) is {_stated(macro, 'auroc')}"
    if macro.get("reference_auroc") is not None:
        said += (
            f" against the labels it learned from and {_stated(macro, 'reference_auroc')} against the reference labels"
        )
    return [f"{said}."]


def _stated(macro: Mapping[str, Any], name: str) -> str:
    limits = [macro.get(f"{name}{end}") for end in ("", "_low", "_high")]
    return with_interval(Interval(*(np.nan if limit is None else float(limit) for limit in limits)))


def _what(score: Score) -> str:
    return metric_words(score.metric, score.finding, score.policy, score.method)


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}."
