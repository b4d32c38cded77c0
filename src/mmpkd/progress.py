"""Progress bars for long work: on a terminal a bar, in a log a line now and then, in quiet mode nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

_LOG_EVERY_S = 30.0


class Progress:
    """Where the command line says how talkative to be; libraries default to silence.

    Args:
        quiet: Print nothing at all.
    """

    def __init__(self, quiet: bool = True) -> None:
        self.quiet = quiet

    def say(self, line: str) -> None:
        """Print one line of plain text (nothing when quiet)."""
        if not self.quiet:
            sys.stderr.write(line + "\n")
            sys.stderr.flush()

    @contextlib.contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield ``advance(n)``; shows a bar on a terminal, a line every 30 s elsewhere."""
        if self.quiet:
            yield lambda _n: None
        elif sys.stderr.isatty():
            yield from self._terminal_bar(title, total)
        else:
            yield self._logged(title, total)
            self.say(f"{title}: done")

    @staticmethod
    def _terminal_bar(title: str, total: int) -> Iterator[Callable[[int], None]]:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with RichProgress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(title, total=total)
            yield lambda n: bars.advance(task, n)

    def _logged(self, title: str, total: int) -> Callable[[int], None]:
        done, last = 0, time.monotonic()

        def advance(n: int) -> None:
            nonlocal done, last
            done += n
            if time.monotonic() - last >= _LOG_EVERY_S:
                last = time.monotonic()
                self.say(f"{title}: {done} of {total}")

        return advance


SILENT = Progress(quiet=True)
