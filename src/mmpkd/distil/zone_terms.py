r"""The term that says where, as pure functions of tensors: located soft labels against the student's own patches.

A zone is a region of the picture, given by the share :math:`c_n` of each patch n that it covers. The student's logit of
a zone is pooled from its patch logits as the image's is, over the zone alone (:mod:`mmpkd.distil.pooling`), which by
default is

.. math:: y_Z = \tau \log \frac{\sum_n c_n e^{z_n / \tau}}{\sum_n c_n}

so the image is the zone that covers everything, and no parameter is added. With a located soft label q in [0, 1] for a
case, finding and zone, the term is the mean of two means over the cells that have one,

.. math:: \tfrac12 \frac{\sum q\,\ell(1, y_Z)}{\sum q} + \tfrac12 \frac{\sum (1 - q)\,\ell(0, y_Z)}{\sum (1 - q)}

because places without a finding outnumber those with it many times, the more so the finer the zones. What a report
leaves unsaid has no cell.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


def zone_cross_entropy(
    logits: Float[Tensor, "batch findings zones"], target: Float[Tensor, "batch findings zones"]
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return ``Σ q ℓ(1, y)`` and ``Σ (1 - q) ℓ(0, y)`` over the cells whose target q is not NaN."""
    known = ~target.isnan()
    present, absent = torch.where(known, target, 0.0), torch.where(known, 1.0 - target, 0.0)
    return (present * functional.softplus(-logits)).sum(), (absent * functional.softplus(logits)).sum()
