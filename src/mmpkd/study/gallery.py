"""The report's example cases: drawn at random among the test ROIs, never picked by how good a map looks."""

from __future__ import annotations

import json
from typing import cast

import numpy as np
from PIL import Image
from safetensors.numpy import save_file

from mmpkd.cohort.images import decode, read_bytes
from mmpkd.evaluate.similarity import disagreement, ensemble
from mmpkd.files import read_table, written_whole
from mmpkd.folder import RunFolder
from mmpkd.study.cell import CellWork, map_methods
from mmpkd.study.inputs import localised_positions
from mmpkd.study.localise import Target, token_map_on_canvas
from mmpkd.study.map_file import read_maps

_CASES_A_FINDING = 2
_MOST_CASES = 16


def write_gallery(work: CellWork, folder: RunFolder) -> None:
    """Write images, ROIs and every arm's map (first seed) of up to two test cases a finding.

    Cases whose label is positive are drawn with a fixed seed. The file holds no case id and no path. A cohort
    without test ROIs gets no gallery.
    """
    chosen = _draw(work)
    if not chosen:
        return
    method, seed = map_methods(work.study)[0], work.study.seeds[0]
    positions = [int(position) for position in localised_positions(work.cohort)]
    tensors: dict[str, np.ndarray] = {}
    entries: list[dict[str, object]] = [{} for _ in chosen]
    labels = work.cohort.evaluation_labels
    for index, target in enumerate(chosen):
        label = labels[target.position, work.cohort.findings.index(target.finding)]
        entries[index] = {
            "finding": target.finding,
            "label": None if np.isnan(label) else int(label),
            "probabilities": {},
        }
        tensors[f"image/{index}"] = _picture(work, target)
        tensors[f"roi/{index}"] = target.mask.astype(np.uint8)
    for arm in work.study.arms:
        cell = folder.cell(arm, seed)
        maps = read_maps(cell.maps(method))
        predicted = read_table(cell.predictions).set_index(["case", "finding"])["probability"]
        for index, target in enumerate(chosen):
            token_map = maps.values[positions.index(target.position), maps.findings.index(target.finding)]
            tensors[f"map/{arm}/{index}"] = token_map_on_canvas(token_map, target, work.images).astype(np.float16)
            probabilities = entries[index]["probabilities"]
            cast(dict[str, float], probabilities)[arm] = round(float(predicted[(target.case, target.finding)]), 4)
    if len(work.study.seeds) > 1:
        tensors |= _over_seeds(work, folder, method, chosen, positions)
    with written_whole(folder.gallery) as temporary:
        save_file(tensors, temporary, metadata={"gallery": json.dumps(entries)})


def _over_seeds(
    work: CellWork, folder: RunFolder, method: str, chosen: list[Target], positions: list[int]
) -> dict[str, np.ndarray]:
    """Return the primary arm's mean map over seeds, and where its seeds disagree."""
    primary = work.study.compare.primary.arm
    arm = primary if primary in work.study.arms else next(iter(work.study.arms))
    of_seeds = [read_maps(folder.cell(arm, seed).maps(method)) for seed in work.study.seeds]
    tensors = {}
    for index, target in enumerate(chosen):
        row, column = positions.index(target.position), of_seeds[0].findings.index(target.finding)
        maps = np.stack([maps.values[row, column] for maps in of_seeds])
        for name, combined in ((f"mean of {len(maps)} seeds", ensemble(maps)), ("seeds disagree", disagreement(maps))):
            heat = token_map_on_canvas(np.nan_to_num(combined), target, work.images)
            tensors[f"map/{arm}, {name}/{index}"] = (heat / max(float(heat.max()), 1e-12)).astype(np.float16)
    return tensors


def _draw(work: CellWork) -> list[Target]:
    rng = np.random.default_rng(work.study.compare.seed)
    labels = work.cohort.evaluation_labels
    chosen: list[Target] = []
    used: set[int] = set()
    for column, finding in enumerate(work.cohort.findings):
        of_finding = [t for t in work.targets if t.finding == finding and labels[t.position, column] == 1]
        picked = 0
        for index in rng.permutation(len(of_finding)):
            target = of_finding[int(index)]
            if target.position not in used and picked < _CASES_A_FINDING:
                used.add(target.position)
                chosen.append(target)
                picked += 1
    return chosen[:_MOST_CASES]


def _picture(work: CellWork, target: Target) -> np.ndarray:
    path = work.cohort.files / str(work.cohort.cases["image"].iloc[target.position])
    height, width = target.mask.shape
    return np.asarray(Image.fromarray(decode(read_bytes(path), channels=1)).resize((width, height)))
