"""Located labels move a student's evidence to where they say, and to the right side."""

import numpy as np
import pytest
import torch

from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.arms import Targets
from mmpkd.distil.batches import BatchFeeder
from mmpkd.distil.heads import PatchHead
from mmpkd.distil.loop import train
from mmpkd.distil.settings import AttentionTerms, AugmentSettings, ObjectiveSettings
from mmpkd.distil.zone_labels import ZoneLabels
from mmpkd.errors import InputError

SIDES = np.zeros((1, 2, 4, 4), np.float16)  # of a grid of 4 x 4: the image's left half, its right half
SIDES[0, 0, :, :2] = SIDES[0, 1, :, 2:] = 1.0


@pytest.fixture(scope="module")
def sided():
    """Noisy images of 16 px; the finding is a square on one side."""
    rng = np.random.default_rng(0)
    present, side = rng.integers(0, 2, 240), rng.integers(0, 2, 240)
    pixels = rng.integers(0, 80, (240, 1, 16, 16)).astype(np.uint8)
    for case in np.flatnonzero(present):
        row = rng.integers(1, 10)
        column = (1 if side[case] == 0 else 9) + rng.integers(0, 2)
        pixels[case, 0, row : row + 4, column : column + 4] += 90
    labels = present[:, None].astype(float)
    logits = np.full((240, 1, 2), -4.0)
    logits[np.arange(240), 0, side] = np.where(present == 1, 4.0, -4.0)
    return ImageSet(pixels, np.arange(240), np.full((240, 2), 16)), labels, side, logits


def _train(sided, small, brief, logits, weight=1.0, epochs=25, augment=None, head="patch"):
    images, labels, _, _ = sided
    objective = ObjectiveSettings(attention=AttentionTerms(zones=weight)).model_copy(update={"lambda_": 0.0})
    targets = Targets(labels, np.full(labels.shape, np.nan), objective, zones=ZoneLabels(logits, SIDES))
    changed = {"epochs": epochs, "learning_rate": 5e-3, "augment": augment or AugmentSettings.off()}
    return train(
        small.model_copy(update={"head": head}),
        brief.model_copy(update=changed),
        targets,
        images,
        np.arange(160),
        np.arange(160, 200),
        labels[160:200],
        ("square",),
        seed=0,
    )


def _share_on_side(sided, trained):
    """Return the mean share of the evidence on the true side, over positive test cases."""
    images, labels, side, _ = sided
    student, cases = trained.student, np.arange(200, 240)
    assert isinstance(student.head, PatchHead)
    feed = BatchFeeder(images, torch.device("cpu"), len(cases))
    with torch.no_grad():
        logits = student.head.patch_logits(student.tokens(student.prepare(feed(cases))))[..., 0]
    evidence = logits.softmax(1).unflatten(1, (4, 4)).numpy()
    halves = np.stack([evidence[:, :, :2].sum((1, 2)), evidence[:, :, 2:].sum((1, 2))], axis=1)
    positive = labels[cases, 0] == 1
    return float(halves[np.arange(len(cases)), side[cases]][positive].mean())


@pytest.mark.parametrize("augment", [None, AugmentSettings(shift=0.02, flip=True)], ids=["plain", "flipped"])
def test_evidence_lies_on_the_side_that_the_labels_name(sided, small, brief, augment):
    trained = _train(sided, small, brief, sided[3], augment=augment)
    assert trained.history["train_zones"].iloc[-1] < 0.5 * trained.history["train_zones"].iloc[0]
    assert _share_on_side(sided, trained) > 0.8


def test_exchanged_sides_move_the_evidence_away(sided, small, brief):
    assert _share_on_side(sided, _train(sided, small, brief, sided[3][:, :, ::-1].copy())) < 0.5


def test_unsaid_zones_teach_nothing(sided, small, brief):
    silent = _train(sided, small, brief, np.full((240, 1, 2), np.nan), epochs=2)
    without = _train(sided, small, brief, np.full((240, 1, 2), np.nan), weight=1e-9, epochs=2)
    assert silent.history["train_zones"].isna().all()
    for name, value in silent.student.state_dict().items():
        torch.testing.assert_close(value, without.student.state_dict()[name])


def test_only_a_patch_head_can_be_taught_by_zones(sided, small, brief):
    with pytest.raises(InputError, match=r"student\.head to .patch."):
        _train(sided, small, brief, sided[3], head="mean")


def test_zones_must_fit_the_labels():
    with pytest.raises(ValueError, match="do not fit"):
        ZoneLabels(np.zeros((5, 1, 3)), SIDES)
    assert len(ZoneLabels(np.zeros((5, 1, 2)), SIDES).take(np.array([3, 1]))) == 2
