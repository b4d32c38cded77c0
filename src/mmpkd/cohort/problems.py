"""Collecting every problem of a table before any is told, with a cap on those of one kind."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mmpkd.errors import InputError

_SHOWN = 10


class Problems:
    """Sentences about one input; :meth:`raise_any` tells them all as one :class:`InputError`.

    Attributes:
        sentences: What is wrong.
        warnings: What is allowed but should be known.
    """

    def __init__(self) -> None:
        """Begin with none."""
        self.sentences: list[str] = []
        self.warnings: list[str] = []

    def __len__(self) -> int:
        """Return the number of problems; warnings are not counted."""
        return len(self.sentences)

    def warn(self, sentence: str) -> None:
        """Add a warning."""
        self.warnings.append(sentence)

    def add(self, sentence: str) -> None:
        """Add one sentence."""
        self.sentences.append(sentence)

    def add_rows(self, positions: np.ndarray, describe: Callable[[int], str]) -> None:
        """Add one sentence a row for the first ten of ``positions``, and a count for the rest."""
        self.sentences.extend(describe(int(position)) for position in positions[:_SHOWN])
        if len(positions) > _SHOWN:
            self.sentences.append(f"... and {len(positions) - _SHOWN} more like it.")

    def raise_any(self) -> None:
        """Raise :class:`InputError` with every sentence, if there is one."""
        if self.sentences:
            raise InputError(self.sentences)
