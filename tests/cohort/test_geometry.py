"""The map between original and student pixels is exact, and maps come back to where they belong."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.ndimage import map_coordinates

from mmpkd.cohort.geometry import Geometry, picture_tokens, reduced_px
from mmpkd.cohort.images import fit_pixels
from mmpkd.errors import InputError

SIDES = st.integers(1, 700)
FITS = st.sampled_from(["pad", "stretch", "crop"])
GEOMETRIES = st.builds(Geometry, height=SIDES, width=SIDES, size_px=st.sampled_from([32, 64, 97, 224]), fit=FITS)
DRAWN = settings(derandomize=True, max_examples=60, deadline=None)


@pytest.mark.parametrize(
    ("fit", "box", "placed"),
    [
        # 100 x 200 (height x width) on 64 px: the longer side fills 64, the shorter 32, centred in rows 16..48.
        ("pad", (0, 0, 200, 100), (0, 16, 64, 48)),
        ("stretch", (0, 0, 200, 100), (0, 0, 64, 64)),
        ("crop", (50, 0, 150, 100), (0, 0, 64, 64)),
    ],
)
def test_the_seen_box_lands_on_the_placed_box(fit, box, placed):
    geometry = Geometry(100, 200, 64, fit)
    assert geometry.box == box
    assert geometry.placed == placed
    corners = np.array([box[:2], box[2:]], float)
    np.testing.assert_allclose(geometry.to_student(corners), [placed[:2], placed[2:]], atol=1e-12)


def test_points_go_through_the_affine_map_worked_by_hand():
    # pad 100 x 200 to 64: scale 0.32 both ways, bars of 16 above: (50, 25) -> (16, 8 + 16).
    np.testing.assert_allclose(Geometry(100, 200, 64, "pad").to_student(np.array([50.0, 25.0])), [16.0, 24.0])
    # crop: x starts at 50, scale 0.64: (60, 25) -> (6.4, 16).
    np.testing.assert_allclose(Geometry(100, 200, 64, "crop").to_student(np.array([60.0, 25.0])), [6.4, 16.0])


@DRAWN
@given(GEOMETRIES, arrays(float, (5, 2, 2), elements=st.floats(-50, 800)))
def test_boxes_survive_the_round_trip(geometry, boxes):
    np.testing.assert_allclose(geometry.to_original(geometry.to_student(boxes)), boxes, atol=1e-8)


@DRAWN
@given(GEOMETRIES)
def test_the_whole_picture_is_seen_except_by_crop(geometry):
    x_min, y_min, x_max, y_max = geometry.placed
    assert 0 <= x_min < x_max <= geometry.size_px
    assert 0 <= y_min < y_max <= geometry.size_px
    if geometry.fit == "crop":
        assert geometry.box[2] - geometry.box[0] == geometry.box[3] - geometry.box[1]
    else:
        assert geometry.box == (0, 0, geometry.width, geometry.height)


@DRAWN
@given(st.integers(40, 300), st.integers(40, 300), FITS, st.floats(0.2, 0.8), st.floats(0.2, 0.8))
def test_a_point_of_a_map_lands_where_the_affine_map_says(height, width, fit, down, across):
    geometry = Geometry(height, width, 48, fit)
    x_min, y_min, x_max, y_max = geometry.placed
    column, row = int(x_min + across * (x_max - x_min)), int(y_min + down * (y_max - y_min))
    values = np.zeros((48, 48), np.float32)
    values[row, column] = 1
    back = geometry.map_to_original(values)
    assert back.shape == (height, width)
    expected = geometry.to_original(np.array([column + 0.5, row + 0.5]))
    mass = back.astype(float) / back.sum()
    centre = [(mass.sum(0) * (np.arange(width) + 0.5)).sum(), (mass.sum(1) * (np.arange(height) + 0.5)).sum()]
    np.testing.assert_allclose(centre, expected, atol=1.0)


@DRAWN
@given(st.integers(60, 200), st.integers(60, 200), FITS)
def test_a_picture_and_its_map_come_back_to_the_same_place(height, width, fit):
    """A bright box, fitted as the student sees it and brought back as a map, covers the same pixels."""
    geometry = Geometry(height, width, 64, fit)
    picture = np.zeros((height, width), np.uint8)
    x_min, y_min, x_max, y_max = geometry.box
    left, right = x_min + (x_max - x_min) // 4, x_min + (x_max - x_min) // 2
    top, bottom = y_min + (y_max - y_min) // 3, y_min + 2 * (y_max - y_min) // 3
    picture[top:bottom, left:right] = 255
    back = geometry.map_to_original(fit_pixels(picture, 64, 1, fit)[0].astype(np.float32)) > 127
    rows, columns = np.flatnonzero(back.any(1)), np.flatnonzero(back.any(0))
    student_px = 1 / min(geometry.scale)  # of original pixels
    found = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1])
    assert np.abs(found - [left, top, right, bottom]).max() <= max(1.0, student_px)


def test_a_constant_map_stays_constant_where_the_student_saw_and_0_elsewhere():
    back = Geometry(60, 101, 32, "crop").map_to_original(np.ones((2, 3, 32, 32), np.float32))
    assert back.shape == (2, 3, 60, 101)
    assert (back[..., 20:80] == 1).all()  # (101 - 60) // 2 = 20
    assert (back[..., :20] == 0).all()
    assert (back[..., 80:] == 0).all()


def test_what_lies_on_the_bars_does_not_bleed_into_the_picture():
    values = np.full((64, 64), 9.0, np.float32)
    values[16:48] = 1  # the picture's own rows of a 100 x 200 image
    assert (Geometry(100, 200, 64, "pad").map_to_original(values) == 1).all()


@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
def test_token_grids_are_interpolated_as_scipy_does_and_half_precision_is_taken(fit):
    grid = np.arange(16, dtype=np.float16).reshape(4, 4)
    geometry = Geometry(80, 120, 64, fit)
    back = geometry.map_to_original(grid)
    assert back.dtype == np.float32
    x_min, y_min, x_max, y_max = geometry.box
    centres = np.stack(np.meshgrid(np.arange(x_min, x_max) + 0.5, np.arange(y_min, y_max) + 0.5), -1)
    across, down = np.moveaxis(geometry.to_student(centres) / 16 - 0.5, -1, 0)  # in tokens, from the first's centre
    expected = map_coordinates(grid.astype(float), [down, across], order=1, mode="nearest")
    np.testing.assert_allclose(back[y_min:y_max, x_min:x_max], expected, atol=1e-4)


def test_bilinear_values_between_token_centres_worked_by_hand():
    # two tokens over 4 px: centres at 1 and 3, so pixels at .5, 1.5, 2.5, 3.5 read 0, .25, .75, 1.
    back = Geometry(4, 4, 4, "stretch").map_to_original(np.array([[0.0, 1.0], [0.0, 1.0]]))
    np.testing.assert_allclose(back[0], [0, 0.25, 0.75, 1], atol=1e-6)


@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
def test_a_reduced_map_agrees_with_the_full_one(fit):
    """Area averages of the full map are what the reduced one should show (an outside way to the same numbers)."""
    y, x = np.mgrid[:32, :32] / 32
    values = np.sin(3 * x) + np.cos(2 * y) + 2
    geometry = Geometry(400, 240, 32, fit)
    full = geometry.map_to_original(values)
    reduced = geometry.map_to_original(values, max_side_px=100)
    assert reduced.shape == (100, 60)
    averaged = full.reshape(100, 4, 60, 4).mean((1, 3))
    inside = (averaged > 0) & (reduced > 0)
    np.testing.assert_allclose(reduced[inside], averaged[inside], atol=0.03)


@pytest.mark.parametrize(
    ("height", "width", "fit", "grid", "rows", "columns"),
    [
        (100, 200, "pad", (8, 8), (2, 6), (0, 8)),  # wide: the picture in rows 16..48 of 64 px, tokens of 8 px
        (200, 100, "pad", (8, 8), (0, 8), (2, 6)),  # tall
        (100, 200, "pad", (4, 8), (1, 3), (0, 8)),  # tokens of 16 x 8 px
        (90, 90, "pad", (4, 4), (0, 4), (0, 4)),  # square
        (100, 200, "crop", (4, 4), (0, 4), (0, 4)),
        (100, 200, "stretch", (4, 4), (0, 4), (0, 4)),
        (160, 256, "pad", (4, 4), (1, 3), (0, 4)),  # rows 12..52 hold 4 of the first token's 16 px
        (192, 256, "pad", (4, 4), (0, 4), (0, 4)),  # rows 8..56: half of the first token's 16 px is enough
        (188, 256, "pad", (4, 4), (0, 3), (0, 4)),  # rows 8..55: half of the first token, 7 px of the last
        (1, 64, "pad", (4, 4), (1, 2), (0, 4)),  # one row of pixels, 31..32, in the second row of tokens
        (2, 64, "pad", (4, 4), (1, 2), (0, 4)),  # rows 31..33 in two rows of tokens alike: the first
        (6, 64, "pad", (3, 3), (1, 2), (0, 3)),  # tokens of 21 1/3 px
    ],
)
def test_tokens_at_least_half_of_which_hold_the_picture(height, width, fit, grid, rows, columns):
    assert picture_tokens(Geometry(height, width, 64, fit), grid) == (slice(*rows), slice(*columns))


@DRAWN
@given(GEOMETRIES, st.sampled_from([1, 2, 7, 16]), st.sampled_from([1, 3, 14]))
def test_a_token_holds_the_picture_if_half_of_its_pixels_do(geometry, rows, columns):
    x_min, y_min, x_max, y_max = geometry.placed
    down, across = np.zeros(geometry.size_px * rows), np.zeros(geometry.size_px * columns)  # parts of a pixel
    down[y_min * rows : y_max * rows] = across[x_min * columns : x_max * columns] = 1
    share = np.outer(down.reshape(rows, -1).mean(1), across.reshape(columns, -1).mean(1))
    found = np.zeros(share.shape, bool)
    found[picture_tokens(geometry, (rows, columns))] = True
    if share.max() >= 0.5:
        np.testing.assert_array_equal(found, share >= 0.5)
    else:  # one row or column of tokens, none of which holds more than it
        assert 1 in (found.any(0).sum(), found.any(1).sum())
        assert share[found].min() == share.max()


def test_a_grid_without_tokens_is_refused():
    with pytest.raises(InputError, match="0 x 4 tokens holds no picture; give at least one each way"):
        picture_tokens(Geometry(8, 8, 8), (0, 4))


@pytest.mark.parametrize(
    ("given_px", "limit", "expected"),
    [((3000, 2000), 512, (512, 341)), ((100, 200), 512, (100, 200)), ((5000, 1), 10, (10, 1)), ((7, 9), None, (7, 9))],
)
def test_reducing_keeps_the_proportions_and_never_enlarges(given_px, limit, expected):
    assert reduced_px(*given_px, limit) == expected


def test_an_unknown_fit_is_told_with_the_near_miss():
    with pytest.raises(InputError, match="did you mean 'stretch'"):
        Geometry(10, 10, 10, "strech")


def test_a_side_of_0_is_refused():
    with pytest.raises(InputError, match="every side must be at least 1"):
        Geometry(0, 10, 10)
