from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmpkd.cohort.cohort import Cohort
from mmpkd.cohort.image_set import ImageSet
from mmpkd.cohort.rois import roi_mask, token_coverage
from mmpkd.distil.roi_coverage import RoiCoverage, roi_coverage
from mmpkd.errors import InputError

FINDINGS = ("nodule", "mass")
LABELS = np.array([[1.0, 0.0], [np.nan, 1.0], [1.0, 1.0], [1.0, 1.0]])


def _rois(*rows):
    columns = ["case", "finding", "x_min", "y_min", "x_max", "y_max", "mask", "mask_value"]
    return pd.DataFrame([(*row, None, np.nan) if len(row) == 6 else row for row in rows], columns=columns)


def _cohort(rois, cases=4):
    names = [f"c{number}" for number in range(cases)]
    table = pd.DataFrame({"patient": names, "split": "train", "image": "x.png"}, index=pd.Index(names, name="case"))
    return Cohort("test", "multi-label", FINDINGS, table, LABELS[:cases], Path("/nowhere"), rois=rois)


def _images(height=16, width=16, cases=4, size=16, fit="pad"):
    pixels = np.zeros((cases, 1, size, size), np.uint8)
    return ImageSet(pixels, np.arange(cases), np.tile([height, width], (cases, 1)), fit)


ALL = np.arange(4)


def test_share_of_each_token_by_hand():
    # an image of 16 px, tokens of 4 px: the box covers columns 4 to 10 and rows 0 to 6
    coverage = roi_coverage(_cohort(_rois(("c0", "nodule", 4, 0, 10, 6))), _images(), ALL, (4, 4))
    expected = [[0, 1, 0.5, 0], [0, 0.5, 0.25, 0], [0, 0, 0, 0], [0, 0, 0, 0]]
    assert coverage.share.dtype == np.float16
    np.testing.assert_array_equal(coverage.share, [expected])
    assert (coverage.cases.tolist(), coverage.findings.tolist()) == ([0], [0])


def test_boxes_of_one_pair_are_one_roi_and_bars_are_never_covered():
    # 8 px wide, 16 high: bars of one token at either side
    rois = _rois(("c2", "mass", 0, 0, 4, 4), ("c2", "mass", 0, 0, 4, 4), ("c2", "mass", 4, 12, 8, 16))
    coverage = roi_coverage(_cohort(rois), _images(width=8), ALL, (4, 4))
    assert np.argwhere(coverage.share[0]).tolist() == [[0, 1], [3, 2]]


def test_an_absent_finding_s_roi_is_left_out_and_a_missing_label_kept():
    rois = _rois(("c0", "mass", 0, 0, 8, 8), ("c1", "nodule", 0, 0, 8, 8), ("c1", "mass", 8, 8, 16, 16))
    coverage = roi_coverage(_cohort(rois), _images(), ALL, (2, 2))
    pairs = zip(coverage.cases.tolist(), coverage.findings.tolist(), strict=True)
    assert sorted(pairs) == [(1, 0), (1, 1)]


def test_cases_are_counted_among_those_asked_for_and_no_other_s_mask_is_read():
    hidden = ("c3", "nodule", np.nan, np.nan, np.nan, np.nan, "missing.png", np.nan)
    rois = _rois(("c2", "nodule", 0, 0, 8, 8), hidden)
    coverage = roi_coverage(_cohort(rois), _images(), np.array([2, 0]), (2, 2))
    assert coverage.cases.tolist() == [0]
    with pytest.raises(InputError, match=r"missing\.png"):
        roi_coverage(_cohort(rois), _images(), ALL, (2, 2))


def test_a_large_original_is_measured_to_a_fraction_of_a_token():
    rois = _rois(("c0", "nodule", 301, 417, 933, 1311))
    images = _images(height=1700, width=1300, size=112)
    coverage = roi_coverage(_cohort(rois), images, ALL, (14, 14))
    exact = token_coverage(roi_mask(rois, (1700, 1300), Path("/nowhere")), images.geometry(0), (14, 14))
    assert np.abs(coverage.share[0] - exact).max() < 0.1
    assert coverage.share.sum() == pytest.approx(exact.sum(), rel=0.02)


def test_a_lesion_of_one_pixel_in_a_large_original_is_kept():
    rois = _rois(("c0", "nodule", 1500, 1500, 1501, 1501))
    coverage = roi_coverage(_cohort(rois), _images(height=3000, width=3000), ALL, (4, 4))
    assert np.argwhere(coverage.share[0]).tolist() == [[2, 2]]


def test_an_roi_that_the_canvas_does_not_show_is_left_out():
    rois = _rois(("c0", "nodule", 0, 0, 2, 16), ("c2", "nodule", 8, 0, 24, 16))
    coverage = roi_coverage(_cohort(rois), _images(width=32, fit="crop"), ALL, (2, 2))
    assert coverage.cases.tolist() == [2]


def test_a_cohort_without_rois_or_without_any_for_these_cases_is_told():
    with pytest.raises(InputError, match=r"needs a cohort that has them; add 'cohort\.rois'"):
        roi_coverage(_cohort(None), _images(), ALL, (2, 2))
    absent = _rois(("c0", "mass", 0, 0, 8, 8), ("c3", "mass", 0, 0, 8, 8))
    with pytest.raises(InputError, match="no training case has an ROI of a finding that is present"):
        roi_coverage(_cohort(absent), _images(), np.array([0, 1]), (2, 2))


def test_coverage_that_makes_no_sense_is_refused():
    share = np.ones((1, 2, 2), np.float16)
    with pytest.raises(ValueError, match="differ in number"):
        RoiCoverage(np.array([0, 1]), np.array([0]), share)
    with pytest.raises(ValueError, match=r"outside \[0, 1\]"):
        RoiCoverage(np.array([0]), np.array([0]), 2 * share)
