"""What the attention terms do to a training: the maps get better behaved, and nothing else changes."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from mmpkd.distil import loop
from mmpkd.distil.arms import Targets, hard, mmpkd, random_labels, roi_supervised
from mmpkd.distil.attention_terms import entropy, inconsistency, total_variation
from mmpkd.distil.augment import apply, undo
from mmpkd.distil.loop import train
from mmpkd.distil.own_map import MappedStudent
from mmpkd.distil.roi_coverage import RoiCoverage
from mmpkd.distil.settings import AugmentSettings, ObjectiveSettings
from mmpkd.errors import InputError
from mmpkd.folder import CellFolder

SHIFTS = AugmentSettings(shift=0.3, scale=0.0, rotate_deg=0.0, brightness=0.0, contrast=0.0)
SQUARES = {0: (slice(2, 6), slice(1, 5)), 1: (slice(11, 15), slice(8, 12))}  # where `squares` draws its findings


def _rois(squares, positions, grid):
    """The squares' own ROIs on the grid, each token's share counted pixel by pixel."""
    patch = 16 // grid[0]
    cases, findings = np.nonzero(squares.labels[positions] == 1)
    shares = np.zeros((len(cases), *grid), np.float16)
    for pair, finding in enumerate(findings):
        mask = np.zeros((16, 16))
        mask[SQUARES[int(finding)]] = 1
        shares[pair] = mask.reshape(grid[0], patch, grid[1], patch).mean((1, 3))
    return RoiCoverage(cases, findings, shares)


def _train(squares, small, training, arm=hard, seed=0, folder=None, rois=None, keep_last=False, **attention):
    objective = ObjectiveSettings.from_data({"attention": attention}, "study.yaml")
    targets = arm if isinstance(arm, Targets) else arm(squares.labels, squares.soft_logits, objective, _rng())
    targets = replace(targets, keep_last_epoch=targets.keep_last_epoch or keep_last)
    return train(
        small,
        training,
        targets,
        squares.images,
        squares.train,
        squares.val,
        squares.labels[squares.val],
        squares.findings,
        seed,
        folder,
        rois=partial(_rois, squares) if rois is None else rois,
    )


def _rng():
    return np.random.default_rng(0)


def _maps(trained, squares, change=None):
    student = trained.student
    images = torch.from_numpy(squares.images.pixels[squares.val]).float() / 255
    if change is not None:
        images = apply(images, change)
    with torch.no_grad():
        return MappedStudent(student)(student.normalise(images)).maps


def _mean_inconsistency(trained, squares):
    change = torch.tensor([0.25, 0.25, 1.0, 0.0, 0.0, 1.0, 1.0]).expand(len(squares.val), 7)
    back, seen = undo(_maps(trained, squares, change), change)
    return inconsistency(_maps(trained, squares), back, seen).mean().item()


def _energy(trained, squares):
    """Mean share of the maps that lies in the ROIs of the validation cases."""
    rois = _rois(squares, squares.val, trained.student.grid)
    maps = _maps(trained, squares).expand(-1, 2, -1, -1).numpy()
    return float((maps[rois.cases, rois.findings] * rois.share).sum((1, 2)).mean())


def _assert_same(first, second):
    for name, value in first.student.state_dict().items():
        assert torch.equal(value, second.student.state_dict()[name]), name
    assert first.history.equals(second.history)
    assert first.best_epoch == second.best_epoch


@pytest.fixture
def longer(brief):
    return brief.model_copy(update={"epochs": 20, "learning_rate": 5e-3})


@pytest.mark.parametrize("head", ["class-token", "mean", "patch"])
def test_entropy_narrows_the_maps(squares, small, longer, head):
    student = small.model_copy(update={"head": head})
    plain, narrow = (_train(squares, student, longer, keep_last=True, entropy=weight) for weight in (0.0, 0.5))
    means = [entropy(_maps(trained, squares)).mean().item() for trained in (plain, narrow)]
    assert means[1] < means[0] - 0.05
    assert narrow.history["train_entropy"].iloc[-1] < narrow.history["train_entropy"].iloc[0]


@pytest.mark.parametrize("head", ["class-token", "patch"])
def test_total_variation_smooths_the_maps(squares, small, longer, head):
    student = small.model_copy(update={"head": head, "depth": 2})
    plain, smooth = (_train(squares, student, longer, keep_last=True, total_variation=weight) for weight in (0.0, 1.0))
    means = [total_variation(_maps(trained, squares)).mean().item() for trained in (plain, smooth)]
    assert means[1] < 0.5 * means[0]


@pytest.mark.parametrize("head", ["class-token", "patch"])
def test_consistency_lets_the_maps_follow_the_picture(squares, small, longer, head):
    student = small.model_copy(update={"head": head, "depth": 2})
    training = longer.model_copy(update={"augment": SHIFTS, "epochs": 30})
    plain, steady = (_train(squares, student, training, keep_last=True, consistency=weight) for weight in (0.0, 1.0))
    assert _mean_inconsistency(steady, squares) < 0.5 * _mean_inconsistency(plain, squares)


@pytest.mark.parametrize("head", ["class-token", "mean", "patch"])
def test_rois_draw_the_maps_in(squares, small, longer, head):
    student = small.model_copy(update={"head": head, "depth": 2})
    training = longer.model_copy(update={"augment": SHIFTS.model_copy(update={"shift": 0.1})})
    plain, supervised = (_train(squares, student, training, arm, keep_last=True) for arm in (hard, roi_supervised))
    assert _energy(supervised, squares) > _energy(plain, squares) + 0.1
    assert "train_roi" not in plain.history
    assert supervised.history["train_roi"].iloc[-1] < supervised.history["train_roi"].iloc[0]


def test_terms_at_weight_0_leave_every_bit_as_it_was(squares, small, brief):
    training = brief.model_copy(update={"augment": AugmentSettings()})
    plain = _train(squares, small, training, mmpkd)
    zero = _train(squares, small, training, mmpkd, entropy=0.0, total_variation=0.0, consistency=0.0, roi=0.0)
    _assert_same(plain, zero)


def test_the_terms_stand_in_the_history_by_name_and_in_the_loss_by_weight(squares, small, brief):
    training = brief.model_copy(update={"augment": SHIFTS, "log_every": 1, "precision": "fp32"})
    weights = {"entropy": 0.3, "total_variation": 0.2, "consistency": 0.7, "roi": 0.1}
    history = _train(squares, small, training, **weights).history
    names = [f"train_{name}" for name in weights]
    assert list(history) == ["epoch", "train_loss", "train_hard", "train_soft", *names, "learning_rate", "val_auroc"]
    expected = history["train_hard"] + sum(weight * history[f"train_{name}"] for name, weight in weights.items())
    np.testing.assert_allclose(history["train_loss"], expected, rtol=1e-5)
    assert history["train_entropy"].between(0, 1).all()


def test_the_second_view_changes_nothing_but_its_own_term(squares, small, brief):
    # at a vanishing weight the training is the one without the term, up to rounding
    training = brief.model_copy(update={"augment": AugmentSettings()})
    plain, barely = (_train(squares, small, training, mmpkd, consistency=weight) for weight in (0.0, 1e-9))
    np.testing.assert_allclose(plain.history["train_loss"], barely.history["train_loss"], rtol=1e-3)


@pytest.mark.parametrize("head", ["class-token", "patch"])
def test_a_killed_training_with_all_terms_goes_on_to_the_same_bytes(tmp_path, squares, small, brief, head, monkeypatch):
    student = small.model_copy(update={"head": head, "drop_path": 0.2, "depth": 2})
    training = brief.model_copy(update={"checkpoint_every_s": 0.0, "augment": AugmentSettings()})
    terms = {"entropy": 0.1, "total_variation": 0.1, "consistency": 0.5, "roi": 0.5}
    whole = _train(squares, student, training, mmpkd, **terms)
    folder, train_epoch = CellFolder(tmp_path / "cell"), loop._Run.train_epoch

    def killed_in_the_third(run, epoch):
        if epoch == 2:
            raise KeyboardInterrupt
        return train_epoch(run, epoch)

    with monkeypatch.context() as patched:
        patched.setattr(loop._Run, "train_epoch", killed_in_the_third)
        with pytest.raises(KeyboardInterrupt):
            _train(squares, student, training, mmpkd, folder=folder, **terms)
    _assert_same(whole, _train(squares, student, training, mmpkd, folder=folder, **terms))


@pytest.mark.parametrize("change", ["weight", "rois"])
def test_a_checkpoint_of_other_terms_or_rois_is_told(tmp_path, squares, small, brief, change):
    folder = CellFolder(tmp_path / "cell")
    _train(squares, small, brief, folder=folder, roi=1.0)

    def smaller(positions, grid):
        rois = _rois(squares, positions, grid)
        return RoiCoverage(rois.cases, rois.findings, (0.5 * rois.share).astype(np.float16))

    other = {"roi": 2.0} if change == "weight" else {"roi": 1.0, "rois": smaller}
    with pytest.raises(InputError, match="of a training with other settings, targets or versions"):
        _train(squares, small, brief, folder=folder, **other)


def test_rois_are_asked_for_the_training_cases_alone_and_only_where_they_teach(squares, small, brief):
    asked = []

    def source(positions, grid):
        asked.append((positions.tolist(), grid))
        return _rois(squares, positions, grid)

    one_epoch = brief.model_copy(update={"epochs": 1})
    _train(squares, small, one_epoch, rois=source, entropy=1.0)
    assert asked == []
    _train(squares, small, one_epoch, rois=source, roi=1.0)
    assert asked == [(squares.train.tolist(), (4, 4))]


def test_half_precision_follows_single_precision(squares, small, brief):
    terms = {"entropy": 0.5, "roi": 0.5}
    losses = [
        _train(squares, small, brief.model_copy(update={"precision": name}), **terms).history["train_loss"].to_numpy()
        for name in ("fp32", "bf16")
    ]
    np.testing.assert_allclose(losses[0], losses[1], atol=0.02)


def test_a_term_that_becomes_non_finite_ends_the_run_as_any_loss_does(squares, small, brief, monkeypatch):
    monkeypatch.setattr(loop.AttentionCriterion, "__call__", lambda *_: torch.tensor([torch.nan]))
    with pytest.raises(InputError, match="non-finite in epoch 1, step 1"):
        _train(squares, small, brief, entropy=1.0)


@pytest.mark.parametrize(
    ("change", "terms", "told"),
    [
        ({"compile": True}, {"entropy": 0.1}, "torch.compile does not allow"),
        ({}, {"consistency": 0.1}, r"training\.augment changes nothing"),
    ],
)
def test_terms_that_this_training_cannot_have_are_refused(squares, small, brief, change, terms, told):
    with pytest.raises(InputError, match=told):
        _train(squares, small, brief.model_copy(update=change), **terms)


def test_training_by_rois_without_any_is_refused_before_a_student_is_built(squares, small, brief, monkeypatch):
    monkeypatch.setattr(loop, "build_student", lambda *_: pytest.fail("built"))
    targets = roi_supervised(squares.labels, None, ObjectiveSettings(), _rng())
    with pytest.raises(InputError, match=r"add 'cohort\.rois'"):
        train(
            small, brief, targets, squares.images, squares.train, squares.val, squares.labels[squares.val], "ab", seed=0
        )


def test_random_labels_are_learnt_by_heart_and_the_last_epoch_is_kept(squares, small, brief):
    labels = squares.labels.copy()
    labels[squares.val] = np.nan
    targets = random_labels(labels, None, ObjectiveSettings(), _rng())
    training = brief.model_copy(update={"epochs": 6, "learning_rate": 5e-3, "patience": 1})
    trained = _train(squares, small, training, targets)
    assert trained.best_epoch == len(trained.history) == 6
    assert trained.history["val_auroc"].notna().all()
    assert trained.history["train_loss"].iloc[-1] < trained.history["train_loss"].iloc[0]


def test_multi_class_students_take_the_terms_too(squares, small, brief):
    first = squares.labels[:, 0]
    labels = np.stack([first, 1 - first], 1)
    targets = hard(labels, None, ObjectiveSettings.from_data({"attention": {"roi": 1.0}}, "s"), _rng())

    def left_square(positions, grid):
        rois = _rois(squares, positions, grid)
        left = rois.findings == 0
        return RoiCoverage(rois.cases[left], rois.findings[left], rois.share[left])

    student = small.model_copy(update={"head": "patch"})
    trained = train(
        student,
        brief,
        targets,
        squares.images,
        squares.train,
        squares.val,
        labels[squares.val],
        ("left", "none"),
        seed=0,
        task="multi-class",
        rois=left_square,
    )
    assert trained.history["train_roi"].iloc[-1] < trained.history["train_roi"].iloc[0]
