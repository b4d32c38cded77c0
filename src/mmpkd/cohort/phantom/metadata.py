"""Clinical metadata: some columns that tell about the findings as strongly as asked, some that tell nothing."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from jaxtyping import Bool
from scipy.special import ndtri

from mmpkd.cohort.phantom.scene import Scene
from mmpkd.cohort.phantom.settings import PhantomSettings
from mmpkd.cohort.phantom.streams import Streams

_MISSING = 0.06


@dataclass(frozen=True)
class _Column:
    """One column: a standard normal number, shifted by the findings, on a clinical scale or cut into categories.

    Args:
        effects: Shift for each finding at full strength, in standard deviations.
        centre, scale: Value = centre + scale x; with ``log`` its exponential.
        decimals: Digits kept.
        log: Whether the value is log-normal.
        cuts, categories: If given, x is cut there into the categories instead.
    """

    effects: dict[str, float] = field(default_factory=dict)
    centre: float = 0.0
    scale: float = 1.0
    decimals: int = 1
    log: bool = False
    cuts: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()


_COLUMNS: dict[str, dict[str, _Column]] = {
    "chest": {
        "age": _Column({"cardiomegaly": 0.6, "nodule": 0.4}, 58.0, 15.0, decimals=0),
        "temperature": _Column({"consolidation": 2.2}, 36.9, 0.5),
        "oxygen_saturation": _Column({"pneumothorax": -1.2, "consolidation": -0.8, "effusion": -1.4}, 95.0, 2.0, 0),
        "nt_probnp": _Column({"cardiomegaly": 2.2, "effusion": 1.0}, 5.3, 0.9, decimals=0, log=True),
        "smoking": _Column({"nodule": 2.2}, cuts=(0.2, 1.1), categories=("never", "former", "current")),
        "chest_pain": _Column({"pneumothorax": 2.2}, cuts=(0.5, 1.4), categories=("none", "dull", "sudden")),
        "ward": _Column(cuts=(-0.4, 0.6), categories=("outpatient", "emergency", "inpatient")),
    },
    "breast": {
        "age": _Column({"mass": 0.5, "calcification": 0.4}, 56.0, 11.0, decimals=0),
        "palpable": _Column({"mass": 2.4}, cuts=(0.9,), categories=("no", "yes")),
        "risk_score": _Column({"mass": 1.0, "calcification": 1.0}, 2.5, 0.8, decimals=2),
        "referral": _Column(
            {"calcification": 2.4}, cuts=(0.3, 1.2), categories=("screening", "short interval", "recall")
        ),
        "family_history": _Column(cuts=(0.8,), categories=("no", "yes")),
    },
}


def metadata_slots(kind: str) -> tuple[str, ...]:
    """Return the names of the uniform numbers that the metadata of an image need."""
    return tuple(f"{name}.{part}" for name in _COLUMNS[kind] for part in ("metadata", "absent"))


def draw_metadata(
    streams: Streams, truth: Bool[np.ndarray, "images findings"], scene: Scene, settings: PhantomSettings
) -> pd.DataFrame:
    """Return the metadata of each image, NaN or None where missing.

    The number under each column is x = n + strength * Σ effect * finding, n standard normal: at strength 0 it knows
    nothing of the findings, at 1 a finding of effect d is told from its absence with AUROC Φ(d / √2).
    """
    columns: dict[str, np.ndarray] = {name: values.astype(object) for name, values in scene.attributes.items()}
    for name, column in _COLUMNS[settings.kind].items():
        x = ndtri(np.clip(streams.named[f"{name}.metadata"].astype(np.float64), 1e-7, 1 - 1e-7))
        for finding, effect in column.effects.items():
            x = x + settings.metadata_strength * effect * truth[:, settings.findings.index(finding)]
        absent = streams.named[f"{name}.absent"] < _MISSING
        if column.categories:
            values = np.array(column.categories, object)[np.digitize(x, column.cuts)]
            values[absent] = None
        else:
            values = column.centre + column.scale * x
            values = np.round(np.exp(values) if column.log else values, column.decimals)
            values[absent] = np.nan
        columns[name] = values
    # Explicit object columns: a type inferred from the values would change with the chunk.
    series = {name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()}
    return pd.DataFrame(series)
