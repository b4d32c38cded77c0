r"""Terms that make a student arrange images as privileged information arranges its cases: pure functions of a batch.

None has parameters of its own, so that any width of embedding will do and the student stays as it is. With student
features :math:`h_i` and embeddings :math:`e_i` of the same cases:

===============  ===================================================================  =================================
term             value                                                                source
===============  ===================================================================  =================================
``feature``      :math:`1 - \mathrm{CKA}(H, E)`, linear, columns centred              Kornblith et al. 2019,
                                                                                      arXiv 1905.00414; as a loss Saha
                                                                                      et al. 2022, arXiv 2212.00716
``relational``   Huber loss of pairwise distances, each over their mean, and twice    Park et al. 2019,
                 that of the cosines of all triplets' angles                          arXiv 1904.05068
``contrastive``  cross-entropy between each case's softmax over cosines to the        Fang et al. 2021,
                 others, over a temperature                                           arXiv 2101.04731
===============  ===================================================================  =================================
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

LEAST_CASES = 3
"""A batch with fewer cases has no triplet, and says nothing."""

Features = Float[Tensor, "cases width"]
Embeddings = Float[Tensor, "cases dims"]


def feature(features: Features, embeddings: Embeddings) -> Float[Tensor, ""]:
    r"""Return :math:`1 - \|E' H\|_F^2 / (\|H' H\|_F \|E' E\|_F)` of centred columns: 0 where both arrange alike."""
    h, e = (values - values.mean(0) for values in (features, embeddings))
    h_gram, e_gram = h @ h.T, e @ e.T  # cases are fewer than columns, and the norms are the same
    shared = (h_gram * e_gram).sum()
    return 1.0 - shared / (h_gram.norm() * e_gram.norm()).clamp_min(torch.finfo(shared.dtype).tiny)


def relational(features: Features, embeddings: Embeddings) -> Float[Tensor, ""]:
    """Return the distance term and twice the angle term, the published weights."""
    distance = functional.smooth_l1_loss(_relative_distances(features), _relative_distances(embeddings))
    angle = functional.smooth_l1_loss(_angles(features), _angles(embeddings))
    return distance + 2.0 * angle


def contrastive(features: Features, embeddings: Embeddings, temperature: float) -> Float[Tensor, ""]:
    """Return the mean cross-entropy of the student's similarities to the other cases against the embeddings'.

    Less the embeddings' own entropy, so that it is 0 where both agree.
    """
    student, privileged = (_similarities(values) / temperature for values in (features, embeddings))
    target = privileged.softmax(1)
    divergence = functional.kl_div(student.log_softmax(1), target, reduction="none").sum(1)
    return divergence.mean()


def _relative_distances(values: Tensor) -> Tensor:
    """Return distances of all pairs over their mean, (cases, cases - 1)."""
    distances = _others(torch.cdist(values, values, compute_mode="donot_use_mm_for_euclid_dist"))
    return distances / distances.mean().clamp_min(torch.finfo(distances.dtype).eps)


def _angles(values: Tensor) -> Tensor:
    """Return the cosine of the angle at j between i and k, for all (j, i, k)."""
    edges = functional.normalize(values.unsqueeze(0) - values.unsqueeze(1), dim=2)
    return edges @ edges.mT


def _similarities(values: Tensor) -> Tensor:
    unit = functional.normalize(values, dim=1)
    return _others(unit @ unit.T)


def _others(square: Tensor) -> Tensor:
    """Drop the diagonal: (cases, cases) to (cases, cases - 1)."""
    cases = len(square)
    return square.flatten()[1:].view(cases - 1, cases + 1)[:, :-1].reshape(cases, cases - 1)
