import numpy as np
import pytest
import torch

from mmpkd.distil import loop
from mmpkd.distil.arms import Targets, hard, mmpkd
from mmpkd.distil.checkpoint import STATE, discard_state
from mmpkd.distil.loop import train
from mmpkd.distil.settings import AugmentSettings, ObjectiveSettings
from mmpkd.errors import InputError
from mmpkd.folder import CellFolder
from mmpkd.progress import Progress

COLUMNS = ["epoch", "train_loss", "train_hard", "train_soft", "learning_rate", "val_auroc"]


def _targets(squares, arm=mmpkd, **objective):
    settings = ObjectiveSettings.from_data(objective, "study.yaml")
    return arm(squares.labels, squares.soft_logits, settings, np.random.default_rng(0))


def _train(squares, small, training, targets=None, seed=0, **more):
    arguments = {
        "targets": targets or _targets(squares),
        "images": squares.images,
        "train_positions": squares.train,
        "val_positions": squares.val,
        "val_labels": squares.labels[squares.val],
        "findings": squares.findings,
        "seed": seed,
    }
    return train(small, training, **{**arguments, **more})


def _weights(trained):
    return {name: value.clone() for name, value in trained.student.state_dict().items()}


def _assert_same(first, second):
    for name, value in _weights(first).items():
        assert torch.equal(value, second.student.state_dict()[name]), name
    assert first.history.equals(second.history)
    assert first.best_epoch == second.best_epoch


@pytest.mark.parametrize("head", ["class-token", "mean", "patch"])
def test_a_small_student_learns_the_squares(squares, small, brief, head):
    student = small.model_copy(update={"head": head})
    training = brief.model_copy(update={"epochs": 25, "learning_rate": 5e-3})
    trained = _train(squares, student, training)
    assert trained.history["val_auroc"].max() > 0.95
    assert not trained.student.training


def test_history_has_one_row_an_epoch_with_named_parts(squares, small, brief):
    history = _train(squares, small, brief).history
    assert list(history) == COLUMNS
    assert history["epoch"].tolist() == [1, 2, 3, 4]
    assert history.notna().all(axis=None)
    assert history["learning_rate"].iloc[0] == pytest.approx(3e-3)  # the last step of one epoch of warm-up


def test_the_hard_arm_never_meets_the_soft_labels(squares, small, brief):
    other = Targets(squares.labels, -squares.soft_logits, ObjectiveSettings())
    first = _train(squares, small, brief, _targets(squares, hard))
    second = _train(
        squares, small, brief, hard(other.hard, other.soft_logits, other.objective, np.random.default_rng(0))
    )
    _assert_same(first, second)
    assert first.history["train_soft"].isna().all()


def test_labels_of_validation_and_test_cases_never_reach_training(squares, small, brief):
    changed = squares.labels.copy()
    changed[squares.val] = 1 - changed[squares.val]
    soft = squares.soft_logits.copy()
    soft[squares.val] *= -1
    first = _train(squares, small, brief)
    _assert_same(first, _train(squares, small, brief, Targets(changed, soft, ObjectiveSettings())))


def test_best_epoch_is_the_first_with_the_best_validation_auroc(squares, small, brief):
    trained = _train(squares, small, brief.model_copy(update={"epochs": 8, "learning_rate": 0.02}))
    values = trained.history["val_auroc"].to_numpy()
    assert trained.best_epoch == int(values.argmax()) + 1


def test_weights_are_those_of_the_best_epoch(squares, small, brief, monkeypatch):
    values = iter([0.5, 0.9, 0.4, 0.9])
    seen = []
    predict = loop._Run.predict
    monkeypatch.setattr(
        loop._Run,
        "predict",
        lambda run, positions: (
            seen.append({name: value.clone() for name, value in run.student.state_dict().items()}),
            predict(run, positions),
        )[1],
    )
    monkeypatch.setattr(loop, "macro_auroc", lambda _labels, _scores: next(values))
    trained = _train(squares, small, brief)
    assert trained.best_epoch == 2
    for name, value in seen[1].items():
        assert torch.equal(value, trained.student.state_dict()[name])


