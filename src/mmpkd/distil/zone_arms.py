"""Arms that are told where: `mmpkd` with located soft labels, its controls, and the upper bound.

What an arm's zones say is decided here, case by case, from the located soft labels and the arm's kind; how they teach
is :mod:`mmpkd.distil.zone_terms`. This module imports no torch.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mmpkd.cohort.zones import ZoneScheme
from mmpkd.distil import zone_controls
from mmpkd.distil.zone_controls import Located

ZONE_KINDS = {
    "spatial": "located soft labels of the case itself",
    "zones-shuffled": "places of other cases with the same label of the same finding",
    "zones-prior": "the mean place of each finding",
    "zones-mirrored": "places with left and right exchanged",
    "zone-truth": "the zones that the ROIs lie in (an upper bound)",
}
"""Kinds of arms that are taught by zones, and by what."""


@dataclass(frozen=True)
class Places:
    """Everything that may be said of where.

    Args:
        located: The teacher's located soft labels.
        truth: Logits from the cases' own ROIs; ``None`` where the cohort has none.
        labels: Of the training cases; NaN elsewhere.
        scheme: Of the zones.
    """

    located: Located | None
    truth: Located | None
    labels: Float[np.ndarray, "cases findings"]
    scheme: ZoneScheme


def places_of(kind: str, places: Places, unsaid: float, side_errors: float, rng: np.random.Generator) -> Located:
    """Return what an arm's zones say.

    Args:
        kind: One of :data:`ZONE_KINDS`.
        places: What is known.
        unsaid: Share of the pairs (case, finding) whose place is left out.
        side_errors: Share of the pairs whose sides are exchanged.
        rng: Of the cell.
    """
    source = places.truth if kind == "zone-truth" else places.located
    if source is None:
        raise ValueError(f"nothing says where for the arm {kind!r}")
    if kind == "zones-shuffled":
        source = zone_controls.shuffled(source, places.labels, rng)
    elif kind == "zones-prior":
        source = zone_controls.prior(source, places.labels)
    elif kind == "zones-mirrored":
        source = zone_controls.mirrored(source, zone_controls.mirror_of(places.scheme.regions))
    if side_errors:
        source = zone_controls.side_errors(source, zone_controls.mirror_of(places.scheme.regions), side_errors, rng)
    return zone_controls.unsaid(source, unsaid, rng) if unsaid else source
