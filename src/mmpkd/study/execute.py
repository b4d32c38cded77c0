"""Running the plan's cells: in this process, or in worker processes that share nothing but files.

On a few cores, one-thread workers beat one run with all threads; on a GPU, cells run one after another.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import queue
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from mmpkd.progress import SILENT, Progress

if TYPE_CHECKING:
    from mmpkd.study.settings import ExecutionSettings

_PARENT_POLL_S = 0.5


class Job(Protocol):
    """One cell, picklable, run by a worker."""

    def __call__(self, progress: Progress) -> None:
        """Run what is not yet there of the cell."""
        ...


@dataclass(frozen=True)
class Shares:
    """How the machine is divided: ``workers`` processes of ``threads`` threads each."""

    workers: int
    threads: int


def share_machine(execution: ExecutionSettings, cells: int) -> Shares:
    """Return how many cells run at once, and with how many threads each."""
    cores = usable_cores()
    if execution.workers != "auto":
        workers = max(1, min(execution.workers, cells))
    elif execution.device != "cpu" and _has_gpu():
        workers = 1
    else:
        workers = max(1, min(cores, cells))
    return Shares(workers, max(1, cores // workers))


def usable_cores() -> int:
    """Return the cores this process may use (fewer than the machine's inside a container or a batch job)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def run_jobs(
    jobs: Sequence[Job], shares: Shares, title: str, steps: Sequence[int], progress: Progress = SILENT
) -> None:
    """Run every job; the first failure stops the rest and is raised, finished cells stay.

    Args:
        jobs: Picklable callables.
        shares: Workers and threads.
        title: The progress bar's title.
        steps: Steps that each job reports when it runs as a whole (epochs).
        progress: Shown in this process; workers report to it.
    """
    if not jobs:
        return
    with progress.bar(title, sum(steps)) as advance:
        if shares.workers == 1:
            _set_threads(shares.threads)
            for job, most in zip(jobs, steps, strict=True):
                reporter = _Reporter(advance, most)
                job(reporter)
                reporter.finish()
            return
        context = mp.get_context("spawn")
        channel = context.Queue()
        with (
            _relayed(channel, advance),
            ProcessPoolExecutor(
                shares.workers, context, initializer=_start_worker, initargs=(os.getpid(), shares.threads, channel)
            ) as pool,
        ):
            futures = [pool.submit(_run_in_worker, job, most) for job, most in zip(jobs, steps, strict=True)]
            try:
                done, _ = wait(futures, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                _stop_workers(pool)
                raise


def _stop_workers(pool: ProcessPoolExecutor) -> None:
    for process in list((pool._processes or {}).values()):
        process.terminate()


class _Reporter(Progress):
    """Passes a job's steps on to the plan's bar; epochs saved by early stopping are added at the end."""

    def __init__(self, report: Any, steps: int) -> None:
        super().__init__(quiet=True)
        self._report, self._left = report, steps

    @contextlib.contextmanager
    def bar(self, title: str, total: int) -> Iterator[Any]:
        yield self.advance

    def advance(self, n: int) -> None:
        n = min(n, self._left)
        self._left -= n
        self._report(n)

    def finish(self) -> None:
        self.advance(self._left)


_channel: Any = None  # a worker process's way to report, set once when the worker starts


def _start_worker(parent: int, threads: int, channel: Any) -> None:
    global _channel  # noqa: PLW0603  (a spawned worker has no other place to keep what its initializer was given)
    _channel = channel
    _set_threads(threads)
    threading.Thread(target=_die_with_parent, args=(parent,), daemon=True).start()


def _die_with_parent(parent: int) -> None:
    """End this worker when the run that started it was killed, so that it writes nothing behind the next run."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def _run_in_worker(job: Job, steps: int) -> None:
    reporter = _Reporter(_channel.put, steps)
    job(reporter)
    reporter.finish()


@contextlib.contextmanager
def _relayed(channel: Any, advance: Any) -> Iterator[None]:
    """Move the workers' reports to the bar from a thread of this process."""
    over = threading.Event()

    def relay() -> None:
        while not over.is_set() or not channel.empty():
            with contextlib.suppress(queue.Empty):
                advance(channel.get(timeout=0.2))

    thread = threading.Thread(target=relay, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        channel.close()


def _set_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)
