"""Attention followed through all blocks: rollout, gradient rollout, transformer relevance.

The three differ in the matrix that a block contributes. The products are taken for the read tokens' rows only, from
the last block down, which costs a matrix-vector product a block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmpkd.attribute.capture import attention_matrices, block_calls, class_gradients
from mmpkd.attribute.closed import can_close, close_block, closed_logits
from mmpkd.attribute.contract import Images, Maps
from mmpkd.attribute.vit import Vit

Matrices = Float[Tensor, "batch tokens tokens"]


@final
class Rollout:
    r"""Attention rollout.

    .. math:: \hat A_l = \tfrac12 (\mathrm{mean}_h A_l^h + I), \qquad R = \hat A_L \cdots \hat A_1,
        \qquad a_n = \mathrm{mean}_r R_{rn}

    Rows of :math:`\hat A_l` and of :math:`R` sum to 1. Read rows :math:`r` as in the map ``attention``.

    Source: Abnar and Zuidema 2020 (arXiv 2005.00928). A widely copied implementation normalises the wrong axis and
    thins attention for the first case of a batch only. What it cannot show: a class; it ignores values and MLPs.
    """

    name = "rollout"
    class_specific = False

    def refuse(self, vit: Vit) -> str | None:
        """Any supported backbone will do."""
        return None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps; every class of a case gets the same one."""
        with torch.no_grad(), attention_matrices(vit) as found:
            vit.features(images)
        rows = _read_rows(vit, found[0])
        for matrix in reversed(found):
            rows = 0.5 * (rows + rows @ matrix.mean(dim=1))
        return vit.on_grid(rows.mean(dim=1)).unsqueeze(1).expand(-1, len(classes), -1, -1)


@final
class GradientRollout:
    r"""Rollout of attention weighed by its gradient, for one class.

    .. math:: \bar A_l = \mathrm{mean}_h (A_l^h \odot \partial y_k / \partial A_l^h)^+ , \qquad
        \hat A_l = D^{-1}(\bar A_l + I), \qquad R = \hat A_L \cdots \hat A_1

    with :math:`D` the row sums, so that rows sum to 1. Each block meets its own gradient (a widely copied
    implementation pairs block i with the gradient of block L - 1 - i). Where patches are read, a patch keeps part of
    itself by the identity: scores of energy see that level, scores of rank do not.

    Source: Gildenblat 2020, "Exploring explainability for vision transformers", mended, and with the positive part
    taken head by head.
    """

    name = "gradient-rollout"
    class_specific = True

    def refuse(self, vit: Vit) -> str | None:
        """Any supported backbone will do."""
        return None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of the chosen classes."""

        def follow(rows: Tensor, weighed: Matrices) -> Tensor:
            # row r of D^-1 (A + I), applied from the left: divide each row by its sum first
            scale = 1 + weighed.sum(dim=-1, keepdim=True)
            shared = rows / scale.transpose(1, 2)
            return shared + shared @ weighed

        return _weighed_walk(vit, images, classes, follow)


@final
class Relevance:
    r"""Transformer relevance by gradient times attention, for one class.

    .. math:: R \leftarrow R + \bar A_l R, \qquad \bar A_l = \mathrm{mean}_h
        (A_l^h \odot \partial y_k / \partial A_l^h)^+, \qquad R_0 = I, \qquad a_n = \mathrm{mean}_r (R - I)_{rn}

    Without the identity in the end, which says that a token is itself: where patches are read it would lift every patch
    alike (where prefix tokens are read it changes nothing).

    Source: Chefer, Gur and Wolf 2021, "Generic attention-model explainability" (arXiv 2103.15679), the rule for
    self-attention. What it cannot show: evidence against a class, and what MLPs and values add.
    """

    name = "relevance"
    class_specific = True

    def refuse(self, vit: Vit) -> str | None:
        """Any supported backbone will do."""
        return None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of the chosen classes."""
        own = vit.on_grid(_read_rows(vit, images.new_zeros(1, vit.tokens)).mean(dim=1))
        return _weighed_walk(vit, images, classes, lambda rows, weighed: rows + rows @ weighed) - own


def _weighed_walk(vit: Vit, images: Images, classes: Sequence[int], follow: Callable[[Tensor, Tensor], Tensor]) -> Maps:
    """Walk from the read rows down through the blocks' gradient-weighed attention, class by class."""
    leaf = images.detach().requires_grad_()
    with torch.enable_grad(), attention_matrices(vit) as found:
        if can_close(vit):  # the rows of the last block that nothing reads have gradient zero: leave them out
            (call,) = block_calls(vit, leaf, last_only=True)
            closed = close_block(vit, call)
            logits = closed_logits(vit, call, closed)
            matrices = [*found, closed.attention]
        else:
            logits = vit.logits(leaf)
            matrices = found

        def walk(gradients: list[Tensor]) -> Tensor:
            rows = _read_rows(vit, matrices[0])
            for matrix, gradient in zip(reversed(matrices), reversed(gradients), strict=True):
                weighed = (matrix.detach() * gradient).clamp_(min=0).mean(dim=1)
                if weighed.shape[1] < weighed.shape[2]:
                    weighed = nn.functional.pad(weighed, (0, 0, 0, weighed.shape[2] - weighed.shape[1]))
                rows = follow(rows, weighed)
            return rows.mean(dim=1)

        return vit.on_grid(class_gradients(logits, classes, matrices, walk))


def _read_rows(vit: Vit, like: Tensor) -> Float[Tensor, "batch read tokens"]:
    """Return the identity's rows of the read tokens."""
    eye = torch.eye(like.shape[-1], dtype=like.dtype, device=like.device)
    return eye[vit.read].expand(len(like), -1, -1)
