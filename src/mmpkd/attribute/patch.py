"""The patch head's own evidence: one probability per token and finding, free with the forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from typing import final

import torch

from mmpkd.attribute.contract import Images, Maps
from mmpkd.attribute.vit import Vit


@final
class PatchLogits:
    r"""Sigmoid of the per-token logits that the image logit is pooled from.

    .. math:: a_{nk} = \sigma(z_{nk}), \qquad z_k = \tau \log \frac{1}{N} \sum_n e^{z_{nk} / \tau}

    by default; :mod:`mmpkd.distil.pooling` has the other rules. Class-specific, and faithful by construction: the image
    logit is a stated function of these numbers and of nothing else. It needs a student with the ``patch`` head. What it
    cannot show: where a token's evidence came from, since attention may have carried it there from other patches.
    """

    name = "patch"
    class_specific = True

    def refuse(self, vit: Vit) -> str | None:
        """Refuse any other head."""
        if vit.patch_logits is None:
            return (
                f"the map 'patch' needs a student with the patch head; this one has {vit.head!r}; set student.head to "
                "'patch' or use the map 'attention'."
            )
        return None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of the chosen findings."""
        if vit.patch_logits is None:
            raise TypeError("call refuse() first: this student has no patch head")
        with torch.no_grad():
            logits = vit.patch_logits(vit.features(images))[..., list(classes)]
        return logits.sigmoid().transpose(1, 2).unflatten(-1, vit.grid)
