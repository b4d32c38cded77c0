"""What every map method is, so that all of them can be listed, refused and tested alike."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float

from mmpkd.distil.student import Student


@runtime_checkable
class MapMethod(Protocol):
    """One way to say where a student looked.

    A method is a small object without state of a student: called with a student and prepared images it returns
    one non-negative map per case and finding on the student's token grid.
    """

    name: str
    class_specific: bool
    """False: the map is the same for every finding (and repeated for each)."""

    def refuse(self, student: Student) -> str | None:
        """Return the reason, one sentence, why the method says nothing about this student; else ``None``."""
        ...

    def __call__(
        self, student: Student, images: Float[torch.Tensor, "batch channels size size"]
    ) -> Float[torch.Tensor, "batch findings rows columns"]:
        """Return the maps of a batch of prepared (normalised) images, in float32."""
        ...
