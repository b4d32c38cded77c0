import numpy as np
import pytest
import torch

from mmpkd.distil.arms import Targets, hard, mmpkd
from mmpkd.distil.checkpoint import STATE
from mmpkd.distil.loop import train
from mmpkd.distil.optimizer import build_optimizer
from mmpkd.distil.settings import AttentionTerms, AugmentSettings, ObjectiveSettings
from mmpkd.distil.stacked import Member, train_stacked
from mmpkd.distil.stacked_modules import can_stack, stack_modules
from mmpkd.distil.stacked_weights import StackedWeights
from mmpkd.distil.student import build_student
from mmpkd.errors import InputError
from mmpkd.folder import CellFolder
from mmpkd.progress import Progress


def _targets(squares, arm=mmpkd, **objective):
    settings = ObjectiveSettings.from_data(objective, "study.yaml")
    return arm(squares.labels, squares.soft_logits, settings, np.random.default_rng(0))


def _alone(squares, student, member, **more):
    return train(
        student,
        member.training,
        member.targets,
        squares.images,
        train_positions=member.train_positions,
        val_positions=squares.val,
        val_labels=squares.labels[squares.val],
        findings=squares.findings,
        seed=member.seed,
        folder=member.folder,
        **more,
    )


def _together(squares, student, members, **more):
    labels = squares.labels[squares.val]
    return train_stacked(student, members, squares.images, squares.val, labels, squares.findings, **more)


def _assert_close(together, alone, tolerance=2e-4):
    for name, value in alone.student.cpu().state_dict().items():
        assert torch.allclose(together.student.state_dict()[name], value, atol=tolerance), name
    assert list(together.history) == list(alone.history)
    same = together.history.drop(columns="val_auroc") - alone.history.drop(columns="val_auroc")
    assert same.abs().max(axis=None) < 1e-4
    auroc = together.history["val_auroc"] - alone.history["val_auroc"]
    assert auroc.abs().max() < 2e-3  # one pair of cases that all but tie may change places
    assert together.best_epoch == alone.best_epoch
    assert not together.student.training


STUDENTS = {
    "class-token": {},
    "mean": {"head": "mean"},
    "patch": {"head": "patch"},
    "registers": {"backbone": "vit_small_patch14_reg4_dinov2", "width": 16, "depth": 2, "heads": 2},
}


@pytest.mark.parametrize("name", ["class-token", "mean", "patch", "registers"])
def test_each_member_ends_where_it_would_have_ended_alone(squares, small, brief, name):
    student = small.model_copy(update=STUDENTS[name])
    training = brief.model_copy(update={"augment": AugmentSettings()})
    faster = training.model_copy(update={"learning_rate": 5e-3, "clip_norm": None})
    hot = {"lambda": 0.9, "temperature": 2.0, "preset": "hinton"}
    members = [
        Member(training, _targets(squares), squares.train, seed=0),
        Member(training, _targets(squares, hard), squares.train, seed=0),
        Member(faster, _targets(squares, **hot), squares.train, seed=1),
    ]
    for together, member in zip(_together(squares, student, members), members, strict=True):
        _assert_close(together, _alone(squares, student, member))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="CUDA graphs need a GPU")
@pytest.mark.parametrize("clip_norm", [1.0, None])
def test_recorded_members_end_where_they_would_have_ended_alone(squares, small, brief, clip_norm):
    training = brief.model_copy(update={"clip_norm": clip_norm, "precision": "fp32", "augment": AugmentSettings()})
    shorter = training.model_copy(update={"epochs": 3, "learning_rate": 5e-3})  # leaves; the others are recorded anew
    members = [
        Member(training, _targets(squares), squares.train, seed=0),
        Member(training, _targets(squares, hard), squares.train, seed=1),
        Member(shorter, _targets(squares), squares.train, seed=2),
    ]
    for together, member in zip(_together(squares, small, members, recorded=True), members, strict=True):
        _assert_close(together, _alone(squares, small, member))


