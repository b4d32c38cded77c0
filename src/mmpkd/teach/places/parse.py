"""From a report to statements: a finding, where it is, and whether it is denied or doubted.

Scopes are ConText's (Harkema et al. 2009) in small: a denial or doubt reaches forward to the end of its sentence or the
next word like "but", or back from a phrase like "is not seen". A place belongs to the finding it stands before
("left basal effusion") or, after a preposition, behind ("effusion at the left base"); findings that are only listed
("consolidation and effusion at the left base") share it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from mmpkd.teach.places import lexicon

Place = tuple[str, str]
"""Both parts of a place, such as side and level; ``""`` where one is unsaid."""

_SENTENCE = re.compile(r"(?<=[.!?;])\s+(?=[A-Z(\d\[])|[;\n]+|\.\s*\.")
_PREPOSITION = re.compile(
    r"^[\s,(]*(?:\w+ly |most |mainly |more |is |are |was |were |seen |noted |present |evident |affecting |involving |"
    r"identified |localised |localized |located |limited |confined )*"
    r"(?:in|at|of|within|on|involving|affecting|throughout|over|along|near|both|bilateral)\b",
    re.IGNORECASE,
)
_LISTED = re.compile(r"^[\s,]*(?:and/or|and|or|&|/|,|as well as|nor)?[\s,]*(?:\w+ ){0,2}$", re.IGNORECASE)


@dataclass(frozen=True)
class Statement:
    """What a report says of one finding in one place of its text.

    Args:
        finding: Its name in the lexicon.
        places: Where it is; empty where the text does not say.
        everywhere: Whether it is said to be diffuse.
        denied: Whether it is said to be absent.
        doubted: Whether it is said to be only possible.
        start: Of the finding's words, in characters of the text.
        end: After their last character.
    """

    finding: str
    places: frozenset[Place]
    everywhere: bool
    denied: bool
    doubted: bool
    start: int
    end: int


class PlaceParser:
    """The rules with one lexicon.

    Args:
        findings: Finding -> patterns of its names (regular expressions, matched as whole words in any case).
        words: Of places.
    """

    def __init__(
        self,
        findings: Mapping[str, Sequence[str]] = lexicon.FINDINGS,
        words: lexicon.PlaceWords = lexicon.CHEST,
    ) -> None:
        self._findings = {name: lexicon.compiled(patterns) for name, patterns in findings.items()}
        self._words = words
        parts = (("first", words.first), ("second", words.second))
        self._parts = [
            (part, value, lexicon.compiled(patterns)) for part, values in parts for value, patterns in values.items()
        ]
        self._alone = [(lexicon.compiled([word]), place) for word, place in words.alone.items()]
        self._filler = re.compile(rf"^(?:[\s(]*{words.filler})*[\s(]*$", re.IGNORECASE)

    def __call__(self, text: str) -> list[Statement]:
        """Return the statements of a text, in its order."""
        return [statement for start, sentence in _sentences(text) for statement in self._of_sentence(sentence, start)]

    def _of_sentence(self, sentence: str, offset: int) -> Iterator[Statement]:
        found = self._mentions(sentence)
        denials, doubts = _scopes(sentence, _DENIED), _scopes(sentence, _DOUBTED)
        phrases = list(self._places(sentence))
        owners = [_owner(phrase, found, sentence) for phrase in phrases]
        for number, (name, start, end) in enumerate(found):
            own = [phrase for phrase, owner in zip(phrases, owners, strict=True) if number in owner]
            places = frozenset(place for phrase in own for place in phrase.places)
            yield Statement(
                finding=name,
                places=places,
                everywhere=any(phrase.everywhere for phrase in own),
                denied=_covers(denials, start, end) and not _covers(_scopes(sentence, _UNDENIED), start, end),
                doubted=_covers(doubts, start, end),
                start=offset + start,
                end=offset + end,
            )

    def _mentions(self, sentence: str) -> list[tuple[str, int, int]]:
        """Return (finding, start, end) of the longest mentions, none inside another."""
        every = [
            (name, match.start() + len(match.group()) - len(match.group().lstrip()), match.end())
            for name, pattern in self._findings.items()
            for match in pattern.finditer(sentence)
        ]
        kept: list[tuple[str, int, int]] = []
        for mention in sorted(every, key=lambda one: (one[1] - one[2], one[1])):
            if all(mention[2] <= other[1] or mention[1] >= other[2] for other in kept):
                kept.append(mention)
        return sorted(kept, key=lambda one: one[1])

    def _places(self, sentence: str) -> Iterator[_Phrase]:
        """Yield runs of place words that only filler words part."""
        words = [
            _Word(match.start(), match.end(), part, value)
            for part, value, pattern in self._parts
            for match in pattern.finditer(sentence)
        ]
        for pattern, place in self._alone:
            words += [_Word(m.start(), m.end(), "alone", "", place) for m in pattern.finditer(sentence)]
        words += [_Word(m.start(), m.end(), "everywhere", "") for m in _EVERYWHERE.finditer(sentence)]
        run: list[_Word] = []
        for word in sorted(words, key=lambda one: (one.start, -one.end)):
            if run and word.start < run[-1].end:
                continue
            if run and not self._filler.match(sentence[run[-1].end : word.start]):
                yield _phrase(run, sentence)
                run = []
            run.append(word)
        if run:
            yield _phrase(run, sentence)


class _Word(NamedTuple):
    """A word of a place: which part it names, and its value; both parts where it says all at once."""

    start: int
    end: int
    part: str
    value: str
    place: Place = ("", "")


@dataclass(frozen=True)
class _Phrase:
    """A run of words about one or more places."""

    start: int
    end: int
    places: frozenset[Place]
    everywhere: bool


@dataclass(frozen=True)
class _Triggers:
    before: Sequence[str]
    after: Sequence[str]

    @cached_property
    def forward(self) -> re.Pattern[str]:
        return lexicon.compiled(self.before)

    @cached_property
    def backward(self) -> re.Pattern[str]:
        return lexicon.compiled(self.after)


_DENIED = _Triggers(lexicon.DENIED_BEFORE, lexicon.DENIED_AFTER)
_DOUBTED = _Triggers(lexicon.DOUBTED_BEFORE, lexicon.DOUBTED_AFTER)
_UNDENIED = _Triggers((r"cannot (exclude|rule out)", r"not (only|just)"), lexicon.DOUBTED_AFTER)
_STOP = re.compile(lexicon.STOPS, re.IGNORECASE)
_EVERYWHERE = re.compile(rf"\b{lexicon.EVERYWHERE}\b", re.IGNORECASE)
_PLURAL = re.compile(rf"^(?: (?:and|or|to|lung|lower|upper|mid|middle))*? {lexicon.PLURAL}\b", re.IGNORECASE)


def _sentences(text: str) -> Iterator[tuple[int, str]]:
    start = 0
    for match in _SENTENCE.finditer(text):
        yield start, text[start : match.start()]
        start = match.end()
    yield start, text[start:]


def _scopes(sentence: str, triggers: _Triggers) -> list[tuple[int, int]]:
    """Return the spans that triggers reach: forward to a stop word, back to one."""
    scopes = []
    for match in triggers.forward.finditer(sentence):
        stop = _STOP.search(sentence, match.end())
        scopes.append((match.end(), stop.start() if stop else len(sentence)))
    for match in triggers.backward.finditer(sentence):
        stops = [stop.end() for stop in _STOP.finditer(sentence, 0, match.start())]
        scopes.append((stops[-1] if stops else 0, match.start()))
    return scopes


def _covers(scopes: Sequence[tuple[int, int]], start: int, end: int) -> bool:
    return any(low <= start and end <= high for low, high in scopes)


def _phrase(run: Sequence[_Word], sentence: str) -> _Phrase:
    """Read the places of a run: a second part takes the first part before it; a first part may stand alone."""
    places: set[Place] = set()
    first, waiting = "", False  # the last first part, and whether no second part has followed it yet
    for word in run:
        if word.part == "alone":
            places.add(word.place)
        elif word.part == "first":
            if waiting:
                places |= _on(first, "")
            first, waiting = word.value, True
        elif word.part == "second":
            said = sentence[word.start : word.end].lower()
            plural = said in ("bases", "apices") or said.startswith("bi") or _PLURAL.match(sentence[word.end :])
            places |= _on(first or ("both" if plural else ""), word.value)
            waiting = False
    if waiting:
        places |= _on(first, "")
    return _Phrase(run[0].start, run[-1].end, frozenset(places), any(word.part == "everywhere" for word in run))


def _on(side: str, level: str) -> set[Place]:
    return {("left", level), ("right", level)} if side == "both" else {(side, level)}


def _owner(phrase: _Phrase, found: Sequence[tuple[str, int, int]], sentence: str) -> set[int]:
    """Return the numbers of the mentions that a place belongs to."""
    before = [number for number, mention in enumerate(found) if mention[2] <= phrase.start]
    after = [number for number, mention in enumerate(found) if mention[1] >= phrase.end]
    inside = [number for number, mention in enumerate(found) if mention[1] < phrase.end and mention[2] > phrase.start]
    if inside:
        return set(inside)
    if before and (not after or _PREPOSITION.match(sentence[found[before[-1]][2] : phrase.end])):
        owners = {before[-1]}
        for number in reversed(before[:-1]):
            if not _LISTED.match(sentence[found[number][2] : found[number + 1][1]]):
                break
            owners.add(number)
        return owners
    if not after:
        return set()
    return {after[0]}
