import math

import numpy as np
import pytest
import torch

from mmpkd.distil.augment import apply, draw
from mmpkd.distil.batches import augment_generator
from mmpkd.distil.settings import AugmentSettings

NOTHING = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]


def _apply(image, **changes):
    columns = {"x": 0, "y": 1, "scale": 2, "angle": 3, "brightness": 4, "contrast": 5, "flip": 6}
    parameters = torch.tensor([NOTHING])
    for name, value in changes.items():
        parameters[0, columns[name]] = value
    return apply(image[None, None], parameters)[0, 0]


@pytest.fixture
def image():
    return torch.rand(8, 8, generator=torch.Generator().manual_seed(0))


def test_parameters_of_no_change_change_nothing(image):
    torch.testing.assert_close(_apply(image), image, atol=1e-6, rtol=0)


def test_shift_moves_right_and_down_by_a_share_of_the_side(image):
    moved = _apply(image, x=2 / 8, y=1 / 8)
    torch.testing.assert_close(moved[1:, 2:], image[:-1, :-2], atol=1e-5, rtol=0)
    assert moved[0].abs().max() < 1e-5
    assert moved[:, :2].abs().max() < 1e-5


def test_positive_rotation_is_clockwise(image):
    torch.testing.assert_close(_apply(image, angle=math.pi / 2), torch.rot90(image, -1), atol=1e-5, rtol=0)


def test_scale_above_one_enlarges_about_the_centre():
    image = torch.zeros(8, 8)
    image[3:5, 3:5] = 1.0  # twice the size: 4 by 4, blurred by bilinear resampling but of four times the sum
    enlarged = _apply(image, scale=2.0)
    assert enlarged.sum().item() == pytest.approx(16.0, abs=1e-4)
    assert enlarged[3:5, 3:5].min() > 0.99


def test_flip_mirrors_left_and_right(image):
    torch.testing.assert_close(_apply(image, flip=-1.0), image.flip(1), atol=1e-6, rtol=0)


def test_brightness_adds_and_contrast_stretches_about_the_mean():
    image = torch.tensor([[0.4, 0.6], [0.4, 0.6]])
    torch.testing.assert_close(_apply(image, brightness=0.1), image + 0.1)
    torch.testing.assert_close(_apply(image, contrast=1.5), torch.tensor([[0.35, 0.65], [0.35, 0.65]]))
    assert _apply(image, brightness=0.9).max() == 1.0


def test_draws_stay_within_the_settings_and_never_flip_unasked():
    drawn = draw(AugmentSettings(), 2000, np.random.default_rng(0))
    assert drawn is not None
    low, high = drawn.min(0), drawn.max(0)
    np.testing.assert_allclose(low, [-0.05, -0.05, 0.9, -math.radians(10), -0.1, 0.9, 1.0], atol=2e-3)
    np.testing.assert_allclose(high, [0.05, 0.05, 1.1, math.radians(10), 0.1, 1.1, 1.0], atol=2e-3)


def test_flips_half_of_the_images_when_asked():
    drawn = draw(AugmentSettings(flip=True), 2000, np.random.default_rng(0))
    assert drawn is not None
    assert set(np.unique(drawn[:, 6])) == {-1.0, 1.0}
    assert abs(drawn[:, 6].mean()) < 0.1


def test_settings_that_change_nothing_draw_nothing():
    assert draw(AugmentSettings.off(), 5, np.random.default_rng(0)) is None


def test_draws_depend_on_seed_and_epoch_only():
    first, again, other = (draw(AugmentSettings(), 6, augment_generator(3, epoch)) for epoch in (4, 4, 5))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
