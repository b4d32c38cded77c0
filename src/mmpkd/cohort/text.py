"""Reports and captions: joining columns, choosing sections of a report. No language model, no tokens."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pandas as pd

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.settings import TextSettings
from mmpkd.cohort.table import Table, is_missing
from mmpkd.errors import did_you_mean

# Headings of a report. Only these end a section: sub-headings such as LUNGS: belong to the section they stand
# in.
_HEADINGS = {
    "findings": r"findings?|observations?|(?:chest )?report|description of findings|befund",
    "impression": r"impressions?|conclusions?|opinion|interpretation|summary|assessment|diagnosis"
    r"|(?:final )?diagnos[ie]s|beurteilung",
    "indication": r"indications?|(?:clinical "
    ")?(?:indications?|history|information|details|statement|data|question)"
    r"|history(?: of present illness)?|hx|reason for (?:the )?(?:exam(?:ination)?|study|this "
    r"examination|test)"
    r"|patient history|medical history",
    "technique": r"techniques?|procedure(?: comments?)?|protocol|methods?|views?",
    "comparison": r"comparisons?|compared (?:to|with)|prior(?: stud(?:y|ies))?|comparison stud(?:y|ies)",
    "examination": r"exam(?:ination)?s?|study|type of (?:exam|study)|exam type|title",
    "recommendation": r"recommendations?|plan|follow-?up|advice",
    "notification": r"notifications?|communications?|critical results?|addend(?:um|a)|wet read|preliminary "
    "report"
    r"|final report|signed by|dictated by|attestation|electronically signed(?: by)?",
}
_PLURAL = r"(?:\(s\))?"
_DECORATION = r"[ \t>*_#\-]*(?:\d{1,2}[.)][ \t]*)?"


class SectionFinder:
    """Finds chosen sections in reports.

    A heading is a known one (any case) with a colon at the start of a line or of a sentence, a known one in
    capitals with a colon anywhere, or a known one in capitals alone on its line. ``FINDINGS AND IMPRESSION:``
    heads both.

    Args:
        sections: Names of headings to keep, in the order wanted. A name outside the known ones is taken
            literally.
    """

    def __init__(self, sections: Sequence[str]) -> None:
        """Prepare to find ``sections``."""
        self.sections = tuple(section.strip().casefold() for section in sections)
        headings = dict(_HEADINGS)
        for section in self.sections:
            headings.setdefault(section, re.escape(section))
        self._names = {
            name: re.compile(rf"(?:{pattern}){_PLURAL}", re.IGNORECASE) for name, pattern in headings.items()
        }
        one = rf"(?:{'|'.join(headings.values())}){_PLURAL}"
        heading = rf"{one}(?:\s*(?:and|&|/|,)\s*{one})?"
        self._heading = re.compile(
            rf"(?:^|(?<=[.!?:;\]])(?=\s)|(?<=\n)){_DECORATION}\s*(?P<line>{heading})[ \t*_]*:[ \t*_]*"
            rf"|\b(?P<capitals>{heading})[ \t*_]*:[ \t*_]*"
            rf"|^{_DECORATION}(?P<alone>{heading})[ \t*_]*$",
            re.IGNORECASE | re.MULTILINE,
        )

    def choose(self, report: str) -> str | None:
        """Return the chosen sections' text, without headings, or ``None`` if the report has none of them."""
        found: dict[str, list[str]] = {section: [] for section in self.sections}
        marks = [(match, heading) for match in self._heading.finditer(report) if (heading := _heading_of(match))]
        for k, (match, heading) in enumerate(marks):
            end = marks[k + 1][0].start() if k + 1 < len(marks) else len(report)
            body = report[match.end() : end].strip()
            for section in self._sections_of(heading) if body else ():
                if section in found:
                    found[section].append(body)
        bodies = list(dict.fromkeys(body for section in self.sections for body in found[section]))
        return "\n".join(bodies) if bodies else None

    def _sections_of(self, heading: str) -> list[str]:
        parts = [heading, *re.split(r"\s*(?:\band\b|&|/|,)\s*", heading, flags=re.IGNORECASE)]
        return [name for name, pattern in self._names.items() if any(pattern.fullmatch(part) for part in parts)]


def _heading_of(match: re.Match[str]) -> str | None:
    """Return the heading matched, or ``None`` where only capitals would have made it one."""
    if match["line"]:
        return match["line"]
    heading = match["capitals"] or match["alone"]
    return heading if heading.isupper() or heading.replace("(s)", "").isupper() else None


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
            f"{table.shown}: {without} of {having} texts have none of the sections {', '.join(sections)} "
            f"and are "
            f"kept whole{hint}"
        )
    return np.array([text or whole for text, whole in zip(chosen, texts, strict=True)], dtype=object)
