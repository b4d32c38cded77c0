"""Heads: from a backbone's tokens to one logit a finding. Linear, so that what they weigh can be read off."""

from __future__ import annotations

from typing import Protocol

from jaxtyping import Float
from torch import Tensor, nn

from mmpkd.distil.pooling import Pooling
from mmpkd.distil.settings import StudentSettings
from mmpkd.errors import InputError


class Head(Protocol):
    """What every head does."""

    def __call__(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch findings"]:
        """Return a logit per image and finding."""
        ...


def build_head(
    settings: StudentSettings, width: int, findings: int, prefix_tokens: int, class_token: bool, patches: int = 1
) -> nn.Module:
    """Return the head named in the settings, freshly initialised.

    Raises:
        InputError: The class-token head is asked of a backbone without a class token.
    """
    if settings.head == "class-token":
        if not class_token:
            raise InputError(
                f"student.head: the backbone {settings.backbone!r} has no class token; use the head 'mean' or 'patch'."
            )
        return ClassTokenHead(width, findings)
    if settings.head == "mean":
        return MeanHead(width, findings, prefix_tokens)
    return PatchHead(width, findings, prefix_tokens, Pooling.of(settings), patches)


def _linear(width: int, findings: int) -> nn.Linear:
    linear = nn.Linear(width, findings)
    nn.init.trunc_normal_(linear.weight, std=0.02)
    nn.init.zeros_(linear.bias)
    return linear


class ClassTokenHead(nn.Module):
    """The paper's head: a linear layer on the class token."""

    def __init__(self, width: int, findings: int) -> None:
        super().__init__()
        self.linear = _linear(width, findings)

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch findings"]:
        """Return ``W x_class + b``."""
        logits: Tensor = self.linear(tokens[:, 0])
        return logits


class MeanHead(nn.Module):
    """A linear layer on the mean of the patch tokens."""

    def __init__(self, width: int, findings: int, prefix_tokens: int) -> None:
        super().__init__()
        self.linear = _linear(width, findings)
        self.prefix_tokens = prefix_tokens

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch findings"]:
        """Return ``W mean_n(x_n) + b`` over the patch tokens n."""
        logits: Tensor = self.linear(tokens[:, self.prefix_tokens :].mean(1))
        return logits


class PatchHead(nn.Module):
    """One logit per patch token and finding, pooled to the image: the map is the student's own evidence."""

    def __init__(self, width: int, findings: int, prefix_tokens: int, pooling: Pooling, patches: int = 1) -> None:
        super().__init__()
        self.linear = _linear(width, findings)
        nn.init.constant_(self.linear.bias, pooling.neutral_bias(patches))
        self.prefix_tokens, self.pooling = prefix_tokens, pooling
        self.attention = nn.Linear(width, 1) if pooling.rule == "attention" else None
        if self.attention is not None:
            nn.init.zeros_(self.attention.weight)  # at first the mean

    def patch_logits(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch patches findings"]:
        """Return ``z_n = W x_n + b`` for each patch token n, in the grid's row-major order.

        With the rule ``attention`` it is ``N a_n (W x_n + b)``, ``a = softmax(V x)`` over the patches.
        """
        patches = tokens[:, self.prefix_tokens :]
        logits: Tensor = self.linear(patches)
        if self.attention is None:
            return logits
        return patches.shape[1] * self.attention(patches).softmax(1) * logits

    def forward(self, tokens: Float[Tensor, "batch tokens width"]) -> Float[Tensor, "batch findings"]:
        """Return the patch logits pooled by the head's rule (:mod:`mmpkd.distil.pooling`)."""
        return self.pooling.image(self.patch_logits(tokens))
