"""Free-text reports: which findings are spoken of, in which words, and whether they say where.

Every choice has its own number in the image's stream, so that leaving out places or details changes nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool

from mmpkd.cohort.phantom.scene import BOTH, RIGHT, Scene
from mmpkd.cohort.phantom.settings import PhantomSettings
from mmpkd.cohort.phantom.streams import Streams
from mmpkd.cohort.phantom.wording import HEDGED_ABSENT, HEDGED_PRESENT, SCRIPTS, SOMEWHERE, WORDING, Wording

_DENIED_SHARE = 0.8  # of the absent findings that a complete report denies; the others go without saying
_JOINT_SHARE = 0.35  # of the reports that may, how many deny two findings in one sentence
_CHEST_ZONES = (("upper",), ("mid", "middle"), ("lower", "basal"))
_BREAST_ZONES = {"MLO": ("upper", "central", "lower"), "CC": ("outer", "central", "inner")}
_DEPTHS = ("anterior", "middle", "posterior")
# Columns of a finding's row of numbers.
_SAID, _SENTENCE, _NOUN, _SIZE, _PLACE, _SHORT_NOUN, _SHORT = range(7)
_WORDS = 7
# Rows after those of the findings: opening and joint denial, then the order of the sentences and the asides.
_FRAME, _ORDER, _ASIDES = range(3)
_ROWS = 3


def wording_block(findings: Sequence[str]) -> tuple[int, int]:
    """Return the shape of the block of uniform numbers that one report needs."""
    return len(findings) + _ROWS, max(_WORDS, len(findings))


@dataclass(frozen=True)
class _Finding:
    """One finding of one image as the report's writer knows it."""

    word: Wording
    present: bool
    hedged: bool
    side: int
    zone: int
    depth: int
    size_mm: float
    severity: float
    numbers: list[float]


def write_reports(
    streams: Streams,
    truth: Bool[np.ndarray, "images findings"],
    hedge: Bool[np.ndarray, "images findings"],
    scene: Scene,
    settings: PhantomSettings,
) -> list[str]:
    """Return the report of each image, with a FINDINGS and an IMPRESSION section."""
    numbers, views = streams.wording.tolist(), scene.attributes["view"].tolist()
    rows: list[list[_Finding]] = [[] for _ in views]
    for column, (name, place) in enumerate(zip(settings.findings, scene.places, strict=True)):
        facts = (truth[:, column], hedge[:, column], place.side, place.zone, place.depth, place.size_mm, place.severity)
        for row, block, fact in zip(rows, numbers, zip(*(f.tolist() for f in facts), strict=True), strict=True):
            present, hedged, side, zone, depth, size_mm, severity = fact
            row.append(_Finding(WORDING[name], present, hedged, side, zone, depth, size_mm, severity, block[column]))
    count = len(settings.findings)
    return [_write(row, block[count:], view, settings) for row, block, view in zip(rows, numbers, views, strict=True)]


