"""Training in processes of its own: several that share a batch, and one with a compiled student."""

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

SCRIPT = """
import sys
import numpy as np
import torch
from accelerate import PartialState
from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.arms import Targets
from mmpkd.distil.loop import train
from mmpkd.distil.roi_coverage import RoiCoverage
from mmpkd.distil.settings import ObjectiveSettings, StudentSettings, TrainingSettings

torch.set_num_threads(1)
rng = np.random.default_rng(0)
labels = rng.integers(0, 2, (71, 2)).astype(float)
labels[rng.random(labels.shape) < 0.3] = np.nan
terms = {"entropy": 0.2, "total_variation": 0.2, "consistency": 0.5, "roi": 0.5} if "terms" in sys.argv else {}
share = np.zeros((50, 4, 4), np.float16)
share[:, 1:3, 1:] = 0.5
head = "patch" if "patch" in sys.argv else "class-token"
images = ImageSet(rng.integers(0, 255, (71, 1, 16, 16)).astype(np.uint8), np.arange(71), np.full((71, 2), 16))
trained = train(
    StudentSettings(image_size_px=16, patch_px=4, width=16, depth=1, heads=2, head=head),
    TrainingSettings(epochs=3, batch_size=16, precision="fp32", learning_rate=0.01, compile="compile" in sys.argv),
    Targets(labels, rng.normal(size=(71, 2)), ObjectiveSettings(attention=terms)),
    images, np.arange(50), np.arange(50, 71), labels[50:], ["a", "b"], seed=0,
    rois=lambda positions, grid: RoiCoverage(np.arange(0, 50, 3), np.arange(0, 50, 3) % 2, share[::3]),
)
state = PartialState()
if state.is_main_process:
    trained.history.assign(processes=state.num_processes).to_parquet(sys.argv[1])
state.destroy_process_group()
"""


def _history(folder: Path, launcher: Sequence[str] = (), options: Sequence[str] = ()) -> pd.DataFrame:
    folder.mkdir()
    script, table = folder / "script.py", folder / "history.parquet"
    script.write_text(SCRIPT)
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, str(script), str(table), *options]
    subprocess.run(command, check=True, env=environment, timeout=200, capture_output=True)
    return pd.read_parquet(table)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "columns"),
    [
        ((), ()),
        (("terms",), ("train_entropy", "train_total_variation", "train_consistency", "train_roi")),
        (("terms", "patch"), ("train_entropy", "train_total_variation", "train_consistency", "train_roi")),
    ],
)
def test_two_processes_that_share_a_batch_train_as_one_does(tmp_path, options, columns):
    one = _history(tmp_path / "one", options=options)
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    two = _history(tmp_path / "two", launcher, options)
    assert (one["processes"].iloc[0], two["processes"].iloc[0]) == (1, 2)
    for column in ("train_loss", "val_auroc", *columns):
        np.testing.assert_allclose(one[column], two[column], atol=1e-5)


@pytest.mark.slow
def test_a_compiled_student_trains_as_the_eager_one_does(tmp_path):
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("torch.compile needs a C++ compiler")
    eager, compiled = _history(tmp_path / "eager"), _history(tmp_path / "compiled", options=["compile"])
    np.testing.assert_allclose(eager["train_loss"], compiled["train_loss"], atol=1e-4)
