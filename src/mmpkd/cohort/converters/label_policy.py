"""Labels as report labelers write them (1.0, 0.0, -1.0 for uncertain, blank for unmentioned) and what they become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Float

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.table import Table, is_missing
from mmpkd.errors import did_you_mean

Meaning = Literal["missing", 0, 1]
Policy = Meaning | dict[str, Meaning]

DEFAULT = "default"
OTHER_NAMES = {"Lung Opacity": "Airspace Opacity"}  # CheXpert's name and that of the radiologists' tables


def check_policy(policy: Policy, findings: Sequence[str]) -> Policy:
    """Return the policy; one that names an unknown finding is a ``ValueError``."""
    known = (*findings, DEFAULT)
    for name in policy if isinstance(policy, dict) else ():
        if name not in known:
            raise ValueError(f"there is no finding {name!r}{did_you_mean(name, known)}")
    return policy


def meaning_of(policy: Policy, finding: str) -> float:
    """Return what a policy says of a finding: 1, 0, or NaN for missing."""
    meaning = policy.get(finding, policy.get(DEFAULT, "missing")) if isinstance(policy, dict) else policy
    return np.nan if meaning == "missing" else float(meaning)


def column_of(finding: str, table: Table) -> str:
    """Return the column that a table has for a finding, which may go by its other name."""
    other = OTHER_NAMES.get(finding, finding)
    return other if finding not in table.cells.columns and other in table.cells.columns else finding


def read_labels(
    table: Table, column: str, uncertain: float, blank: float, problems: Problems
) -> Float[np.ndarray, " rows"]:
    """Return a column's labels; whatever is none of the four is a problem.

    Args:
        table: As its reader left it.
        column: Of one finding.
        uncertain, blank: What -1 and a blank become (:func:`meaning_of`).
        problems: Told of the others by place.
    """
    values = table.column(column)
    codes, distinct = pd.factorize(values)
    absent = is_missing(pd.Series(distinct, dtype=str))
    numbers = pd.to_numeric(pd.Series(distinct, dtype=str), errors="coerce").to_numpy(float, na_value=np.nan)
    problems.add_rows(
        np.flatnonzero((~np.isin(numbers, [1, 0, -1]) & ~absent)[codes]),
        lambda i: f"{table.place(i, column)}: {values.iloc[i][:20]!r} is no label; write 1.0, 0.0, -1.0 or nothing.",
    )
    return np.where(absent, blank, np.where(numbers == -1, uncertain, numbers))[codes]