def _write(findings: list[_Finding], frame: list[list[float]], view: str, settings: PhantomSettings) -> str:
    script = SCRIPTS[settings.kind]
    said: dict[str, str] = {}
    impression: list[str] = []
    for name, finding in zip(settings.findings, findings, strict=True):
        u = finding.numbers
        if u[_SAID] >= settings.text_detail * (1.0 if finding.present else _DENIED_SHARE):
            continue
        if not finding.present:
            said[name] = _deny(finding)
            continue
        adjective, where = _place(finding, view, settings)
        said[name] = _state(finding, adjective, where)
        if u[_SHORT] < (0.5 if finding.hedged else 0.8):
            short = _plural(_pick(finding.word.nouns, u[_SHORT_NOUN]), adjective)
            impression.append(("possible " if finding.hedged else "") + f"{adjective} {short}".strip() + where)
    if script.jointly_absent is not None and frame[_FRAME][1] < _JOINT_SHARE:
        pair, sentences = script.jointly_absent
        both = [findings[settings.findings.index(name)] for name in pair]
        if all(name in said for name in pair) and not any(f.present or f.hedged for f in both):
            said.pop(pair[1])
            said[pair[0]] = _pick(sentences, frame[_FRAME][2])
    order = frame[_ORDER]
    sentences_said = [said[name] for _, name in sorted(zip(order, settings.findings, strict=False)) if name in said]
    for u_said, u_which in zip(frame[_ASIDES][0:4:2], frame[_ASIDES][1:4:2], strict=True):
        if u_said < 0.6 or not sentences_said:
            sentences_said.insert(int(u_said * 10) % (len(sentences_said) + 1), _pick(script.asides, u_which))
    of = ""
    if settings.kind == "breast" and settings.text_spatial:
        of = f", {'right' if findings[0].side == RIGHT else 'left'} breast"
    opening = _pick(script.openings, frame[_FRAME][0]).format(view=view, of=of)
    closing = script.normal if said else script.unsaid
    last = ". ".join(_capital(item) for item in impression) + "." if impression else _pick(closing, frame[_FRAME][3])
    if not impression and any(f.present and name in said for name, f in zip(settings.findings, findings, strict=True)):
        last = script.unsaid[0]
    return f"{opening} FINDINGS: {' '.join(dict.fromkeys(sentences_said))} IMPRESSION: {last}"


def _deny(finding: _Finding) -> str:
    u = finding.numbers
    templates = HEDGED_ABSENT if finding.hedged else finding.word.absent
    return _capital(_pick(templates, u[_SENTENCE]).format(noun=_pick(finding.word.nouns, u[_NOUN])))


def _state(finding: _Finding, adjective: str, where: str) -> str:
    u, word = finding.numbers, finding.word
    noun = _pick(word.nouns, u[_NOUN])
    size = ""
    if u[_SIZE] < 0.75:
        size = word.grades[min(int(finding.severity * 3.0), 2)]
        if word.measured and u[_SIZE] < 0.45:
            size = f"{finding.size_mm:.0f} mm"
    named = _plural(noun, adjective)
    phrase = " ".join(part for part in (size, adjective, named) if part)
    countable = noun not in word.uncountable and named == noun
    article = ("an " if phrase[0] in "aeiou8" or phrase[:2] in ("11", "18") else "a ") if countable else ""
    template = _pick(HEDGED_PRESENT if finding.hedged else word.present, u[_SENTENCE])
    be = "is" if named == noun else "are"
    return _capital(template.format(noun=phrase, a=article, where=where, be=be))


def _place(finding: _Finding, view: str, settings: PhantomSettings) -> tuple[str, str]:
    """Return (adjective before the noun, phrase after it); a neutral phrase when the text does not say where."""
    u = finding.numbers[_PLACE]
    if finding.word.placing == "none":
        return "", ""
    if not settings.text_spatial:
        return "", _pick(SOMEWHERE, u)
    if finding.side == BOTH:
        return "bilateral", ""
    side = "right" if finding.side == RIGHT else "left"
    if finding.word.placing == "side":
        return [(side, ""), (f"{side}-sided", ""), ("", f" on the {side}"), ("", f" on the {side} side")][int(u * 4)]
    if settings.kind == "chest":
        zone = _pick(_CHEST_ZONES[finding.zone], u * 7 % 1)
        at = [
            f" in the {side} {zone} zone",
            f" in the {side} {zone} lung",
            f" in the {side} {zone} lung zone",
        ]
        if finding.zone != 1 and zone != "basal":
            at.append(f" in the {side} {zone} lobe")
        return "", _pick(at, u)
    zone, depth = _BREAST_ZONES[view][finding.zone], _DEPTHS[finding.depth]
    at = [
        f" in the {zone} {side} breast, {depth} third",
        f" in the {zone} aspect of the {side} breast at {depth} depth",
    ]
    return "", _pick(at, u)


def _plural(noun: str, adjective: str) -> str:
    return f"{noun}s" if adjective == "bilateral" and not noun.endswith("fluid") else noun


def _pick(items: Sequence[str], u: float) -> str:
    return items[int(u * len(items))]


def _capital(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