def test_patience_stops_early(squares, small, brief, monkeypatch):
    values = iter([0.5, 0.9, 0.8, 0.9, 0.95])
    monkeypatch.setattr(loop, "macro_auroc", lambda _labels, _scores: next(values))
    trained = _train(squares, small, brief.model_copy(update={"epochs": 10, "patience": 2}))
    assert len(trained.history) == 4
    assert trained.best_epoch == 2


def test_an_undefined_metric_keeps_the_last_epoch(squares, small, brief):
    trained = _train(squares, small, brief, val_labels=np.ones((len(squares.val), 2)))
    assert trained.history["val_auroc"].isna().all()
    assert trained.best_epoch == 4


def test_same_seed_same_bytes_whatever_ran_before(squares, small, brief):
    training = brief.model_copy(update={"augment": AugmentSettings()})
    first = _train(squares, small, training)
    torch.rand(17)
    np.random.default_rng().random()
    _assert_same(first, _train(squares, small, training))


def test_another_seed_is_another_replicate(squares, small, brief):
    first, second = (_train(squares, small, brief, seed=seed) for seed in (0, 1))
    assert not first.history.equals(second.history)


def test_the_caller_s_random_state_is_left_alone(squares, small, brief):
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    _train(squares, small, brief)
    assert torch.equal(torch.random.get_rng_state(), before)


class _Killed(Progress):
    """Raises in the middle of the run, as a kill would end it."""

    def __init__(self, after_epochs):
        super().__init__(quiet=True)
        self._left = after_epochs

    def bar(self, title, total):
        context = super().bar(title, total)
        killed = self

        class Bar:
            def __enter__(self):
                context.__enter__()

                def advance(count):
                    killed._left -= count
                    if killed._left < 0:
                        raise KeyboardInterrupt

                return advance

            def __exit__(self, *error):
                return context.__exit__(*error)

        return Bar()


@pytest.mark.parametrize("killed_after", [0, 1, 3])
def test_a_killed_training_goes_on_to_the_same_bytes(tmp_path, squares, small, brief, killed_after):
    student = small.model_copy(update={"drop_path": 0.2, "depth": 2})
    training = brief.model_copy(update={"checkpoint_every_s": 0.0, "augment": AugmentSettings()})
    schedule = _targets(squares, **{"lambda": {"kind": "linear", "start": 0.1, "end": 0.9}})
    whole = _train(squares, student, training, schedule)
    folder = CellFolder(tmp_path / "cell")
    with pytest.raises(KeyboardInterrupt):
        _train(squares, student, training, schedule, folder=folder, progress=_Killed(killed_after))
    assert (folder.checkpoint / STATE).is_file() == (killed_after > 0)
    _assert_same(whole, _train(squares, student, training, schedule, folder=folder))


def test_a_finished_training_is_not_trained_again(tmp_path, squares, small, brief, monkeypatch):
    folder = CellFolder(tmp_path / "cell")
    first = _train(squares, small, brief, folder=folder)
    monkeypatch.setattr(loop._Run, "train_epoch", lambda *_: pytest.fail("trained again"))
    _assert_same(first, _train(squares, small, brief, folder=folder))
    discard_state(folder.checkpoint)
    assert not folder.checkpoint.exists()


def test_a_checkpoint_of_another_training_is_told(tmp_path, squares, small, brief):
    folder = CellFolder(tmp_path / "cell")
    _train(squares, small, brief, folder=folder)
    with pytest.raises(InputError, match="of a training with other settings, targets or versions"):
        _train(squares, small, brief, _targets(squares, hard), folder=folder)


def test_a_damaged_checkpoint_is_told(tmp_path, squares, small, brief):
    folder = CellFolder(tmp_path / "cell")
    folder.checkpoint.mkdir(parents=True)
    (folder.checkpoint / STATE).write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match="checkpoint is damaged"):
        _train(squares, small, brief, folder=folder)


