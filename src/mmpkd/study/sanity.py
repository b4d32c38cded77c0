"""Sanity of a study's maps: how like themselves they stay while one student forgets, from the head down."""

from __future__ import annotations

import numpy as np
import pandas as pd

from mmpkd.evaluate.similarity import MEASURES
from mmpkd.folder import CellFolder
from mmpkd.study.baselines import torch_threads
from mmpkd.study.cell import CellWork, load_on_device, map_methods
from mmpkd.study.checks import checked_targets, picture_masks, picture_similarity


def forgetting(work: CellWork, trained: CellFolder, threads: int = 1) -> pd.DataFrame:
    """Return the similarity of maps before and after the weights are shuffled down to each depth.

    Maps are compared on the tokens of the picture, since bars stay bars whatever is forgotten.

    Args:
        work: What the study's cells share.
        trained: The cell whose student forgets.
        threads: Of torch; the plan's own, so that a run that goes on elsewhere computes the same.

    Returns:
        ``depth`` (from 1), ``layer``, ``case``, ``finding``, ``method``, ``metric``, ``value``.
    """
    from mmpkd.attribute.randomise import cascade
    from mmpkd.distil.student import Student
    from mmpkd.study.roi_maps import roi_maps

    targets = checked_targets(work)
    positions = np.unique([target.position for target in targets])
    row_of = {int(position): row for row, position in enumerate(positions)}
    rows = [row_of[target.position] for target in targets]
    columns = [work.cohort.findings.index(target.finding) for target in targets]

    def maps_of(student: Student) -> dict[str, np.ndarray]:
        found = {name: roi_maps(student, work.images, targets, positions, name) for name in map_methods(work.study)}
        return {name: maps.values[rows, columns].astype(np.float64) for name, maps in found.items()}

    tables = []
    with torch_threads(threads):
        student = load_on_device(work, trained)
        pictures = picture_masks(work, targets, student.grid)
        before = maps_of(student)
        for depth, (layer, forgetful) in enumerate(cascade(student), start=1):
            for method, after in maps_of(forgetful).items():
                tables += [
                    pd.DataFrame(
                        {
                            "depth": depth,
                            "layer": layer,
                            "case": [target.case for target in targets],
                            "finding": [target.finding for target in targets],
                            "method": method,
                            "metric": name,
                            "value": picture_similarity(before[method], after, pictures, measure),
                        }
                    )
                    for name, measure in MEASURES.items()
                ]
    return pd.concat(tables, ignore_index=True)
