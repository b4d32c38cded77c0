"""The patch head's own evidence: one probability per token and finding, free with the forward pass."""

from __future__ import annotations

from typing import final

import torch
from jaxtyping import Float

from mmpkd.distil.heads import PatchHead
from mmpkd.distil.student import Student


@final
class PatchLogits:
    r"""Sigmoid of the per-token logits that the image logit is pooled from.

    .. math:: a_{nk} = \sigma(z_{nk}), \qquad z_k = \tau \log \frac{1}{N} \sum_n e^{z_{nk} / \tau}

    Class-specific, and faithful by construction: the image logit is a stated function of these numbers and of
    nothing else. It needs a student with the ``patch`` head.
    """

    name = "patch"
    class_specific = True

    def refuse(self, student: Student) -> str | None:
        """Refuse any other head."""
        if student.settings.head != "patch":
            return (
                f"the map 'patch' needs a student with the patch head; this one has {student.settings.head!r}; set "
                "student.head to 'patch' or use the map 'attention'."
            )
        return None

    def __call__(
        self, student: Student, images: Float[torch.Tensor, "batch channels size size"]
    ) -> Float[torch.Tensor, "batch findings rows columns"]:
        """Return the maps of all findings."""
        if not isinstance(student.head, PatchHead):
            raise TypeError("call refuse() first: this student has no patch head")
        with torch.no_grad():
            logits = student.head.patch_logits(student.tokens(images).float())  # (batch, patches, findings)
        return logits.float().sigmoid().transpose(1, 2).unflatten(-1, student.grid)
