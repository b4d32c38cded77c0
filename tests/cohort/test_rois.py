"""Boxes and masks become the right pixels, at full and at reduced size; what does not fit its image is told."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from mmpkd.cohort.geometry import Geometry
from mmpkd.cohort.rois import check_rois, roi_mask, token_coverage
from mmpkd.errors import InputError


def rois(*boxes, mask=None, mask_value=np.nan, case="c1", finding="nodule"):
    rows = [(case, finding, *box, None, np.nan) for box in boxes]
    if mask is not None:
        rows.append((case, finding, *[np.nan] * 4, mask, mask_value))
    columns = ["case", "finding", "x_min", "y_min", "x_max", "y_max", "mask", "mask_value"]
    return pd.DataFrame(rows, columns=columns)


def save(path, values):
    Image.fromarray(np.asarray(values, np.uint8)).save(path)


def test_a_box_takes_the_pixels_whose_centres_it_holds(tmp_path):
    mask = roi_mask(rois((1, 0, 3, 2)), (3, 4), tmp_path)
    np.testing.assert_array_equal(mask, [[0, 1, 1, 0], [0, 1, 1, 0], [0, 0, 0, 0]])
    # centres at .5, 1.5, 2.5: 0.6..2.5 holds 1.5 only, as the end is open
    np.testing.assert_array_equal(roi_mask(rois((0.6, 0, 2.5, 1)), (1, 4), tmp_path), [[0, 1, 0, 0]])


def test_boxes_and_masks_unite(tmp_path):
    save(tmp_path / "m.png", [[0, 0, 0, 9], [0, 0, 0, 0]])
    mask = roi_mask(rois((0, 0, 1, 1), (0, 1, 2, 2), mask="m.png"), (2, 4), tmp_path)
    np.testing.assert_array_equal(mask, [[1, 0, 0, 1], [1, 1, 0, 0]])


def test_only_the_named_value_of_a_mask_counts(tmp_path):
    save(tmp_path / "m.png", [[0, 1, 2, 2]])
    np.testing.assert_array_equal(roi_mask(rois(mask="m.png", mask_value=2), (1, 4), tmp_path), [[0, 0, 1, 1]])
    np.testing.assert_array_equal(roi_mask(rois(mask="m.png"), (1, 4), tmp_path), [[0, 1, 1, 1]])


def test_a_deep_mask_is_not_stretched(tmp_path):
    Image.fromarray(np.array([[0, 1, 700]], np.uint16)).save(tmp_path / "m.png")
    np.testing.assert_array_equal(roi_mask(rois(mask="m.png", mask_value=1), (1, 3), tmp_path), [[0, 1, 0]])


def test_a_box_a_pixel_over_the_edge_is_clipped(tmp_path):
    np.testing.assert_array_equal(roi_mask(rois((2, 0, 5, 2)), (1, 4), tmp_path), [[0, 0, 1, 1]])


def test_nothing_vanishes_on_a_reduced_canvas(tmp_path):
    tiny = np.zeros((1000, 1000))
    tiny[503, 207] = 255
    save(tmp_path / "m.png", tiny)
    for one in (rois((207, 503, 208, 504)), rois(mask="m.png")):
        mask = roi_mask(one, (1000, 1000), tmp_path, max_side_px=100)
        assert mask.shape == (100, 100)
        assert np.argwhere(mask).tolist() == [[50, 20]]


def test_a_reduced_mask_keeps_the_pixels_covered_by_half(tmp_path):
    # 4 x 4 onto 2 x 2: covered 4, 2 / 1, 0 of 4 pixels each
    save(tmp_path / "m.png", [[1, 1, 1, 0], [1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]])
    mask = roi_mask(rois(mask="m.png"), (4, 4), tmp_path, max_side_px=2)
    np.testing.assert_array_equal(mask, [[1, 1], [0, 0]])


def test_boxes_and_their_own_masks_agree_when_reduced(tmp_path):
    full = np.zeros((300, 400))
    full[30:210, 80:200] = 1
    save(tmp_path / "m.png", full)
    boxes = roi_mask(rois((80, 30, 200, 210)), (300, 400), tmp_path, max_side_px=40)
    np.testing.assert_array_equal(boxes, roi_mask(rois(mask="m.png"), (300, 400), tmp_path, max_side_px=40))
    assert boxes.sum() == 18 * 12


@settings(derandomize=True, max_examples=50, deadline=None)
@given(st.data())
def test_a_box_fills_its_area_to_within_its_edges(data):
    height, width = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 60))
    x = sorted(data.draw(st.lists(st.floats(0, width), min_size=2, max_size=2)))
    y = sorted(data.draw(st.lists(st.floats(0, height), min_size=2, max_size=2)))
    mask = roi_mask(rois((x[0], y[0], x[1], y[1])), (height, width), None)
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    assert len(rows)
    assert mask[np.ix_(rows, columns)].all()
    assert abs(len(columns) - (x[1] - x[0])) <= 1
    assert abs(len(rows) - (y[1] - y[0])) <= 1


# --- bad ROIs ----------------------------------------------------------------------------------------------------


def test_a_mask_of_another_size_is_refused(tmp_path):
    save(tmp_path / "m.png", np.ones((3, 5)))
    with pytest.raises(InputError, match=r"m\.png: the mask has 5 x 3 px but its image has 4 x 2"):
        roi_mask(rois(mask="m.png"), (2, 4), tmp_path)


def test_a_missing_mask_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"m\.png: the mask does not exist"):
        roi_mask(rois(mask="m.png"), (2, 4), tmp_path)


def test_all_problems_are_told_at_once(tmp_path):
    save(tmp_path / "small.png", np.ones((3, 5)))
    save(tmp_path / "good.png", np.ones((20, 10)))
    (tmp_path / "cut.png").write_bytes((tmp_path / "good.png").read_bytes()[:20])
    table = pd.concat(
        [
            rois((0, 0, 10, 20), (0, 0, 10.9, 20), mask="good.png"),  # within a pixel: fine
            rois((5, 5, 14, 18)),
            rois((-3, 0, 4, 4)),
            rois(mask="small.png"),
            rois(mask="absent.png"),
            rois(mask="cut.png"),
            rois((0, 0, 999, 999), mask="other.png", case="of another cohort"),
        ]
    )
    problems = check_rois(table, {"c1": (20, 10)}, tmp_path)
    assert len(problems) == 5
    for problem, told in zip(
        problems,
        [
            "leaves the image of 10 x 20 px",
            "leaves the image of 10 x 20 px",
            "small.png: the mask has 5 x 3 px but its image has 10 x 20",
            "absent.png: the mask does not exist",
            "cut.png: the mask",
        ],
        strict=True,
    ):
        assert told in problem
    assert "[5.0, 5.0, 14.0, 18.0]" in problems[0]


def test_sound_rois_have_no_problems(tmp_path):
    assert check_rois(rois((0, 0, 10, 20)), {"c1": (20, 10)}, tmp_path) == []
    assert check_rois(rois(), {"c1": (20, 10)}, tmp_path) == []


def test_a_flood_of_problems_is_cut_short(tmp_path):
    problems = check_rois(rois(*[(0, 0, 50, 50)] * 30), {"c1": (20, 10)}, tmp_path)
    assert len(problems) == 21
    assert problems[-1] == "... and 10 more like it."


# --- tokens ------------------------------------------------------------------------------------------------------


def test_token_coverage_worked_by_hand():
    mask = np.zeros((4, 4), bool)
    mask[:2, :3] = True
    # 2 x 2 tokens of 2 x 2 px
    np.testing.assert_allclose(token_coverage(mask, Geometry(4, 4, 8, "stretch"), (2, 2)), [[1, 0.5], [0, 0]])
    # 4 x 8 in 8 x 8 with bars of 2 above and below: token rows 0 and 3 are bars, 1 and 2 two pixel rows each
    wide = np.zeros((4, 8), bool)
    wide[:2] = True
    coverage = token_coverage(wide, Geometry(4, 8, 8, "pad"), (4, 4))
    np.testing.assert_allclose(coverage, np.array([[0, 1, 0, 0]]).T * np.ones((4, 4)))
    # two token rows: half bar each
    np.testing.assert_allclose(token_coverage(wide, Geometry(4, 8, 8, "pad"), (2, 1)), [[0.5], [0]])


@settings(derandomize=True, max_examples=40, deadline=None)
@given(
    st.integers(3, 50),
    st.integers(3, 50),
    st.sampled_from(["pad", "stretch", "crop"]),
    st.integers(1, 7),
    st.integers(0, 9),
)
def test_token_coverage_adds_up_to_the_roi(height, width, fit, tokens, seed):
    mask = np.random.default_rng(seed).random((height, width)) < 0.3
    geometry = Geometry(height, width, 56, fit)
    coverage = token_coverage(mask, geometry, (tokens, tokens))
    assert coverage.min() >= 0
    assert coverage.max() <= 1 + 1e-12
    x_min, y_min, x_max, y_max = geometry.box
    token_area = (56 / tokens) ** 2 / (geometry.scale[0] * geometry.scale[1])  # in original pixels
    assert coverage.sum() * token_area == pytest.approx(mask[y_min:y_max, x_min:x_max].sum())
