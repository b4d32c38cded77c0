"""Integrated gradients, by captum (an optional dependency)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast, final

import torch
from torch.nn import functional

from mmpkd.attribute.contract import Images, Maps
from mmpkd.attribute.vit import Vit


@final
class IntegratedGradients:
    r"""Integrated gradients of the pixels, summed over each patch.

    .. math:: a_n = \left( \sum_{p \in n} (x_p - x'_p) \int_0^1
        \frac{\partial y_k}{\partial x_p}(x' + \alpha (x - x')) \, d\alpha \right)^+

    with the baseline :math:`x' = 0` of the normalised image (mean grey) and 32 Gauss-Legendre steps.

    Source: Sundararajan et al. 2017 (arXiv 1703.01365), as captum computes it. Its sum is y(x) - y(x'), and so depends
    on the baseline: structure as grey as the baseline is given nothing.
    """

    name = "integrated-gradients"
    class_specific = True
    steps = 32

    def refuse(self, vit: Vit) -> str | None:
        """Refuse where captum is not installed."""
        try:
            import captum.attr  # noqa: F401
        except ImportError:
            return "the map 'integrated-gradients' needs captum; install it with `pip install mmpkd[captum]`."
        return None

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of the chosen classes."""
        import captum.attr

        integrate = captum.attr.IntegratedGradients(vit.logits)
        maps = []
        for column in classes:
            pixels = cast(
                torch.Tensor,
                integrate.attribute(
                    images,
                    baselines=torch.zeros_like(images),
                    target=column,
                    n_steps=self.steps,
                    internal_batch_size=256,
                ),
            ).detach()
            size = cast(Any, vit.backbone.patch_embed).patch_size
            area = size[0] * size[1]
            maps.append(functional.avg_pool2d(pixels.sum(dim=1, keepdim=True), size).squeeze(1) * area)
        return torch.stack(maps, dim=1).clamp(min=0).to(images.dtype)
