"""What one check says: whether there is reason for concern, the number behind it, and what to do."""

from __future__ import annotations

from typing import Literal, NamedTuple

from mmpkd.compare.intervals import Interval
from mmpkd.compare.words import figures

Outcome = Literal["fine", "concern", "unknown"]


class Check(NamedTuple):
    """One check of a diagnosis.

    Args:
        name: Of the check, as ``teacher-gap``.
        outcome: ``concern`` asks for the remedy, ``unknown`` could not be measured.
        found: What was measured, or why it was not; one sentence.
        remedy: What to do; empty unless there is concern.
    """

    name: str
    outcome: Outcome
    found: str
    remedy: str = ""


def judged(name: str, concern: bool, found: str, remedy: str) -> Check:
    """Return a check that was measured."""
    return Check(name, "concern" if concern else "fine", found, remedy if concern else "")


def unknown(name: str, why: str) -> Check:
    """Return a check that could not be measured."""
    return Check(name, "unknown", why)


def shown(interval: Interval) -> str:
    """Return ``0.15 (0.10 to 0.20)``, or the bare number without an interval."""
    value, low, high = figures(*interval)
    return value if interval.low != interval.low else f"{value} ({low} to {high})"
