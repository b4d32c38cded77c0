"""The soft-label table: what the teacher hands to the student, and all that the student's training reads of it.

One row a (case, finding, region): the teacher's logit, the fold it came from, and the file's provenance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from mmpkd.errors import InputError
from mmpkd.files import read_provenance, read_table, write_table

COLUMNS = ("case", "finding", "region", "logit", "fold")
WHOLE_IMAGE = "image"
ALL_TRAINING_CASES = -1  # the fold of cases that no training fold held: the teacher saw all training cases


@dataclass(frozen=True)
class SoftLabels:
    """Teacher logits per (case, finding, region).

    Args:
        table: Columns ``case`` (string), ``finding`` (string), ``region`` (string, ``image`` for the whole),
            ``logit`` (float64; log-odds in a multi-label cohort, log-probability in a multi-class one) and
            ``fold`` (int; the held-out fold of a training case, -1 for the teacher of all training cases).
            A missing row or NaN logit means that the teacher knows nothing of it.
        provenance: What made the table (plain data).
    """

    table: pd.DataFrame
    provenance: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        missing = [column for column in COLUMNS if column not in self.table.columns]
        if missing:
            raise InputError(f"the soft-label table lacks the column {missing[0]!r}; it needs {', '.join(COLUMNS)}.")
        if self.table.duplicated(["case", "finding", "region"]).any():
            raise InputError("the soft-label table has two rows for one (case, finding, region); keep one of them.")
        if np.isinf(self.table["logit"].to_numpy(float)).any():
            raise InputError("the soft-label table has an infinite logit; clip the teacher's probabilities first.")

    @classmethod
    def from_matrix(
        cls,
        cases: Sequence[str] | pd.Index[str],
        findings: Sequence[str],
        logits: Float[np.ndarray, "cases findings"],
        fold: np.ndarray,
        provenance: Mapping[str, object] | None = None,
    ) -> SoftLabels:
        """Build the table of the region ``image`` from a matrix of logits and each case's fold."""
        count = len(findings)
        table = pd.DataFrame(
            {
                "case": np.repeat(np.asarray(cases, dtype=object), count),
                "finding": np.tile(np.asarray(findings, dtype=object), len(cases)),
                "region": WHOLE_IMAGE,
                "logit": np.asarray(logits, dtype=np.float64).ravel(),
                "fold": np.repeat(np.asarray(fold, dtype=np.int64), count),
            }
        )
        return cls(table, dict(provenance or {}))

    @classmethod
    def read(cls, path: Path) -> SoftLabels:
        """Read a soft-label table with its provenance."""
        return cls(read_table(path), read_provenance(path))

    def write(self, path: Path) -> None:
        """Write the table whole, as Parquet, with its provenance inside."""
        write_table(path, self.table[list(COLUMNS)], self.provenance)

    def matrix(
        self, cases: Sequence[str] | pd.Index[str], findings: Sequence[str], region: str = WHOLE_IMAGE
    ) -> Float[np.ndarray, "cases findings"]:
        """Return logits in the order of ``cases`` and ``findings``, NaN where the table has none."""
        of_region = self.table[self.table["region"] == region]
        wide = of_region.pivot(index="case", columns="finding", values="logit")
        return wide.reindex(index=list(cases), columns=list(findings)).to_numpy(dtype=np.float64)
