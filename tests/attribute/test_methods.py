"""Every method against a plainly written reference: one case at a time, heads in a loop, no hooks, float64.

The reference walks timm's modules by hand. An offset of zero is added to each attention matrix, so that the gradient by
the offset is the gradient by the attention.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import timm
import torch
from torch import Tensor
from torch.nn import functional

from mmpkd.attribute.attention import LastBlockAttention
from mmpkd.attribute.attribute import explain, map_method
from mmpkd.attribute.libra import LibraFullGrad, libra
from mmpkd.attribute.vit import vit_of
from mmpkd.errors import InputError

CLASSES = [1, 3]
LAYOUTS = {
    "class token": ("vit_tiny_patch16_224", {}),
    "class and distillation token": ("deit_tiny_distilled_patch16_224", {}),
    "registers, average pooling": ("vit_little_patch16_reg4_gap_256", {}),
    "class token, registers, layer scale": ("vit_small_patch14_reg4_dinov2", {}),
    "class token outside the position embedding": ("deit3_small_patch16_224", {}),
    "no prefix token, average pooling": ("vit_base_patch16_gap_224", {}),
    "class token, normed queries and keys": ("vit_tiny_patch16_224", {"qk_norm": True}),
}


@pytest.fixture(params=list(LAYOUTS), scope="module")
def model(request: pytest.FixtureRequest) -> Any:
    return build(*LAYOUTS[request.param])


def build(name: str, more: dict[str, Any]) -> Any:
    """Return a small model of a layout on a grid of 2 by 3, with weights drawn wide enough to bend things."""
    torch.manual_seed(4)
    vit = timm.create_model(
        name, num_classes=5, img_size=(16, 24), patch_size=8, embed_dim=16, depth=3, num_heads=2, **more
    )
    with torch.no_grad():
        for parameter in vit.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return vit.eval().double()


@pytest.fixture(scope="module")
def images() -> Tensor:
    return torch.randn(2, 3, 16, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@dataclass
class Walk:
    """One case, walked by hand: attention (heads, tokens, tokens) with its offset, and tokens after each block."""

    attention: list[Tensor]
    offsets: list[Tensor]
    tokens: list[Tensor]
    logits: Tensor


def walk(model: Any, image: Tensor, blocks: int | None = None) -> Walk:
    """Walk one image through the first ``blocks`` blocks, then norm and classifier."""
    x = model.norm_pre(model._pos_embed(model.patch_embed(image[None])))[0]
    attentions, offsets, tokens = [], [], [x]
    for block in list(model.blocks)[:blocks]:
        attention = block.attn
        normed = block.norm1(x)
        width = attention.head_dim
        q, k, v = attention.qkv(normed).chunk(3, dim=-1)
        mixed, matrices = [], []
        offset = torch.zeros(attention.num_heads, len(x), len(x), dtype=x.dtype, requires_grad=True)
        for head in range(attention.num_heads):
            part = slice(head * width, (head + 1) * width)
            scores = attention.q_norm(q[:, part]) @ attention.k_norm(k[:, part]).T / width**0.5
            matrix = torch.exp(scores) / torch.exp(scores).sum(dim=1, keepdim=True) + offset[head]
            matrices.append(matrix)
            mixed.append(matrix @ v[:, part])
        x = x + block.ls1(attention.proj(torch.cat(mixed, dim=1)))
        x = x + block.ls2(block.mlp(block.norm2(x)))
        attentions.append(torch.stack(matrices).detach())
        offsets.append(offset)
        tokens.append(x)
    return Walk(attentions, offsets, tokens, model.forward_head(model.norm(x)[None])[0])


def read_rows(model: Any) -> list[int]:
    """Return the tokens that the classifier reads, by the model's own words."""
    if model.global_pool == "avg":
        return list(range(model.num_prefix_tokens, model.num_prefix_tokens + 6))
    return [0, 1] if getattr(model, "dist_token", None) is not None else [0]


def patches(model: Any, values: Tensor) -> Tensor:
    return values[model.num_prefix_tokens :].reshape(2, 3)


