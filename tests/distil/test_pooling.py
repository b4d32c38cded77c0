"""Rules of pooling: by hand, the image as the zone of all patches, weights as gradients, and where they start."""

from math import exp, log

import pytest
import torch

from mmpkd.distil.heads import PatchHead
from mmpkd.distil.pooling import Pooling
from mmpkd.distil.student import build_student

RULES = ["log-sum-exp", "noisy-or", "top-k", "attention"]
LOGITS = torch.randn(3, 2, 10, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _sigmoid(value: float) -> float:
    return 1 / (1 + exp(-value))


def test_noisy_or_by_hand():
    logits = torch.tensor([[[-1.0, 0.5, 2.0]]], dtype=torch.float64)
    coverage = torch.tensor([[[1.0, 0.5, 0.0]]], dtype=torch.float64)
    missed = (1 - _sigmoid(-1.0)) * (1 - _sigmoid(0.5)) ** 0.5
    assert Pooling("noisy-or").zones(logits, coverage).item() == pytest.approx(log((1 - missed) / missed), abs=1e-9)


def test_noisy_or_of_many_sure_patches_is_finite_and_has_a_gradient():
    logits = torch.full((1, 784, 1), 5.0, requires_grad=True)
    image = Pooling("noisy-or").image(logits)
    image.sum().backward()
    assert image.item() == pytest.approx(784 * log(1 + exp(5.0)), rel=1e-4)
    assert torch.isfinite(logits.grad).all()


def test_top_k_by_hand():
    logits = torch.tensor([[[-1.0, 0.5, 2.0, 1.0]]], dtype=torch.float64)
    whole, half = torch.ones(1, 1, 4, dtype=torch.float64), torch.tensor([[[1.0, 1.0, 0.5, 1.0]]], dtype=torch.float64)
    assert Pooling("top-k", top=0.5).zones(logits, whole).item() == pytest.approx((2.0 + 1.0) / 2)
    assert Pooling("top-k", top=0.01).zones(logits, whole).item() == pytest.approx(2.0)
    # room for 1.75 patches: half of the 2.0, all of the 1.0, a quarter of the 0.5
    expected = (0.5 * 2.0 + 1.0 + 0.25 * 0.5) / 1.75
    assert Pooling("top-k", top=0.5).zones(logits, half).item() == pytest.approx(expected)


@pytest.mark.parametrize("rule", RULES)
def test_the_image_is_the_zone_of_all_patches_and_an_empty_zone_is_the_image(rule):
    pooling = Pooling(rule, 0.7, 0.3)
    zones = torch.stack([torch.ones(3, 10), torch.zeros(3, 10)], dim=1).double()
    pooled, image = pooling.zones(LOGITS, zones), pooling.image(LOGITS.mT)
    torch.testing.assert_close(pooled[..., 0], image, atol=1e-9, rtol=0)
    torch.testing.assert_close(pooled[..., 1], image, atol=1e-9, rtol=0)


@pytest.mark.parametrize("rule", RULES)
def test_patches_outside_a_zone_have_no_part_in_it(rule):
    pooling, coverage = Pooling(rule, 0.7, 0.3), (torch.arange(10) < 4).double().expand(3, 1, 10)
    changed = LOGITS.clone()
    changed[..., 4:] += 3.0
    torch.testing.assert_close(pooling.zones(changed, coverage), pooling.zones(LOGITS, coverage))


@pytest.mark.parametrize("rule", ["log-sum-exp", "noisy-or", "top-k"])
def test_the_map_is_the_gradient_made_to_sum_to_one(rule):
    pooling, logits = Pooling(rule, 0.7, 0.3), LOGITS.mT.clone().requires_grad_()
    pooling.image(logits).sum().backward()
    gradient = logits.grad / logits.grad.sum(1, keepdim=True)
    torch.testing.assert_close(pooling.map(logits.detach()), gradient, atol=1e-9, rtol=0)


@pytest.mark.parametrize("rule", RULES)
def test_a_head_starts_undecided_and_says_of_the_image_what_its_patches_say(rule):
    torch.manual_seed(0)
    head = PatchHead(8, 3, 1, Pooling(rule), patches=49)
    nothing = torch.zeros(2, 50, 8)
    torch.testing.assert_close(head(nothing), torch.zeros(2, 3), atol=1e-3, rtol=0)
    tokens = torch.randn(2, 50, 8)
    torch.testing.assert_close(head(tokens), head.pooling.image(head.patch_logits(tokens)), atol=1e-6, rtol=0)


def test_attention_chooses_among_patches():
    head = PatchHead(2, 1, 0, Pooling("attention"), patches=3)
    with torch.no_grad():
        head.linear.weight.copy_(torch.tensor([[1.0, 0.0]]))
        head.attention.weight.copy_(torch.tensor([[0.0, 50.0]]))
    tokens = torch.tensor([[[1.0, 0.0], [5.0, 1.0], [2.0, 0.0]]])
    assert head(tokens).item() == pytest.approx(5.0, abs=1e-3)


@pytest.mark.parametrize("rule", RULES)
def test_students_take_a_rule_by_name(small, rule):
    student = build_student(small.model_copy(update={"head": "patch", "patch_pooling": rule}), ["a", "b"])
    assert student(torch.zeros(2, 1, 16, 16)).shape == (2, 2)
    assert student.head.pooling.rule == rule
