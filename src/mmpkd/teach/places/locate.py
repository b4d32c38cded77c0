"""From a report's statements to what they say of each region of a scheme: present, possible, absent, or nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from mmpkd.cohort.zones import ZoneScheme
from mmpkd.teach.places.parse import Place, Statement


class Said(Enum):
    """What a report says of a finding in a region. What it does not mention has no entry."""

    PRESENT = "present"
    POSSIBLE = "possible"
    ABSENT = "absent"


@dataclass
class Counts:
    """What was found in the texts, and what could not be used: told to the user, never dropped in silence.

    Args:
        statements: Of findings of the study.
        located: Of these, affirmed ones with a place.
        unlocated: Of these, affirmed ones without.
        denied: Of these, denied ones.
        silent: Texts without any statement.
        uncovered: Place -> how often it was named, where the scheme has no region for it.
    """

    statements: int = 0
    located: int = 0
    unlocated: int = 0
    denied: int = 0
    silent: int = 0
    uncovered: dict[str, int] = field(default_factory=dict)


def locate(
    statements: Iterable[Statement],
    finding_of: Mapping[str, Sequence[str]],
    scheme: ZoneScheme,
    counts: Counts,
    usual: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, dict[str, Said]]:
    """Return, for each finding of the study, what is said of each region.

    A place that is affirmed makes its region present. Where every affirmed place of a finding lies on one side, the
    other side's regions are absent: a report that names the left base has looked at the right. Neighbouring regions
    stay unsaid. A finding that is denied without a place, and affirmed nowhere, is absent everywhere; denied in one
    place, it is absent there.

    Args:
        statements: Of one text.
        finding_of: Finding of the lexicon -> findings of the study.
        scheme: Names the regions.
        counts: Added to.
        usual: Finding of the study -> regions that it lies in where the text says nothing finer, as effusions lie low:
            "left effusion" is then one of the left base.
    """
    affirmed: dict[str, list[Statement]] = {}
    denied: dict[str, list[Statement]] = {}
    for statement in statements:
        for finding in finding_of.get(statement.finding, ()):
            counts.statements += 1
            counts.denied += statement.denied
            counts.located += not statement.denied and bool(statement.places or statement.everywhere)
            counts.unlocated += not statement.denied and not (statement.places or statement.everywhere)
            (denied if statement.denied else affirmed).setdefault(finding, []).append(statement)
    counts.silent += not affirmed and not denied
    said: dict[str, dict[str, Said]] = {}
    for finding in {*affirmed, *denied}:
        regions = said.setdefault(finding, {})
        for statement in denied.get(finding, ()):
            for place in statement.places:
                regions |= dict.fromkeys(_within(_region(place, scheme, counts), scheme), Said.ABSENT)
            if not statement.places and finding not in affirmed:
                regions |= dict.fromkeys(scheme.regions, Said.ABSENT)
        regions |= _affirmed(affirmed.get(finding, ()), scheme, counts, (usual or {}).get(finding, ()))
    return {finding: regions for finding, regions in said.items() if regions}


def _affirmed(
    statements: Sequence[Statement], scheme: ZoneScheme, counts: Counts, usual: Sequence[str]
) -> dict[str, Said]:
    present: dict[str, Said] = {}
    for statement in statements:
        value = Said.POSSIBLE if statement.doubted else Said.PRESENT
        named = [_region(place, scheme, counts) for place in sorted(statement.places)]
        if statement.everywhere and not statement.places:
            named = list(scheme.zones)
        elif not statement.places:
            named = list(usual)
        finer = [part for region in named for part in _usual_parts(region, usual, scheme)]
        for region in (*named, *finer):
            for each in _containing(region, scheme):
                if present.get(each) is not Said.PRESENT:
                    present[each] = value
    opposite = _opposite_side([place for s in statements for place in s.places], all(s.places for s in statements))
    absent = dict.fromkeys(_within(opposite, scheme), Said.ABSENT) if opposite else {}
    return {**absent, **present}


def _region(place: Place, scheme: ZoneScheme, counts: Counts) -> str:
    """Return the finest region of the scheme that a place is in; ``""`` and a count where there is none."""
    first, second = place
    for name in (f"{first} {second}".strip(), first, second):
        if name in scheme.regions:
            return name
    shown = f"{first} {second}".strip()
    counts.uncovered[shown] = counts.uncovered.get(shown, 0) + 1
    return ""


def _usual_parts(region: str, usual: Sequence[str], scheme: ZoneScheme) -> list[str]:
    """Return what a region and the usual ones have in common, where that is a region too."""
    parts = [_zones_of(region, scheme) & _zones_of(other, scheme) for other in usual]
    return [other for other in scheme.regions if _zones_of(other, scheme) in parts]


def _zones_of(region: str, scheme: ZoneScheme) -> set[str]:
    return set(scheme.unions.get(region, (region,) if region in scheme.zones else ()))


def _within(region: str, scheme: ZoneScheme) -> list[str]:
    """Return the regions that lie wholly in a region: absent there is absent in them."""
    zones = _zones_of(region, scheme)
    return [other for other in scheme.regions if zones and _zones_of(other, scheme) <= zones]


def _containing(region: str, scheme: ZoneScheme) -> list[str]:
    """Return the regions that contain a region: present in it is present in them."""
    zones = _zones_of(region, scheme)
    return [other for other in scheme.regions if zones and zones <= _zones_of(other, scheme)]


def _opposite_side(places: Sequence[Place], all_placed: bool) -> str:
    sides = {first for first, _ in places}
    if not all_placed or len(sides) != 1:
        return ""
    return {"left": "right", "right": "left"}.get(sides.pop(), "")
