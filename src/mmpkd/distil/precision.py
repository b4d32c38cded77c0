"""Which precision a student is trained in, and by which attention, from what the machine has units for.

The choice asks for capabilities and times nothing, so the same machine always chooses the same. The rules
rest on ``benchmarks/training.py``: on CPUs with bfloat16 units (AVX512-BF16 or AMX) bfloat16 with explicit
attention is the fastest of the four ways, fused attention's backward pass being slow there; in single
precision fused attention is as fast or faster; without such units bfloat16 is emulated and many times
slower.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from mmpkd.distil.settings import PrecisionName


@dataclass(frozen=True)
class Precision:
    """How to run a student.

    Args:
        name: ``fp32`` or ``bf16``.
        explicit_attention: Compute attention step by step rather than by the fused kernel.
    """

    name: PrecisionName
    explicit_attention: bool

    def autocast(self, device: torch.device) -> AbstractContextManager[None]:
        """Return the context that runs matrix products in this precision; weights stay single."""
        return torch.autocast(device.type, torch.bfloat16, enabled=self.name == "bf16")


def choose_precision(name: PrecisionName, device: torch.device) -> Precision:
    """Return how to run on ``device``; ``auto`` takes bfloat16 where the machine has units for it."""
    if name == "auto":
        name = "bf16" if _has_bfloat16_units(device) else "fp32"
    return Precision(name, device.type == "cpu" and name == "bf16")


def _has_bfloat16_units(device: torch.device) -> bool:
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if device.type != "cpu":
        return False
    # private names of torch; where a later release has moved them, single precision is always right
    probes = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, probe, lambda: False)()) for probe in probes)
