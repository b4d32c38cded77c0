"""What the embedding terms do to a training: images come to lie as their privileged information lies."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mmpkd.distil.arms import hard
from mmpkd.distil.loop import train
from mmpkd.distil.settings import ObjectiveSettings
from mmpkd.errors import InputError
from mmpkd.folder import CellFolder


def _train(squares, small, training, embeddings=None, folder=None, attention=None, **embedding):
    objective = ObjectiveSettings.from_data({"embedding": embedding, "attention": attention or {}}, "study.yaml")
    targets = hard(squares.labels, None, objective, np.random.default_rng(0))
    return train(
        small,
        training,
        replace(targets, embeddings=embeddings),
        squares.images,
        squares.train,
        squares.val,
        squares.labels[squares.val],
        squares.findings,
        0,
        folder,
    )


@pytest.fixture
def told(squares):
    """Embeddings that hold the labels and a little noise; a tenth of the cases have none."""
    rng = np.random.default_rng(1)
    values = np.concatenate([squares.labels, 0.1 * rng.normal(size=(len(squares.labels), 3))], axis=1)
    values[rng.random(len(values)) < 0.1] = np.nan
    return np.nan_to_num(values) if np.isnan(squares.labels).all() else values


@pytest.mark.parametrize("name", ["feature", "relational", "contrastive"])
@pytest.mark.parametrize("head", ["class-token", "patch"])
def test_each_term_is_lower_than_without_it(squares, small, brief, told, name, head):
    student = small.model_copy(update={"head": head})
    plain = _train(squares, student, brief, told, **{name: 1e-9}).history[f"train_{name}"]
    taught = _train(squares, student, brief, told, **{name: 2.0}).history[f"train_{name}"]
    assert taught.iloc[-1] < plain.iloc[-1]


def test_embeddings_without_a_term_change_nothing(squares, small, brief, told):
    alone, beside = _train(squares, small, brief), _train(squares, small, brief, told)
    for name, weight in alone.student.state_dict().items():
        assert torch.equal(weight, beside.student.state_dict()[name]), name


def test_terms_on_map_and_features_stand_side_by_side(squares, small, brief, told):
    trained = _train(squares, small, brief, told, attention={"entropy": 0.1}, feature=1.0)
    assert {"train_entropy", "train_feature"} <= set(trained.history.columns)
    assert np.isfinite(trained.history[["train_entropy", "train_feature"]]).all(axis=None)


def test_a_term_without_embeddings_is_refused(squares, small, brief):
    with pytest.raises(InputError, match="there are no embeddings of privileged information"):
        _train(squares, small, brief, None, feature=1.0)


def test_a_checkpoint_of_other_embeddings_is_not_continued(squares, small, brief, told, tmp_path):
    folder = CellFolder(tmp_path)
    _train(squares, small, brief, told, folder, feature=1.0)
    with pytest.raises(InputError, match="a training with other settings, targets or versions"):
        _train(squares, small, brief, told[::-1].copy(), folder, feature=1.0)
