"""Zones: named regions of the picture that a report can speak of, and the schemes that name them.

Sides are the patient's, as reports use them: in a frontal radiograph the patient's right is the image's left. A
scheme's zones do not overlap; a coarser word ("left", "lower") is a *union* of zones, a region of its own that can be
labelled where nothing finer is said. Where zones lie on an image comes from a table of boxes or masks of that image,
or, roughly, from fixed shares of the picture.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Literal

import numpy as np
from jaxtyping import Bool, Float

Box = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max as shares of the image's width and height."""

SchemeName = Literal["sides", "six", "twelve", "sixteen", "breast"]
_THIRDS = {"upper": (0.0, 0.38), "middle": (0.38, 0.64), "lower": (0.64, 1.0)}
LEVELS = tuple(_THIRDS)
"""Levels of a lung in the scheme ``six``, from the top."""
_SIDES = {"right": (0.0, 0.5), "left": (0.5, 1.0)}  # where the patient's sides lie in a frontal image
_PARTS = {
    "right": {"lateral": (0.0, 0.25), "medial": (0.25, 0.5)},
    "left": {"medial": (0.5, 0.75), "lateral": (0.75, 1.0)},
}


@dataclass(frozen=True)
class ZoneScheme:
    """Names of zones, which of them coarser words mean, and where they lie if nothing better is known.

    Args:
        name: Of the scheme.
        zones: Names, disjoint regions of the picture.
        unions: Coarser region -> the zones it is made of.
        boxes: Zone -> its share of the picture; empty where only a table of the image itself can tell.
    """

    name: str
    zones: tuple[str, ...]
    unions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    boxes: Mapping[str, Box] = field(default_factory=dict)

    @property
    def regions(self) -> tuple[str, ...]:
        """Zones, then unions: all that a label can speak of."""
        return (*self.zones, *self.unions)

    @property
    def members(self) -> Bool[np.ndarray, "regions zones"]:
        """Which zones each region is made of."""
        parts = [{zone} for zone in self.zones] + [set(zones) for zones in self.unions.values()]
        return np.array([[zone in part for zone in self.zones] for part in parts])

    @property
    def box_array(self) -> Float[np.ndarray, "zones 4"]:
        """The fixed boxes, in the order of the zones."""
        return np.array([self.boxes[zone] for zone in self.zones])


def _unions(zones: tuple[str, ...], words: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """Return what each word, or pair of words, means: the zones whose names hold it."""
    return {word: tuple(zone for zone in zones if set(word.split()) <= set(zone.split())) for word in words}


def _sides() -> ZoneScheme:
    return ZoneScheme("sides", tuple(_SIDES), boxes={side: (x[0], 0.0, x[1], 1.0) for side, x in _SIDES.items()})


def _six() -> ZoneScheme:
    boxes = {
        f"{side} {level}": (x[0], y[0], x[1], y[1])
        for (side, x), (level, y) in product(_SIDES.items(), _THIRDS.items())
    }
    zones = tuple(boxes)
    return ZoneScheme("six", zones, _unions(zones, (*_SIDES, *_THIRDS)), boxes)


def _twelve() -> ZoneScheme:
    boxes = {
        f"{side} {level} {part}": (x[0], y[0], x[1], y[1])
        for side, (level, y) in product(_SIDES, _THIRDS.items())
        for part, x in _PARTS[side].items()
    }
    zones = tuple(boxes)
    pairs = tuple(" ".join(pair) for pair in product(_SIDES, (*_THIRDS, "medial", "lateral")))
    return ZoneScheme("twelve", zones, _unions(zones, (*_SIDES, *_THIRDS, *pairs)), boxes)


def _sixteen() -> ZoneScheme:
    columns = {f"{side} {part}": x for side, parts in _PARTS.items() for part, x in parts.items()}
    rows = {f"row {number + 1}": (number / 4, (number + 1) / 4) for number in range(4)}
    boxes = {
        f"{column} {row}": (x[0], y[0], x[1], y[1]) for (row, y), (column, x) in product(rows.items(), columns.items())
    }
    zones = tuple(boxes)
    return ZoneScheme("sixteen", zones, _unions(zones, tuple(_SIDES)), boxes)


def _breast() -> ZoneScheme:
    """Thirds of one breast in one view: along the chest wall, and into the breast. Only its own outline tells where."""
    levels, depths = ("first", "central", "last"), ("anterior", "middle", "posterior")
    zones = tuple(f"{level} {depth}" for level, depth in product(levels, depths))
    return ZoneScheme("breast", zones, _unions(zones, (*levels, *depths)))


SCHEMES: Mapping[str, ZoneScheme] = {
    scheme.name: scheme for scheme in (_sides(), _six(), _twelve(), _sixteen(), _breast())
}
"""Schemes by name."""