def gradients(case: Walk, column: int) -> list[Tensor]:
    return list(torch.autograd.grad(case.logits[column], case.offsets, retain_graph=True))


def attention(model: Any, image: Tensor, column: int) -> Tensor:
    matrix = walk(model, image).attention[-1].mean(0)
    return patches(model, matrix[read_rows(model)].mean(0))


def attention_max(model: Any, image: Tensor, column: int) -> Tensor:
    by_head = walk(model, image).attention[-1][:, read_rows(model)].mean(1)
    return patches(model, by_head.max(0).values)


def attention_head_1(model: Any, image: Tensor, column: int) -> Tensor:
    return patches(model, walk(model, image).attention[-1][1][read_rows(model)].mean(0))


def rollout(model: Any, image: Tensor, column: int) -> Tensor:
    product = torch.eye(model.num_prefix_tokens + 6, dtype=torch.float64)
    for matrix in walk(model, image).attention:
        product = (0.5 * matrix.mean(0) + 0.5 * torch.eye(len(product), dtype=torch.float64)) @ product
    torch.testing.assert_close(product.sum(1), torch.ones(len(product), dtype=torch.float64))
    return patches(model, product[read_rows(model)].mean(0))


def gradient_rollout(model: Any, image: Tensor, column: int) -> Tensor:
    case = walk(model, image)
    product = torch.eye(model.num_prefix_tokens + 6, dtype=torch.float64)
    for matrix, gradient in zip(case.attention, gradients(case, column), strict=True):
        step = (matrix * gradient).relu().mean(0) + torch.eye(len(product), dtype=torch.float64)
        step = step / step.sum(1, keepdim=True)
        product = step @ product
    torch.testing.assert_close(product.sum(1), torch.ones(len(product), dtype=torch.float64))
    return patches(model, product[read_rows(model)].mean(0))


def relevance(model: Any, image: Tensor, column: int) -> Tensor:
    case = walk(model, image)
    found = torch.eye(model.num_prefix_tokens + 6, dtype=torch.float64)
    for matrix, gradient in zip(case.attention, gradients(case, column), strict=True):
        found = found + (matrix * gradient).relu().mean(0) @ found
    return patches(model, (found - torch.eye(len(found), dtype=torch.float64))[read_rows(model)].mean(0))


def attention_gradient(model: Any, image: Tensor, column: int) -> Tensor:
    case = walk(model, image)
    return patches(model, (case.attention[-1] * gradients(case, column)[-1]).relu().mean(0).sum(0))


def grad_cam(model: Any, image: Tensor, column: int) -> Tensor:
    case = walk(model, image)
    entered = case.tokens[-2]
    (gradient,) = torch.autograd.grad(case.logits[column], entered)
    first = model.num_prefix_tokens
    weights = gradient[first:].mean(0)
    return patches(model, (entered.detach() @ weights).relu())


def legrad(model: Any, image: Tensor, column: int) -> Tensor:
    total = torch.zeros(model.num_prefix_tokens + 6, dtype=torch.float64)
    for depth in range(1, len(model.blocks) + 1):
        case = walk(model, image, depth)
        gradient = torch.autograd.grad(case.logits[column], case.offsets[-1])[0]
        total = total + gradient.relu().mean(dim=(0, 1))
    return patches(model, total)


def attcat(model: Any, image: Tensor, column: int) -> Tensor:
    case = walk(model, image)
    total = torch.zeros(model.num_prefix_tokens + 6, dtype=torch.float64)
    pulls = torch.autograd.grad(case.logits[column], case.tokens[1:])
    for matrix, tokens, pull in zip(case.attention, case.tokens[1:], pulls, strict=True):
        attended = matrix[:, read_rows(model)].mean(dim=(0, 1))
        total = total + attended * (tokens.detach() * pull).sum(1)
    return patches(model, total.relu())


def occlusion(model: Any, image: Tensor, column: int) -> Tensor:
    tokens = model.norm_pre(model._pos_embed(model.patch_embed(image[None])))
    whole = model(image[None])[0, column]
    lost = []
    for left_out in range(tokens.shape[1]):
        rest = torch.cat([tokens[:, :left_out], tokens[:, left_out + 1 :]], dim=1)
        if left_out >= model.num_prefix_tokens:
            lost.append(whole - model.forward_head(model.norm(model.blocks(rest)))[0, column])
    return torch.stack(lost).relu().reshape(2, 3)


