"""Reports and captions: joining columns, choosing sections of a report. No language model, no tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import pandas as pd

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.settings import TextSettings
from mmpkd.cohort.table import Table, is_missing
from mmpkd.errors import did_you_mean

# Headings of a report. Only these end a section: sub-headings such as LUNGS: belong to the section they stand in.
_HEADINGS = {
    "findings": r"(?:description of )?findings?|observations?|(?:chest )?report|befund",
    "impression": r"impressions?|conclusions?|opinion|interpretation|summary|assessment|(?:final )?diagnos[ie]s"
    r"|beurteilung",
    "indication": r"(?:clinical )?(?:indications?|history|information|details|statement|data|question)"
    r"|(?:patient|medical) history|history of present illness|hx"
    r"|reason for (?:(?:the|this) )?(?:exam(?:ination)?|study|test)",
    "technique": r"techniques?|procedure(?: comments?)?|protocol|methods?|views?",
    "comparison": r"comparisons?(?: stud(?:y|ies))?|compared (?:to|with)|prior(?: stud(?:y|ies))?",
    "examination": r"exam(?:ination)?s?(?: type)?|study|type of (?:exam|study)|title",
    "recommendation": r"recommendations?|plan|follow-?up|advice",
    "notification": r"notifications?|communications?|critical results?|addend(?:um|a)|wet read"
    r"|(?:preliminary|final) report|(?:electronically )?signed(?: by)?|dictated by|attestation",
}
# What stands before a colon, back to the end of a line or sentence.
_BEFORE_COLON = re.compile(r"(?<![^\n.!?:;\]])([^\n.!?:;\]]+):")
# Lines in capitals, or marked up as headings, that need no colon.
_ALONE = re.compile(
    r"^[ \t>_\-]*(?:\d{1,2}[.)][ \t]*)?"
    r"(?:(?P<capitals>[A-Z][A-Z()&/,\- ]{2,59})|(?:#+|\*\*)[ \t]*(?P<marked>\w[^\n:]{2,59}?))[ \t*_\r]*$",
    re.MULTILINE,
)
_CAPITALS_AT_END = re.compile(r"(?<!\S)[A-Z][A-Z()&/,\-\s]*(?:\(s\))?$")
_NUMBER_OF_NEXT = re.compile(r"\n[ \t]*\d{1,2}[.)]\s*$")
_BETWEEN_HEADINGS = re.compile(r"\band\b|[&/,]")
_DECORATION = re.compile(r"\A[ \t>*_#\-]*(?:\d{1,2}\))?[ \t]*")
_LONGEST_HEADING = 60


class SectionFinder:
    """Finds chosen sections in reports.

    A heading is a known one (in any case) with a colon, at the start of a line or sentence; a known one in capitals
    with a colon, anywhere; or a known one in capitals, or marked up by ``#`` or ``**``, alone on its line.
    ``FINDINGS AND IMPRESSION:`` heads both.

    Args:
        sections: Names of headings to keep, in the order wanted. A name outside the known ones is taken literally.
    """

    def __init__(self, sections: Sequence[str]) -> None:
        self.sections = tuple(section.strip().casefold() for section in sections)
        headings = {section: re.escape(section) for section in self.sections} | _HEADINGS
        self._patterns = {name: re.compile(rf"(?:{pattern})(?:\(s\)?)?") for name, pattern in headings.items()}
        self._sections_of = lru_cache(maxsize=4096)(self._look_up)

    def choose(self, report: str) -> str | None:
        """Return the chosen sections' text, without headings, or ``None`` if the report has none of them."""
        found: dict[str, list[str]] = {section: [] for section in self.sections}
        marks = self._find_headings(report)
        ends = [*(start for start, _, _ in marks[1:]), len(report)]
        for (_, after, names), end in zip(marks, ends, strict=False):  # without a heading there is one end too many
            body = _NUMBER_OF_NEXT.sub("", report[after:end]).strip(" \t\r\n*")
            for name in names if body else ():
                if name in found:
                    found[name].append(body)
        bodies = list(dict.fromkeys(body for section in self.sections for body in found[section]))
        return "\n".join(bodies) if bodies else None

    def _find_headings(self, report: str) -> list[tuple[int, int, tuple[str, ...]]]:
        """Return start, end and section names of each heading, in order."""
        marks = []
        for match in _BEFORE_COLON.finditer(report):
            start, names = self._heading_at_end(match[1])
            if names:
                marks.append((match.start() + start, match.end(), names))
        for match in _ALONE.finditer(report):
            names = self._sections_of(match["capitals"] or match["marked"])
            if names:
                marks.append((match.start(), match.end(), names))
        return sorted(marks)

    def _heading_at_end(self, text: str) -> tuple[int, tuple[str, ...]]:
        """Return where a heading begins that is all of ``text``, or its last words in capitals, and its sections."""
        text = text.rstrip(" \t*_")
        whole = _DECORATION.sub("", text)
        if len(whole) <= _LONGEST_HEADING and (names := self._sections_of(whole)):
            return 0, names
        capitals = _CAPITALS_AT_END.search(text[-_LONGEST_HEADING:])
        for word in re.finditer(r"\S+", capitals[0]) if capitals else ():
            heading = word.string[word.start() :]
            if names := self._sections_of(heading):
                return len(text) - len(heading), names
        return 0, ()

    def _look_up(self, heading: str) -> tuple[str, ...]:
        """Return the names of the sections that a heading opens; none if it is no heading."""
        heading = " ".join(heading.casefold().split())
        if names := self._named(heading):
            return names
        parts = [self._named(part.strip()) for part in _BETWEEN_HEADINGS.split(heading)]
        return tuple(name for part in parts for name in part) if all(parts) else ()

    def _named(self, heading: str) -> tuple[str, ...]:
        return tuple(name for name, pattern in self._patterns.items() if pattern.fullmatch(heading))


