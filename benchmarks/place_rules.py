"""How well the rules read real notes: precision and recall on statements that were labelled by hand.

    python benchmarks/place_rules.py [FOLDER OF chest_xray_notes]

The labels (``tests/teach/places/real_statements.csv``) hold case, character spans, finding, zones and status, and no
text: the notes stay where they are.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from mmpkd.teach.places.parse import PlaceParser, Statement

ROOT = Path(__file__).parents[1]
LABELS = ROOT / "tests" / "teach" / "places" / "real_statements.csv"
NOTES = ROOT.parent / "shared" / "data" / "chest_xray_notes"
_SIDES, _LEVELS = {"left": "L", "right": "R"}, {"upper": "U", "middle": "M", "lower": "L"}


class Rate(NamedTuple):
    """Right ones among those said, and among those that are there."""

    right: int
    said: int
    there: int

    @property
    def precision(self) -> float:
        """Right over said."""
        return self.right / self.said if self.said else float("nan")

    @property
    def recall(self) -> float:
        """Right over there."""
        return self.right / self.there if self.there else float("nan")


def score(labels: pd.DataFrame, texts: pd.Series) -> dict[str, Rate]:
    """Return a rate for each type: mentions of each finding, each status, and zones.

    Args:
        labels: One row a statement: ``case``, ``sentence_start``, ``sentence_end``, ``start``, ``end``, ``finding``,
            ``zones`` (as ``LU RL``, the patient's sides), ``status``.
        texts: Notes by case.

    Only labelled sentences count: what the rules read there and no label holds is wrong. Status and zones are judged
    for mentions that were found; zones where neither side denies the finding.
    """
    parse = PlaceParser()
    mentions: list[tuple[str, bool, bool]] = []  # finding, there, said
    pairs: list[tuple[pd.Series, Statement]] = []
    for (case, start, end), rows in labels.groupby(["case", "sentence_start", "sentence_end"], sort=False):
        read = [each for each in parse(texts[case]) if start <= each.start < end]
        for _, row in rows.iterrows():
            same = [each for each in read if each.finding == row["finding"] and _overlap(each, row)]
            mentions.append((row["finding"], True, bool(same)))
            if same:
                pairs.append((row, same[0]))
                read.remove(same[0])
        mentions += [(each.finding, False, True) for each in read]
    rates = {"all mentions": _rate([(there, said) for _, there, said in mentions])}
    for finding in dict.fromkeys(name for name, _, _ in mentions):
        rates[f"mention of {finding}"] = _rate([(there, said) for name, there, said in mentions if name == finding])
    for status in ("present", "denied", "doubted"):
        rates[status] = _rate([(row["status"] == status, _status(read) == status) for row, read in pairs])
    affirmed = [(set(row["zones"].split()), _zones(read)) for row, read in pairs if not _any_denial(row, read)]
    rates["zones"] = _rate([(zone in there, zone in said) for there, said in affirmed for zone in there | said])
    rates["any place"] = _rate([(bool(there), bool(said)) for there, said in affirmed])
    exact = sum(there == said for there, said in affirmed)
    rates["zones, all of a statement right"] = Rate(exact, len(affirmed), len(affirmed))
    return rates


def read_labels() -> pd.DataFrame:
    """Return the statements labelled by hand."""
    return pd.read_csv(LABELS, keep_default_na=False)


def read_notes(folder: Path) -> pd.Series:
    """Return the notes by case."""
    table = pd.read_csv(folder / "manifest.csv", dtype=str).set_index("image_id")
    return table["report"].dropna()


def _overlap(read: Statement, row: pd.Series) -> bool:
    return read.start < row["end"] and row["start"] < read.end


def _status(read: Statement) -> str:
    return "denied" if read.denied else "doubted" if read.doubted else "present"


def _any_denial(row: pd.Series, read: Statement) -> bool:
    return row["status"] == "denied" or read.denied


def _zones(read: Statement) -> set[str]:
    """Return the zones of a statement: all of a side that is named without a level, all where it is diffuse."""
    found: set[str] = set()
    for side, letter in _SIDES.items():
        levels = {level for first, level in read.places if first in (side, "") and level}
        named = any(first == side for first, _ in read.places) or (read.everywhere and not read.places)
        found |= {letter + _LEVELS[level] for level in levels or (_LEVELS if named else ())}
    return found


def _rate(pairs: list[tuple[bool, bool]]) -> Rate:
    right = sum(there and said for there, said in pairs)
    return Rate(right, sum(said for _, said in pairs), sum(there for there, _ in pairs))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, nargs="?", default=NOTES)
    folder = parser.parse_args().folder
    if not (folder / "manifest.csv").is_file():
        print(f"{folder}: no notes here; give the folder of chest_xray_notes.")
        return
    labels = read_labels()
    print(f"{len(labels)} statements of {labels['case'].nunique()} notes\n")
    print("| type | precision | recall | there |\n|---|---|---|---|")
    for name, rate in score(labels, read_notes(folder)).items():
        print(f"| {name} | {rate.precision:.2f} | {rate.recall:.2f} | {rate.there} |")


if __name__ == "__main__":
    main()