def integrated_gradients(model: Any, image: Tensor, column: int) -> Tensor:
    nodes, weights = __import__("numpy").polynomial.legendre.leggauss(32)
    total = torch.zeros_like(image)
    for node, weight in zip(nodes, weights, strict=True):
        x = ((node + 1) / 2 * image).requires_grad_()
        total = total + weight / 2 * torch.autograd.grad(model(x[None])[0, column], x)[0]
    by_pixel = (image * total).sum(0)
    return by_pixel.reshape(2, 8, 3, 8).sum(dim=(1, 3)).relu()


REFERENCES = {
    "attention": attention,
    "attention=max": attention_max,
    "attention=1": attention_head_1,
    "rollout": rollout,
    "gradient-rollout": gradient_rollout,
    "relevance": relevance,
    "attention-gradient": attention_gradient,
    "grad-cam": grad_cam,
    "legrad": legrad,
    "attcat": attcat,
    "occlusion": occlusion,
    "integrated-gradients": integrated_gradients,
}


@pytest.mark.parametrize("method", list(REFERENCES))
def test_a_method_equals_its_equation_written_out(model, images, method):
    found = explain(model, images, method, CLASSES, pixels=False)
    for row, image in enumerate(images):
        for place, column in enumerate(CLASSES):
            expected = REFERENCES[method](model, image, column).detach()
            torch.testing.assert_close(found[row, place], expected, rtol=1e-5, atol=1e-12)
    assert found.amax() > 0


def late_norm(model: Any) -> bool:
    """Say whether the last norm comes after pooling."""
    return isinstance(model.fc_norm, torch.nn.LayerNorm)


class FrozenVit:
    """The affine network that the Libra rules leave: attention, norms' denominators and gates frozen at one image."""

    def __init__(self, model: Any, image: Tensor) -> None:
        self.model = model
        self.attention = walk(model, image).attention
        self.frozen: list[tuple[Tensor, Tensor, Tensor]] = []
        x = self.first = model.norm_pre(model._pos_embed(model.patch_embed(image[None])))[0].detach()
        with torch.no_grad():
            for block, matrices in zip(model.blocks, self.attention, strict=True):
                spread1 = x.var(1, unbiased=False, keepdim=True).add(block.norm1.eps).sqrt()
                x = x + block.ls1(self._mix(block, matrices, block.norm1(x), torch.ones(len(x), 1, dtype=x.dtype)))
                spread2 = x.var(1, unbiased=False, keepdim=True).add(block.norm2.eps).sqrt()
                hidden = block.mlp.fc1(block.norm2(x))
                gate = functional.gelu(hidden) / hidden
                self.frozen.append((spread1, spread2, gate))
                x = x + block.ls2(block.mlp.fc2(hidden * gate))
            self.spread = x.var(1, unbiased=False, keepdim=True).add(getattr(model.norm, "eps", 1e-6)).sqrt()
            pooled = x[model.num_prefix_tokens :].mean(0)
            self.pooled_spread = pooled.var(unbiased=False).add(getattr(model.fc_norm, "eps", 1e-6)).sqrt()

    @staticmethod
    def _mix(block: Any, matrices: Tensor, normed: Tensor, on: Tensor) -> Tensor:
        """Attend with frozen matrices; biases are on where ``on`` is 1."""
        attention, width = block.attn, block.attn.head_dim
        inner = attention.num_heads * width
        values = normed @ attention.qkv.weight[2 * inner :].T + on * attention.qkv.bias[2 * inner :]
        mixed = [m @ values[:, h * width : (h + 1) * width] for h, m in enumerate(matrices)]
        return torch.cat(mixed, dim=1) @ attention.proj.weight.T + on * attention.proj.bias

    def logits(self, only: int | None) -> Tensor:
        """Return the logits, without the last norm's and the head's bias, of one token's input and biases alone."""
        on = torch.zeros(len(self.first), 1, dtype=torch.float64)
        on[slice(None) if only is None else only] = 1
        x = on * self.first
        for block, matrices, (spread1, spread2, gate) in zip(
            self.model.blocks, self.attention, self.frozen, strict=True
        ):
            normed = (x - x.mean(1, keepdim=True)) / spread1 * block.norm1.weight + on * block.norm1.bias
            x = x + block.ls1(self._mix(block, matrices, normed, on))
            normed = (x - x.mean(1, keepdim=True)) / spread2 * block.norm2.weight + on * block.norm2.bias
            hidden = (normed @ block.mlp.fc1.weight.T + on * block.mlp.fc1.bias) * gate
            x = x + block.ls2(hidden @ block.mlp.fc2.weight.T + on * block.mlp.fc2.bias)
        model = self.model
        if late_norm(model):
            x = x[model.num_prefix_tokens :].mean(0)
            x = (x - x.mean()) / self.pooled_spread * model.fc_norm.weight
            return x @ model.head.weight.T
        x = (x - x.mean(1, keepdim=True)) / self.spread * model.norm.weight
        if getattr(model, "dist_token", None) is not None:
            return (x[0] @ model.head.weight.T + x[1] @ model.head_dist.weight.T) / 2
        return x[read_rows(model)].mean(0) @ model.head.weight.T


