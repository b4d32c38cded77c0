r"""How patch logits become the logit of the image, or of a zone: the image is the zone that covers every patch wholly.

With patch logits :math:`z_n`, shares :math:`c_n` of the patches that the zone covers, and :math:`w_n = c_n / \sum c`:

===============  =================================================================  ====================================
rule             logit                                                              weight of a patch in it
===============  =================================================================  ====================================
``log-sum-exp``  :math:`\tau \log \sum_n w_n e^{z_n / \tau}`                        :math:`\propto w_n e^{z_n / \tau}`
``noisy-or``     :math:`\mathrm{logit}(1 - \prod_n (1 - \sigma(z_n))^{c_n})`        :math:`\propto c_n \sigma(z_n)`
``top-k``        mean of the highest :math:`z_n` that fill a share of the zone      equal among them
``attention``    :math:`\sum_n w_n z_n`, each :math:`z_n` weighed by the head       :math:`\propto c_n \sigma(z_n)`
===============  =================================================================  ====================================

The last column is :math:`\partial y / \partial z_n`, normalised, but for ``attention``: there the head multiplies each
patch's logit by N times its attention (Ilse et al. 2018, arXiv 1802.04712), so that the image's logit is their mean.

Sources: Pinheiro and Collobert 2015, arXiv 1411.6228 (log-sum-exp); Maron and Lozano-Perez 1998 (noisy-or); Durand et
al. 2016 (top-k). How many patches there are never changes what equal ones mean, but in ``noisy-or``, where each adds.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from mmpkd.distil.settings import PoolName, StudentSettings

_TINY = 1e-6


class Pooling(NamedTuple):
    """A rule with its numbers.

    Args:
        rule: See above.
        temperature: τ of ``log-sum-exp``: near 0 the maximum, for large τ the mean.
        top: Share of the zone that ``top-k`` reads, at least one patch.
    """

    rule: PoolName = "log-sum-exp"
    temperature: float = 1.0
    top: float = 0.1

    @classmethod
    def of(cls, settings: StudentSettings) -> Pooling:
        """Return the rule that a student's settings name."""
        return cls(settings.patch_pooling, settings.patch_temperature, settings.patch_top)

    def image(self, logits: Float[Tensor, "batch patches findings"]) -> Float[Tensor, "batch findings"]:
        """Return the image's logits."""
        if self.rule == "log-sum-exp":
            pooled = torch.logsumexp(logits / self.temperature, dim=1) - math.log(logits.shape[1])
            return self.temperature * pooled
        whole = logits.new_ones(len(logits), 1, logits.shape[1])
        return self.zones(logits.mT, whole).squeeze(2)

    def zones(
        self, logits: Float[Tensor, "batch findings patches"], coverage: Float[Tensor, "batch zones patches"]
    ) -> Float[Tensor, "batch findings zones"]:
        """Return the logit of each finding in each zone; of an empty zone, that of the whole image."""
        empty = coverage.sum(2, keepdim=True) <= 0
        weight = torch.where(empty, 1.0, coverage).unsqueeze(1)  # (batch, 1, zones, patches)
        each = logits.unsqueeze(2)  # (batch, findings, 1, patches)
        if self.rule == "log-sum-exp":
            share = (weight / weight.sum(3, keepdim=True)).log()  # -inf leaves a patch out
            return self.temperature * torch.logsumexp(each / self.temperature + share, dim=3)
        if self.rule == "noisy-or":
            surprise = (weight * functional.softplus(each)).sum(3).clamp_min(_TINY)  # -log P(no patch has it)
            return surprise + (-torch.expm1(-surprise)).log()  # log(e^s - 1), which must not overflow
        if self.rule == "top-k":
            ready, shares = torch.broadcast_tensors(each, weight)
            return _highest(ready, shares, self.top)
        return (weight * each).sum(3) / weight.sum(3)

    def map(self, logits: Float[Tensor, "batch patches findings"]) -> Float[Tensor, "batch patches findings"]:
        """Return the weight of each patch in the image's logit, of sum 1."""
        if self.rule == "log-sum-exp":
            return (logits / self.temperature).softmax(1)
        if self.rule == "top-k":
            kept = max(1.0, self.top * logits.shape[1])
            order = logits.argsort(1, descending=True).argsort(1).to(logits.dtype)
            return (kept - order).clamp(0.0, 1.0) / kept
        strength = logits.sigmoid()
        return strength / strength.sum(1, keepdim=True).clamp_min(_TINY)

    def neutral_bias(self, patches: int) -> float:
        """Return the patch logit at which an image of equal patches has the probability one half."""
        return math.log(math.expm1(math.log(2) / patches)) if self.rule == "noisy-or" else 0.0


def _highest(logits: Tensor, weight: Tensor, top: float) -> Tensor:
    """Return the mean of the highest logits that fill a share ``top`` of the weight, one patch's worth at least."""
    room = (top * weight.sum(3, keepdim=True)).clamp_min(1.0).minimum(weight.sum(3, keepdim=True))
    ordered, order = logits.sort(dim=3, descending=True)
    weight = weight.gather(3, order)
    taken = (room - (weight.cumsum(3) - weight)).clamp_min(0.0).minimum(weight)
    return (taken * ordered).sum(3) / room.squeeze(3)
