"""The Libra rules: a backward pass in which attributions add up to the logit.

Three things in a transformer bend the gradient so that gradient times input does not sum to the output: the softmax's
dependence on queries and keys, LayerNorm's dependence on its own denominator, and the activation's dependence on its
own gate. Treated as constants in the backward pass (the forward pass is unchanged), what is left is affine, and
FullGrad is complete: contributions of tokens and biases sum to the logit. Mehri et al. 2025, LibraGrad (arXiv
2411.16760).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, cast, final

import torch
from torch import Tensor, nn

from mmpkd.attribute.capture import attention_matrices, block_inputs, class_gradients
from mmpkd.attribute.contract import Images, Maps
from mmpkd.attribute.vit import Vit


def refuse_libra(vit: Vit) -> str | None:
    """Refuse blocks with parts that the rules do not cover."""
    from timm.layers.mlp import Mlp

    if vit.head == "pool":
        return f"the Libra rules do not cover the attention pooling of {vit.name!r}; use the map 'relevance'."
    for block in vit.blocks:
        mlp = getattr(block, "mlp", None)
        if type(mlp) is not Mlp or getattr(block.get_submodule("attn"), "gate", None) is not None:
            return f"the Libra rules do not cover the gated parts of {vit.name!r}; choose a ViT with a plain MLP."
        if not isinstance(getattr(block, "norm1", None), nn.LayerNorm):
            return f"the Libra rules cover LayerNorm, and {vit.name!r} norms otherwise; use the map 'relevance'."
        known = {id(module.bias) for module in _with_bias(block)}
        if any(name.endswith("bias") and id(value) not in known for name, value in block.named_parameters()):
            return (
                f"the Libra rules do not cover the separate biases of the attention of {vit.name!r}; use 'relevance'."
            )
    return None


@contextmanager
def libra(vit: Vit) -> Iterator[list[Tensor]]:
    """Apply the rules to backward passes through forward passes made inside, and collect the attention matrices."""
    last = [
        getattr(vit.backbone, name)
        for name in ("norm", "fc_norm")
        if isinstance(getattr(vit.backbone, name, None), nn.Module)
    ]
    modules = [module for part in (*vit.blocks, *last) for module in part.modules()]
    activations = {id(block.get_submodule("mlp").get_submodule("act")) for block in vit.blocks}
    with ExitStack() as stack:
        for module in modules:
            rule: Callable[[nn.Module, Any, Tensor], Tensor] | None = None
            if isinstance(module, nn.LayerNorm):
                rule = _constant_denominator
            elif id(module) in activations:
                rule = _constant_gate
            if rule is not None:
                stack.callback(module.register_forward_hook(rule).remove)
        yield stack.enter_context(attention_matrices(vit, constant=True))


def _constant_denominator(module: nn.Module, inputs: tuple[Tensor, ...], _output: Tensor) -> Tensor:
    norm = cast(nn.LayerNorm, module)
    axes = tuple(range(-len(norm.normalized_shape), 0))
    centred = inputs[0] - inputs[0].mean(dim=axes, keepdim=True)
    spread = centred.detach().square().mean(dim=axes, keepdim=True).add(norm.eps).sqrt()
    scaled = centred / spread
    if norm.weight is not None:
        scaled = scaled * norm.weight
    return scaled if norm.bias is None else scaled + norm.bias


def _constant_gate(_module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
    """``x * (act(x) / x)`` with the quotient constant; where x is 0 the quotient's limit does not matter."""
    x = inputs[0]
    safe = torch.where(x == 0, torch.ones_like(x), x)
    return x * (output / safe).detach()


