"""Progress of long work: on a terminal a bar, in a log a line now and then, in quiet mode nothing."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence

_LOG_EVERY_S = 30.0
_now = time.monotonic


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
        done = 0
        with self._shown(title, total) as show:

            def advance(n: int) -> None:
                nonlocal done
                done += n
                show(done, f"{done} of {total}")

            yield advance

    @contextlib.contextmanager
    def plan(self, title: str, steps: Sequence[int], finished: int = 0) -> Iterator[Board]:
        """Yield the board of a plan's cells; shown in one line: cells and epochs done, and the time left.

        Args:
            title: For people.
            steps: Epochs of each cell that is still to be run.
            finished: Cells of the plan that were finished before.
        """
        with self._shown(title, sum(steps)) as show:
            yield Board(steps, finished, show)

    @contextlib.contextmanager
    def _shown(self, title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        """Yield ``show(done, said)``."""
        if self.quiet:
            yield lambda _done, _said: None
        elif sys.stderr.isatty():
            yield from self._on_terminal(title, total)
        else:
            yield self._in_log(title)
            self.say(f"{title}: done")

    @staticmethod
    def _on_terminal(title: str, total: int) -> Iterator[Callable[[int, str], None]]:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as RichProgress

        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[said]}"))
        clock = _Clock(total)
        with RichProgress(*columns, console=Console(stderr=True)) as bars:
            task = bars.add_task(title, total=total, said="")
            yield lambda done, said: bars.update(task, completed=done, said=said + clock.left(done))

    def _in_log(self, title: str) -> Callable[[int, str], None]:
        last = _now()

        def show(_done: int, said: str) -> None:
            nonlocal last
            if _now() - last >= _LOG_EVERY_S:
                last = _now()
                self.say(f"{title}: {said}")

        return show


class _Clock:
    """Reckons the time left from the mean speed so far."""

    def __init__(self, total: int) -> None:
        self._total, self._begin = total, _now()

    def left(self, done: int) -> str:
        """Return ``", about ... left"``, or nothing before the first step and after the last."""
        if not 0 < done < self._total:
            return ""
        return f", about {duration((_now() - self._begin) / done * (self._total - done))} left"


class Board:
    """How far each cell of a plan is, however often it is started: steps count once."""

    def __init__(self, steps: Sequence[int], finished: int, show: Callable[[int, str], None]) -> None:
        self._steps, self._done = list(steps), [0] * len(steps)
        self.cells, self._finished, self._show = finished + len(steps), finished, show
        self._tell()

    def at(self, cell: int, done: int) -> None:
        """Note that a cell has done so many steps in all."""
        self._done[cell] = max(self._done[cell], min(done, self._steps[cell]))
        self._tell()

    def end(self, cell: int) -> None:
        """Note that a cell is finished; epochs saved by early stopping count as done."""
        self._done[cell] = self._steps[cell]
        self._finished += 1
        self._tell()

    def _tell(self) -> None:
        said = f"{self._finished} of {self.cells} cells"
        if sum(self._steps) > len(self._steps):
            said += f", {sum(self._done)} of {sum(self._steps)} epochs"
        self._show(sum(self._done), said)


class Reporter(Progress):
    """Inside a cell: passes on how many steps it has done in all, and shows nothing."""

    def __init__(self, report: Callable[[int], object]) -> None:
        super().__init__(quiet=True)
        self._report, self._done = report, 0

    @contextlib.contextmanager
    def bar(self, title: str, total: int) -> Iterator[Callable[[int], None]]:
        """Yield ``advance(n)``."""
        yield self._advance

    def _advance(self, n: int) -> None:
        self._done += n
        self._report(self._done)


def duration(seconds: float) -> str:
    """Return a time in words, to be read rather than reckoned with."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


SILENT = Progress(quiet=True)
