"""The located teacher by rules: soft labels of regions, read from the text, beside those of the whole image.

A rule does not learn from labels, so it needs no folds: it says of every case what its own report says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from pydantic import Field

from mmpkd.cohort.cohort import Privileged
from mmpkd.cohort.zones import ZoneScheme
from mmpkd.errors import InputError, did_you_mean
from mmpkd.settings import Settings
from mmpkd.teach.places import lexicon
from mmpkd.teach.places.locate import Counts, Said, locate
from mmpkd.teach.places.parse import PlaceParser
from mmpkd.teach.soft_labels import ALL_TRAINING_CASES, COLUMNS

_SHOWN = 5


class LocatedSettings(Settings):
    """How located soft labels are read from the text.

    Args:
        findings: Finding of the study -> findings of the lexicon (:data:`mmpkd.teach.places.lexicon.FINDINGS`) that
            mean it; by default the one of the same name.
        words: Further findings of the lexicon: name -> patterns (regular expressions, whole words, any case).
        present: Probability of a finding in a region where the text says that it is.
        possible: Where the text says that it may be.
        absent: Where the text says, by a denial or by naming the other side alone, that it is not.
        usual: Finding of the study -> regions that it lies in by anatomy, where the text affirms it and says nothing
            finer: with ``{effusion: [lower]}`` "left effusion" is one of the left lower zone.
        learned: Whether regions that the rules leave unsaid are filled by a teacher that learns from what they say of
            other cases (:mod:`mmpkd.teach.learned_places`).
    """

    findings: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    words: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    present: float = Field(default=0.95, gt=0.5, lt=1.0)
    possible: float = Field(default=0.75, gt=0.0, lt=1.0)
    absent: float = Field(default=0.05, gt=0.0, lt=0.5)
    usual: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    learned: bool = False


def locate_findings(
    privileged: Privileged, findings: Sequence[str], scheme: ZoneScheme, settings: LocatedSettings
) -> tuple[pd.DataFrame, Counts]:
    """Return rows of the soft-label table, one a (case, finding, region) of which the text says something.

    Raises:
        InputError: There is no text, a finding has no words, or no text says where anything is.
    """
    if privileged.text is None:
        raise InputError(
            "teach.located: it reads the text, and the cohort has none; add 'cohort.text' or leave it out."
        )
    known = {**lexicon.FINDINGS, **settings.words}
    finding_of = _finding_of(findings, known, settings)
    _check_usual(findings, scheme, settings)
    words = lexicon.BREAST if scheme.name == "breast" else lexicon.CHEST
    parse = PlaceParser({name: known[name] for name in finding_of}, words)
    counts, rows = Counts(), []
    logits = {
        Said.PRESENT: _logit(settings.present),
        Said.POSSIBLE: _logit(settings.possible),
        Said.ABSENT: _logit(settings.absent),
    }
    for case, text in privileged.text.dropna().items():
        for finding, regions in locate(parse(text), finding_of, scheme, counts, settings.usual).items():
            rows += [(case, finding, region, logits[said], ALL_TRAINING_CASES) for region, said in regions.items()]
    if not counts.located and not (rows and settings.usual):
        raise InputError(
            f"teach.located: none of {privileged.text.notna().sum()} texts says where any of the findings "
            f"{', '.join(findings)} is; the rules read English reports. Give the findings' words under "
            "'teach.located.words', or leave 'located' out."
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)), counts


def placed_share(texts: pd.Series) -> float:
    """Return the share of texts that affirm a finding and say where one is, among those that affirm any.

    Read by the rules for chest and breast with all findings of the lexicon; NaN where no text affirms one.
    """
    parsers = [PlaceParser(words=words) for words in (lexicon.CHEST, lexicon.BREAST)]
    placed = affirmed = 0
    for text in texts.dropna():
        said = [each for parse in parsers for each in parse(text) if not each.denied]
        affirmed += bool(said)
        placed += any(each.places or each.everywhere for each in said)
    return placed / affirmed if affirmed else float("nan")


def located_warnings(counts: Counts) -> list[str]:
    """Return what a person should know of the texts, one sentence each."""
    told = [
        f"of {counts.statements} statements {counts.located} say where a finding is, {counts.unlocated} affirm one "
        f"without a place, {counts.denied} deny one; {counts.silent} texts speak of no finding."
    ]
    if counts.uncovered:
        most = sorted(counts.uncovered.items(), key=lambda item: -item[1])[:_SHOWN]
        listed = ", ".join(f"{place!r} ({count} times)" for place, count in most)
        told.append(f"the zones do not cover some places that the texts name, which are left out: {listed}.")
    return told


def _finding_of(
    findings: Sequence[str], known: Mapping[str, Sequence[str]], settings: LocatedSettings
) -> dict[str, list[str]]:
    """Return finding of the lexicon -> findings of the study."""
    found: dict[str, list[str]] = {}
    problems = [
        f"teach.located.findings: there is no finding {finding!r}{did_you_mean(finding, findings)}"
        for finding in settings.findings
        if finding not in findings
    ]
    for finding in findings:
        names = settings.findings.get(finding, (finding,) if finding in known else ())
        problems += [
            f"teach.located.findings.{finding}: the lexicon has no {name!r}{did_you_mean(name, known)}"
            for name in names
            if name not in known
        ]
        for name in names:
            found.setdefault(name, []).append(finding)
    if problems:
        raise InputError(problems)
    if not found:
        raise InputError(
            f"teach.located: none of the findings {', '.join(findings)} has words in the lexicon "
            f"({', '.join(known)}); map them under 'teach.located.findings' or give 'words'."
        )
    return found


def _check_usual(findings: Sequence[str], scheme: ZoneScheme, settings: LocatedSettings) -> None:
    problems = []
    for finding, regions in settings.usual.items():
        if finding not in findings:
            problems.append(f"teach.located.usual: there is no finding {finding!r}{did_you_mean(finding, findings)}")
        problems += [
            f"teach.located.usual.{finding}: the scheme {scheme.name!r} has no region {region!r}"
            f"{did_you_mean(region, scheme.regions)}"
            for region in regions
            if region not in scheme.regions
        ]
    if problems:
        raise InputError(problems)


def _logit(probability: float) -> float:
    return float(np.log(probability / (1.0 - probability)))
