"""The one error a user is meant to see, and how several problems are told at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class InputError(Exception):
    """Something the user gave is wrong; the message is one clear sentence a problem, with the remedy.

    Args:
        problems: One sentence, or several when a whole table was checked. Each names the file, row, column
            and value where there is one, and never quotes report text or patient identifiers.

    The command line prints the sentences and exits with code 2; from Python, ``error.problems`` is the list.
    """

    def __init__(self, problems: str | Sequence[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for a near miss, else the list of what is known."""
    names = sorted(set(known))
    close = difflib.get_close_matches(given, names, n=1)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known are {', '.join(names)}" if names else ""
