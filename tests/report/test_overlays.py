"""Overlays: where the colour goes, and that the outline is seen on any grey."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from mmpkd.report.overlays import image_with_roi, map_overlay, png_data_uri, scale_map

SIDE = 64


def square(start: int = 20, stop: int = 40) -> np.ndarray:
    mask = np.zeros((SIDE, SIDE), bool)
    mask[start:stop, start:stop] = True
    return mask


def grey(value: int) -> np.ndarray:
    return np.full((SIDE, SIDE), value, np.uint8)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_outline_differs_from_its_halo_on_any_grey(value: int) -> None:
    shown = np.asarray(image_with_roi(grey(value), square(), SIDE))[30].astype(int)
    assert (shown[20] == 255).all()  # the line, at the ROI's left edge
    assert (shown[22] < 110).all()  # the halo inside it
    assert (shown[17] < 110).all()  # and outside
    assert (shown[30] == value).all()  # the middle of the ROI is left alone


def test_no_roi_leaves_the_image_alone() -> None:
    image = np.arange(SIDE * SIDE, dtype=np.uint32).reshape(SIDE, SIDE).astype(np.uint8)
    for roi in (None, np.zeros((SIDE, SIDE), bool)):
        assert (np.asarray(image_with_roi(image, roi, SIDE))[..., 0] == image).all()


def test_colour_lies_where_the_map_is_high_and_grey_where_it_is_low() -> None:
    shown = np.asarray(map_overlay(grey(100), square().astype(np.float32), None, SIDE)).astype(int)
    assert (shown[5, 5] == 100).all()
    red, green, blue = shown[30, 30]
    assert red > 190  # viridis ends in yellow
    assert green > 180
    assert blue < 80


def test_a_constant_map_colours_nothing() -> None:
    shown = np.asarray(map_overlay(grey(100), np.full((SIDE, SIDE), 0.3, np.float32), None, SIDE))
    assert (shown == 100).all()


def test_maps_are_scaled_from_their_minimum_to_their_upper_end() -> None:
    values = np.linspace(2.0, 4.0, 1001).reshape(7, 143)
    scaled = scale_map(values)
    assert scaled.min() == 0.0
    assert scaled.max() == 1.0
    assert scaled.ravel()[500] == pytest.approx(0.5 / 0.995)  # (3 - 2) / (3.99 - 2)


def test_a_single_hot_pixel_still_shows_and_nan_does_not_break_it() -> None:
    values = np.zeros((SIDE, SIDE))
    values[3, 4] = 7.0
    values[0, 0] = np.nan
    scaled = scale_map(values)
    assert scaled[3, 4] == 1.0
    assert scaled.sum() == 1.0


def test_pictures_keep_their_proportions() -> None:
    picture = image_with_roi(np.zeros((50, 100), np.uint8), None, 200)
    assert picture.size == (200, 100)


def test_data_uri_is_a_png_without_metadata() -> None:
    uri = png_data_uri(image_with_roi(grey(7), square(), SIDE))
    raw = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    read = Image.open(io.BytesIO(raw))
    assert read.size == (SIDE, SIDE)
    assert read.info == {}
