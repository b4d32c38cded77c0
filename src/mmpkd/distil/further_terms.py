"""Everything that an objective adds to labels and soft labels: the terms on the student's map and on its features."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmpkd.distil.attention_criterion import AttentionCriterion
from mmpkd.distil.embedding_criterion import EmbeddingCriterion
from mmpkd.distil.own_map import MappedLogits


class FurtherTerms:
    """The further terms of a batch, those on the map first.

    Args:
        attention: Terms on the student's own map.
        embedding: Terms on its features.

    Attributes:
        names: The terms that are on.
        weights: Of these terms, on the device.
        views: How many augmented views of each image the terms need.
        of_maps: Whether any of them reads the map.
    """

    def __init__(self, attention: AttentionCriterion, embedding: EmbeddingCriterion) -> None:
        self._attention, self._embedding = attention, embedding
        self.names = (*attention.names, *embedding.names)
        self.weights = torch.cat([attention.weights, embedding.weights])
        self.views, self.of_maps = attention.views, bool(attention.names)

    def __call__(
        self,
        output: MappedLogits,
        moves: Float[Tensor, "views own 7"] | None,
        own: Int[Tensor, " own"],
        batch: Int[Tensor, " batch"],
    ) -> Float[Tensor, " terms"]:
        """Return this process's share of each term, without weights; see the terms' own criteria."""
        values = [self._attention(output, moves, own, batch)] if self._attention.names else []
        if self._embedding.names:
            values.append(self._embedding(output.features[: len(own)], own))
        return torch.cat(values)

    def told(self, values: Float[Tensor, " terms"], batch: Int[Tensor, " batch"]) -> Float[Tensor, " terms"]:
        """Return the terms for the history, NaN where no case of the batch gives one anything to say."""
        first, rest = values.split([len(self._attention.names), len(self._embedding.names)])
        return torch.cat([self._attention.told(first, batch), rest])
