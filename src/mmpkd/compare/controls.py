"""What control arms say of a gain: the primary arm held against each of them, and what may be credited to the teacher.

A gain may be credited to privileged knowledge only if the primary arm exceeds *every* control that ran, each by its own
interval. This is an intersection-union test (Berger 1982): it needs no correction for the number of controls, and every
further control makes it harder to pass.
"""

from __future__ import annotations

from mmpkd.compare.reading import Found, Reading
from mmpkd.compare.words import better_direction, listed, metric_words

CONTROLS = {
    "longer": "longer training",
    "label-smoothing": "softer labels",
    "self": "soft labels from the images alone",
    "shuffled": "soft labels of other cases with the same labels",
    "permuted": "soft labels of any other cases",
    "constant": "one and the same soft label for all cases",
}
"""Kinds of control arms, and what each has in the place of the teacher's soft labels."""

PLACE_CONTROLS = {
    "zones-shuffled": "places of other cases with the same labels",
    "zones-prior": "the mean place of each finding",
    "zones-mirrored": "places with left and right exchanged",
}
"""The same for an arm that is told where: what each has in the place of what this case's text says of places."""

_PLACED = ("spatial",)
_NEEDS_SIDES = ("zones-mirrored",)  # not every scheme has sides, so that it is not missed where it did not run


def controls_of(kind: str) -> dict[str, str]:
    """Return the kinds of control that a kind of arm is held against, and what each has in place of the teacher's."""
    return {**PLACE_CONTROLS, **CONTROLS} if kind in _PLACED else CONTROLS


def controls_that_ran(reading: Reading) -> list[str]:
    """Return the names of the control arms, in the study's order."""
    wanted = _wanted(reading)
    return [arm for arm in reading.arms_ran if reading.kind_of(arm) in wanted and arm != reading.primary.arm]


def controls_lacking(reading: Reading) -> list[str]:
    """Return the kinds of control that no arm has."""
    kinds = {reading.kind_of(arm) for arm in reading.arms_ran}
    return [kind for kind in _wanted(reading) if kind not in kinds and kind not in _NEEDS_SIDES]


def _wanted(reading: Reading) -> dict[str, str]:
    return controls_of(reading.kind_of(reading.primary.arm))


def control_sentences(reading: Reading, asked: Found) -> list[str]:
    """Return the primary arm's difference from each control, and what the gain is due to if nothing stands against it.

    What stands against it is a caveat (:func:`credit_caveat`).
    """
    what, direction = metric_words(*_asked(reading)), better_direction(reading.primary.metric)
    sentences = []
    for control in controls_that_ran(reading):
        found = reading.against_control(control)
        if found is None:
            continue
        said = reading.change(found).sentence(f"the {what}", reading.primary.arm, control, direction)
        kind = _wanted(reading)[reading.kind_of(control)]
        sentences.append(f"Control '{control}' ({kind}): {said}.")
    if sentences and _is_gain(reading, asked) and not controls_lacking(reading) and not _not_exceeded(reading):
        sentences.append(
            f"'{reading.primary.arm}' exceeds '{reading.reference}' and every control, so the gain may be credited to "
            "privileged knowledge."
        )
    return sentences


def credit_caveat(reading: Reading, asked: Found) -> list[str]:
    """Return why the difference must not be credited to privileged knowledge, or not yet."""
    ran, lacking = controls_that_ran(reading), controls_lacking(reading)
    gain = _is_gain(reading, asked)
    if not ran:
        what = "the gain" if gain else "whatever differs between the arms"
        return [
            f"No control arm ran, so {what} must not be credited to privileged knowledge: longer training, "
            "softer labels or soft labels without meaning might do the same "
            f"(controls: {', '.join(lacking)})."
        ]
    rest = f" Controls that did not run: {', '.join(lacking)}." if lacking else ""
    if not gain:
        return [f"No gain is shown that the controls could put to the test.{rest}"] if lacking else []
    if failed := _not_exceeded(reading):
        return [
            f"The gain over '{reading.reference}' must not be credited to privileged knowledge: "
            f"'{reading.primary.arm}' is not shown to exceed {listed(failed)}.{rest}"
        ]
    if not lacking:
        return []
    return [
        f"'{reading.primary.arm}' exceeds every control that ran ({listed(ran)}), so the gain may be credited to "
        f"privileged knowledge as far as these tell.{rest}"
    ]


def _asked(reading: Reading) -> tuple[str, str, str, str]:
    score = reading.primary.score
    return score.metric, score.finding, score.policy, score.method


def _is_gain(reading: Reading, asked: Found) -> bool:
    metric = reading.primary.metric
    return better_direction(metric) != 0 and reading.standing(asked, metric) == "better"


def _not_exceeded(reading: Reading) -> list[str]:
    """Return the controls that the primary arm is not shown to exceed; one that was not measured counts among them."""
    found = {control: reading.against_control(control) for control in controls_that_ran(reading)}
    metric = reading.primary.metric
    return [name for name, each in found.items() if each is None or reading.standing(each, metric) != "better"]
