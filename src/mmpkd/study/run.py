"""A study's run: each stage reads and writes the run folder, so any can be run, inspected or replaced alone.

A stage whose output is there is not run again; every output is written whole; so a killed run goes on where it
stopped and ends with the same numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import platform
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Literal

import pandas as pd
from filelock import FileLock, Timeout

import mmpkd
from mmpkd.cohort.read import ReadCohort, read_cohort
from mmpkd.diagnose.check import Check
from mmpkd.distil.arms import WITHOUT_SOFT_LABELS
from mmpkd.errors import InputError, did_you_mean
from mmpkd.files import read_json, read_table, write_json, write_table, write_text
from mmpkd.folder import RunFolder
from mmpkd.progress import SILENT, Progress
from mmpkd.study.arm import arm_steps
from mmpkd.study.cell import CellWork
from mmpkd.study.execute import Shares, run_alone, run_jobs, share_machine, usable_cores
from mmpkd.study.inputs import StudyInputs, read_inputs, study_fingerprint, without_privileged
from mmpkd.study.job import TRAINING, CellJob
from mmpkd.study.located import located_matrix
from mmpkd.study.preflight import check_cohort, check_names, check_student
from mmpkd.study.settings import StudySettings
from mmpkd.teach.soft_labels import SoftLabels

Place = Literal["here", "ray"]
_REPORTED_PACKAGES = ("numpy", "pandas", "scikit-learn", "scipy", "timm", "torch", "transformers")


class StudyRun:
    """A study bound to its run folder.

    Args:
        study: Settings.
        root: The cohort's root folder.
        out: The run folder; made if it is not there, refused if it holds another study's run.
        progress: Where to show progress.
        on: Where cells run: ``here``, or ``ray`` for the machines of a Ray cluster, which share ``out``.
        shelf: Folder of trained students that variants of a study have in common; ``None`` keeps none.
    """

    def __init__(
        self,
        study: StudySettings,
        root: Path,
        out: Path,
        progress: Progress = SILENT,
        on: Place = "here",
        shelf: Path | None = None,
    ) -> None:
        self.study, self.root, self.progress, self.on = study, root, progress, on
        # other machines work in other folders, so that they are told whole paths
        self.folder = RunFolder(out.resolve() if on == "ray" else out)
        self.shelf = shelf.resolve() if shelf is not None and on == "ray" else shelf
        self.fingerprint = study_fingerprint(study, root)
        self.provenance = {"mmpkd": mmpkd.__version__, "study": self.fingerprint}

    @property
    def cells(self) -> list[tuple[str, int]]:
        """The plan: every (arm, seed), seeds first so that arms can be compared early."""
        return [(arm, seed) for seed in self.study.seeds for arm in self.study.arms]

    @property
    def missing_cells(self) -> list[tuple[str, int]]:
        """The cells that are not finished."""
        return [cell for cell in self.cells if not self.folder.cell(*cell).checks.is_file()]

    @cached_property
    def shares(self) -> Shares:
        """Workers and threads: those of the run's start, so that a resumed run computes the same bits."""
        if self.folder.run.is_file():
            started = read_json(self.folder.run)
            return Shares(started["workers"], started["threads"])
        return share_machine(self.study.execution, len(self.cells))

    @cached_property
    def stack(self) -> int:
        """Most cells that train together in one process; 1 where each trains alone."""
        import torch

        from mmpkd.study.stacked import stack_size

        on_gpu = self.study.execution.device != "cpu" and torch.cuda.is_available()
        return stack_size(self.study, torch.device("cuda" if on_gpu else "cpu"))

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the run folder for this process, after making sure that it is this study's.

        Raises:
            InputError: The folder holds another study's run, or another process is at work in it.
        """
        if self.folder.run.is_file():
            found = read_json(self.folder.run)["study_fingerprint"]
            if found != self.fingerprint:
                raise InputError(
                    f"{self.folder.path}: holds the run of another study, or of this one before its settings or tables "
                    "changed; choose another folder with --out, or delete this one."
                )
        else:
            stray = sorted(p.name for p in self.folder.path.iterdir()) if self.folder.path.is_dir() else []
            if any(name not in (".lock", "cache", "cohort") for name in stray):
                raise InputError(
                    f"{self.folder.path}: is not empty and holds no run of mmpkd (there is {stray[0]!r}); choose "
                    "another folder with --out."
                )
            self._write_start()
        lock = FileLock(self.folder.path / ".lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise InputError(f"{self.folder.path}: another process is running this study; wait for it.") from None
        try:
            yield
        finally:
            lock.release()

    def _write_start(self) -> None:
        write_text(self.folder.study, self.study.to_yaml())
        start = {
            "study_fingerprint": self.fingerprint,
            "mmpkd_version": mmpkd.__version__,
            "versions": {name: version(name) for name in _REPORTED_PACKAGES},
            "python": platform.python_version(),
            "platform": f"{platform.system()} {platform.machine()}",
            "arms": list(self.study.arms),
            "seeds": list(self.study.seeds),
            "workers": self.shares.workers,
            "threads": self.shares.threads,
            "seconds": {},
        }
        write_json(self.folder.run, start)

    @contextlib.contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        """Add the stage's wall time to run.json (a resumed stage adds to what it took before)."""
        begin = time.monotonic()
        yield
        record = read_json(self.folder.run)
        taken = record["seconds"].get(stage, 0.0) + time.monotonic() - begin
        record["seconds"][stage] = round(taken, 1)
        write_json(self.folder.run, record)

    @cached_property
    def table(self) -> ReadCohort:
        """The cohort's table alone: enough for the teacher, which sees no image."""
        return read_cohort(self.study.cohort, self.root)

    @cached_property
    def inputs(self) -> StudyInputs:
        """The cohort with its decoded images."""
        return read_inputs(self.study, self.root, self.folder.path.parent / "cache", self.progress)

    @cached_property
    def work(self) -> CellWork:
        """What the cells share."""
        soft, located, cohort = None, None, self.inputs.cohort
        if self.folder.soft_labels.is_file():
            table = SoftLabels.read(self.folder.soft_labels)
            soft = table.matrix(cohort.cases.index, cohort.findings)
            if self.study.cohort.zones is not None:
                located = located_matrix(table, cohort.cases.index, cohort.findings, self.study.cohort.zones.named)
        elif any(arm.kind not in WITHOUT_SOFT_LABELS for arm in self.study.arms.values()):
            raise InputError(f"{self.folder.soft_labels}: the soft labels are missing; run `mmpkd teach` first.")
        embeddings = None
        if self.folder.embeddings.is_file():
            embeddings = read_table(self.folder.embeddings).set_index("case").loc[cohort.cases.index].to_numpy(float)
        seen = without_privileged(cohort)
        shelf = None
        if self.shelf is not None:
            from mmpkd.distil.trained import Shelf

            shelf = Shelf(self.shelf)
        return CellWork(self.study, seen, self.inputs.images, soft, self.provenance, located, embeddings, shelf)

    def cohort(self) -> None:
        """Read and check the cohort, decode its images, write what is in it."""
        if self.folder.cohort.is_file() and self.folder.cases.is_file():
            return
        with self._timed("cohort"):
            cases = self.inputs.cohort.cases
            table = pd.DataFrame(
                {
                    "case": cases.index.to_numpy(),
                    "patient": [self._hashed(patient) for patient in cases["patient"]],
                    "split": cases["split"].to_numpy(),
                }
            )
            write_table(self.folder.cases, table, self.provenance)
            write_json(self.folder.cohort, self.inputs.summary)

    def _hashed(self, patient: str) -> str:
        return hashlib.blake2b(f"{self.fingerprint}:{patient}".encode(), digest_size=8).hexdigest()

    def teach(self) -> None:
        """Fit the teacher and write its soft labels and scores. Needs no image."""
        from mmpkd.study.teacher import write_taught

        with self._timed("teach"):
            if not self.folder.soft_labels.is_file():
                write_taught(self.study, self.table.cohort, self.root, self.folder, self.provenance, self.progress)

    def run_cells(self) -> None:
        """Train, predict, map and score every cell that is not finished, several at a time.

        Raises:
            InputError: Which cells failed, after all others were finished.
        """
        missing = self.missing_cells
        if not missing:
            return
        with self._timed("students"):
            self._train_stacked(missing)
            jobs = [CellJob(self.work, arm, seed, self.folder.cell(arm, seed)) for arm, seed in missing]
            finished = len(self.cells) - len(missing)
            run_jobs(jobs, self.shares, "students", self._steps(missing), self.progress, finished, self._cluster)

    def _train_stacked(self, cells: Sequence[tuple[str, int]]) -> None:
        """Train cells together where the plan says so; their other steps, and all other cells, are left as they are."""
        if self.stack == 1 or self.on == "ray":
            return
        from mmpkd.study.stacked import StackedJob

        job = StackedJob(self.work, [(arm, seed, self.folder.cell(arm, seed)) for arm, seed in cells], self.stack)
        run_alone(job, usable_cores(), "training together", sum(self._steps(cells)), self.progress)

    def step(self, name: str, arms: Sequence[str] = (), seeds: Sequence[int] = ()) -> None:
        """Run one step (``distil``, ``predict``, ``attribute`` or ``evaluate``) of the chosen cells here."""
        for arm in arms:
            if arm not in self.study.arms:
                raise InputError(f"the study has no arm {arm!r}{did_you_mean(arm, self.study.arms)}")
        chosen = [(arm, seed) for arm, seed in self.cells if (not arms or arm in arms) and (not seeds or seed in seeds)]
        jobs = [CellJob(self.work, arm, seed, self.folder.cell(arm, seed), name) for arm, seed in chosen]
        steps = self._steps(chosen) if name == TRAINING else None
        run_jobs(jobs, self.shares, name, steps, self.progress, cluster=self._cluster)

    @property
    def _cluster(self) -> float | None:
        return self.study.execution.gpu_share if self.on == "ray" else None

    def _steps(self, cells: Sequence[tuple[str, int]]) -> list[int]:
        return [arm_steps(self.study, arm) for arm, _ in cells]

    def compare(self) -> None:
        """Compare the arms, with the picture-blind baselines beside them, and write the verdict."""
        from mmpkd.study.comparison import compare_study, write_baselines

        if self.folder.verdict.is_file():
            return
        if missing := self.missing_cells:
            raise InputError(
                f"{self.folder.path}: {len(missing)} of {len(self.cells)} cells are not finished; `mmpkd run` finishes "
                "them before it compares."
            )
        with self._timed("compare"):
            if not self.folder.baselines.is_file():
                write_baselines(self.work, self.folder, self.shares.threads)
            compare_study(self.work, self.folder, self.cells, self.shares.threads)
            self.diagnose()

    def diagnose(self) -> list[Check]:
        """Look for the signs of known failures in what there is so far; needs no image."""
        from mmpkd.study.diagnosis import diagnose

        checks = diagnose(self.study, self.table.cohort, self.folder)
        write_json(self.folder.diagnosis, {"checks": [check._asdict() for check in checks]})
        return checks

    def report(self) -> Path:
        """Write the gallery and the report; always anew, since it is cheap."""
        from mmpkd.report.build import write_report
        from mmpkd.study.gallery import write_gallery

        if not self.folder.gallery.is_file():
            write_gallery(self.work, self.folder)
        return write_report(self.folder)

    def everything(self) -> Path:
        """Run all stages that are not done and return the report's path."""
        check_names(self.study)
        if not self.folder.verdict.is_file():
            check_cohort(self.study, self.table.cohort)
            check_student(self.study)
        with self.claimed():
            self.cohort()
            self.teach()
            self.run_cells()
            self.compare()
            return self.report()


def load_comparison(folder: RunFolder) -> tuple[pd.DataFrame, dict[str, object]]:
    """Return a finished run's comparison table and verdict."""
    if not folder.verdict.is_file():
        raise InputError(f"{folder.path}: no finished comparison is here; run `mmpkd run` first.")
    return read_table(folder.comparison), read_json(folder.verdict)
