"""LeGrad: how sensitive the logits read off each depth are to that depth's attention."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from mmpkd.attribute.capture import attention_matrices, block_calls, class_gradients
from mmpkd.attribute.closed import can_close, close_block, row_gradients
from mmpkd.attribute.contract import Images, Maps
from mmpkd.attribute.vit import Vit


@final
class LeGrad:
    r"""LeGrad.

    .. math:: a_n = \sum_l \frac{1}{H R} \sum_h \sum_r
        \left( \frac{\partial y_k^l}{\partial A^{l,h}_{rn}} \right)^+ ,
        \qquad y^l = \mathrm{head}(\mathrm{norm}(Z^l))

    where :math:`Z^l` are the tokens after block l and :math:`R` counts all tokens. Each depth is read by the model's
    own norm and head, and its gradient stops at that block, so a class-token head needs one token a class and depth.
    The paper scales the sum to [0, 1]; here it is left as it is.

    Source: Bousselham et al. 2024 (arXiv 2404.03214). What it cannot show: evidence that no depth can read off yet.
    """

    name = "legrad"
    class_specific = True

    def refuse(self, vit: Vit) -> str | None:
        """Any supported backbone will do."""
        return None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of the chosen classes."""
        total = torch.zeros((), device=images.device)
        with torch.no_grad():
            calls = block_calls(vit, images)
        for call in calls:
            if can_close(vit):
                with torch.no_grad():
                    closed = close_block(vit, call)
                rows = row_gradients(vit, call, closed, classes).clamp(min=0).mean(dim=2).sum(dim=2)
            else:
                with torch.enable_grad(), attention_matrices(vit, [call.block]) as found:
                    logits = vit.read_out(call(call.tokens.detach().requires_grad_()))
                    rows = class_gradients(
                        logits, classes, found, lambda gradients: gradients[0].clamp(min=0).mean(1).sum(1)
                    )
            total = total + rows
        return vit.on_grid(total) / vit.tokens
