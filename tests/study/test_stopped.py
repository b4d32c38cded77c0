"""Runs that are interrupted from outside, by the command line: Ctrl-C, a killed worker, a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
import yaml

from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.files import read_table

STUDY = {
    "cohort": "cohort/cohort.yaml",
    "student": {"image_size_px": 32, "patch_px": 8, "width": 16, "depth": 1, "heads": 2},
    "training": {"epochs": 120, "batch_size": 32, "warmup_epochs": 0.5, "checkpoint_every_s": 0, "patience": None},
    "arms": ["hard"],
    "seeds": 3,
    "execution": {"workers": 2, "device": "cpu"},
}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    write_phantom(PhantomSettings(patients=40, size_px=32, seed=1), tmp_path / "cohort")
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return tmp_path / "study.yaml"


def start(study: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "mmpkd", "distil", str(study), "--out", str(study.parent / "run"), "-q"]
    pipe = subprocess.PIPE
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # not ignored, as background jobs do
    try:
        # a session of its own, as a terminal gives it: a signal reaches the run and its workers, and not the test
        return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, start_new_session=True)
    finally:
        signal.signal(signal.SIGINT, before)


def await_sight(process: subprocess.Popen[str], sight: Callable[[], object]) -> None:
    deadline = time.monotonic() + 120
    while not sight():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_the_same_command_goes_on_after_a_killed_worker_too(study):
    cells = study.parent / "run" / "cells" / "hard"
    process = start(study)
    await_sight(process, lambda: len(list(cells.glob("*/checkpoint/*.safetensors"))) == 2)
    started = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, err) == ("", "mmpkd: stopped; the same command goes on where it was.\n")
    assert not psutil.wait_procs(started, timeout=2)[1]  # multiprocessing's own tracker ends a moment after the run
    kept = {path: path.stat().st_mtime_ns for path in cells.glob("*/checkpoint/*.safetensors")}
    assert len(kept) == 2

    process = start(study)
    await_sight(process, lambda: any(path.stat().st_mtime_ns > then for path, then in kept.items() if path.exists()))
    first = next(child for child in psutil.Process(process.pid).children() if "spawn_main" in " ".join(child.cmdline()))
    first.send_signal(signal.SIGKILL)
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0, err
    assert "distil: done" in out
    histories = [read_table(cells / f"seed-{seed}" / "history.parquet") for seed in range(3)]
    assert [len(history) for history in histories] == [120, 120, 120]
    assert not list(cells.glob("*/checkpoint"))
