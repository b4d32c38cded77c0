"""A block closed on the tokens that the logits read: the one attention row that matters, at a fraction of the cost.

With a class-token head, only the class token's query, projection and MLP of the last block reach the logits. Closing
the block on that token costs less than running it, yields its attention row, and makes class gradients nearly free:
they pass through one token instead of all (``benchmarks/maps.py``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmpkd.attribute.capture import BlockCall
from mmpkd.attribute.vit import Vit


@final
@dataclass(frozen=True)
class ClosedBlock:
    """The read tokens' way through one block.

    Args:
        attention: Softmax rows of the read tokens.
        values: The values that they weigh.
        mixed: Their weighted sum, heads side by side: what enters the projection.
        entered: The read tokens as they entered the block.
    """

    attention: Float[Tensor, "batch heads read tokens"]
    values: Float[Tensor, "batch heads tokens head_width"]
    mixed: Float[Tensor, "batch read inner"]
    entered: Float[Tensor, "batch read dim"]


def can_close(vit: Vit) -> bool:
    """Say whether the logits read prefix tokens only and all blocks are timm's plain ones."""
    from timm.layers.attention import Attention
    from timm.models.vision_transformer import Block

    def plain(block: nn.Module) -> bool:
        attention = getattr(block, "attn", None)
        return type(block) is Block and type(attention) is Attention and getattr(attention, "gate", None) is None

    return vit.head == "class-token" and all(plain(block) for block in vit.blocks)


def close_block(vit: Vit, call: BlockCall) -> ClosedBlock:
    """Compute the read tokens' attention in one block; gradients flow if ``call.tokens`` asks for them."""
    block = cast(Any, call.block)
    attention = block.attn
    heads, width = int(attention.num_heads), int(attention.head_dim)
    inner = heads * width
    weight, bias = attention.qkv.weight, attention.qkv.bias

    tokens = block.norm1(call.tokens) if call.qkv is None else None

    def project(which: slice, start: int, parts: int) -> Tensor:
        rows = slice(start * inner, (start + parts) * inner)
        if tokens is None:
            y = cast(Tensor, call.qkv)[:, which, rows]
        else:
            y = nn.functional.linear(tokens[:, which], weight[rows], None if bias is None else bias[rows])
        return y.unflatten(-1, (parts, heads, width)).permute(2, 0, 3, 1, 4)  # (parts, batch, heads, tokens, width)

    query = attention.q_norm(project(vit.read, 0, 1)[0])
    keys, values = project(slice(None), 1, 2)
    rows = (query * attention.scale @ attention.k_norm(keys).transpose(-2, -1)).softmax(dim=-1)
    mixed = (rows @ values).transpose(1, 2).flatten(2)
    return ClosedBlock(rows, values, mixed, call.tokens[:, vit.read])


def leave_block(
    call: BlockCall, mixed: Float[Tensor, "batch read inner"], entered: Float[Tensor, "batch read dim"]
) -> Float[Tensor, "batch read dim"]:
    """Finish the block for the read tokens: projection, residual, MLP."""
    block = cast(Any, call.block)
    tokens = entered + block.ls1(block.attn.proj(block.attn.norm(mixed)))
    output: Tensor = tokens + block.ls2(block.mlp(block.norm2(tokens)))
    return output


def closed_logits(vit: Vit, call: BlockCall, closed: ClosedBlock) -> Float[Tensor, "batch classes"]:
    """Return the logits through the closed block and the final norm: the model's own, if the block is the last."""
    return vit.read_out(leave_block(call, closed.mixed, closed.entered))


def row_gradients(
    vit: Vit, call: BlockCall, closed: ClosedBlock, classes: Sequence[int]
) -> Float[Tensor, "batch chosen heads read tokens"]:
    """Return the gradient of each class's logit by the attention rows.

    The chain passes through one token a class: each case is repeated once a class, and one backward pass from
    logit k of repeat k to the weighted sum ``o`` gives all classes; then ``dy/dA[h, n] = dy/do[h] . v[h, n]``.
    """
    batch, read, inner = closed.mixed.shape
    many = len(classes)
    mixed = closed.mixed.detach().repeat_interleave(many, dim=0).requires_grad_()
    entered = closed.entered.detach().repeat_interleave(many, dim=0)
    with torch.enable_grad():
        logits = vit.read_out(leave_block(call, mixed, entered))
        columns = torch.as_tensor(list(classes), device=logits.device).repeat(batch)
        chosen = logits.gather(1, columns[:, None]).sum()
        (gradient,) = torch.autograd.grad(chosen, mixed)
    heads = closed.values.shape[1]
    by_head = gradient.view(batch, many, read, heads, inner // heads)
    return torch.einsum("bcrhd,bhnd->bchrn", by_head, closed.values.detach())
