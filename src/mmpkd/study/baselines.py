"""The baselines of a study: what never saw the picture, and students that see it and have learned nothing.

A map method may draw edges whatever the weights are (Adebayo et al. 2018, "Sanity checks for saliency maps"): the maps
of an untrained student and of a trained one whose weights are shuffled show how much of a score is the method's own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmpkd.evaluate.baselines import RANDOMISED, ROI_ON_GRID, UNTRAINED
from mmpkd.folder import CellFolder
from mmpkd.study.cell import CellWork, load_on_device
from mmpkd.study.checks import roi_coverage
from mmpkd.study.inputs import localised_positions
from mmpkd.study.localise import Target, score_canvases, score_maps, token_map_on_canvas

if TYPE_CHECKING:
    from mmpkd.distil.student import Student

_SEED = 0


def score_unlearned(work: CellWork, trained: CellFolder, methods: Sequence[str], threads: int) -> pd.DataFrame:
    """Return the localisation tables of ``untrained`` and ``randomised``, every method, with the column ``arm``.

    Args:
        work: What the study's cells share.
        trained: The cell whose student is shuffled.
        methods: Map methods.
        threads: Of torch; the plan's own, so that a run that goes on elsewhere computes the same.
    """
    from mmpkd.attribute.randomise import randomised
    from mmpkd.study.roi_maps import roi_maps

    positions = localised_positions(work.cohort)
    tables = []
    with torch_threads(threads):
        learned = load_on_device(work, trained)
        fresh = untrained_student(work).to(next(learned.parameters()).device)
        students = {UNTRAINED: fresh, RANDOMISED: randomised(learned)}
        for method in methods:
            for name, student in students.items():
                maps = roi_maps(student, work.images, work.targets, positions, method)
                table = score_maps(work.targets, maps, positions, work.images, work.study.evaluate.policies)
                tables.append(table.assign(arm=name))
    return pd.concat(tables, ignore_index=True)


def score_roi_on_grid(work: CellWork, trained: CellFolder, methods: Sequence[str]) -> pd.DataFrame:
    """Return the localisation table of the ROI's own coverage of each token, the same under every method.

    It says about how well a map on the student's grid can do, enlarged as maps are. It is no upper bound: bilinear
    enlargement peaks at token centres, so that a map which undercuts the ROI's edges can score a little more.
    """
    from mmpkd.distil.checkpoint import load_student

    grid = load_student(trained.student).grid

    def drawn(target: Target) -> np.ndarray:
        return token_map_on_canvas(roi_coverage(work, target, grid), target, work.images)

    table = score_canvases(work.targets, drawn, "", work.study.evaluate.policies)
    return pd.concat([table.assign(method=method, arm=ROI_ON_GRID) for method in methods], ignore_index=True)


def untrained_student(work: CellWork, seed: int = _SEED) -> Student:
    """Return the study's student before any training: fresh weights, pretrained ones left out.

    Without pretraining these are the weights from which the cells of that seed start.
    """
    import torch

    from mmpkd.distil.batches import student_seed
    from mmpkd.distil.student import build_student

    fresh = work.study.student.model_copy(update={"pretrained": False, "weights": None})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(student_seed(seed))
        return build_student(fresh, work.cohort.findings, work.cohort.task, work.images.fit).eval()


@contextlib.contextmanager
def torch_threads(threads: int) -> Iterator[None]:
    """Let torch use so many threads inside the block, and give it back its own afterwards."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)
