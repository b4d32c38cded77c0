"""Looking into a forward pass: attention matrices, block inputs, one block alone. Nothing stays behind.

timm's fused attention, the default, never makes the attention matrix, so that hooks which wait for it find nothing. For
the length of a block of code :func:`attention_matrices` lets this model's own attentions take their explicit path, and
reads (or replaces) what goes into their dropout; the global switch is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmpkd.attribute.vit import Vit


@contextmanager
def explicit(vit: Vit, blocks: Sequence[nn.Module]) -> Iterator[None]:
    """Let the attentions of these blocks compute their matrix."""
    attentions: list[Any] = [block.get_submodule("attn") for block in blocks]
    before = [attention.fused_attn for attention in attentions]
    try:
        for attention in attentions:
            attention.fused_attn = False
        yield
    finally:
        for attention, fused in zip(attentions, before, strict=True):
            attention.fused_attn = fused


@contextmanager
def attention_matrices(
    vit: Vit, blocks: Sequence[nn.Module] | None = None, constant: bool = False
) -> Iterator[list[Float[Tensor, "batch heads tokens tokens"]]]:
    """Collect the softmax attention of each forward pass inside the block of code, first to last.

    Args:
        vit: The model.
        blocks: Those to look at; all by default.
        constant: Treat attention as a constant in the backward pass (one of the Libra rules).
    """
    chosen = vit.blocks if blocks is None else list(blocks)
    found: list[Tensor] = []

    def keep(_module: nn.Module, _inputs: object, output: Tensor) -> Tensor | None:
        found.append(output)
        return output.detach() if constant else None

    handles = [block.get_submodule("attn").get_submodule("attn_drop").register_forward_hook(keep) for block in chosen]
    try:
        with explicit(vit, chosen):
            yield found
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def block_inputs(vit: Vit) -> Iterator[list[Float[Tensor, "batch tokens dim"]]]:
    """Collect the tokens that enter each block."""
    found: list[Tensor] = []
    handles = [block.register_forward_pre_hook(lambda _module, inputs: found.append(inputs[0])) for block in vit.blocks]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()


@final
@dataclass(frozen=True)
class BlockCall:
    """One block with what it was called with, ready to be called again.

    Args:
        block: The block.
        tokens: What entered it, without gradient.
        more: Further positional arguments (none in most models).
        options: Keyword arguments, such as rotary positions.
        qkv: What the attention's joint projection gave, where the block has run and has one.
    """

    block: nn.Module
    tokens: Float[Tensor, "batch tokens dim"]
    more: tuple[Any, ...]
    options: dict[str, Any]
    qkv: Tensor | None = None

    def __call__(self, tokens: Float[Tensor, "batch tokens dim"]) -> Float[Tensor, "batch tokens width"]:
        """Run the block on these tokens."""
        output: Tensor = self.block(tokens, *self.more, **self.options)
        return output


class _Reached(Exception):  # noqa: N818 - a signal, not an error
    """The forward pass has come as far as it is needed."""


def block_calls(
    vit: Vit, images: Float[Tensor, "batch channels height width"], last_only: bool = False
) -> list[BlockCall]:
    """Run the model up to its last block, which is not run, and return the calls of its blocks (or the last alone).

    Call it under ``torch.no_grad()`` unless gradients are to flow through the blocks before.
    """
    calls: list[BlockCall] = []
    projected: list[Tensor] = []
    blocks = vit.blocks[-1:] if last_only else vit.blocks

    def keep(module: nn.Module, inputs: tuple[Any, ...], options: dict[str, Any]) -> None:
        calls.append(BlockCall(module, inputs[0], inputs[1:], options))
        if module is vit.blocks[-1]:
            raise _Reached

    handles = [block.register_forward_pre_hook(keep, with_kwargs=True) for block in blocks]
    for block in blocks[:-1]:
        joint = getattr(block.get_submodule("attn"), "qkv", None)
        if isinstance(joint, nn.Linear):
            handles.append(joint.register_forward_hook(lambda _module, _inputs, output: projected.append(output)))
    try:
        vit.features(images)
    except _Reached:
        if len(projected) == len(calls) - 1:
            calls[:-1] = [replace(call, qkv=qkv) for call, qkv in zip(calls, projected, strict=False)]
        return calls
    finally:
        for handle in handles:
            handle.remove()
    raise RuntimeError("the model never came to its last block")


def class_gradients(
    logits: Float[Tensor, "batch classes"],
    classes: Sequence[int],
    wanted: Sequence[Tensor],
    use: Callable[[list[Tensor]], Tensor],
) -> Float[Tensor, "batch chosen *shape"]:
    """Return ``use(gradients)`` of each chosen class, stacked: one backward pass a class over one forward pass.

    The cases of a batch do not meet in a ViT, so the gradient of the sum over cases is each case's own.

    Args:
        logits: Of one forward pass.
        classes: Columns of ``logits``.
        wanted: Tensors to differentiate by; one that a class does not depend on has gradient zero.
        use: From the gradients of one class, in the order of ``wanted``, to what is kept.
    """
    kept = []
    for place, column in enumerate(classes):
        found = torch.autograd.grad(
            logits[:, column].sum(),
            list(wanted),
            retain_graph=place < len(classes) - 1,
            allow_unused=True,
            materialize_grads=True,
        )
        kept.append(use(list(found)))
    return torch.stack(kept, dim=1)
