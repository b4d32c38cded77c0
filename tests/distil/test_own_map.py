import numpy as np
import pytest
import torch

from mmpkd.attribute.attention import LastBlockAttention
from mmpkd.attribute.vit import vit_of
from mmpkd.distil.attention_terms import entropy, inconsistency, mass_cross_entropy, total_variation
from mmpkd.distil.own_map import MappedStudent
from mmpkd.distil.pooling import Pooling
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import build_student, explicit_attention
from mmpkd.errors import InputError

SMALL = {"image_size_px": 32, "patch_px": 8, "width": 16, "depth": 2, "heads": 2}


def _student(findings=("a", "b"), **changes):
    torch.manual_seed(0)
    student = build_student(StudentSettings(**{**SMALL, **changes}), findings)
    with torch.no_grad():  # fresh attention is all but uniform
        for block in student.backbone.blocks:
            for parameter in block.attn.parameters() if hasattr(block, "attn") else ():
                parameter.mul_(20.0)
    return student


def _images(student, count=3):
    size = student.settings.image_size_px
    return torch.randn(count, student.settings.channels, size, size, generator=torch.Generator().manual_seed(1))


def _attention_by_hand(student, images):
    """Softmax of the last block's q and k, token by token, in double precision: (batch, heads, tokens, tokens)."""
    entered = []
    block = student.backbone.blocks[-1]
    handle = block.register_forward_pre_hook(lambda _module, inputs: entered.append(inputs[0]))
    with torch.no_grad():
        student(images)
        joint = block.attn.qkv(block.norm1(entered[0])).double().numpy()
    handle.remove()
    batch, tokens, _ = joint.shape
    heads, width = block.attn.num_heads, block.attn.head_dim
    rows = np.zeros((batch, heads, tokens, tokens))
    for case, head, token in np.ndindex(batch, heads, tokens):
        query = joint[case, token, head * width : (head + 1) * width]
        keys = joint[case, :, (heads + head) * width : (heads + head + 1) * width]
        weights = np.exp(keys @ query / np.sqrt(width))
        rows[case, head, token] = weights / weights.sum()
    return rows


