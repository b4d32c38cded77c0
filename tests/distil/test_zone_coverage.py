import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpkd.cohort.geometry import Geometry
from mmpkd.cohort.image_set import ImageSet
from mmpkd.cohort.rois import token_coverage
from mmpkd.distil.zone_coverage import box_coverage, fixed_coverage

HALVES = np.array([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]])


def test_halves_of_a_square_image():
    found = box_coverage(HALVES, Geometry(64, 64, 32, "pad"), (2, 3))
    np.testing.assert_allclose(found[0], [[1, 0.5, 0], [1, 0.5, 0]])
    np.testing.assert_allclose(found.sum(0), 1.0)


def test_bars_belong_to_no_zone():
    found = box_coverage(np.array([[0.0, 0.0, 1.0, 1.0]]), Geometry(100, 200, 64, "pad"), (4, 4))
    np.testing.assert_allclose(found[0], [[0] * 4, [1] * 4, [1] * 4, [0] * 4])


@given(
    height=st.integers(8, 40),
    width=st.integers(8, 40),
    fit=st.sampled_from(["pad", "crop", "stretch"]),
    seed=st.integers(0, 99),
)
def test_a_box_covers_what_its_mask_covers(height, width, fit, seed):
    rng = np.random.default_rng(seed)
    x = np.sort(rng.choice(width + 1, 2, replace=False))
    y = np.sort(rng.choice(height + 1, 2, replace=False))
    mask = np.zeros((height, width), bool)
    mask[y[0] : y[1], x[0] : x[1]] = True
    box = np.array([[x[0] / width, y[0] / height, x[1] / width, y[1] / height]])
    geometry = Geometry(height, width, 16, fit)
    np.testing.assert_allclose(
        box_coverage(box, geometry, (4, 4))[0], token_coverage(mask, geometry, (4, 4)), atol=1e-6
    )


@pytest.mark.parametrize(("sizes", "sets"), [([[64, 64]] * 3, 1), ([[64, 64], [64, 32], [64, 64]], 3)])
def test_images_that_lie_alike_share_one_set(sizes, sets):
    images = ImageSet(np.zeros((3, 1, 16, 16), np.uint8), np.arange(3), np.array(sizes))
    found = fixed_coverage(HALVES, images, np.arange(3), (4, 4))
    assert found.shape == (sets, 2, 4, 4)
    np.testing.assert_array_equal(found[0], found[-1])