def test_members_that_stop_at_different_times_do_not_disturb_each_other(squares, small, brief):
    longer = brief.model_copy(update={"epochs": 7})
    patient = brief.model_copy(update={"epochs": 7, "patience": 1})
    members = [Member(each, _targets(squares), squares.train, seed=2) for each in (brief, longer, patient)]
    for together, member in zip(_together(squares, small, members), members, strict=True):
        alone = _alone(squares, small, member)
        assert len(together.history) == len(alone.history)
        _assert_close(together, alone)


def test_members_may_train_on_other_cases_as_long_as_their_steps_are_the_same(squares, small, brief):
    schedule = {"lambda": {"kind": "linear", "start": 0.0, "end": 1.0}}
    members = [
        Member(brief, _targets(squares, **schedule), squares.train[:64], seed=0),
        Member(brief, _targets(squares), squares.train[3:75], seed=0),
    ]
    for together, member in zip(_together(squares, small, members), members, strict=True):
        _assert_close(together, _alone(squares, small, member))
    with pytest.raises(ValueError, match="steps an epoch"):
        _together(squares, small, [members[0], Member(brief, _targets(squares), squares.train, seed=0)])


def test_classes_are_trained_by_a_softmax(squares, small, brief):
    labels = np.stack([squares.labels[:, 0], 1 - squares.labels[:, 0]], axis=1)
    soft = np.log(np.clip(labels, 0.1, 0.9))
    targets = Targets(labels, soft, ObjectiveSettings())
    members = [Member(brief, targets, squares.train, seed) for seed in (0, 1)]
    for together, member in zip(_together(squares, small, members, task="multi-class"), members, strict=True):
        _assert_close(together, _alone(squares, small, member, task="multi-class"))


def test_a_member_that_fails_costs_only_itself(squares, small, brief):
    wild = brief.model_copy(update={"learning_rate": 1e30, "clip_norm": None})
    members = [Member(each, _targets(squares), squares.train, seed=0) for each in (wild, brief)]
    failed, fine = _together(squares, small, members)
    assert failed is None
    _assert_close(fine, _alone(squares, small, members[1]))


class KilledError(Exception):
    pass


class _KillingProgress(Progress):
    """Raises after so many epochs, as a killed process would leave things."""

    def __init__(self, epochs):
        super().__init__(quiet=True)
        self.left = epochs

    def bar(self, title, total):
        from contextlib import nullcontext

        return nullcontext(self.advance)

    def advance(self, n):
        self.left -= n
        if self.left < 0:
            raise KilledError


@pytest.mark.parametrize("goes_on", ["stacked", "alone"])
def test_a_killed_stack_goes_on_stacked_or_alone(squares, small, brief, tmp_path, goes_on):
    brief = brief.model_copy(update={"checkpoint_every_s": 0.0})
    members = [
        Member(brief, _targets(squares), squares.train, seed, CellFolder(tmp_path / f"cell-{seed}")) for seed in (0, 1)
    ]
    with pytest.raises(KilledError):
        _together(squares, small, members, progress=_KillingProgress(5))
    assert all((member.folder.checkpoint / STATE).is_file() for member in members)
    unbroken = [_alone(squares, small, Member(brief, _targets(squares), squares.train, seed)) for seed in (0, 1)]
    resumed = (
        _together(squares, small, members)
        if goes_on == "stacked"
        else [_alone(squares, small, member) for member in members]
    )
    for again, whole in zip(resumed, unbroken, strict=True):
        _assert_close(again, whole)


def test_a_checkpoint_of_another_training_is_refused(squares, small, brief, tmp_path):
    folder = CellFolder(tmp_path)
    _together(squares, small, [Member(brief, _targets(squares), squares.train, 0, folder)])
    with pytest.raises(InputError, match="another folder"):
        _together(squares, small, [Member(brief, _targets(squares, hard), squares.train, 0, folder)])


