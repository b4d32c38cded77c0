"""Scores of maps against ROIs: joins the cohort's ROIs, a student's token maps and the metrics of `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from mmpkd.attribute.attribute import TokenMaps, to_original_pixels
from mmpkd.cohort.cohort import Cohort
from mmpkd.cohort.image_set import ImageSet
from mmpkd.cohort.rois import roi_mask
from mmpkd.evaluate.baselines import centre_prior, mean_roi_prior
from mmpkd.evaluate.localisation import localisation_scores

COLUMNS = ["case", "finding", "method", "policy", "metric", "value"]
_PRIOR_GRID = (64, 64)


@dataclass(frozen=True)
class Target:
    """One ROI to be found: a case, a finding whose label is not 0, and the mask on the evaluation canvas."""

    position: int
    case: str
    patient: str
    finding: str
    mask: np.ndarray


def roi_targets(cohort: Cohort, images: ImageSet, positions: np.ndarray, max_side_px: int) -> Iterator[Target]:
    """Yield every (case, finding) of ``positions`` that has an ROI, masks in original geometry.

    Where the finding's label is 0 the ROI says where one would look, not where the finding is: such pairs are
    left out. A missing label is kept.
    """
    if cohort.rois is None:
        return
    labels = cohort.evaluation_labels
    grouped = dict(list(cohort.rois.groupby(["case", "finding"], sort=False)))
    for position in positions:
        case = str(cohort.cases.index[position])
        for column, finding in enumerate(cohort.findings):
            rois = grouped.get((case, finding))
            if rois is None or labels[position, column] == 0:
                continue
            height, width = (int(side) for side in images.sizes_px[position])
            mask = roi_mask(rois, (height, width), cohort.root, max_side_px=max_side_px)
            yield Target(int(position), case, str(cohort.cases["patient"].iloc[position]), finding, mask)


def score_maps(
    targets: Sequence[Target], maps: TokenMaps, map_positions: np.ndarray, images: ImageSet, policies: Sequence[str]
) -> pd.DataFrame:
    """Return the localisation table of one student and one method (columns of ``CellFolder.localisation``)."""
    row_of = {int(position): row for row, position in enumerate(map_positions)}
    column_of = {finding: column for column, finding in enumerate(maps.findings)}

    def canvas(target: Target) -> np.ndarray:
        token_map = maps.values[row_of[target.position], column_of[target.finding]]
        pixels = to_original_pixels(token_map, images.geometry(target.position))
        return _fit(pixels, target.mask.shape)

    return _score(targets, canvas, maps.method, policies)


def score_baselines(
    targets: Sequence[Target], prior_targets: Sequence[Target], policies: Sequence[str], method: str
) -> pd.DataFrame:
    """Return the scores of maps that never saw the picture: ``chance``, ``centre-prior``, ``mean-roi-prior``.

    A uniform map's expected scores are those of chance (ties count as their expectation). The mean-ROI prior of a
    finding is the mean of its ROIs among ``prior_targets`` (training and validation cases) on a common grid; where
    there are none, the mean over the ROIs of all *other* test patients.
    """
    grids: dict[str, list[tuple[str, np.ndarray]]] = {}
    for target in prior_targets or targets:
        grids.setdefault(target.finding, []).append((target.patient, _fit(target.mask.astype(np.float32), _PRIOR_GRID)))

    def prior(target: Target) -> np.ndarray:
        known = [grid for patient, grid in grids.get(target.finding, []) if patient != target.patient]
        if not known:
            return np.full(target.mask.shape, np.nan, np.float32)
        return _fit(mean_roi_prior(np.stack(known)).astype(np.float32), target.mask.shape)

    makers: dict[str, Callable[[Target], np.ndarray]] = {
        "chance": lambda target: np.ones(target.mask.shape, np.float32),
        "centre-prior": lambda target: centre_prior(*target.mask.shape),
        "mean-roi-prior": prior,
    }
    tables = []
    for arm, maker in makers.items():
        table = _score(targets, maker, method, policies)
        tables.append(table.assign(arm=arm))
    return pd.concat(tables, ignore_index=True)


def _score(targets: Sequence[Target], canvas: Callable[[Target], np.ndarray], method: str, policies: Sequence[str]) -> pd.DataFrame:
    tables = []
    for target in targets:
        heat = canvas(target)
        if np.isnan(heat).any():
            continue
        scores = localisation_scores(heat[None], target.mask[None], policies)
        for (policy, metric), values in scores.items():
            tables.append((target.case, target.finding, method, policy, metric, float(values[0])))
    return pd.DataFrame(tables, columns=COLUMNS)


def _fit(heat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if heat.shape == shape:
        return heat
    picture = Image.fromarray(np.ascontiguousarray(heat, np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)).clip(min=0)


