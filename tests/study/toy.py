"""Jobs that end in every way a cell can end; in a module of its own, which worker processes import."""

from __future__ import annotations

import errno
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from mmpkd.errors import InputError
from mmpkd.files import write_text
from mmpkd.progress import Progress


@dataclass(frozen=True)
class Toy:
    """Writes a file named by its number, or ends in another way."""

    number: int
    folder: Path
    ending: str = "well"

    @property
    def name(self) -> str:
        return f"toy {self.number}"

    @property
    def trace(self) -> Path:
        return self.folder / f"trace-{self.number}.txt"

    def __call__(self, progress: Progress) -> None:
        with progress.bar("training", 2) as advance:
            advance(1)
            with (self.folder / f"starts-{self.number}").open("a") as log:
                log.write(f"{os.getpid()}\n")
            getattr(self, f"_end_{self.ending.replace('-', '_')}")()
            advance(1)

    def _end_well(self) -> None:
        write_text(self.folder / f"done-{self.number}", "")

    def _end_input(self) -> None:
        raise InputError("the toy is broken; mend it.")

    def _end_bug(self) -> None:
        raise ZeroDivisionError("division by\nzero")

    def _end_killed(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def _end_killed_once(self) -> None:
        if len((self.folder / f"starts-{self.number}").read_text().split()) == 1:
            self._end_killed()
        self._end_well()

    def _end_full(self) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def _end_slowly(self) -> None:
        time.sleep(60)
        self._end_well()

    def _end_when_told(self) -> None:
        while not (self.folder / "go").exists():
            time.sleep(0.05)
        self._end_well()
