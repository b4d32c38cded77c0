"""Worker processes that run cells and share nothing with the run but a pipe each and the files.

A worker that dies takes nobody with it: each has its own pipe and no lock is shared, so the run sees which cell was
lost, starts another worker and tries that cell once more.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from functools import partial
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING

from mmpkd.progress import Board, Reporter
from mmpkd.study.failures import Failure, attempt

if TYPE_CHECKING:
    from mmpkd.study.execute import Job, Shares

_PARENT_POLL_S = 0.5
_PATIENCE_S = 5.0
TRIES = 2  # of a cell whose worker dies
_REMEDY = "most likely memory ran out: use fewer execution.workers, or a smaller training.batch_size."


def run_in_workers(
    jobs: Sequence[Job], shares: Shares, board: Board, gpus: Sequence[str] = ()
) -> Generator[tuple[int, Failure | None]]:
    """Run jobs in worker processes and yield, as each ends, its index and what stopped it.

    Workers end when the iterator is closed, and when this process dies.

    Args:
        jobs: Picklable.
        shares: Workers and threads.
        board: Told of steps.
        gpus: Names of the GPUs (``CUDA_VISIBLE_DEVICES``), shared out among the workers; empty leaves them alone.
    """
    waiting = deque((index, 1) for index in range(len(jobs)))
    count = min(shares.workers, len(jobs))
    idle = [_Worker(shares.threads, gpus[number % len(gpus)] if gpus else None) for number in range(count)]
    busy: dict[object, tuple[_Worker, int, int]] = {}
    try:
        while waiting or busy:
            while waiting and idle:
                worker, (index, tried) = idle.pop(), waiting.popleft()
                worker.send(jobs[index])
                busy[worker.connection] = (worker, index, tried)
            for connection in wait([worker.connection for worker, _, _ in busy.values()]):
                worker, index, tried = busy[connection]
                said = worker.receive()
                if isinstance(said, int):
                    board.at(index, said)
                    continue
                del busy[connection]
                if not isinstance(said, str):
                    idle.append(worker)
                    yield index, said
                    continue
                idle.append(worker.replaced())
                if tried < TRIES:
                    waiting.appendleft((index, tried + 1))
                else:
                    yield index, Failure(jobs[index].name, f"{said}; tried {TRIES} times; {_REMEDY}")
    finally:
        workers = [*idle, *(worker for worker, _, _ in busy.values())]
        for worker in workers:
            worker.end(at_once=worker.connection in busy)
        for worker in workers:
            worker.await_end()


class _Worker:
    """A process that runs one job after another, and the pipe to it."""

    def __init__(self, threads: int, gpu: str | None) -> None:
        self._threads, self._gpu = threads, gpu
        context = mp.get_context("spawn")
        self.connection, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, os.getpid(), threads, gpu))
        with _interrupts_held():
            self._process.start()
        theirs.close()  # so that the pipe ends with the worker

    def send(self, job: Job) -> None:
        """Send a job; if the worker is dead, that is found where its answer is read."""
        with contextlib.suppress(OSError):
            self.connection.send_bytes(pickle.dumps((job.name, pickle.dumps(job))))

    def receive(self) -> int | Failure | str | None:
        """Return steps done, or what stopped the job (``None``: nothing), or in words how the worker died."""
        try:
            return self.connection.recv()
        except (EOFError, OSError):
            self._process.join()
        code = self._process.exitcode or 0
        if code < 0:
            return f"its worker process was killed ({signal.Signals(-code).name})"
        return f"its worker process ended with exit code {code}"

    def replaced(self) -> _Worker:
        """Return a new worker in the place of this dead one."""
        self.connection.close()
        return _Worker(self._threads, self._gpu)

    def end(self, at_once: bool) -> None:
        """Let the worker end, in the middle of its job if need be."""
        if at_once:
            self._process.terminate()  # before its pipe breaks, which it would tell as a failure
        self.connection.close()

    def await_end(self) -> None:
        """Wait for the end, and enforce it."""
        self._process.join(_PATIENCE_S)
        if self._process.exitcode is None:
            self._process.kill()
            self._process.join()


@contextlib.contextmanager
def _interrupts_held() -> Iterator[None]:
    """Start a process that Ctrl-C does not reach, which goes to all of a terminal: the run ends its workers itself."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    resource_tracker.ensure_running()  # which would lift the block when it starts with the first process
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, parent: int, threads: int, gpu: str | None) -> None:
    """Run jobs until the pipe ends: the whole life of a worker."""
    threading.Thread(target=_die_with_parent, args=(parent,), daemon=True).start()
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # read when CUDA starts, which nothing here has asked for yet
    set_threads(threads)
    while True:
        try:
            name, job = pickle.loads(connection.recv_bytes())  # noqa: S301  (from the run that started this worker)
        except (EOFError, OSError):  # closed, or reset with a report of ours unread
            return
        with contextlib.suppress(OSError):
            connection.send(attempt(name, partial(_run, job, connection)))


def _run(job: bytes, connection: Connection) -> None:
    pickle.loads(job)(Reporter(connection.send))  # noqa: S301  (as above)


def _die_with_parent(parent: int) -> None:
    """End this worker when the run that started it was killed, so that it writes nothing behind the next run."""
    while os.getppid() == parent:
        time.sleep(_PARENT_POLL_S)
    os._exit(1)


def set_threads(threads: int) -> None:
    """Give torch its share of the cores."""
    import torch

    torch.set_num_threads(threads)
