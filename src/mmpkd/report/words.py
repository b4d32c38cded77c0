"""Turns plain values into the report's words: numbers with a true minus sign, durations, short phrases."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mmpkd.report.data import MACRO, POOLED
from mmpkd.report.glossary import plain

MINUS = "\u2212"
NO_NUMBER = "\u2013"


def show(value: float, digits: int = 3, signed: bool = False) -> str:
    """Return a number with a true minus sign; a dash where it is undefined."""
    if math.isnan(value):
        return NO_NUMBER
    text = f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"
    if signed and float(text) == 0:
        text = text.lstrip("+-")
    return text.replace("-", MINUS)


def minus(arm: str, reference: str) -> str:
    """Return the name of a difference, kept on one line."""
    return f"{arm}\u00a0{MINUS}\u00a0{reference}"


def finding_words(name: str) -> str:
    """Return a finding as the report calls it."""
    return {MACRO: "macro mean", POOLED: "all ROIs pooled"}.get(name) or plain(name)


def decimal(value: object, digits: int = 3) -> str:
    """Return a number of a JSON document with ``digits`` decimals; a dash where there is none."""
    return show(float(value), digits) if isinstance(value, int | float) else show(math.nan)


def whole(value: object) -> str:
    """Return a count with thousands apart; nothing where there is none."""
    return f"{value:,}" if isinstance(value, int) else ("" if value is None else str(value))


def phrase(value: object) -> str:
    """Return plain data as a short phrase: ``coverage 0.93, words median 41``."""
    if value is None:
        return ""
    if isinstance(value, Mapping):
        return ", ".join(f"{plain(str(key))} {phrase(item)}" for key, item in value.items() if item is not None)
    if isinstance(value, list | tuple):
        return ", ".join(phrase(item) for item in value)
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.3g}".replace("-", MINUS)
    return f"{value:,}" if isinstance(value, int) else str(value)


def duration(seconds: float) -> str:
    """Return seconds as a person would say them."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"