def test_a_non_finite_loss_names_the_batch_s_cases(squares, small, brief, monkeypatch):
    poisoned = 37
    original = loop.augment.draw

    def draw(settings, cases, generator):
        return original(AugmentSettings(), cases, generator)

    def apply(images, parameters):
        return images.log() if (images == 1.0).any() else images  # only the poisoned image has a white pixel

    pixels = squares.images.pixels.copy()
    pixels[poisoned, 0, 0, 0], pixels[poisoned, 0, 0, 1] = 255, 0
    images = type(squares.images)(pixels, squares.images.rows, squares.images.sizes_px)
    monkeypatch.setattr(loop.augment, "draw", draw)
    monkeypatch.setattr(loop.augment, "apply", apply)
    with pytest.raises(InputError, match=r"non-finite in epoch 1, step \d .*lower training.learning_rate") as error:
        _train(squares, small, brief.model_copy(update={"batch_size": 8}), images=images)
    named = str(error.value).partition("table positions ")[2].partition(")")[0]
    assert str(poisoned) in named.split(", ")


def test_no_label_at_all_is_told(squares, small, brief):
    nothing = np.full_like(squares.labels, np.nan)
    with pytest.raises(InputError, match="no training case has a label or a soft label"):
        _train(squares, small, brief, Targets(nothing, nothing, ObjectiveSettings()))


def test_soft_labels_alone_teach(squares, small, brief):
    targets = Targets(np.full_like(squares.labels, np.nan), squares.soft_logits, ObjectiveSettings())
    trained = _train(squares, small, brief.model_copy(update={"epochs": 25, "learning_rate": 5e-3}), targets)
    assert trained.history["train_hard"].isna().all()
    assert trained.history["val_auroc"].max() > 0.9


def test_targets_of_the_wrong_length_are_refused(squares, small, brief):
    with pytest.raises(ValueError, match="targets have 80 rows but there are 120 cases"):
        _train(squares, small, brief, _targets(squares).take(squares.train))


@pytest.mark.parametrize("preset", ["paper", "hinton"])
def test_multi_class_students_learn(squares, small, brief, preset):
    first = squares.labels[:, 0]
    labels = np.stack([first, 1 - first], 1)
    labels[3] = np.nan
    soft = np.log(np.where(np.nan_to_num(labels) == 1, 0.9, 0.1))
    targets = Targets(labels, soft, ObjectiveSettings(preset=preset, temperature=2.0))
    training = brief.model_copy(update={"epochs": 15, "learning_rate": 5e-3})
    trained = _train(squares, small, training, targets, val_labels=labels[squares.val], task="multi-class")
    assert trained.student.task == "multi-class"
    assert trained.history["val_auroc"].max() > 0.9


def test_multi_class_refuses_lambda_by_finding(squares, small, brief):
    targets = _targets(squares, **{"lambda": {"left": 0.1, "below": 0.2}})
    with pytest.raises(InputError, match="multi-class loss is one number a case"):
        _train(squares, small, brief, targets, task="multi-class")


def test_a_tempered_student_learns_in_two_terms(squares, small, brief):
    trained = _train(
        squares,
        small,
        brief.model_copy(update={"epochs": 25, "learning_rate": 5e-3}),
        _targets(squares, preset="hinton", temperature=2.0),
    )
    assert trained.history["val_auroc"].max() > 0.9


def test_bfloat16_follows_single_precision(squares, small, brief):
    losses = [
        _train(squares, small, brief.model_copy(update={"precision": name})).history["train_loss"].to_numpy()
        for name in ("fp32", "bf16")
    ]
    np.testing.assert_allclose(losses[0], losses[1], atol=0.01)


def test_among_epochs_that_reached_the_highest_auroc_the_last_is_kept(squares, small, brief, monkeypatch):
    """A perfect order of few validation cases comes long before calibrated probabilities."""
    values = iter([0.5, 1.0, 1.0, 0.9])
    monkeypatch.setattr(loop, "macro_auroc", lambda _labels, _scores: next(values))
    assert _train(squares, small, brief).best_epoch == 3
