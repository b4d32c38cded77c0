"""One cell of the plan as a job, for any place that runs cells."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mmpkd.errors import InputError
from mmpkd.folder import CellFolder
from mmpkd.progress import SILENT, Progress
from mmpkd.study.cell import CellWork, attribute_cell, distil_cell, evaluate_cell, predict_cell, run_cell
from mmpkd.study.checks import check_cell

TRAINING, LATER_STEPS = "distil", {"predict": predict_cell, "attribute": attribute_cell, "evaluate": evaluate_cell}


@dataclass(frozen=True)
class CellJob:
    """One cell for a worker: everything it needs, and nothing privileged.

    Args:
        work: What the cells share.
        arm: Its arm.
        seed: Its seed.
        folder: Its folder.
        step: The one step to run; all that are not done by default.
    """

    work: CellWork
    arm: str
    seed: int
    folder: CellFolder
    step: str | None = None

    @property
    def name(self) -> str:
        """What people call the cell."""
        return f"{self.arm}, seed {self.seed}"

    @property
    def trace(self) -> Path:
        """Where to leave the traceback of a failure."""
        return self.folder.failure

    def __call__(self, progress: Progress = SILENT) -> None:
        """Run what is not yet there of the cell, or of the step."""
        if self.step is None:
            run_cell(self.work, self.arm, self.seed, self.folder, progress)
        elif self.step == TRAINING:
            distil_cell(self.work, self.arm, self.seed, self.folder, progress)
            predict_cell(self.work, self.folder)
        elif not self.folder.history.is_file():
            raise InputError(f"{self.folder.path}: this cell has no trained student; run `mmpkd distil` first.")
        else:
            LATER_STEPS[self.step](self.work, self.folder)
            if self.step == "evaluate":
                check_cell(self.work, self.folder)
