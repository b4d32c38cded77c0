import math

import numpy as np
import pytest
import torch

from mmpkd.distil import augment
from mmpkd.distil.augment import apply, apply_views, draw, move, undo
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


SIDE, PATCH = 6, 4  # a grid of 6 by 6 tokens on an image of 24 px


def _parameters(**changes):
    columns = {"x": 0, "y": 1, "scale": 2, "angle": 3, "brightness": 4, "contrast": 5, "flip": 6}
    parameters = torch.tensor([NOTHING])
    for name, value in changes.items():
        parameters[0, columns[name]] = value
    return parameters


def _random_parameters(cases=20):
    settings = AugmentSettings(shift=0.3, scale=0.4, rotate_deg=180.0, flip=True)
    return torch.from_numpy(draw(settings, cases, np.random.default_rng(0)))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"x": 1 / SIDE},
        {"x": -2 / SIDE, "y": 3 / SIDE},
        {"flip": -1.0},
        {"flip": -1.0, "x": 1 / SIDE, "y": -1 / SIDE},
        {"angle": math.pi / 2},
        {"angle": math.pi, "flip": -1.0, "x": 2 / SIDE},
    ],
)
def test_coverage_moves_exactly_as_the_picture_does(changes):
    coverage = (torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0)) > 0.6).float()
    image = coverage.repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3)
    moved = apply(image, _parameters(**changes))
    in_each_token = torch.nn.functional.avg_pool2d(moved, PATCH)
    torch.testing.assert_close(move(coverage, _parameters(**changes)), in_each_token, atol=1e-5, rtol=0)


def test_coverage_follows_small_changes_of_the_picture_to_a_fraction_of_a_token():
    drawn = torch.from_numpy(draw(AugmentSettings(brightness=0, contrast=0), 50, np.random.default_rng(0)))
    coverage = torch.zeros(50, 1, 14, 14)
    coverage[:, :, 4:9, 5:11] = 1.0
    image = coverage.repeat_interleave(16, 2).repeat_interleave(16, 3)
    in_each_token = torch.nn.functional.avg_pool2d(apply(image, drawn), 16)
    assert (move(coverage, drawn) - in_each_token).abs().mean() < 0.01


def test_grey_values_have_no_say_in_where_maps_lie():
    maps = torch.rand(1, 2, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(move(maps, _parameters(brightness=0.3, contrast=0.5)), maps, atol=1e-6, rtol=0)


def test_undo_takes_a_map_back_and_knows_what_was_pushed_out_of_view():
    maps = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    right_and_down = _parameters(x=1 / 3, y=1 / 3)
    back, seen = undo(move(maps, right_and_down), right_and_down)
    assert seen[0, 0].tolist() == [[True, True, False], [True, True, False], [False, False, False]]
    torch.testing.assert_close(back[seen], torch.tensor([1.0, 2.0, 4.0, 5.0]), atol=1e-5, rtol=0)


def test_undo_of_a_flip_is_the_flip():
    maps = torch.rand(1, 2, 4, 5, generator=torch.Generator().manual_seed(0))
    back, seen = undo(maps, _parameters(flip=-1.0))
    torch.testing.assert_close(back, maps.flip(3), atol=1e-6, rtol=0)
    assert seen.all()


def test_undo_is_the_inverse_of_what_the_picture_does():
    parameters = _random_parameters()
    there, back = augment._to_original(parameters), augment._to_changed(parameters)
    points = torch.rand(len(parameters), 2, 7, generator=torch.Generator().manual_seed(0)) * 2 - 1
    original = there[:, :, :2] @ points + there[:, :, 2:]
    torch.testing.assert_close(back[:, :, :2] @ original + back[:, :, 2:], points, atol=1e-5, rtol=1e-5)


def test_a_smooth_map_comes_back_where_it_was_seen():
    parameters = _random_parameters()
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 32), torch.linspace(-1, 1, 32), indexing="ij")
    maps = torch.exp(-2 * (rows**2 + (columns - 0.2) ** 2)).expand(len(parameters), 1, 32, 32)
    back, seen = undo(move(maps, parameters), parameters)
    inner = seen & (torch.nn.functional.avg_pool2d(seen.float(), 5, 1, 2) == 1)
    assert (back - maps)[inner].abs().max() < 0.02


def test_views_are_changed_each_by_its_own_parameters(image):
    images = image.expand(2, 1, 8, 8)
    first, second = _parameters(x=1 / 8).repeat(2, 1), _parameters(flip=-1.0).repeat(2, 1)
    views = apply_views(images, torch.stack([first, second]))
    torch.testing.assert_close(views, torch.cat([apply(images, first), apply(images, second)]), atol=0, rtol=0)