class TestLibra:
    def test_contributions_are_those_of_the_frozen_network(self, model, images):
        found, _ = LibraFullGrad().contributions(vit_of(model), images, CLASSES)
        for row, image in enumerate(images):
            frozen = FrozenVit(model, image)
            for token in range(model.num_prefix_tokens + 6):
                expected = frozen.logits(only=token)[CLASSES]
                torch.testing.assert_close(found[row, :, token], expected, rtol=1e-5, atol=1e-8)

    def test_contributions_add_up_to_the_logit(self, model, images):
        """The rest is a constant of the model: what the last norm's bias gives through the head, and the head's."""
        _, rest = LibraFullGrad().contributions(vit_of(model), images, CLASSES)
        norm = model.fc_norm if late_norm(model) else model.norm
        constant = model.head(norm.bias)
        if getattr(model, "dist_token", None) is not None:
            constant = (constant + model.head_dist(norm.bias)) / 2
        torch.testing.assert_close(rest, constant[CLASSES].detach().expand(2, -1), rtol=1e-9, atol=1e-9)

    def test_the_forward_pass_is_unchanged_and_the_backward_pass_is_not(self, model, images):
        vit = vit_of(model)
        x = images.clone().requires_grad_()
        plain = vit.logits(x)
        (usual,) = torch.autograd.grad(plain.sum(), x)
        with libra(vit):
            ruled = vit.logits(x)
        (changed,) = torch.autograd.grad(ruled.sum(), x)
        torch.testing.assert_close(ruled, plain, rtol=1e-12, atol=1e-12)
        assert not torch.allclose(usual, changed)

    def test_attcat_weighs_the_balanced_gradients(self, model, images):
        """The same sum as plain AttCAT, over gradients taken under the rules."""
        vit = vit_of(model)
        found = explain(model, images, "libra-attcat", CLASSES, pixels=False)
        for row, image in enumerate(images):
            left: list[Tensor] = []
            handles = [
                block.register_forward_hook(lambda _m, _i, out, left=left: left.append(out)) for block in vit.blocks
            ]
            with libra(vit):
                logits = vit.logits(image[None].clone().requires_grad_())
            for handle in handles:
                handle.remove()
            matrices = walk(model, image).attention
            for place, column in enumerate(CLASSES):
                pulls = torch.autograd.grad(logits[0, column], left, retain_graph=True)
                total = torch.zeros(model.num_prefix_tokens + 6, dtype=torch.float64)
                for matrix, tokens, pull in zip(matrices, left, pulls, strict=True):
                    total += matrix[:, read_rows(model)].mean(dim=(0, 1)) * (tokens[0].detach() * pull[0]).sum(1)
                torch.testing.assert_close(found[row, place], patches(model, total.relu()), rtol=1e-5, atol=1e-10)


