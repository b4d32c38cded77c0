"""Scores of a cell's maps beyond localisation: faithful to the student, steady under small changes, and the ROI's own.

They are taken on a sample of the test ROIs, the same for every cell, since each costs many forward passes, and on the
tokens of the picture alone: to know the bars of ``pad`` is no merit of a map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from mmpkd.cohort.geometry import picture_tokens
from mmpkd.cohort.rois import token_coverage
from mmpkd.evaluate.faithfulness import SUFFICIENCY_METRICS, faithfulness_scores, sufficiency_scores
from mmpkd.evaluate.similarity import MEASURES, Measure, similarity
from mmpkd.evaluate.tuning import youden_threshold
from mmpkd.files import read_table, write_table
from mmpkd.folder import CellFolder
from mmpkd.study.cell import CellWork, load_on_device, map_methods
from mmpkd.study.inputs import localised_positions
from mmpkd.study.localise import Target, long_table
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
_ROWS_AT_ONCE = 256


def checked_targets(work: CellWork) -> list[Target]:
    """Return up to ``evaluate.checks.rois`` of the test ROIs, drawn with a fixed seed, in their own order.

    Findings take turns, so that each has as many ROIs among them as every other, or all that it has: a mean over
    findings is as good as that of its rarest.
    """
    most = work.study.evaluate.checks.rois
    if len(work.targets) <= most:
        return work.targets
    order = np.random.default_rng(_SEED).permutation(len(work.targets))
    findings = pd.Series([work.targets[index].finding for index in order])
    turn = findings.groupby(findings).cumcount().to_numpy()
    drawn = order[np.argsort(turn, kind="stable")[:most]]
    return [work.targets[index] for index in np.sort(drawn)]


def check_cell(work: CellWork, folder: CellFolder) -> None:
    """Write the cell's checks (an empty table where there is no ROI or ``checks.rois`` is 0)."""
    if folder.checks.is_file():
        return
    targets = checked_targets(work)
    tables = [long_table([], {}, "")]
    if targets:
        student = load_on_device(work, folder)
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
    pictures = picture_masks(work, targets, student.grid)
    row_of = {int(position): row for row, position in enumerate(localised_positions(work.cohort))}
    rows = [row_of[target.position] for target in targets]
    columns = [work.cohort.findings.index(target.finding) for target in targets]
    maps = {
        method: read_maps(folder.maps(method)).values[rows, columns].astype(np.float32)
        for method in map_methods(work.study)
    }
    batches = list(_alike(pictures.sum(axis=(1, 2))))
    parts = [
        _faithfulness_of(
            work,
            student,
            [targets[index] for index in batch],
            pictures[batch],
            {method: values[batch] for method, values in maps.items()},
        )
        for batch in batches
    ]
    back = np.argsort(np.concatenate(batches))
    found = {
        method: {name: np.concatenate([part[method][name] for part in parts])[back] for name in scores}
        for method, scores in parts[0].items()
    }
    # of a finding that is absent, or that the student does not call present, the ROI holds no answer to carry
    called = _true_positives(work, folder, targets)
    found[ROI_METHOD] = {name: np.where(called, values, np.nan) for name, values in found[ROI_METHOD].items()}
    return [(method, {("", name): values for name, values in scores.items()}) for method, scores in found.items()]


def _faithfulness_of(
    work: CellWork,
    student: Student,
    targets: Sequence[Target],
    pictures: np.ndarray,
    maps: Mapping[str, np.ndarray],
) -> dict[str, dict[str, np.ndarray]]:
    """Return the scores of each method and of the ROI, of targets whose pictures have equally many tokens."""
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
    among, movable = torch.from_numpy(pictures).flatten(1), int(pictures[0].sum())
    steps = min(checks.steps, movable)
    shares = patch_shares(vit, steps, movable)

    def scores(heat: torch.Tensor) -> dict[str, np.ndarray]:
        fall, rise = (
            perturbation_curves(vit, images, heat, columns, kind, withhold, steps, _SEED, output, among=among)
            .cpu()
            .numpy()
            for kind in ("deletion", "insertion")
        )
        found = faithfulness_scores(fall.clip(0, 1), rise.clip(0, 1), shares)
        return {name: found[name] for name in FAITHFULNESS}

    random = [scores(random_maps(vit, images, seed, among)) for seed in range(1, 1 + _RANDOM_ORDERS)]
    level = np.mean([one["insertion_minus_deletion"] for one in random], axis=0)
    found: dict[str, dict[str, np.ndarray]] = {}
    for method, values in maps.items():
        found[method] = scores(torch.from_numpy(values).to(images.device))
        found[method][FAITHFULNESS_GAIN] = found[method]["insertion_minus_deletion"] - level
    coverage = torch.from_numpy(np.stack([roi_coverage(work, target, vit.grid) for target in targets])).to(images)
    answers = sufficiency(vit, images, coverage, columns, withhold, _SEED, output, among=among)
    carried = sufficiency_scores({name: answer.cpu().numpy().clip(0, 1) for name, answer in answers.items()})
    return {**found, ROI_METHOD: {name: carried[name] for name in SUFFICIENCY_METRICS}}


