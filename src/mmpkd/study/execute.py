"""Running the plan's cells, each by itself: in this process, in worker processes, or on a cluster.

On a few cores, one-thread workers beat one run with all threads; a GPU takes one cell at a time unless it is shared. A
cell that fails, and a worker or machine that is lost, costs that cell: the others are finished first.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from mmpkd.errors import InputError
from mmpkd.files import write_text
from mmpkd.progress import SILENT, Board, Progress, Reporter
from mmpkd.study.failures import Failure, attempt, tell_failures
from mmpkd.study.workers import run_in_workers, set_threads

if TYPE_CHECKING:
    from mmpkd.study.settings import ExecutionSettings


class Job(Protocol):
    """One cell, picklable, run anywhere."""

    @property
    def name(self) -> str:
        """What people call the cell."""
        ...

    @property
    def trace(self) -> Path:
        """Where to leave the traceback of a failure."""
        ...

    def __call__(self, progress: Progress) -> None:
        """Run what is not yet there of the cell."""
        ...


Outcomes = Generator[tuple[int, Failure | None]]
"""Index and failure of each job as it ends; closing it stops what still runs."""


@dataclass(frozen=True)
class Shares:
    """How the machine is divided: ``workers`` processes of ``threads`` threads each."""

    workers: int
    threads: int


def share_machine(execution: ExecutionSettings, cells: int) -> Shares:
    """Return how many cells run at once, and with how many threads each."""
    cores = usable_cores()
    gpus = 0 if execution.device == "cpu" else _count_gpus()
    if execution.workers != "auto":
        workers = execution.workers
    elif gpus:
        workers = int(gpus / execution.gpu_share + 1e-9)
    else:
        workers = cores
    workers = max(1, min(workers, cells))
    return Shares(workers, max(1, cores // workers))


def usable_cores() -> int:
    """Return the cores this process may use (fewer than the machine's inside a container or a batch job)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def gpu_names() -> list[str]:
    """Return this process's GPUs as ``CUDA_VISIBLE_DEVICES`` names them."""
    count = _count_gpus()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [str(gpu) for gpu in range(count)] if visible is None else visible.split(",")[:count]


def run_jobs(
    jobs: Sequence[Job],
    shares: Shares,
    title: str,
    steps: Sequence[int] | None = None,
    progress: Progress = SILENT,
    finished: int = 0,
    cluster: float | None = None,
) -> None:
    """Run every job; those that fail are told together once all others are finished.

    Args:
        jobs: Picklable callables.
        shares: Workers and threads.
        title: What people see above the progress.
        steps: Epochs that each job reports when it runs as a whole; 1 for each by default, not reported.
        progress: Shown in this process; workers report to it.
        finished: Cells of the plan that are finished already.
        cluster: Run on a Ray cluster, each job with this share of a GPU where there are any; here if ``None``.

    Raises:
        InputError: Which cells failed and why. A failure that would meet every cell, such as a full disk, ends the run
            at once.
    """
    if not jobs:
        return
    failures: dict[int, Failure] = {}
    with progress.plan(title, steps or [1] * len(jobs), finished) as board:
        outcomes = _outcomes(jobs, shares, board, cluster)
        with contextlib.closing(outcomes):
            for index, failure in outcomes:
                _keep_trace(jobs[index], failure)
                if failure is None:
                    finished += 1
                    board.end(index)
                    continue
                failures[index] = failure
                if failure.everywhere:
                    break
        if failures:
            raise tell_failures([failures[index] for index in sorted(failures)], finished, board.cells)


def _outcomes(jobs: Sequence[Job], shares: Shares, board: Board, cluster: float | None) -> Outcomes:
    if cluster is not None:
        from mmpkd.study.cluster import run_on_ray

        return run_on_ray(jobs, shares, board, cluster)
    return _run_here(jobs, shares, board) if shares.workers == 1 else _run_beside(jobs, shares, board)


def run_alone(job: Callable[[Progress], None], threads: int, title: str, steps: int, progress: Progress) -> None:
    """Run one job that is no cell, here; whatever stops it is raised."""
    set_threads(threads)
    with progress.bar(title, steps) as advance:
        done = 0

        def report(now: int) -> None:
            nonlocal done
            advance(now - done)
            done = now

        job(Reporter(report))


def _run_here(jobs: Sequence[Job], shares: Shares, board: Board) -> Outcomes:
    set_threads(shares.threads)
    for index, job in enumerate(jobs):
        yield index, attempt(job.name, partial(job, Reporter(partial(board.at, index))))


def _run_beside(jobs: Sequence[Job], shares: Shares, board: Board) -> Outcomes:
    names = gpu_names()
    return run_in_workers(jobs, shares, board, names if len(names) > 1 else ())


def _keep_trace(job: Job, failure: Failure | None) -> None:
    """Leave the traceback of an unforeseen error in the cell's folder, and remove that of an earlier try."""
    with contextlib.suppress(OSError, InputError):
        if failure is not None and failure.trace:
            write_text(job.trace, failure.trace)
        else:
            job.trace.unlink(missing_ok=True)
