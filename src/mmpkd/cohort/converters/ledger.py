"""What a conversion counted, dropped and decided: the substance of a cohort's NOTICE."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Ledger:
    """Counts and rules in the order in which they came. Holds no identifier, no text and no header value.

    Args:
        versions: File or part of the archive -> the version found.
        steps: What was counted, and how many.
        drops: Rule that left cases (or rows, boxes, reports) out, and how many it left out; 0 is told as well.
        notes: Decisions that a reader of results must know, one sentence each.
    """

    versions: dict[str, str] = field(default_factory=dict)
    steps: list[tuple[str, int]] = field(default_factory=list)
    drops: list[tuple[str, int]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def version(self, part: str, version: str) -> None:
        """Record which version or form of a part was found."""
        self.versions[part] = version

    def count(self, what: str, number: int) -> None:
        """Record how many of something there are at this step."""
        self.steps.append((what, int(number)))

    def drop(self, rule: str, number: int) -> None:
        """Record how many a rule left out."""
        self.drops.append((rule, int(number)))

    def note(self, sentence: str) -> None:
        """Record a decision."""
        self.notes.append(sentence)

    def lines(self) -> list[str]:
        """Return all of it as text."""
        parts = [
            ("Found", [f"{part}: {version}" for part, version in self.versions.items()]),
            ("Counts", [f"{what}: {number:,}" for what, number in self.steps]),
            ("Left out", [f"{rule}: {number:,}" for rule, number in self.drops]),
            ("Rules", self.notes),
        ]
        return [line for title, lines in parts if lines for line in ("", title, *(f"  {line}" for line in lines))]
