"""One student's modules, made to carry several models at once: an explicit model axis, not vmap.

Models are folded into the batch axis, model by model: a tensor of ``models * batch`` rows passes through timm's own
forward code, and only the leaves that hold weights know about models. A linear layer becomes one batched matrix
product (``baddbmm``), a norm an affine per model; attention has no weights of its own and needs nothing. The weights
themselves come from outside (:mod:`mmpkd.distil.stacked_weights`), by ``torch.func.functional_call``.
"""

from __future__ import annotations

import copy
from types import MethodType
from typing import Any

import torch
from jaxtyping import Float
from timm.layers import DropPath, LayerScale
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional

from mmpkd.distil.student import Student

_ON_BACKBONE = {"backbone.cls_token", "backbone.reg_token", "backbone.pos_embed"}


def can_stack(student: Student) -> bool:
    """Return whether :func:`stack_modules` knows every module of a student that holds weights or draws at random.

    Dropout and stochastic depth draw from torch's one random state, so a model would see other draws in a stack.
    """
    backbone = student.backbone
    if type(backbone) is not VisionTransformer or backbone.dynamic_img_size or backbone.pos_embed is None:
        return False
    for name, module in student.named_modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            return False
        if isinstance(module, DropPath):
            return False
        own = {f"{name}.{key}" if name else key for key, _ in module.named_parameters(recurse=False)}
        own |= {f"{name}.{key}" if name else key for key, _ in module.named_buffers(recurse=False)} - {"mean", "std"}
        if own - _ON_BACKBONE and not _has_counterpart(module):
            return False
    return True


def stack_modules(student: Student) -> Student:
    """Return a copy of a student that takes ``models * batch`` images, to be called with the weights of all models.

    Each of its parameters has a leading model axis and lies on the meta device: it is a place, not a value.
    """
    stacked = copy.deepcopy(student)
    for name, module in student.named_modules():
        if _has_counterpart(module):
            owner, _, attribute = name.rpartition(".")
            setattr(stacked.get_submodule(owner), attribute, _counterpart(module))
    backbone = stacked.backbone
    for name in _ON_BACKBONE:
        attribute = name.removeprefix("backbone.")
        if isinstance(getattr(backbone, attribute), nn.Parameter):
            setattr(backbone, attribute, _place(getattr(backbone, attribute)))
    backbone._pos_embed = MethodType(_pos_embed, backbone)
    return stacked


def _has_counterpart(module: nn.Module) -> bool:
    if isinstance(module, nn.Conv2d):
        tiles = module.kernel_size == module.stride and module.groups == 1 and module.dilation == (1, 1)
        return tiles and module.padding == (0, 0)
    if isinstance(module, nn.LayerNorm):
        return module.elementwise_affine and module.bias is not None and len(module.normalized_shape) == 1
    return isinstance(module, (nn.Linear, LayerScale))


def _counterpart(module: nn.Module) -> nn.Module:
    if isinstance(module, nn.Linear):
        return _Linear(module)
    if isinstance(module, nn.Conv2d):
        return _Patches(module)
    if isinstance(module, nn.LayerNorm):
        return _Norm(module)
    return _Scale(module)


def _place(parameter: Tensor) -> nn.Parameter:
    return nn.Parameter(torch.empty(1, *parameter.shape, device="meta"))


class _Leaf(nn.Module):
    """A module whose parameters have a leading model axis."""

    def __init__(self, single: nn.Module) -> None:
        super().__init__()
        for name, parameter in single.named_parameters(recurse=False):
            self.register_parameter(name, _place(parameter))
        if getattr(single, "bias", None) is None:
            self.register_parameter("bias", None)


class _Linear(_Leaf):
    """``y_m = W_m x_m + b_m``."""

    weight: Float[Tensor, "models out in"]
    bias: Float[Tensor, "models out"] | None

    def forward(self, x: Float[Tensor, "models_batch *tokens in"]) -> Float[Tensor, "models_batch *tokens out"]:
        models, outputs, inputs = self.weight.shape
        rows = x.reshape(models, -1, inputs)
        if self.bias is None:
            y = torch.bmm(rows, self.weight.transpose(1, 2))
        else:
            y = torch.baddbmm(self.bias.unsqueeze(1), rows, self.weight.transpose(1, 2))
        return y.view(*x.shape[:-1], outputs)


class _Patches(_Leaf):
    """A convolution whose stride is its kernel: a linear layer on each patch."""

    weight: Float[Tensor, "models out channels patch patch"]
    bias: Float[Tensor, "models out"] | None

    def forward(
        self, x: Float[Tensor, "models_batch channels height width"]
    ) -> Float[Tensor, "models_batch out rows columns"]:
        models, outputs, _, high, wide = self.weight.shape
        patches = x.unflatten(2, (-1, high)).unflatten(4, (-1, wide)).permute(0, 2, 4, 1, 3, 5)
        rows, columns = patches.shape[1:3]
        weight = self.weight.flatten(2).transpose(1, 2)
        flat = patches.reshape(models, -1, weight.shape[1])
        y = torch.bmm(flat, weight) if self.bias is None else torch.baddbmm(self.bias.unsqueeze(1), flat, weight)
        return y.view(len(x), rows * columns, outputs).transpose(1, 2).unflatten(2, (rows, columns))


class _Norm(_Leaf):
    """``y_m = (x_m - mean) / sqrt(var + eps) * w_m + b_m``, over the last axis."""

    weight: Float[Tensor, "models width"]
    bias: Float[Tensor, "models width"]

    def __init__(self, single: nn.LayerNorm) -> None:
        super().__init__(single)
        self.eps = single.eps

    def forward(self, x: Float[Tensor, "models_batch *tokens width"]) -> Float[Tensor, "models_batch *tokens width"]:
        models, width = self.weight.shape
        normed = functional.layer_norm(x, (width,), eps=self.eps)
        rows = normed.reshape(models, -1, width)
        return torch.addcmul(self.bias.unsqueeze(1), rows, self.weight.unsqueeze(1)).view(x.shape)


class _Scale(_Leaf):
    """``y_m = γ_m x_m`` (LayerScale)."""

    gamma: Float[Tensor, "models width"]

    def forward(self, x: Float[Tensor, "models_batch *tokens width"]) -> Float[Tensor, "models_batch *tokens width"]:
        models, width = self.gamma.shape
        return (x.reshape(models, -1, width) * self.gamma.unsqueeze(1)).view(x.shape)


def _pos_embed(self: Any, x: Float[Tensor, "models_batch patches width"]) -> Tensor:
    """Stand in for timm's method of this name: prefix tokens and position embeddings, each model its own."""
    prefix = [_each(token, x) for token in (self.cls_token, self.reg_token) if token is not None]
    if self.no_embed_class:
        return torch.cat([*prefix, x + _each(self.pos_embed, x)], dim=1)
    tokens = torch.cat([*prefix, x], dim=1)
    return tokens + _each(self.pos_embed, x)


def _each(parameter: Float[Tensor, "models 1 tokens width"], x: Tensor) -> Float[Tensor, "models_batch tokens width"]:
    models = len(parameter)
    return parameter.expand(-1, len(x) // models, -1, -1).flatten(0, 1)
