r"""Terms on a student's own map, as pure functions of tensors. They hold no state and know no model.

A map ``a`` is non-negative and sums to 1 over its grid of N patches (:mod:`mmpkd.distil.own_map`).

===================  =======================================  ===================================================
term                 formula                                  scale
===================  =======================================  ===================================================
``entropy``          ``-Σ a_n log a_n / log N``               0 one patch, 1 uniform
``total_variation``  ``Σ |a_n - a_m|`` over neighbours n, m   0 uniform, 4/s a square of s x s patches, at most 4
``consistency``      ``1 - cos(a, a')`` where both views see  0 the same shape, 1 nothing in common
``roi``              cross-entropy of patches, or of mass     0 all of it inside the ROI
===================  =======================================  ===================================================

The first three know no label: they act on the maps of all findings, present or not. Each has a map that
minimises it and says nothing (any one patch; the uniform map, twice), so read a weight's effect off localisation,
never off the term alone. The class token's attention falls into the uniform map readily: with ``consistency`` give
``entropy`` some weight, which pulls the other way.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

_LEAST = 1e-12  # below it the logarithm of a share is cut, so that its gradient stays finite


def entropy(maps: Float[Tensor, "*any rows columns"]) -> Float[Tensor, "*any"]:
    """Return ``-Σ a_n log a_n / log N`` of each map: 0 for one patch, 1 for a uniform map.

    Too much of it is the collapse that makes training unstable: Zhai et al. 2023, arXiv 2303.06296. (Attanasio et
    al. 2022, arXiv 2203.09192, regularise with the opposite sign, for wider attention.)

    Raises:
        ValueError: A grid of one patch, whose map is always 1.
    """
    patches = maps.shape[-2] * maps.shape[-1]
    if patches < 2:
        raise ValueError("a map of one patch has no entropy to speak of")
    return -(maps * maps.clamp_min(_LEAST).log()).sum((-2, -1)) / math.log(patches)


def total_variation(maps: Float[Tensor, "*any rows columns"]) -> Float[Tensor, "*any"]:
    """Return the sum of absolute differences between neighbours, along rows and along columns, of each map.

    For shares that sum to 1: an even square of s x s patches away from the edge has 4/s, its edge over its area; one
    patch there has 4, the most there is; a uniform map has 0. Rudin et al. 1992, in its anisotropic form.
    """
    down = (maps[..., 1:, :] - maps[..., :-1, :]).abs().sum((-2, -1))
    across = (maps[..., 1:] - maps[..., :-1]).abs().sum((-2, -1))
    return down + across


def inconsistency(
    first: Float[Tensor, "batch maps rows columns"],
    second: Float[Tensor, "batch maps rows columns"],
    seen: Bool[Tensor, "batch 1 rows columns"],
) -> Float[Tensor, "batch maps"]:
    """Return one minus the cosine similarity of two maps over the patches that are ``seen``; 0 where none is.

    The cosine does not depend on either map's scale, so how much of it lies out of view does not matter; it is defined
    for a uniform map, unlike a correlation, whose gradient knows no bound near one; and it is led by the peaks, which
    is where a map says something.

    Idea: Guo et al. 2019 (CVPR, attention consistency under image transforms, with a squared error); Wang et al. 2020,
    arXiv 2004.04581.
    """
    similarity = functional.cosine_similarity((first * seen).flatten(2), (second * seen).flatten(2), dim=2, eps=_LEAST)
    return (1.0 - similarity) * seen.flatten(2).any(2)


def patch_cross_entropy(
    logits: Float[Tensor, "batch findings rows columns"], coverage: Float[Tensor, "batch findings rows columns"]
) -> tuple[Float[Tensor, "batch findings"], Float[Tensor, "batch findings"]]:
    """Return the binary cross-entropy of patch logits inside an ROI and outside of it, each a mean over patches.

    With coverage c_n, the share of a patch that the ROI covers: ``Σ c_n ℓ(1, z_n) / Σ c_n`` and
    ``Σ (1 - c_n) ℓ(0, z_n) / Σ (1 - c_n)``; 0 where there is no such patch. Averaging within each pair of case and
    finding first lets a small lesion count as much as a large one, and half of the term belongs to either mean.

    Idea: Li et al. 2018, arXiv 1711.06373 (boxes on a grid of patches beside image labels).
    """
    inside = _mean(functional.softplus(-logits), coverage)
    return inside, _mean(functional.softplus(logits), 1.0 - coverage)


def mass_cross_entropy(
    maps: Float[Tensor, "batch maps rows columns"], coverage: Float[Tensor, "batch findings rows columns"]
) -> Float[Tensor, "batch findings"]:
    """Return ``-log Σ a_n c_n``, the map's mass inside the ROI (c_n: how much of patch n it covers); 0 without an ROI.

    Idea: the energy loss of Rao et al. 2023, arXiv 2303.11932, which is ``-Σ a_n c_n``; the logarithm keeps its pull
    where little mass lies inside, and makes the term a cross-entropy.
    """
    inside = (maps * coverage).sum((2, 3))
    return torch.where(coverage.sum((2, 3)) > 0, -inside.clamp_min(_LEAST).log(), 0.0)


def _mean(
    values: Float[Tensor, "batch findings rows columns"], weight: Float[Tensor, "batch findings rows columns"]
) -> Float[Tensor, "batch findings"]:
    total = weight.sum((2, 3))
    some = total > 0
    return torch.where(some, (values * weight).sum((2, 3)) / torch.where(some, total, 1.0), 0.0)
