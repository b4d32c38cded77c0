"""A sweep of 12 cells: in worker processes, together in one process, and on a Ray cluster that loses a machine.

    python benchmarks/sweep.py

Both machines of the cluster are simulated on this one, with one core each; the second is killed once a third of the
cells are finished. Prints the time of each way, and how far its predictions are from those of the worker processes:
nothing for the cluster, float error for stacked training. All of it in single precision: under bfloat16 students that
are rounded in another order drift apart as far as bfloat16 and single precision do.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.files import read_table
from mmpkd.settings import read_yaml
from mmpkd.study.run import StudyRun
from mmpkd.study.settings import StudySettings

PATIENTS, EPOCHS, SEEDS = 120, 5, 3
LAMBDAS = (0.1, 0.3, 0.5, 0.7)


def main() -> None:
    """Run all three ways and print a table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        write_phantom(PhantomSettings(patients=PATIENTS, size_px=64), folder / "cohort")
        plain = _Way(folder, "processes", stack=1)
        seconds = {"worker processes": plain.timed(plain.run.run_cells)}
        stacked = _Way(folder, "stacked", stack=12)
        seconds["together (stacked)"] = stacked.timed(stacked.run.run_cells)
        cluster = _Way(folder, "ray", stack=1, on_ray=True)
        seconds["Ray, two machines, one killed"] = cluster.timed(lambda: _lose_a_machine(cluster))
        print("| way | seconds | largest difference of a probability |\n|---|---|---|")
        for way, (name, took) in zip((plain, stacked, cluster), seconds.items(), strict=True):
            print(f"| {name} | {took:.0f} | {np.abs(way.predictions() - plain.predictions()).max():.1e} |")


class _Way:
    """The same study in a run folder of its own, up to its students."""

    def __init__(self, folder: Path, name: str, stack: int, on_ray: bool = False) -> None:
        description = read_yaml(folder / "cohort" / "cohort.yaml")
        settings = {
            "name": name,
            "cohort": description,
            "student": {"image_size_px": 64, "patch_px": 8, "width": 96, "depth": 4, "heads": 3},
            "training": {"epochs": EPOCHS, "batch_size": 32, "precision": "fp32"},
            "arms": {f"lambda-{value}": {"kind": "mmpkd", "lambda": value} for value in LAMBDAS},
            "seeds": SEEDS,
            "evaluate": {"policies": ["matched-area"], "checks": {"rois": 0}},
            "compare": {"primary": {"arm": "lambda-0.5"}, "reference_arm": "lambda-0.1"},
            "execution": {"stack": stack},
        }
        study = StudySettings.from_data(settings, source=name)
        self.run = StudyRun(study, folder / "cohort", folder / name, on="ray" if on_ray else "here")
        with self.run.claimed():
            self.run.cohort()
            self.run.teach()

    def timed(self, work: Callable[[], None]) -> float:
        """Do the students' work and return how long it took."""
        begin = time.monotonic()
        with self.run.claimed():
            work()
        return time.monotonic() - begin

    def finished(self) -> int:
        """Return how many cells are done."""
        return len(self.run.cells) - len(self.run.missing_cells)

    def predictions(self) -> np.ndarray:
        """Return the probabilities of all cells, one after another."""
        tables = [read_table(self.run.folder.cell(*cell).predictions) for cell in self.run.cells]
        return np.concatenate([table["probability"].to_numpy() for table in tables])


def _lose_a_machine(way: _Way) -> None:
    from ray.cluster_utils import Cluster

    machines = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    second = machines.add_node(num_cpus=1)
    os.environ["RAY_ADDRESS"] = machines.address

    def kill() -> None:
        while way.finished() < len(way.run.cells) // 3:
            time.sleep(0.2)
        machines.remove_node(second, allow_graceful=False)

    killer = threading.Thread(target=kill)
    killer.start()
    way.run.run_cells()
    killer.join()
    machines.shutdown()


if __name__ == "__main__":
    main()
