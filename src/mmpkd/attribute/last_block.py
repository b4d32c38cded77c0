"""Class-specific maps of the last block alone: attention times gradient, and Grad-CAM on tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import final

import torch
from torch import Tensor

from mmpkd.attribute.capture import BlockCall, attention_matrices, block_calls, class_gradients
from mmpkd.attribute.closed import can_close, close_block, closed_logits, row_gradients
from mmpkd.attribute.contract import Images, Maps
from mmpkd.attribute.vit import Vit


@final
class AttentionGradient:
    r"""Attention times gradient of the last block, for one class.

    .. math:: a_n = \sum_r \mathrm{mean}_h \left( A^h_{rn} \,
        \frac{\partial y_k}{\partial A^h_{rn}} \right)^+

    over the rows :math:`r` that the logits read (all others have gradient zero). The gradient of attention is the
    value's pull on the logit, so that attention to what speaks against the class is left out.

    Source: the last term of Chefer et al. 2021 (arXiv 2103.15679). With a class-token head it costs no more than a
    forward pass, however many classes.
    """

    name = "attention-gradient"
    class_specific = True

    def refuse(self, vit: Vit) -> str | None:
        """Any supported backbone will do."""
        return None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of the chosen classes."""
        with torch.no_grad():
            (call,) = block_calls(vit, images, last_only=True)
        if can_close(vit):
            with torch.no_grad():
                closed = close_block(vit, call)
            pull = row_gradients(vit, call, closed, classes) * closed.attention.unsqueeze(1)
            return vit.on_grid(pull.clamp(min=0).mean(dim=2).sum(dim=2))
        with torch.enable_grad(), attention_matrices(vit, [call.block]) as found:
            logits = _logits_from(vit, call)
            weighed = class_gradients(
                logits, classes, found, lambda gradients: (found[0].detach() * gradients[0]).clamp(min=0).mean(1).sum(1)
            )
        return vit.on_grid(weighed)


@final
class TokenGradCam:
    r"""Grad-CAM with tokens for pixels: the tokens that enter the last block, weighed by the mean gradient.

    .. math:: a_n = \left( \sum_d w_d x_{nd} \right)^+, \qquad
        w_d = \mathrm{mean}_n \frac{\partial y_k}{\partial x_{nd}}

    over patch tokens :math:`n`. The input of the last block is the latest place where a class-token head still has a
    gradient on patches.

    Source: Selvaraju et al. 2017 (arXiv 1610.02391). What it cannot show: anything finer than a direction in feature
    space; on ViTs the mean gradient is often no such direction.
    """

    name = "grad-cam"
    class_specific = True

    def refuse(self, vit: Vit) -> str | None:
        """Any supported backbone will do."""
        return None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of the chosen classes."""
        with torch.no_grad():
            (call,) = block_calls(vit, images, last_only=True)
        patches = slice(vit.prefix_tokens, None)
        with torch.enable_grad():
            call = replace(call, tokens=call.tokens.detach().requires_grad_())
            logits = closed_logits(vit, call, close_block(vit, call)) if can_close(vit) else _logits_from(vit, call)

            def weigh(gradients: list[Tensor]) -> Tensor:
                weights = gradients[0][:, patches].mean(dim=1, keepdim=True)
                return (weights * call.tokens.detach()[:, patches]).sum(dim=-1).clamp(min=0)

            maps = class_gradients(logits, classes, [call.tokens], weigh)
        return maps.unflatten(-1, vit.grid)


def _logits_from(vit: Vit, call: BlockCall) -> Tensor:
    return vit.read_out(call(call.tokens if call.tokens.requires_grad else call.tokens.detach().requires_grad_()))
