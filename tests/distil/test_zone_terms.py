import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mmpkd.distil.pooling import Pooling
from mmpkd.distil.zone_terms import zone_cross_entropy

NAN = math.nan


@given(temperature=st.floats(0.2, 5.0), seed=st.integers(0, 100))
def test_the_zone_that_covers_everything_is_the_image(temperature, seed):
    torch.manual_seed(seed)
    logits = torch.randn(2, 3, 9, dtype=torch.float64)
    whole = torch.ones(2, 1, 9, dtype=torch.float64)
    pooled = Pooling(temperature=temperature).zones(logits, whole)[..., 0]
    torch.testing.assert_close(pooled, Pooling(temperature=temperature).image(logits.mT), atol=1e-9, rtol=0)


def test_a_zone_pools_its_own_patches_only():
    logits = torch.tensor([[[1.0, 2.0, 900.0, -5.0]]], dtype=torch.float64)
    coverage = torch.tensor([[[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.5, 1.0, 0.0, 0.0]]], dtype=torch.float64)
    expected = [math.log((math.e + math.e**2) / 2), -5.0, math.log((0.5 * math.e + math.e**2) / 1.5)]
    torch.testing.assert_close(
        Pooling(temperature=1.0).zones(logits, coverage)[0, 0], torch.tensor(expected, dtype=torch.float64)
    )


def test_a_small_temperature_is_the_zones_maximum():
    logits = torch.tensor([[[1.0, 2.0, 900.0, -5.0]]])
    pooled = Pooling(temperature=0.01).zones(logits, torch.tensor([[[1.0, 1.0, 0.0, 1.0]]]))
    assert pooled.item() == pytest.approx(2.0, abs=0.02)


def test_an_empty_zone_is_the_image_and_has_finite_gradients():
    logits = torch.randn(1, 2, 4, requires_grad=True)
    pooled = Pooling(temperature=0.5).zones(logits, torch.zeros(1, 1, 4))
    torch.testing.assert_close(pooled[..., 0], Pooling(temperature=0.5).image(logits.mT))
    pooled.sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_cross_entropy_by_hand_with_unsaid_zones_left_out():
    logits = torch.tensor([[[0.0, 1.0, 9.0]]])
    present, absent = zone_cross_entropy(logits, torch.tensor([[[1.0, 0.25, NAN]]]))
    assert present.item() == pytest.approx(math.log(2) + 0.25 * math.log1p(math.exp(-1)))
    assert absent.item() == pytest.approx(0.75 * math.log1p(math.e))


def test_what_is_unsaid_gives_no_gradient():
    logits = torch.randn(2, 1, 3, requires_grad=True)
    target = torch.tensor([[[1.0, NAN, 0.0]], [[NAN, NAN, NAN]]])
    present, absent = zone_cross_entropy(logits, target)
    (present + absent).backward()
    assert logits.grad is not None
    np.testing.assert_array_equal((logits.grad != 0).numpy(), [[[True, False, True]], [[False, False, False]]])
