from math import log

import pytest
import torch

from mmpkd.distil.heads import ClassTokenHead, MeanHead, PatchHead, build_head
from mmpkd.distil.pooling import Pooling
from mmpkd.distil.settings import StudentSettings
from mmpkd.errors import InputError


def _identity(head):
    torch.nn.init.eye_(head.linear.weight)
    return head


def test_pooling_of_two_patches_by_hand():
    # log((e^0 + e^ln3) / 2) = ln 2; with τ = 1/2: (1/2) ln((1 + 9) / 2) = 0.804719
    logits = torch.tensor([[[0.0], [log(3)]]])
    assert Pooling(temperature=1.0).image(logits).item() == pytest.approx(log(2), abs=1e-6)
    assert Pooling(temperature=0.5).image(logits).item() == pytest.approx(0.804719, abs=1e-6)


def test_pooling_tends_to_the_maximum_and_to_the_mean():
    logits = torch.tensor([[[-1.0], [0.5], [2.0]]])
    assert Pooling(temperature=1e-3).image(logits).item() == pytest.approx(2.0, abs=2e-3)
    assert Pooling(temperature=1e3).image(logits).item() == pytest.approx(0.5, abs=2e-3)


@pytest.mark.parametrize("patches", [1, 7, 196])
def test_equal_patch_logits_pool_to_themselves(patches):
    assert Pooling(temperature=0.8).image(torch.full((1, patches, 1), -1.7)).item() == pytest.approx(-1.7, abs=1e-5)


def test_each_head_reads_its_own_tokens():
    tokens = torch.tensor([[[1.0, 2.0], [3.0, 5.0], [7.0, 9.0]]])  # one class token, two patches
    assert _identity(ClassTokenHead(2, 2))(tokens).tolist() == [[1.0, 2.0]]
    assert _identity(MeanHead(2, 2, 1))(tokens).tolist() == [[5.0, 7.0]]
    assert _identity(PatchHead(2, 2, 1, Pooling())).patch_logits(tokens).tolist() == [[[3.0, 5.0], [7.0, 9.0]]]


def test_patch_head_pools_its_patch_logits():
    head, tokens = (
        PatchHead(4, 3, 2, Pooling(temperature=0.7)),
        torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)),
    )
    torch.testing.assert_close(head(tokens), Pooling(temperature=0.7).image(head.patch_logits(tokens)))


def test_class_token_head_on_a_backbone_without_one_is_told():
    with pytest.raises(InputError, match="has no class token; use the head 'mean' or 'patch'"):
        build_head(StudentSettings(), 8, 2, 0, class_token=False)