@final
class LibraFullGrad:
    r"""FullGrad by token under the Libra rules, for one class.

    .. math:: a_n = \left( x_n \cdot \frac{\partial y_k}{\partial x_n}
        + \sum_j b_j \cdot \frac{\partial y_k}{\partial u_{jn}} \right)^+

    with :math:`x_n` the tokens that enter the first block and :math:`u_{jn} = W_j h_n + b_j` the output for token n of
    every layer j that adds a bias. Before the positive part, the sum over all tokens (prefix tokens and the biases of
    final norm and head included) is the logit itself: :meth:`contributions` returns it for whoever wants to check.

    Source: Srinivas and Fleuret 2019, FullGrad (arXiv 1905.00780), kept by token and without its rescaling; rules of
    LibraGrad (arXiv 2411.16760), whose FullGrad+ this follows.
    """

    name = "libra-fullgrad"
    class_specific = True

    def refuse(self, vit: Vit) -> str | None:
        """Refuse blocks that the rules do not cover."""
        return refuse_libra(vit)

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of the chosen classes."""
        return vit.on_grid(self.contributions(vit, images, classes)[0]).clamp(min=0)

    def contributions(self, vit: Vit, images: Images, classes: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Return signed contributions (batch, chosen, tokens), and the logits (batch, chosen) less what they sum to.

        The second is the completeness error plus the constant that final norm and head add.
        """
        outputs: list[Tensor] = []
        layers = [module for block in vit.blocks for module in _with_bias(block)]
        biases = [cast(Tensor, layer.bias).detach() for layer in layers]
        with torch.enable_grad(), libra(vit), block_inputs(vit) as entered, ExitStack() as stack:
            for layer in layers:  # hooked after the rules, so that what is kept is what the rules put in place
                keep = layer.register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
                stack.callback(keep.remove)
            logits = vit.logits(images.detach().requires_grad_())
            first = entered[0]

            def add_up(gradients: list[Tensor]) -> Tensor:
                total = (gradients[0] * first.detach()).sum(dim=-1)
                for gradient, bias in zip(gradients[1:], biases, strict=True):
                    total = total + _by_token(gradient, bias)
                return total

            by_token = class_gradients(logits, classes, [first, *outputs], add_up)
        return by_token, logits.detach()[:, list(classes)] - by_token.sum(dim=-1)


@final
class AttCat:
    r"""AttCAT: attention times the tokens' own gradient times input, over all blocks, for one class.

    .. math:: a_n = \left( \sum_l \mathrm{mean}_h \mathrm{mean}_r A^{l,h}_{rn} \;
        z^l_n \cdot \frac{\partial y_k}{\partial z^l_n} \right)^+

    with :math:`z^l` the tokens after block l and read rows :math:`r` as in the map ``attention``.

    Args:
        balanced: Backward pass under the Libra rules (the map ``libra-attcat``).

    Source: Qiang et al. 2022, AttCAT (NeurIPS); Libra rules: arXiv 2411.16760. Departure: attention is that of the rows
    that the logits read, where the authors' code averages all rows.
    """

    class_specific = True

    def __init__(self, balanced: bool = False) -> None:
        self.balanced = balanced
        self.name = "libra-attcat" if balanced else "attcat"

    def refuse(self, vit: Vit) -> str | None:
        """Refuse blocks that the rules do not cover, where they are asked for."""
        return refuse_libra(vit) if self.balanced else None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of the chosen classes."""
        look = libra(vit) if self.balanced else attention_matrices(vit)
        left: list[Tensor] = []
        handles = [block.register_forward_hook(lambda _m, _i, output: left.append(output)) for block in vit.blocks]
        try:
            with torch.enable_grad(), look as found:
                logits = vit.logits(images.detach().requires_grad_())

                def weigh(gradients: list[Tensor]) -> Tensor:
                    total = torch.zeros((), device=images.device)
                    for matrix, tokens, gradient in zip(found, left, gradients, strict=True):
                        attended = matrix.detach()[:, :, vit.read].mean(dim=(1, 2))
                        total = total + attended * (tokens.detach() * gradient).sum(dim=-1)
                    return total

                maps = class_gradients(logits, classes, left, weigh)
        finally:
            for handle in handles:
                handle.remove()
        return vit.on_grid(maps).clamp(min=0)


def attcat() -> AttCat:
    """Return AttCAT under the gradient as it is."""
    return AttCat()


def libra_attcat() -> AttCat:
    """Return AttCAT under the Libra rules."""
    return AttCat(balanced=True)


def _with_bias(block: nn.Module) -> list[Any]:
    """Return the layers of a block that add a bias to tokens (that of relative positions goes into attention)."""
    return [
        module
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear | nn.LayerNorm) and module.bias is not None and "rel_pos" not in name
    ]


def _by_token(gradient: Tensor, bias: Tensor) -> Tensor:
    """Return ``b . dy/du`` of each token; of layers a head (batch, heads, tokens, head width), summed over heads."""
    products = (gradient * bias).sum(dim=-1)
    return products.sum(dim=1) if products.ndim == 3 else products
