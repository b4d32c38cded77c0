import numpy as np
import torch

from mmpkd.distil import augment
from mmpkd.distil.batches import BatchFeeder, augment_generator, draw_views, epoch_batches, student_seed
from mmpkd.distil.settings import AugmentSettings

CPU = torch.device("cpu")


def test_batches_hold_each_case_at_most_once_and_are_all_full():
    batches = epoch_batches(23, 5, seed=0, epoch=0)
    assert batches.shape == (4, 5)
    assert len(np.unique(batches)) == 20


def test_order_depends_on_seed_and_epoch_only():
    np.testing.assert_array_equal(epoch_batches(30, 10, 1, 2), epoch_batches(30, 10, 1, 2))
    assert not np.array_equal(epoch_batches(30, 10, 1, 2), epoch_batches(30, 10, 1, 3))
    assert not np.array_equal(epoch_batches(30, 10, 1, 2), epoch_batches(30, 10, 2, 2))


def test_fewer_cases_than_a_batch_make_one_batch():
    assert epoch_batches(7, 64, 0, 0).shape == (1, 7)
    assert epoch_batches(7, 64, 0, 0, processes=2).shape == (1, 6)


def test_seeds_begin_with_different_students():
    assert student_seed(0) != student_seed(1)


def test_feeder_gathers_the_asked_cases_in_order(squares):
    feed = BatchFeeder(squares.images, CPU, 4)
    wanted = np.array([7, 3, 3])
    torch.testing.assert_close(feed(wanted), torch.from_numpy(squares.images.pixels[wanted]))


def test_feeder_keeps_a_batch_intact_through_the_next_call(squares):
    feed = BatchFeeder(squares.images, CPU, 2)
    first = feed(np.array([0, 1]))
    feed(np.array([2, 3]))
    torch.testing.assert_close(first, torch.from_numpy(squares.images.pixels[:2]))


def test_a_second_view_draws_from_its_own_stream_and_leaves_the_first_alone():
    one = draw_views(AugmentSettings(), (3, 4), seed=5, epoch=2)
    two = draw_views(AugmentSettings(), (3, 4), seed=5, epoch=2, views=2)
    assert (one.shape, two.shape) == ((3, 1, 4, 7), (3, 2, 4, 7))
    np.testing.assert_array_equal(two[:, :1], one)
    expected = augment.draw(AugmentSettings(), 12, augment_generator(5, 2, view=1))
    np.testing.assert_array_equal(two[:, 1].reshape(12, 7), expected)
    assert not np.isin(two[:, 1, :, 0], one[..., 0]).any()


def test_views_that_change_nothing_are_not_drawn():
    assert draw_views(AugmentSettings.off(), (3, 4), seed=5, epoch=2, views=2) is None