def test_logits_and_map_of_one_pass_are_the_models_own(model, images):
    logits, maps = LastBlockAttention().with_logits(vit_of(model), images)
    torch.testing.assert_close(logits, model(images), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(maps, explain(model, images, "attention", [0], pixels=False), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("swin_tiny_patch4_window7_224", "its tokens do not all attend to each other"),
        ("samvit_base_patch16", "its tokens do not all attend to each other"),
        ("vit_tiny_r_s16_p8_224", "its tokens see more than a patch"),
        ("resnet18", "its tokens do not all attend to each other"),
    ],
)
def test_backbones_without_a_map_are_refused_by_name(name, said):
    with torch.device("meta"):
        backbone = timm.create_model(name)
    with pytest.raises(InputError, match=f"{name}.*{said}"):
        vit_of(backbone)


def test_a_backbone_without_classifier_is_refused():
    with torch.device("meta"):
        backbone = timm.create_model("vit_tiny_patch16_224", num_classes=0)
    with pytest.raises(InputError, match="has no classifier"):
        vit_of(backbone)


@pytest.mark.parametrize(
    ("name", "options", "method", "said"),
    [
        ("eva02_tiny_patch14_224", {"img_size": 28}, "occlusion", "positions of whole grids only"),
        ("eva02_tiny_patch14_224", {"img_size": 28}, "libra-fullgrad", "gated parts"),
        ("beit_base_patch16_224", {"img_size": 32, "depth": 1}, "libra-attcat", "separate biases"),
        ("vit_base_patch16_siglip_224", {"img_size": 32, "depth": 1}, "libra-fullgrad", "attention pooling"),
        ("vit_tiny_patch16_224", {"img_size": 32}, "attention=3", "has 3 heads, numbered from 0; there is no head 3"),
        ("vit_tiny_patch16_224", {"img_size": 32}, "attention=median", "by 'mean', 'max' or a head's number"),
        ("vit_tiny_patch16_224", {"img_size": 32}, "rollout=2", "takes no argument"),
        ("vit_tiny_patch16_224", {"img_size": 32}, "attcat=0", "takes no argument"),
        ("vit_tiny_patch16_224", {"img_size": 32}, "patch", "needs a student with the patch head"),
        ("vit_tiny_patch16_224", {"img_size": 32}, "legrd", "did you mean 'legrad'"),
    ],
)
def test_what_a_method_does_not_cover_is_refused_with_a_sentence(name, options, method, said):
    model = timm.create_model(name, num_classes=2, **options)
    with pytest.raises(InputError, match=said):
        map_method(method, vit_of(model))


def test_classes_that_are_not_there_are_refused():
    model = timm.create_model("vit_tiny_patch16_224", img_size=32, num_classes=2, depth=1)
    with pytest.raises(InputError, match="there is no class 2; the model has 2, numbered from 0"):
        explain(model, torch.zeros(1, 3, 32, 32), "attention", [2])


@pytest.mark.parametrize("name", ["eva02_tiny_patch14_224", "beit_base_patch16_224", "vit_relpos_small_patch16_224"])
@pytest.mark.parametrize(
    "method", ["attention", "rollout", "gradient-rollout", "relevance", "attention-gradient", "legrad"]
)
def test_rotary_and_relative_positions_are_followed_case_by_case(name, method):
    torch.manual_seed(0)
    model = timm.create_model(
        name, num_classes=3, img_size=28 if "eva" in name else 32, embed_dim=24, depth=2, num_heads=2
    )
    model = model.eval().double()
    x = torch.randn(3, 3, *model.patch_embed.img_size, dtype=torch.float64)
    together = explain(model, x, method, pixels=False)
    apart = torch.cat([explain(model, image[None], method, pixels=False) for image in x])
    torch.testing.assert_close(together, apart, rtol=1e-7, atol=1e-10)
    assert together.std() > 0


def test_fused_attention_stays_on_and_nothing_stays_behind(model, images):
    """timm's default, under which hooks that wait for an attention matrix find none."""
    assert all(block.attn.fused_attn for block in model.blocks)
    for method in REFERENCES:
        explain(model, images, method, CLASSES)
    assert all(block.attn.fused_attn for block in model.blocks)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