def _true_positives(work: CellWork, folder: CellFolder, targets: Sequence[Target]) -> np.ndarray:
    """Say of each target whether its label is 1 and the student calls it so.

    A student's threshold for a finding is Youden's on its validation cases, as in the slice of true positives.
    """
    cohort, val = work.cohort, work.cohort.in_split("val")
    table = read_table(folder.predictions).pivot(index="case", columns="finding", values="probability")
    told = table.reindex(index=cohort.cases.index, columns=list(cohort.findings)).to_numpy(np.float64)
    thresholds = [youden_threshold(labels, p) for labels, p in zip(cohort.labels[val].T, told[val].T, strict=True)]
    rows = [target.position for target in targets]
    columns = [cohort.findings.index(target.finding) for target in targets]
    called = told[rows, columns] >= np.array(thresholds)[columns]
    return np.asarray(called & (cohort.evaluation_labels[rows, columns] == 1))


def _stability(work: CellWork, student: Student, targets: Sequence[Target]) -> list[pd.DataFrame]:
    """Return how alike maps stay under a small shift and a little noise, every method and measure."""
    import torch

    from mmpkd.attribute.stability import Change, Noise, Shift, changed_token_maps

    checks, size_px = work.study.evaluate.checks, student.settings.image_size_px
    shift_px = max(1, round(checks.shift * size_px)) if checks.shift else 0
    changes: list[Change] = [Shift(shift_px, shift_px), Noise(checks.noise, _SEED)]
    whole = torch.from_numpy(picture_masks(work, targets, student.grid))[:, None].float()
    # what a change leaves of a map, it leaves of the picture: the places of the unchanged image
    pictures = [change.compare(whole, whole, (size_px, size_px))[0][:, 0].numpy() > 0 for change in changes]
    positions = np.unique([target.position for target in targets])
    row_of = {int(position): row for row, position in enumerate(positions)}
    rows = [row_of[target.position] for target in targets]
    columns = [work.cohort.findings.index(target.finding) for target in targets]
    tables = []
    for method in map_methods(work.study):
        pairs = changed_token_maps(student, work.images, changes, positions, method)
        scores = {
            ("", f"{name}_{measure}"): picture_similarity(
                pair.reference[rows, columns], pair.changed[rows, columns], picture, how
            )
            for name, pair, picture in zip(CHANGES, pairs, pictures, strict=True)
            for measure, how in MEASURES.items()
        }
        tables.append(long_table(targets, scores, method))
    return tables


def _prepared(work: CellWork, student: Student, targets: Sequence[Target]) -> torch.Tensor:
    import torch

    pixels = torch.from_numpy(work.images.batch(np.array([target.position for target in targets])))
    return student.prepare(pixels.to(next(student.parameters()).device))


def _alike(sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the positions of equal sizes together, at most ``_ROWS_AT_ONCE`` of them."""
    for size in np.unique(sizes):
        positions = np.flatnonzero(sizes == size)
        yield from np.split(positions, range(_ROWS_AT_ONCE, len(positions), _ROWS_AT_ONCE))


def picture_masks(
    work: CellWork, targets: Sequence[Target], grid: tuple[int, int]
) -> Bool[np.ndarray, "targets rows columns"]:
    """Say which tokens of each target's image hold the picture: a rectangle (:func:`picture_tokens`)."""
    masks = np.zeros((len(targets), *grid), bool)
    for mask, target in zip(masks, targets, strict=True):
        mask[picture_tokens(work.images.geometry(target.position), grid)] = True
    return masks


def picture_similarity(
    maps: Float[np.ndarray, "targets rows columns"],
    others: Float[np.ndarray, "targets rows columns"],
    pictures: Bool[np.ndarray, "targets rows columns"],
    measure: Measure,
) -> Float[np.ndarray, " targets"]:
    """Return the similarity of each pair of maps on its picture, a rectangle of tokens; NaN where there is none."""
    found = np.full(len(maps), np.nan)
    shapes, shape_of = np.unique(pictures, axis=0, return_inverse=True)
    for number, picture in enumerate(shapes):
        chosen = np.flatnonzero(shape_of.ravel() == number)
        where = np.ix_(chosen, picture.any(axis=1), picture.any(axis=0))
        if picture.any():
            found[chosen] = similarity(maps[where].astype(np.float64), others[where].astype(np.float64), measure)
    return found


def roi_coverage(work: CellWork, target: Target, grid: tuple[int, int]) -> np.ndarray:
    """Return the share of each token that the ROI covers: the best map that a grid can hold."""
    height, width = target.mask.shape
    geometry = replace(work.images.geometry(target.position), height=height, width=width)
    return token_coverage(target.mask, geometry, grid).clip(0, 1)
