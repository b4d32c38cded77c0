"""Cells on the machines of a Ray cluster, which share the run's folder; a machine that is lost costs its cells' time.

A cell that was on a lost machine is started again on another one, from its last checkpoint.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Generator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from mmpkd.errors import InputError
from mmpkd.progress import Board, Reporter
from mmpkd.study.failures import Failure, attempt
from mmpkd.study.workers import TRIES, set_threads

if TYPE_CHECKING:
    from mmpkd.study.execute import Job, Shares

_POLL_S = 1.0
_REMEDY = (
    "its machine or worker was lost, most likely for want of memory: use a smaller training.batch_size, or "
    "machines with more of it."
)


def run_on_ray(
    jobs: Sequence[Job], shares: Shares, board: Board, gpu_share: float
) -> Generator[tuple[int, Failure | None]]:
    """Run jobs on a Ray cluster and yield, as each ends, its index and what stopped it.

    Joins the cluster that ``RAY_ADDRESS`` names or that runs on this machine, or starts one here. What still runs is
    cancelled when the iterator is closed.

    Args:
        jobs: Picklable; their files must lie where every machine finds them.
        shares: ``threads`` CPUs a job; how many run at once is the cluster's affair.
        board: Told of steps.
        gpu_share: GPUs a job, where the cluster has any.

    Raises:
        InputError: Ray is not installed.
    """
    ray = _ray()
    joined = ray.is_initialized()
    if not joined:
        ray.init(log_to_driver=False, logging_level=logging.ERROR)
    refs: dict[Any, int] = {}
    try:
        meter = _meter(ray)
        gpus = gpu_share if ray.cluster_resources().get("GPU", 0) else 0
        run = ray.remote(_run).options(num_cpus=_cpus(ray, shares.threads), num_gpus=gpus, max_retries=TRIES - 1)
        packed = ray.put(list(jobs))  # together, so that what the cells share travels once to each machine
        refs = {run.remote(packed, index, shares.threads, meter): index for index in range(len(jobs))}
        while refs:
            ended, _ = ray.wait(list(refs), timeout=_POLL_S)
            for index, steps in _steps_done(ray, meter).items():
                board.at(index, steps)
            for ref in ended:
                index = refs.pop(ref)
                yield index, _outcome(ray, ref, jobs[index].name)
    finally:
        for ref in refs:
            with contextlib.suppress(Exception):
                ray.cancel(ref, force=True)
        if not joined:
            ray.shutdown()


def _ray() -> Any:
    try:
        import ray
    except ImportError:
        raise InputError("`--on ray` needs Ray, which is not installed: pip install 'mmpkd[ray]'.") from None
    return ray


def _cpus(ray: Any, threads: int) -> int:
    """Return the CPUs to ask for: no more than the largest machine has, since Ray would wait for ever."""
    most = max((node["Resources"].get("CPU", 0) for node in ray.nodes() if node["Alive"]), default=1)
    return max(1, min(threads, int(most)))


def _run(packed: list[Job], index: int, threads: int, meter: Any) -> Failure | None:
    """Run one job: the task."""
    os.environ["OMP_NUM_THREADS"] = str(threads)  # read when torch is loaded, which not every job needs
    if "torch" in sys.modules:
        set_threads(threads)
    return attempt(packed[index].name, partial(packed[index], Reporter(partial(meter.at.remote, index))))


class _Steps:
    """How far each job is; an actor beside the run, told by the tasks."""

    def __init__(self) -> None:
        self._done: dict[int, int] = {}

    def at(self, index: int, steps: int) -> None:
        self._done[index] = steps

    def all(self) -> dict[int, int]:
        return dict(self._done)


def _meter(ray: Any) -> Any:
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    return ray.remote(_Steps).options(num_cpus=0, scheduling_strategy=here).remote()


def _steps_done(ray: Any, meter: Any) -> dict[int, int]:
    with contextlib.suppress(ray.exceptions.RayError):  # only for show
        steps: dict[int, int] = ray.get(meter.all.remote(), timeout=_POLL_S)
        return steps
    return {}


def _outcome(ray: Any, ref: Any, name: str) -> Failure | None:
    try:
        failure: Failure | None = ray.get(ref)
    except ray.exceptions.RayError as error:
        return Failure(name, f"{type(error).__name__}; tried {TRIES} times; {_REMEDY}")
    return failure