def read_text(
    table: Table,
    settings: TextSettings,
    index: pd.Index[str],
    problems: Problems,
) -> pd.Series[str]:
    """Read each case's text, ``None`` where it has none.

    Args:
        table: The cases.
        settings: Columns to join and sections to keep.
        index: Case ids.
        problems: Told when no case has a text; warned of how many reports have none of the sections.
    """
    columns = [_blanked(table, name) for name in settings.columns]
    texts = np.array(columns[0], dtype=object)
    for column in columns[1:]:
        texts = np.array([f"{a}\n{b}" if a and b else a or b for a, b in zip(texts, column, strict=True)], object)
    if len(texts) and not any(texts):
        names = ", ".join(map(repr, settings.columns))
        problems.add(f"{table.shown}, column {names}: no case has a text; fill it or leave out 'text'.")
    elif settings.sections:
        texts = _choose_sections(texts, settings.sections, table, problems)
    return pd.Series([text or None for text in texts], index=index, dtype=object, name="text")


def _blanked(table: Table, name: str) -> list[str]:
    values = table.column(name)
    return values.mask(is_missing(values), "").tolist()


def _choose_sections(
    texts: np.ndarray,
    sections: Sequence[str],
    table: Table,
    problems: Problems,
) -> np.ndarray:
    finder = SectionFinder(sections)
    chosen = [finder.choose(text) if text else None for text in texts]
    having = sum(bool(text) for text in texts)
    without = having - sum(text is not None for text in chosen)
    if without:
        unknown = [name for name in sections if name.strip().casefold() not in _HEADINGS]
        hint = did_you_mean(unknown[0], _HEADINGS) if unknown else "."
        problems.warn(
            f"{table.shown}: {without} of {having} texts have none of the sections {', '.join(sections)} and "
            f"are kept whole{hint}"
        )
    return np.array([text or whole for text, whole in zip(chosen, texts, strict=True)], dtype=object)
