"""Scores of maps against ROIs: joins the cohort's ROIs, a student's token maps and the metrics of `evaluate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from mmpkd.attribute.attribute import TokenMaps
from mmpkd.cohort.cohort import Cohort
from mmpkd.cohort.image_set import ImageSet
from mmpkd.cohort.rois import roi_mask
from mmpkd.evaluate.baselines import (
    CENTRE_PRIOR,
    CHANCE,
    MEAN_ROI_PRIOR,
    PRIOR_GRID,
    UNIFORM,
    centre_prior,
    chance_levels,
    resample_area,
)
from mmpkd.evaluate.localisation import localisation_scores
from mmpkd.evaluate.ranking import CHUNK_PIXELS

COLUMNS = ["case", "finding", "method", "policy", "metric", "value"]


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
            mask = roi_mask(rois, (height, width), cohort.files, max_side_px=max_side_px)
            yield Target(int(position), case, str(cohort.cases["patient"].iloc[position]), finding, mask)


def score_maps(
    targets: Sequence[Target], maps: TokenMaps, map_positions: np.ndarray, images: ImageSet, policies: Sequence[str]
) -> pd.DataFrame:
    """Return the localisation table of one student and one method (columns of ``CellFolder.localisation``)."""
    row_of = {int(position): row for row, position in enumerate(map_positions)}
    column_of = {finding: column for column, finding in enumerate(maps.findings)}

    def canvas(target: Target) -> np.ndarray:
        token_map = maps.values[row_of[target.position], column_of[target.finding]]
        return token_map_on_canvas(token_map, target, images)

    return score_canvases(targets, canvas, maps.method, policies)


def token_map_on_canvas(token_map: np.ndarray, target: Target, images: ImageSet) -> np.ndarray:
    """Return a token map in the geometry of the original image, on the canvas of the target's mask."""
    geometry = images.geometry(target.position)
    return geometry.map_to_original(token_map.astype(np.float32), max_side_px=max(target.mask.shape))


def score_blind(
    targets: Sequence[Target], prior_targets: Iterable[Target], policies: Sequence[str], methods: Sequence[str]
) -> pd.DataFrame:
    """Return the scores of what never saw the picture: ``chance``, ``uniform``, ``centre-prior``, ``mean-roi-prior``.

    ``chance`` is computed (:func:`chance_levels`), the others are maps. The mean-ROI prior of a finding is the mean of
    its ROIs among ``prior_targets`` (training and validation cases, looked at one by one) on a common grid; of a
    finding that has none there, the mean over the ROIs of all *other* test patients. The scores are the same for every
    map method and stand under each.
    """
    sums: dict[str, _PriorSum] = {}
    for target in prior_targets:
        sums.setdefault(target.finding, _PriorSum()).add(target)
    known = set(sums)
    for target in (target for target in targets if target.finding not in known):
        sums.setdefault(target.finding, _PriorSum()).add(target)

    def prior(target: Target) -> np.ndarray:
        return _fit(sums[target.finding].without(target.patient), target.mask.shape)

    makers: dict[str, Callable[[Target], np.ndarray]] = {
        UNIFORM: lambda target: np.ones(target.mask.shape, np.float32),
        CENTRE_PRIOR: lambda target: centre_prior(*target.mask.shape),
        MEAN_ROI_PRIOR: prior,
    }
    levels = chance_levels(np.array([target.mask.mean() for target in targets]), policies)
    tables = {CHANCE: long_table(targets, levels, "")}
    tables |= {arm: score_canvases(targets, maker, "", policies) for arm, maker in makers.items()}
    return pd.concat(
        [table.assign(method=method, arm=arm) for method in methods for arm, table in tables.items()],
        ignore_index=True,
    )


class _PriorSum:
    """The sum of a finding's ROIs on a common grid, as a whole and by patient, so that one can be left out."""

    def __init__(self) -> None:
        self._all = np.zeros(PRIOR_GRID)
        self._of: dict[str, np.ndarray] = {}

    def add(self, target: Target) -> None:
        grid = resample_area(target.mask.astype(float), PRIOR_GRID)
        self._all += grid
        self._of[target.patient] = self._of.get(target.patient, np.zeros(PRIOR_GRID)) + grid

    def without(self, patient: str) -> np.ndarray:
        """Return where the other patients' ROIs lie (uniform when there is no other patient)."""
        rest = self._all - self._of.get(patient, np.zeros(PRIOR_GRID))
        return rest.clip(min=0) if rest.max() > 1e-9 else np.ones(PRIOR_GRID)


def score_canvases(
    targets: Sequence[Target], canvas: Callable[[Target], np.ndarray], method: str, policies: Sequence[str]
) -> pd.DataFrame:
    """Score each target's map, made on the canvas of its mask; the table is in the order of the targets."""
    scores: dict[tuple[str, str], np.ndarray] = {}
    for chosen in _batches(targets):
        maps = np.stack([canvas(targets[index]) for index in chosen])
        masks = np.stack([targets[index].mask for index in chosen])
        for key, values in localisation_scores(maps, masks, policies).items():
            scores.setdefault(key, np.empty(len(targets)))[chosen] = values
    return long_table(targets, scores, method)


def _batches(targets: Sequence[Target]) -> Iterator[list[int]]:
    """Yield the positions of targets whose masks have one size, at most about ``CHUNK_PIXELS`` pixels together."""
    of_shape: dict[tuple[int, ...], list[int]] = {}
    for index, target in enumerate(targets):
        of_shape.setdefault(target.mask.shape, []).append(index)
    for shape, indices in of_shape.items():
        step = max(1, CHUNK_PIXELS // max(1, shape[0] * shape[1]))
        yield from (indices[start : start + step] for start in range(0, len(indices), step))


def long_table(targets: Sequence[Target], scores: Mapping[tuple[str, str], np.ndarray], method: str) -> pd.DataFrame:
    """Return scores ``{(policy, metric): one value a target}`` as a table, all scores of a target together."""
    return pd.DataFrame(
        {
            "case": np.repeat(np.array([target.case for target in targets], dtype=object), len(scores)),
            "finding": np.repeat(np.array([target.finding for target in targets], dtype=object), len(scores)),
            "method": method,
            "policy": np.tile(np.array([policy for policy, _ in scores], dtype=object), len(targets)),
            "metric": np.tile(np.array([metric for _, metric in scores], dtype=object), len(targets)),
            "value": np.stack(list(scores.values()), axis=1).ravel() if scores else np.zeros(0),
        },
        columns=COLUMNS,
    )


def _fit(heat: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    if heat.shape == shape:
        return heat
    picture = Image.fromarray(np.ascontiguousarray(heat, np.float32))
    return np.asarray(picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)).clip(min=0)
