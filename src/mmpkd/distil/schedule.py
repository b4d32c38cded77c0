"""The learning rate over a training: linear warm-up, then half a cosine down to zero."""

from __future__ import annotations

import math


def learning_rate(step: int, total_steps: int, warmup_steps: int, peak: float) -> float:
    """Return the rate of step ``step`` (from 0) of ``total_steps``.

    Warm-up: ``peak (step + 1) / warmup_steps``. After it, with u the share of the remaining steps that is
    done, ``peak (1 + cos(π u)) / 2``; Loshchilov and Hutter 2017, arXiv 1608.03983, without restarts.
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    share = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return peak * 0.5 * (1.0 + math.cos(math.pi * share))
