"""ROIs as a student in training sees them: how much of each token's area they cover, before augmentation.

Only the arm that is the upper bound is shown them. Scoring maps against ROIs is `mmpkd.evaluate`'s, on other cases.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float16, Int

from mmpkd.cohort.cohort import Cohort
from mmpkd.cohort.rois import roi_mask, token_coverage
from mmpkd.errors import InputError

if TYPE_CHECKING:
    from mmpkd.cohort.image_set import ImageSet

NO_ROIS = (
    "objective.attention.roi: training by ROIs needs a cohort that has them; add 'cohort.rois', or leave the term (or "
    "the arm 'roi-supervised') out."
)
_FINENESS = 2  # a large original is reduced to so many pixels a canvas pixel before its ROI is measured


@dataclass(frozen=True)
class RoiCoverage:
    """The ROIs of some cases, one entry for each pair of case and finding that has one.

    Args:
        cases: Which case, counted among the cases asked for.
        findings: Which finding, a column of the labels.
        share: Share of each token's area that lies in the ROI, in [0, 1] and somewhere above 0.
    """

    cases: Int[np.ndarray, " pairs"]
    findings: Int[np.ndarray, " pairs"]
    share: Float16[np.ndarray, "pairs rows columns"]

    def __post_init__(self) -> None:
        if not len(self.cases) == len(self.findings) == len(self.share):
            raise ValueError("cases, findings and shares of ROIs differ in number")
        if self.share.size and not (self.share.min() >= 0 and self.share.max() <= 1):
            raise ValueError("a share of a token's area lies outside [0, 1]")

    def __len__(self) -> int:
        return len(self.cases)


RoiSource = Callable[[Int[np.ndarray, " cases"], tuple[int, int]], RoiCoverage]
"""From positions of cases and the rows and columns of the student's grid to these cases' ROIs."""


def roi_coverage(
    cohort: Cohort, images: ImageSet, positions: Int[np.ndarray, " cases"], grid: tuple[int, int]
) -> RoiCoverage:
    """Return the ROIs of the cases at ``positions`` on a token grid; those of other cases are not read.

    An ROI of a finding whose label is 0 says where one would look, not where the finding is: such pairs are left out,
    as when maps are scored; a missing label is kept. So are pairs left out whose ROI the canvas does not show (``crop``
    cuts it off).

    Args:
        cohort: With ROIs.
        images: Its images: they know how originals lie on the student's canvas.
        positions: Cases of the cohort.
        grid: Rows and columns of the student's tokens.

    Raises:
        InputError: There are no ROIs, none belongs to these cases, or a mask cannot be read.
    """
    if cohort.rois is None:
        raise InputError(NO_ROIS)
    row_of = {str(cohort.cases.index[position]): row for row, position in enumerate(positions)}
    column_of = {finding: column for column, finding in enumerate(cohort.findings)}
    cases, findings, shares = [], [], []
    rois = cohort.rois[cohort.rois["case"].isin(list(row_of)) & cohort.rois["finding"].isin(list(column_of))]
    for (case, finding), rows in rois.groupby(["case", "finding"], sort=False):
        row, column = row_of[str(case)], column_of[str(finding)]
        if cohort.labels[positions[row], column] == 0:
            continue
        geometry = images.geometry(int(positions[row]))
        mask = roi_mask(rows, (geometry.height, geometry.width), cohort.files, max_side_px=_FINENESS * geometry.size_px)
        on_canvas = replace(geometry, height=mask.shape[0], width=mask.shape[1])
        share = token_coverage(mask, on_canvas, grid).clip(0, 1).astype(np.float16)
        if share.any():
            cases.append(row)
            findings.append(column)
            shares.append(share)
    if not shares:
        raise InputError(
            "objective.attention.roi: no training case has an ROI of a finding that is present; check the ROI table "
            "and the split, or leave the term (or the arm 'roi-supervised') out."
        )
    return RoiCoverage(np.array(cases), np.array(findings), np.stack(shares))