@pytest.mark.parametrize("head", ["class-token", "mean"])
def test_the_map_is_the_last_block_s_attention_to_patches_as_a_share(head):
    student = _student(head=head)
    images = _images(student)
    rows = _attention_by_hand(student, images)
    read = rows[:, :, 0] if head == "class-token" else rows[:, :, 1:].mean(2)
    expected = read[:, :, 1:].mean(1)
    expected /= expected.sum(1, keepdims=True)
    maps = MappedStudent(student)(images).maps
    assert maps.shape == (3, 1, 4, 4)
    np.testing.assert_allclose(maps.detach().numpy(), expected.reshape(3, 1, 4, 4), atol=1e-5)


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_the_patch_head_s_map_is_the_gradient_of_its_logit(temperature):
    student = _student(head="patch", patch_temperature=temperature)
    output = MappedStudent(student)(_images(student))
    for finding in range(2):
        logits = output.patch_logits.detach().flatten(2).mT.requires_grad_()
        Pooling(temperature=temperature).image(logits)[:, finding].sum().backward()
        torch.testing.assert_close(output.maps[:, finding].flatten(1), logits.grad[..., finding], atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"head": "mean"},
        {"backbone": "vit_small_patch14_reg4_dinov2"},
        {"backbone": "vit_base_patch16_siglip_224", "head": "mean"},
        {"backbone": "vit_base_patch16_rpn_224", "head": "mean"},
        {"backbone": "deit_tiny_distilled_patch16_224"},
        {"backbone": "eva02_tiny_patch14_224", "head": "mean"},
        {"backbone": "beit_base_patch16_224"},
    ],
)
def test_it_is_the_map_that_attribution_shows_as_a_share(changes):
    student = _student(**changes).eval()
    images = _images(student)
    shown = LastBlockAttention()(vit_of(student), images, [0])
    output = MappedStudent(student)(images)
    torch.testing.assert_close(output.maps, shown / shown.sum((2, 3), keepdim=True), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(output.logits, student(images), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("head", ["class-token", "mean", "patch"])
def test_logits_are_the_student_s_and_maps_are_shares(head):
    student = _student(head=head)
    images = _images(student)
    output = MappedStudent(student)(images)
    torch.testing.assert_close(output.logits, student(images), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(output.maps.sum((2, 3)), torch.ones(output.maps.shape[:2]))
    assert (output.patch_logits is None) == (head != "patch")


@pytest.mark.parametrize("head", ["class-token", "mean", "patch"])
def test_half_precision_stays_within_the_backbone(head):
    student = _student(head=head)
    images = _images(student)
    single = MappedStudent(student)(images)
    with torch.autocast("cpu", torch.bfloat16):
        output = MappedStudent(student)(images)
    assert (output.logits.dtype, output.maps.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(output.maps.sum((2, 3)), torch.ones(output.maps.shape[:2]))
    assert (output.maps - single.maps).abs().sum((2, 3)).max() < 0.1


def test_only_the_last_block_leaves_fused_attention_and_only_for_the_pass():
    student = _student()
    first, last = (block.attn for block in student.backbone.blocks)
    during = []
    handle = last.register_forward_pre_hook(lambda *_: during.append((first.fused_attn, last.fused_attn)))
    MappedStudent(student)(_images(student))
    handle.remove()
    assert during == [(True, False)]
    assert first.fused_attn
    assert last.fused_attn
    assert not last.attn_drop._forward_pre_hooks
    with explicit_attention(student, True):
        MappedStudent(student)(_images(student))
        assert not last.fused_attn


def test_nothing_stays_behind_when_the_pass_fails():
    student = _student()
    last = student.backbone.blocks[-1].attn
    with pytest.raises(AssertionError):
        MappedStudent(student)(torch.zeros(1, 1, 31, 31))
    assert last.fused_attn
    assert not last.attn_drop._forward_pre_hooks


TERMS = {
    "entropy": lambda maps: entropy(maps).sum(),
    "total_variation": lambda maps: total_variation(maps).sum(),
    "consistency": lambda maps: inconsistency(maps[:1], maps[1:2], torch.ones(1, 1, 4, 4, dtype=torch.bool)).sum(),
    "roi": lambda maps: mass_cross_entropy(maps, torch.eye(4).expand(3, 2, 4, 4)).sum(),
}


@pytest.mark.parametrize("head", ["class-token", "mean", "patch"])
@pytest.mark.parametrize("term", list(TERMS))
def test_every_term_reaches_the_first_block_of_the_backbone(head, term):
    student = _student(head=head)
    TERMS[term](MappedStudent(student)(_images(student)).maps).backward()
    gradient = student.backbone.blocks[0].attn.qkv.weight.grad
    assert gradient.isfinite().all()
    assert gradient.abs().max() > 0


def test_a_student_of_one_patch_is_refused():
    with pytest.raises(InputError, match=r"single patch, so it has no map; lower student\.patch_px"):
        MappedStudent(_student(image_size_px=8))


def test_a_backbone_without_a_single_attention_is_refused_but_for_the_patch_head():
    parallel = {"backbone": "vit_small_patch16_18x2_224"}
    with pytest.raises(InputError, match="'vit_small_patch16_18x2_224' has no single attention to read"):
        MappedStudent(_student(**parallel))
    student = _student(**parallel, head="patch")
    assert MappedStudent(student)(_images(student)).maps.shape == (3, 2, 4, 4)


def test_a_class_token_that_looks_at_itself_alone_still_has_a_map_and_a_gradient():
    """Attention to patches may underflow to nothing (in half precision it does); a share of nothing is no number."""
    student = _student()

    def to_itself(_module, inputs):
        kept = torch.zeros_like(inputs[0])
        kept[..., 0] = 1.0
        return (inputs[0] * kept,)

    handle = student.backbone.blocks[-1].attn.attn_drop.register_forward_pre_hook(to_itself)
    maps = MappedStudent(student)(_images(student)).maps
    handle.remove()
    torch.testing.assert_close(maps, torch.full_like(maps, 1 / 16))
    (entropy(maps) + total_variation(maps)).sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())
