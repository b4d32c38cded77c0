"""A cell that fails or is lost costs itself alone; what meets every cell ends the run at once."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from mmpkd.errors import InputError
from mmpkd.progress import Board
from mmpkd.study.execute import Shares, run_jobs, share_machine
from mmpkd.study.settings import ExecutionSettings
from mmpkd.study.workers import run_in_workers

HERE, WORKERS = Shares(1, 1), Shares(2, 1)


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(Path(__file__).parent)  # worker processes are given this path too
    from toy import Toy

    def make(*endings: str) -> list[Toy]:
        return [Toy(number, tmp_path, ending) for number, ending in enumerate(endings)]

    return make


def done(folder: Path) -> list[int]:
    return sorted(int(path.name.removeprefix("done-")) for path in folder.glob("done-*"))


def problems(jobs: Sequence, shares: Shares, finished: int = 0) -> tuple[str, ...]:
    with pytest.raises(InputError) as caught:
        run_jobs(jobs, shares, "toys", [2] * len(jobs), finished=finished)
    return caught.value.problems


def test_failures_are_told_together_after_all_others_are_finished(toys, tmp_path):
    told = problems(toys("input", "well", "bug", "input", "well"), HERE, finished=3)
    assert done(tmp_path) == [1, 4]
    assert told[:2] == (
        "toy 0; toy 3: the toy is broken; mend it.",
        "toy 2: ZeroDivisionError: division by zero",
    )
    assert told[2] == (
        "3 of 8 cells failed; the 5 finished are kept, and the same command goes on with those that are missing."
    )
    assert "in _end_bug" in (tmp_path / "trace-2.txt").read_text()
    assert not (tmp_path / "trace-0.txt").exists()


def test_a_trace_goes_when_the_cell_is_finished(toys, tmp_path):
    problems(toys("bug"), HERE)
    run_jobs(toys("well"), HERE, "toys")
    assert not (tmp_path / "trace-0.txt").exists()


def test_a_full_disk_ends_the_run_at_once(toys, tmp_path):
    told = problems(toys("well", "full", *["well"] * 20), HERE)
    assert told[0] == "toy 1: OSError: [Errno 28] No space left on device"
    assert told[1].startswith("1 of 22 cells failed, 20 not started; the 1 finished are kept")
    assert done(tmp_path) == [0]


@pytest.mark.slow
def test_a_lost_worker_is_replaced_and_its_cell_tried_once_more(toys, tmp_path):
    told = problems(toys("killed", "killed-once", "well", "bug", "well"), WORKERS)
    assert done(tmp_path) == [1, 2, 4]
    assert told[0].startswith("toy 0: its worker process was killed (SIGKILL); tried 2 times; most likely memory")
    assert len((tmp_path / "starts-0").read_text().split()) == 2
    assert told[1] == "toy 3: ZeroDivisionError: division by zero"
    assert "in _end_bug" in (tmp_path / "trace-3.txt").read_text()
    assert "2 of 5 cells failed; the 3 finished are kept" in told[2]


@pytest.mark.slow
def test_workers_end_when_the_run_is_stopped(toys, tmp_path):
    outcomes = run_in_workers(toys("well", "slowly"), WORKERS, Board([2, 2], 0, lambda _done, _said: None))
    assert next(outcomes) == (0, None)
    while not (tmp_path / "starts-1").exists():
        time.sleep(0.01)
    begin = time.monotonic()
    outcomes.close()
    assert time.monotonic() - begin < 4
    pid = int((tmp_path / "starts-1").read_text())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert done(tmp_path) == [0]


def test_many_reasons_are_told_in_bounded_length(toys, tmp_path):
    from mmpkd.study.failures import Failure, tell_failures

    failures = [Failure(f"cell {number}", f"reason {number}.") for number in range(30)]
    told = tell_failures(failures, finished=2, cells=40).problems
    assert len(told) == 10
    assert told[8] == "and 22 more reasons."
    assert told[9].startswith("30 of 40 cells failed, 8 not started; the 2 finished are kept")


@pytest.mark.parametrize(
    ("settings", "gpus", "cells", "expected"),
    [
        ({}, 0, 8, Shares(4, 1)),
        ({}, 0, 2, Shares(2, 2)),
        ({"workers": 3}, 0, 8, Shares(3, 1)),
        ({}, 1, 8, Shares(1, 4)),
        ({}, 2, 8, Shares(2, 2)),
        ({"gpu_share": 0.1}, 1, 12, Shares(10, 1)),
        ({"gpu_share": 0.5}, 2, 3, Shares(3, 1)),
        ({"gpu_share": 0.7}, 2, 3, Shares(2, 2)),
        ({"device": "cpu"}, 2, 8, Shares(4, 1)),
    ],
)
def test_the_machine_is_shared_out(monkeypatch, settings, gpus, cells, expected):
    monkeypatch.setattr("mmpkd.study.execute.usable_cores", lambda: 4)
    monkeypatch.setattr("mmpkd.study.execute._count_gpus", lambda: gpus)
    assert share_machine(ExecutionSettings(**settings), cells) == expected
