"""Cells on a Ray cluster of two machines, both simulated here: one is killed midway and nothing is lost."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from mmpkd.errors import InputError
from mmpkd.progress import Progress
from mmpkd.study.execute import Shares, run_jobs

TOYS = Path(__file__).parent
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # Ray's own warnings are not ours to mend


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    pytest.importorskip("ray", reason="Ray is an extra")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        paths = [str(TOYS), *filter(None, [os.environ.get("PYTHONPATH")])]
        patch.setenv("PYTHONPATH", os.pathsep.join(paths))  # the machines' workers import the toys too
        machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        yield machines
        machines.shutdown()


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(TOYS)
    from toy import Toy

    def make(*endings: str) -> list[Toy]:
        return [Toy(number, tmp_path, ending) for number, ending in enumerate(endings)]

    return make


@pytest.fixture
def joined(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("RAY_ADDRESS", cluster.address)
    monkeypatch.setenv("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    return cluster


def test_cells_run_on_the_cluster_and_failures_are_told_as_at_home(joined: Any, toys: Any, tmp_path: Path) -> None:
    jobs = toys("well", "input", "well")
    with pytest.raises(InputError, match=r"toy 1: the toy is broken; mend it\.") as caught:
        run_jobs(jobs, Shares(1, 1), "toys", cluster=1.0)
    assert "1 of 3 cells failed; the 2 finished are kept" in caught.value.problems[-1]
    assert sorted(path.name for path in tmp_path.glob("done-*")) == ["done-0", "done-2"]


def test_a_worker_that_dies_is_started_again_and_then_given_up(joined: Any, toys: Any, tmp_path: Path) -> None:
    jobs = toys("killed-once", "killed")
    with pytest.raises(InputError, match=r"toy 1: .*tried 2 times"):
        run_jobs(jobs, Shares(1, 1), "toys", cluster=1.0)
    assert (tmp_path / "done-0").exists()
    assert len((tmp_path / "starts-1").read_text().split()) == 2


def test_a_machine_that_is_lost_costs_its_cell_only_time(joined: Any, toys: Any, tmp_path: Path) -> None:
    second = joined.add_node(num_cpus=1)
    jobs = toys(*["when-told"] * 4)

    def kill() -> None:
        while len(list(tmp_path.glob("starts-*"))) < 2:  # one on each machine
            time.sleep(0.05)
        joined.remove_node(second, allow_graceful=False)
        (tmp_path / "go").touch()

    killer = threading.Thread(target=kill)
    killer.start()
    run_jobs(jobs, Shares(1, 1), "toys", progress=Progress(quiet=True), cluster=1.0)
    killer.join()
    assert len(list(tmp_path.glob("done-*"))) == 4
    starts = [len(path.read_text().split()) for path in tmp_path.glob("starts-*")]
    assert sorted(starts) == [1, 1, 1, 2]


def test_without_ray_the_remedy_is_told(monkeypatch: pytest.MonkeyPatch, toys: Any) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InputError, match=r"needs Ray, which is not installed: pip install 'mmpkd\[ray\]'"):
        run_jobs(toys("well"), Shares(1, 1), "toys", cluster=1.0)
