"""The user's table of zones: read as ROIs are, with a zone's name in place of a finding's; lungs cut into zones."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import pandas as pd

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.settings import RoiSettings
from mmpkd.cohort.zone_settings import ZoneSettings
from mmpkd.cohort.zones import LEVELS


class Reader(Protocol):
    """:func:`mmpkd.cohort.roi_table.read_rois`, with the cohort's own arguments filled in."""

    def __call__(self, settings: RoiSettings, **options: Any) -> pd.DataFrame | None:
        """Return the rows, or ``None`` where the table cannot be read."""
        ...


def read_zones(settings: ZoneSettings, read: Reader, problems: Problems) -> pd.DataFrame | None:
    """Return one row a box or mask of a zone, the zone's name in ``finding``; ``None`` without a table to read.

    Args:
        settings: Of the zones.
        read: Reads and checks a table of ROIs.
        problems: Told of lungs that have no box to cut.
    """
    if settings.table is None:
        return None
    sides = tuple(dict.fromkeys(settings.lungs.values()))
    rows = read(_as_rois(settings), findings=(*settings.named.zones, *sides), setting="zones")
    return rows if rows is None or not sides else _cut(rows, sides, str(settings.table), problems)


def _as_rois(settings: ZoneSettings) -> RoiSettings:
    names: dict[str, tuple[str, ...]] = {name: () if zone is None else (zone,) for name, zone in settings.names.items()}
    return RoiSettings(
        table=str(settings.table),
        case=settings.case,
        finding=settings.zone,
        boxes=settings.boxes,
        box_format=settings.box_format,
        mask=settings.mask,
        mask_value=settings.mask_value,
        rle=settings.rle,
        findings={**names, **{name: (side,) for name, side in settings.lungs.items()}},
    )


def _cut(rows: pd.DataFrame, sides: tuple[str, ...], shown: str, problems: Problems) -> pd.DataFrame:
    """Cut each lung's box in equal thirds, which need no mask any more; a lung without a box has no zones."""
    lungs, others = rows[rows["finding"].isin(sides)], rows[~rows["finding"].isin(sides)]
    boxless = lungs["x_min"].isna()
    if boxless.any():
        first = lungs[boxless].iloc[0]
        problems.warn(
            f"{shown}: {boxless.sum()} of {len(lungs)} lungs have no box to cut into zones and are left without, the "
            f"first the {first['finding']} one of case {first['case']!r}; fill in its box."
        )
    lungs = lungs[~boxless].assign(mask=None, mask_value=np.nan, rle=None)
    edges = np.linspace(lungs["y_min"], lungs["y_max"], len(LEVELS) + 1)
    thirds = [
        lungs.assign(finding=lungs["finding"] + f" {level}", y_min=top, y_max=bottom)
        for level, top, bottom in zip(LEVELS, edges[:-1], edges[1:], strict=True)
    ]
    return pd.concat([others, *thirds], ignore_index=True)
