"""The embedding terms made ready for a training: embeddings on the device, looked up batch by batch."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmpkd.distil import embedding_terms
from mmpkd.distil.arms import NO_EMBEDDINGS
from mmpkd.distil.settings import EmbeddingTerms, TrainingSettings
from mmpkd.errors import InputError


def check_embedding(training: TrainingSettings, has_embeddings: bool) -> None:
    """Refuse embedding terms that this training cannot compute.

    Raises:
        InputError: There are no embeddings, or the training is compiled.
    """
    problems = [] if has_embeddings else [NO_EMBEDDINGS]
    if training.compile:
        problems.append(
            "training.compile: the embedding terms choose the cases of a batch that have an embedding, which "
            "torch.compile does not allow; set 'compile' to false."
        )
    if problems:
        raise InputError(problems)


class EmbeddingCriterion:
    """The embedding terms of a batch of training cases, over those of its cases that have an embedding.

    Args:
        terms: Weights; with all of them 0 there is nothing to call.
        embeddings: Of the training cases, a row of NaN where there is none.
        device: Where the student computes.

    Attributes:
        names: The terms that are on.
        weights: Of these terms, on the device.
    """

    def __init__(
        self, terms: EmbeddingTerms, embeddings: Float[np.ndarray, "cases dims"] | None, device: torch.device
    ) -> None:
        self._terms, self.names = terms, terms.names
        self.weights = torch.tensor([getattr(terms, name) for name in self.names], device=device)
        if embeddings is not None and self.names:
            self._embeddings = torch.from_numpy(np.nan_to_num(embeddings)).to(device, torch.float32)
            self._known = torch.from_numpy(~np.isnan(embeddings).any(axis=1)).to(device)

    def __call__(self, features: Float[Tensor, "own width"], own: Int[Tensor, " own"]) -> Float[Tensor, " terms"]:
        """Return each term over the rows ``own``, without weights; 0 where fewer than three have an embedding."""
        known = self._known[own]
        h, e = features[known].float(), self._embeddings[own[known]]
        if len(h) < embedding_terms.LEAST_CASES:
            return features.sum() * self.weights.new_zeros(len(self.names))
        values = []
        for name in self.names:
            if name == "contrastive":
                values.append(embedding_terms.contrastive(h, e, self._terms.temperature))
            else:
                values.append(getattr(embedding_terms, name)(h, e))
        return torch.stack(values)
