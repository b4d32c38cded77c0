"""What every map method is, so that all of them can be listed, refused and tested alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float

from mmpkd.attribute.vit import Vit

Images = Float[torch.Tensor, "batch channels height width"]
Maps = Float[torch.Tensor, "batch chosen rows columns"]


@runtime_checkable
class MapMethod(Protocol):
    """One way to say where a model looked.

    A method is a small object that holds nothing of a model: called with a model's view and prepared images, it
    returns one non-negative map for each case and chosen class on the model's token grid. Where the equation gives
    signed numbers, the map is their positive part: evidence *for* the class.
    """

    name: str
    class_specific: bool
    """False: the map is the same for every class (and repeated for each)."""

    def refuse(self, vit: Vit) -> str | None:
        """Return the reason, one sentence, why the method says nothing about this model; else ``None``."""
        ...

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the maps of a batch of prepared (normalised) images for these columns of the logits."""
        ...
