"""Batches hold the right images in the right order, and a large file does not pile up in memory."""

import numpy as np
import pytest

from mmpkd.cohort import image_set
from mmpkd.cohort.geometry import Geometry
from mmpkd.cohort.image_set import ImageSet


@pytest.fixture
def images(tmp_path):
    """Row r of the file is filled with r; the cases stand in another order and share row 3."""
    pixels = np.memmap(tmp_path / "pixels", np.uint8, "w+", shape=(6, 3, 4, 4))
    pixels[:] = np.arange(6, dtype=np.uint8)[:, None, None, None]
    pixels.flush()
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=(6, 3, 4, 4))
    return ImageSet(mapped, np.array([5, 3, 0, 3]), np.array([[10, 20], [8, 8], [30, 40], [8, 8]]), "crop")


def test_a_batch_follows_the_positions_asked_for(images):
    batch = images.batch(np.array([2, 0, 0, 1]))
    assert batch.shape == (4, 3, 4, 4)
    assert batch.dtype == np.uint8
    np.testing.assert_array_equal(batch[:, 0, 0, 0], [0, 5, 5, 3])
    np.testing.assert_array_equal(batch.min((1, 2, 3)), batch.max((1, 2, 3)))


def test_a_given_buffer_is_filled_and_returned(images):
    out = np.full((2, 3, 4, 4), 99, np.uint8)
    batch = images.batch(np.array([3, 0]), out)
    assert np.shares_memory(batch, out)
    np.testing.assert_array_equal(out[:, 0, 0, 0], [3, 5])


def test_a_batch_is_the_callers_own(images):
    batch = images.batch(np.array([0]))
    batch[:] = 77
    assert (images.pixels[5] == 5).all()


def test_taking_shares_the_pixels(images):
    for chosen in (np.array([2, 0]), np.array([True, False, True, False])):
        taken = images.take(chosen)
        assert len(taken) == 2
        assert taken.pixels is images.pixels
    np.testing.assert_array_equal(images.take(np.array([2, 0])).batch(np.array([0, 1]))[:, 0, 0, 0], [0, 5])
    np.testing.assert_array_equal(images.take(np.array([2, 0])).sizes_px, [[30, 40], [10, 20]])


def test_sizes_and_geometry_are_those_of_the_case(images):
    assert (len(images), images.channels, images.size_px) == (4, 3, 4)
    assert images.geometry(2) == Geometry(height=30, width=40, size_px=4, fit="crop")


def test_a_case_that_was_left_out_is_refused_rather_than_wrapped_around(images):
    left_out = ImageSet(images.pixels, np.array([0, -1]), np.ones((2, 2), int))
    with pytest.raises(IndexError, match="has no image"):
        left_out.batch(np.array([0, 1]))
    with pytest.raises(IndexError):
        images.batch(np.array([4]))


def test_an_empty_batch_is_empty(images):
    assert images.batch(np.array([], int)).shape == (0, 3, 4, 4)


def test_a_large_file_is_let_go_of_and_still_reads_the_same(tmp_path, monkeypatch):
    psutil = pytest.importorskip("psutil")
    rows, side = 2000, 128  # 31 MiB
    np.random.default_rng(0).integers(0, 255, (rows, 1, side, side), dtype=np.uint8).tofile(tmp_path / "pixels")
    mapped = np.memmap(tmp_path / "pixels", np.uint8, "r", shape=(rows, 1, side, side))
    images = ImageSet(mapped, np.arange(rows), np.full((rows, 2), side))
    expected = np.fromfile(tmp_path / "pixels", np.uint8).reshape(mapped.shape)[::50]
    out = np.empty((50, 1, side, side), np.uint8)

    def growth():
        before = psutil.Process().memory_info().rss
        for start in range(0, rows, 50):
            images.batch(np.arange(start, start + 50), out)
        return psutil.Process().memory_info().rss - before

    monkeypatch.setattr(image_set, "_RESIDENT_BYTES", 1)
    assert growth() < 8 * 2**20
    np.testing.assert_array_equal(images.batch(np.arange(0, rows, 50)), expected)
