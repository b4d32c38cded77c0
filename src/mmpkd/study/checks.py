"""Scores of a cell's maps beyond localisation: faithful to the student, steady under small changes, and the ROI's own.

They are taken on a sample of the test ROIs, the same for every cell, since each costs many forward passes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmpkd.cohort.rois import token_coverage
from mmpkd.evaluate.faithfulness import SUFFICIENCY_METRICS, faithfulness_scores, sufficiency_scores
from mmpkd.evaluate.similarity import MEASURES, similarity
from mmpkd.files import write_table
from mmpkd.folder import CellFolder
from mmpkd.study.cell import CellWork, map_methods
from mmpkd.study.inputs import localised_positions
from mmpkd.study.localise import COLUMNS, Target, long_table
from mmpkd.study.map_file import read_maps

if TYPE_CHECKING:
    import torch

    from mmpkd.distil.student import Student

ROI_METHOD = "roi"
"""Under this name stand the scores of the ROI itself, which no map enters."""

FAITHFULNESS = ("deletion", "insertion", "insertion_minus_deletion")
FAITHFULNESS_GAIN = "faithfulness_gain"
CHANGES = ("shift", "noise")
CHECKED_METRICS = (
    *FAITHFULNESS,
    FAITHFULNESS_GAIN,
    *(f"{change}_{measure}" for change in CHANGES for measure in MEASURES),
)
_SEED = 0
_RANDOM_ORDERS = 2
_PRESENT = 0.5


def checked_targets(work: CellWork) -> list[Target]:
    """Return up to ``evaluate.checks.rois`` of the test ROIs, drawn with a fixed seed, in their own order."""
    most = work.study.evaluate.checks.rois
    if len(work.targets) <= most:
        return work.targets
    drawn = np.random.default_rng(_SEED).choice(len(work.targets), most, replace=False)
    return [work.targets[index] for index in np.sort(drawn)]


def check_cell(work: CellWork, folder: CellFolder) -> None:
    """Write the cell's checks (an empty table where there is no ROI or ``checks.rois`` is 0)."""
    if folder.checks.is_file():
        return
    from mmpkd.distil.checkpoint import load_student

    targets = checked_targets(work)
    tables = [pd.DataFrame(columns=COLUMNS)]
    if targets:
        student = load_student(folder.student)
        tables = [
            *(long_table(targets, scores, method) for method, scores in _faithfulness(work, student, folder, targets)),
            *_stability(work, student, targets),
        ]
    write_table(folder.checks, pd.concat(tables, ignore_index=True), work.provenance)


_Scores = Mapping[tuple[str, str], np.ndarray]


def _faithfulness(
    work: CellWork, student: Student, folder: CellFolder, targets: Sequence[Target]
) -> list[tuple[str, _Scores]]:
    """Return deletion and insertion of every method against random orders, and what the ROI itself suffices for."""
    import torch

    from mmpkd.attribute.occlusion import TokenOcclusion
    from mmpkd.attribute.perturb import patch_shares, perturbation_curves, random_maps, sufficiency
    from mmpkd.attribute.vit import vit_of

    checks, vit = work.study.evaluate.checks, vit_of(student)
    withhold: str = checks.withhold
    if withhold == "auto":
        withhold = "tokens" if TokenOcclusion().refuse(vit) is None else "blur"
    images = _prepared(work, student, targets)
    columns = [work.cohort.findings.index(target.finding) for target in targets]
    output = "softmax" if student.task == "multi-class" else "sigmoid"
    steps = min(checks.steps, vit.grid[0] * vit.grid[1])
    shares = patch_shares(vit, steps)

    def scores(maps: torch.Tensor) -> dict[str, np.ndarray]:
        fall, rise = (
            perturbation_curves(vit, images, maps, columns, kind, withhold, steps, _SEED, output).cpu().numpy()
            for kind in ("deletion", "insertion")
        )
        found = faithfulness_scores(fall.clip(0, 1), rise.clip(0, 1), shares)
        return {name: found[name] for name in FAITHFULNESS}

    random = [scores(random_maps(vit, images, seed)) for seed in range(1, 1 + _RANDOM_ORDERS)]
    level = np.mean([one["insertion_minus_deletion"] for one in random], axis=0)
    found: list[tuple[str, _Scores]] = []
    row_of = {int(position): row for row, position in enumerate(localised_positions(work.cohort))}
    for method in map_methods(work.study):
        stored = read_maps(folder.maps(method))
        values = stored.values[[row_of[target.position] for target in targets], columns]
        own = scores(torch.from_numpy(values.astype(np.float32)).to(images.device))
        own[FAITHFULNESS_GAIN] = own["insertion_minus_deletion"] - level
        found.append((method, {("", name): value for name, value in own.items()}))
    coverage = torch.from_numpy(np.stack([roi_coverage(work, target, vit.grid) for target in targets])).to(images)
    answers = sufficiency(vit, images, coverage, columns, withhold, _SEED, output)
    told = {name: answer.cpu().numpy().clip(0, 1) for name, answer in answers.items()}
    found_present = told["whole"] >= _PRESENT  # shares of a small probability say nothing about the ROI
    carried = sufficiency_scores({name: np.where(found_present, answer, np.nan) for name, answer in told.items()})
    return [*found, (ROI_METHOD, {("", name): carried[name] for name in SUFFICIENCY_METRICS})]


def _stability(work: CellWork, student: Student, targets: Sequence[Target]) -> list[pd.DataFrame]:
    """Return how alike maps stay under a small shift and a little noise, every method and measure."""
    from mmpkd.attribute.stability import Change, Noise, Shift, changed_token_maps

    checks = work.study.evaluate.checks
    shift_px = max(1, round(checks.shift * student.settings.image_size_px))
    changes: list[Change] = [Shift(shift_px, shift_px), Noise(checks.noise, _SEED)]
    positions = np.unique([target.position for target in targets])
    row_of = {int(position): row for row, position in enumerate(positions)}
    rows = [row_of[target.position] for target in targets]
    columns = [work.cohort.findings.index(target.finding) for target in targets]
    tables = []
    for method in map_methods(work.study):
        pairs = changed_token_maps(student, work.images, changes, positions, method)
        scores = {
            ("", f"{name}_{measure}"): similarity(
                pair.reference[rows, columns].astype(np.float64), pair.changed[rows, columns].astype(np.float64), how
            )
            for name, pair in zip(CHANGES, pairs, strict=True)
            for measure, how in MEASURES.items()
        }
        tables.append(long_table(targets, scores, method))
    return tables


def _prepared(work: CellWork, student: Student, targets: Sequence[Target]) -> torch.Tensor:
    import torch

    pixels = torch.from_numpy(work.images.batch(np.array([target.position for target in targets])))
    return student.prepare(pixels.to(next(student.parameters()).device))


def roi_coverage(work: CellWork, target: Target, grid: tuple[int, int]) -> np.ndarray:
    """Return the share of each token that the ROI covers: the best map that a grid can hold."""
    height, width = target.mask.shape
    geometry = replace(work.images.geometry(target.position), height=height, width=width)
    return token_coverage(target.mask, geometry, grid).clip(0, 1)