def test_terms_on_maps_are_refused(squares, small, brief):
    targets = _targets(squares, attention=AttentionTerms(entropy=0.1).to_data())
    with pytest.raises(ValueError, match="terms on its map"):
        _together(squares, small, [Member(brief, targets, squares.train, 0)])


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, True),
        ({"head": "patch"}, True),
        ({"backbone": "vit_small_patch14_reg4_dinov2"}, True),
        ({"backbone": "deit3_small_patch16_224"}, True),
        ({"drop_path": 0.1}, False),
        ({"backbone": "eva02_tiny_patch14_224", "head": "mean"}, False),
        ({"backbone": "beit_base_patch16_224", "head": "mean"}, False),
    ],
)
def test_what_can_be_stacked(small, changed, expected):
    settings = small.model_copy(update={"depth": 2, **changed})
    assert can_stack(build_student(settings, ("a", "b"))) is expected


@pytest.mark.parametrize(
    "backbone", ["vit_tiny_patch16_224", "vit_small_patch14_reg4_dinov2", "deit3_small_patch16_224"]
)
def test_stacked_modules_answer_as_each_student_alone(small, backbone):
    settings = small.model_copy(update={"backbone": backbone, "depth": 2, "head": "patch"})
    torch.manual_seed(0)
    students = [build_student(settings, ("a", "b")).eval() for _ in range(3)]
    images = torch.randn(3, 5, 1, 16, 16)
    stacked = stack_modules(students[0]).eval()
    named = {
        name: torch.stack([student.state_dict()[name] for student in students]) for name in students[0].state_dict()
    }
    answered = torch.func.functional_call(stacked, named, (images.flatten(0, 1),)).unflatten(0, (3, 5))
    alone = torch.stack([student(own) for student, own in zip(students, images, strict=True)])
    torch.testing.assert_close(answered, alone, atol=1e-5, rtol=1e-5)


def test_adamw_equals_torchs(small, brief):
    torch.manual_seed(0)
    students = [build_student(small, ("a",)) for _ in range(2)]
    stack = StackedWeights(students, brief, torch.device("cpu"))
    rates = (1e-2, 3e-3)

    optimizers = [
        build_optimizer(s, brief.model_copy(update={"learning_rate": r})) for s, r in zip(students, rates, strict=True)
    ]
    for _ in range(3):
        for student in students:
            for parameter in student.parameters():
                parameter.grad = torch.randn_like(parameter)
            torch.nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        stack.flat.grad = torch.stack(
            [torch.cat([p.grad.flatten() for group in o.param_groups for p in group["params"]]) for o in optimizers]
        )
        stack.clip(torch.ones(2))  # already clipped: changes nothing but the last bits
        stack.step(stack.plan(np.array([rates]))[0])
        for optimizer in optimizers:
            optimizer.step()
    for row, student in enumerate(students):
        for name, value in student.state_dict().items():
            torch.testing.assert_close(stack.weights(row)[name], value, atol=1e-6, rtol=1e-5)
        for index, moments in optimizers[row].state_dict()["state"].items():
            for name, value in moments.items():
                torch.testing.assert_close(stack.moments(row)[index][name], value, atol=1e-6, rtol=1e-5)


def test_clipping_is_each_members_own(small, brief):
    stack = StackedWeights([build_student(small, ("a",)) for _ in range(3)], brief, torch.device("cpu"))
    stack.flat.grad = torch.ones_like(stack.flat) * torch.tensor([[1.0], [10.0], [1.0]])
    size = stack.flat.shape[1]
    stack.clip(torch.tensor([1.0, 1.0, torch.inf]))
    norms = stack.flat.grad.norm(dim=1)
    torch.testing.assert_close(norms, torch.tensor([1.0, 1.0, size**0.5]), atol=1e-4, rtol=1e-4)
