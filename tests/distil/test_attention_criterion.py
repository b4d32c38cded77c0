import math

import numpy as np
import pytest
import torch

from mmpkd.distil.attention_criterion import AttentionCriterion, check_attention
from mmpkd.distil.attention_terms import entropy, total_variation
from mmpkd.distil.own_map import MappedLogits
from mmpkd.distil.roi_coverage import RoiCoverage
from mmpkd.distil.settings import AttentionTerms, AugmentSettings, TrainingSettings
from mmpkd.errors import InputError

CPU = torch.device("cpu")
STILL = [0.0, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0]
LABELS = np.array([[1.0, 0.0], [1.0, np.nan], [0.0, 0.0], [1.0, 1.0]])
# case 0 has an ROI of finding 0 (the first row of a 2 by 2 grid), case 3 of finding 1 (one patch)
ROIS = RoiCoverage(np.array([0, 3]), np.array([0, 1]), np.array([[[1, 1], [0, 0]], [[0, 0], [0, 1]]], dtype=np.float16))
ROWS = torch.arange(4)


def _output(cases=4, findings=2, patch=True, side=2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(cases, findings, side, side, generator=generator)
    maps = logits.flatten(2).softmax(2).unflatten(2, (side, side))
    pooled = torch.zeros(cases, findings)
    features = torch.zeros(len(logits), 1)
    return MappedLogits(pooled, maps, logits, features) if patch else MappedLogits(pooled, maps[:, :1], None, features)


def _criterion(rois=ROIS, labels=LABELS, processes=1, **terms):
    return AttentionCriterion(AttentionTerms(**terms), labels, rois, CPU, processes)


def _moves(cases, *views):
    return torch.stack([torch.tensor(view).expand(cases, 7) for view in views])


def test_terms_come_in_one_order_with_their_weights():
    criterion = _criterion(roi=0.5, entropy=2.0, total_variation=3.0)
    assert criterion.names == ("entropy", "total_variation", "roi")
    assert criterion.weights.tolist() == [2.0, 3.0, 0.5]
    output = _output()
    values = criterion(output, None, ROWS, ROWS)
    torch.testing.assert_close(values[0], entropy(output.maps).mean())
    torch.testing.assert_close(values[1], total_variation(output.maps).mean())


def test_no_term_no_weight_and_one_view():
    criterion = _criterion(rois=None)
    assert (criterion.names, criterion.weights.tolist(), criterion.views) == ((), [], 1)


def test_roi_term_of_the_patch_head_by_hand():
    values = _criterion(roi=1.0)(_output(), None, ROWS, ROWS)
    logits = _output().patch_logits.tolist()

    def mean(case, finding, target, where):
        chosen = [logits[case][finding][row][column] for row, column in where]
        return sum(math.log(1 + math.exp(-z if target else z)) for z in chosen) / len(chosen)

    everywhere = [(0, 0), (0, 1), (1, 0), (1, 1)]
    inside = [mean(0, 0, 1, everywhere[:2]), mean(3, 1, 1, everywhere[3:])]
    outside = [
        mean(0, 0, 0, everywhere[2:]),
        mean(3, 1, 0, everywhere[:3]),
        *(mean(case, finding, 0, everywhere) for case, finding in [(0, 1), (2, 0), (2, 1)]),
    ]
    # (1, 0) and (3, 0) are present without an ROI and (1, 1) is unlabelled: they say nothing
    assert values.item() == pytest.approx(0.5 * (sum(inside) / 2 + sum(outside) / 5), rel=1e-5)


def test_roi_term_of_other_heads_by_hand():
    output = _output(patch=False)
    masses = [output.maps[0, 0, 0].sum().item(), output.maps[3, 0, 1, 1].item()]
    expected = -(math.log(masses[0]) + math.log(masses[1])) / 2
    assert _criterion(roi=1.0)(output, None, ROWS, ROWS).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("patch", [True, False])
def test_the_shares_of_processes_average_to_the_whole_batch(patch):
    output = _output(patch=patch)
    terms = {"entropy": 1.0, "total_variation": 1.0, "roi": 1.0}
    whole = _criterion(**terms)(output, None, ROWS, ROWS)
    shares = []
    for own in (ROWS[:2], ROWS[2:]):
        part = MappedLogits(*(None if value is None else value[own] for value in output))
        shares.append(_criterion(processes=2, **terms)(part, None, own, ROWS))
    torch.testing.assert_close(torch.stack(shares).mean(0), whole)


def test_the_roi_moves_with_the_picture():
    # the picture moves one patch to the right: the ROI of case 3 leaves, half of case 0's stays
    output, moves = _output(patch=False), _moves(4, [0.5, *STILL[1:]])
    expected = -math.log(output.maps[0, 0, 0, 1].item()) / 2
    assert _criterion(roi=1.0)(output, moves, ROWS, ROWS).item() == pytest.approx(expected, rel=1e-4)


def test_an_roi_that_left_the_view_teaches_the_patch_head_that_nothing_is_there():
    logits = torch.full((1, 2, 2, 2), 20.0)
    output = MappedLogits(torch.zeros(1, 2), logits, logits, torch.zeros(1, 1))
    own = torch.tensor([3])
    value = _criterion(roi=1.0)(output, _moves(1, [1 / 2, *STILL[1:]]), own, own)
    assert value.item() == pytest.approx(0.5 * 20.0, rel=1e-5)  # ℓ(0, 20) = 20 in the mean, and no positive part


def test_a_batch_without_any_roi_gives_0_and_is_told_as_nothing():
    criterion, rows = _criterion(roi=1.0, entropy=1.0), torch.tensor([1])
    values = criterion(_output(1, patch=False), None, rows, rows)
    assert values[1].item() == 0.0
    told = criterion.told(values, rows)
    assert told.isnan().tolist() == [False, True]
    torch.testing.assert_close(criterion.told(values, ROWS), values)


class TestConsistency:
    def _value(self, first, second, *views):
        maps = torch.cat([first, second])
        criterion = _criterion(rois=None, consistency=1.0)
        assert criterion.views == 2
        rows = torch.arange(len(first))
        return criterion(
            MappedLogits(torch.zeros(2 * len(first), 1), maps, None, torch.zeros(2 * len(first), 1)),
            _moves(len(first), *views),
            rows,
            rows,
        )

    def test_a_map_that_follows_the_picture_by_whole_patches_is_consistent(self):
        first = _output(3, 2, side=4).maps
        right, flipped = torch.zeros_like(first), first.flip(3)
        right[..., 1:] = first[..., :-1]
        right[..., 0] = 7.0  # what enters is not compared
        assert self._value(first, right, STILL, [0.25, *STILL[1:]]).item() == pytest.approx(0.0, abs=1e-5)
        assert self._value(first, flipped, STILL, [*STILL[:6], -1.0]).item() == pytest.approx(0.0, abs=1e-5)
        assert self._value(right, flipped, [0.25, *STILL[1:]], [*STILL[:6], -1.0]).item() == pytest.approx(0, abs=1e-5)

    def test_a_map_that_stays_where_the_picture_moves_is_not(self):
        first = torch.zeros(1, 1, 4, 4)
        first[..., 1, 1] = 1.0
        assert self._value(first, first, STILL, STILL).item() == pytest.approx(0.0, abs=1e-6)
        assert self._value(first, first, STILL, [0.25, *STILL[1:]]).item() == pytest.approx(1.0, abs=1e-5)

    def test_by_hand(self):
        first, second = torch.tensor([[[[3.0, 4.0]]]]), torch.tensor([[[[4.0, 3.0]]]])
        assert self._value(first, second, STILL, STILL).item() == pytest.approx(0.04, abs=1e-5)

    def test_other_terms_are_of_the_first_view_alone(self):
        criterion = _criterion(rois=None, entropy=1.0, consistency=1.0)
        maps = _output(4, 2).maps
        values = criterion(
            MappedLogits(torch.zeros(4, 2), maps, None, torch.zeros(4, 1)), _moves(2, STILL, STILL), ROWS[:2], ROWS[:2]
        )
        torch.testing.assert_close(values[0], entropy(maps[:2]).mean())

    def test_the_terms_of_both_views_reach_the_gradient(self):
        maps = _output(4, 1, side=4).maps.requires_grad_()
        self._value(maps[:2], maps[2:], STILL, [0.1, *STILL[1:]]).sum().backward()
        assert (maps.grad.abs().sum((1, 2, 3)) > 0).all()


class TestRefusals:
    def _told(self, has_rois=True, training=None, **terms):
        with pytest.raises(InputError) as error:
            check_attention(AttentionTerms(**terms), training or TrainingSettings(), "patch", has_rois, has_zones=False)
        (problem,) = error.value.problems
        return problem

    def test_what_can_be_computed_passes(self):
        check_attention(
            AttentionTerms(), TrainingSettings(compile=True, augment=AugmentSettings.off()), "mean", False, False
        )
        check_attention(
            AttentionTerms(entropy=1, total_variation=1, consistency=1, roi=1), TrainingSettings(), "mean", True, False
        )

    def test_compile(self):
        told = self._told(training=TrainingSettings(compile=True), entropy=0.1)
        assert "set 'compile' to false" in told

    def test_consistency_without_augmentation(self):
        told = self._told(training=TrainingSettings(augment=AugmentSettings.off()), consistency=1.0)
        assert "training.augment changes nothing" in told

    def test_rois_that_are_not_there(self):
        assert "add 'cohort.rois'" in self._told(has_rois=False, roi=1.0)

    @pytest.mark.parametrize(
        ("data", "told"),
        [
            ({"entropy": -0.1}, "greater than or equal to 0"),
            ({"roi": float("inf")}, "finite"),
            ({"consistancy": 1.0}, "did you mean 'consistency'?"),
        ],
    )
    def test_bad_weights_are_one_sentence(self, data, told):
        with pytest.raises(InputError, match=r"study\.yaml") as error:
            AttentionTerms.from_data(data, "study.yaml")
        (problem,) = error.value.problems
        assert told in problem
