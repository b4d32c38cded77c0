from dataclasses import replace

import numpy as np
import pytest
import torch

from mmpkd.distil import loop
from mmpkd.distil.arms import hard, mmpkd
from mmpkd.distil.loop import train
from mmpkd.distil.settings import ObjectiveSettings
from mmpkd.distil.trained import Shelf


def _train(squares, small, training, shelf, arm=hard, seed=0, images=None):
    return train(
        small,
        training,
        arm(squares.labels, squares.soft_logits, ObjectiveSettings(), np.random.default_rng(0)),
        images or squares.images,
        train_positions=squares.train,
        val_positions=squares.val,
        val_labels=squares.labels[squares.val],
        findings=squares.findings,
        seed=seed,
        shelf=shelf,
    )


@pytest.fixture
def shelf(tmp_path):
    return Shelf(tmp_path / "trained")


def _kept(shelf):
    return len(list(shelf.path.iterdir()))


def test_a_training_on_the_shelf_is_not_done_again(squares, small, brief, shelf, monkeypatch):
    first = _train(squares, small, brief, shelf)
    monkeypatch.setattr(loop, "_train_epochs", None)  # calling it would fail
    second = _train(squares, small, brief, shelf)
    assert second.history.equals(first.history)
    assert second.best_epoch == first.best_epoch
    assert not second.student.training
    for name, value in first.student.state_dict().items():
        assert torch.equal(value, second.student.state_dict()[name]), name


def test_what_the_arm_does_not_read_does_not_matter(squares, small, brief, shelf):
    _train(squares, small, brief, shelf)
    _train(replace(squares, soft_logits=squares.soft_logits + 1.0), small, brief, shelf)
    assert _kept(shelf) == 1
    _train(squares, small, brief, shelf, arm=mmpkd)
    _train(replace(squares, soft_logits=squares.soft_logits + 1.0), small, brief, shelf, arm=mmpkd)
    assert _kept(shelf) == 3


def test_seed_recipe_and_pixels_do_matter(squares, small, brief, shelf):
    _train(squares, small, brief, shelf)
    _train(squares, small, brief, shelf, seed=1)
    _train(squares, small, brief.model_copy(update={"learning_rate": 1e-3}), shelf)
    pixels = squares.images.pixels.copy()
    pixels[squares.val[-1], 0, 0, 0] += 1
    _train(squares, small, brief, shelf, images=replace(squares.images, pixels=pixels))
    assert _kept(shelf) == 4


def test_a_training_that_stopped_while_it_was_put_away_is_done_again(squares, small, brief, shelf):
    first = _train(squares, small, brief, shelf)
    (folder,) = shelf.path.iterdir()
    (folder / "history.parquet").unlink()
    assert _train(squares, small, brief, shelf).history.equals(first.history)
    assert (folder / "history.parquet").is_file()
