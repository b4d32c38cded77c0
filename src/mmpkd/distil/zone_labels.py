"""Located soft labels: what is said of each zone of a case, and which patches each zone covers. No torch here."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float16, Int


@dataclass(frozen=True)
class ZoneLabels:
    """What is known of the zones of some cases.

    Args:
        logits: One a case, finding and zone; NaN where nothing is known.
        coverage: Share of each patch that a zone covers, in [0, 1]. One set of zones for all cases, or one a case.
    """

    logits: Float[np.ndarray, "cases findings zones"]
    coverage: Float16[np.ndarray, "sets zones rows columns"]

    def __post_init__(self) -> None:
        if len(self.coverage) not in (1, len(self.logits)) or self.coverage.shape[1] != self.logits.shape[2]:
            raise ValueError(f"zones {self.coverage.shape[:2]} do not fit located labels {self.logits.shape}")

    def __len__(self) -> int:
        return len(self.logits)

    def take(self, positions: Int[np.ndarray, " n"]) -> ZoneLabels:
        """Return the zones of the cases at integer ``positions``."""
        coverage = self.coverage if len(self.coverage) == 1 else self.coverage[positions]
        return ZoneLabels(self.logits[positions], coverage)
