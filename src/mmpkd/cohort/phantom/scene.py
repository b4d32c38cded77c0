"""What a renderer hands on: the exposed image, the masks, and where and how large each finding is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int, UInt8

RIGHT, BOTH, LEFT = -1, 0, 1  # the patient's sides; in a frontal view the patient's right is the image's left


@dataclass(frozen=True)
class Place:
    """Where a finding sits in each image, drawn whether or not the finding is present.

    Args:
        side: RIGHT, BOTH or LEFT.
        zone: 0, 1 or 2: upper, mid, lower (chest); upper or outer, central, lower or inner (breast).
        depth: 0, 1 or 2: anterior, middle, posterior third (breast; zero in the chest).
        size_mm: Diameter.
        severity: From 0 (subtle) to 1 (gross).
    """

    side: Int[np.ndarray, " images"]
    zone: Int[np.ndarray, " images"]
    depth: Int[np.ndarray, " images"]
    size_mm: Float[np.ndarray, " images"]
    severity: Float[np.ndarray, " images"]


@dataclass(frozen=True)
class Scene:
    """Rendered images with everything the report and the metadata may speak of.

    Args:
        images: 8-bit images.
        masks: Exact extent of each finding that is present.
        places: One place a finding, in the order of the findings.
        zones: Zone name -> x_min, y_min, x_max, y_max of each image, pixels, half-open: anatomy as reports divide it.
        attributes: Columns of the metadata that the image itself decides (sex, view, device, ...).
    """

    images: UInt8[np.ndarray, "images height width"]
    masks: Bool[np.ndarray, "images findings height width"]
    places: tuple[Place, ...]
    zones: Mapping[str, Int[np.ndarray, "images 4"]]
    attributes: Mapping[str, np.ndarray]


def bounding_boxes(masks: Bool[np.ndarray, "images height width"]) -> Int[np.ndarray, "images 4"]:
    """Return x_min, y_min, x_max, y_max, half-open, of each mask; zeros where it is empty."""
    edges = []
    for axis in (1, 2):  # any() over rows leaves columns, which are x
        seen = np.asarray(masks.any(axis=axis))
        edges += [seen.argmax(axis=1), np.where(seen.any(axis=1), seen.shape[1] - seen[:, ::-1].argmax(axis=1), 0)]
    x_min, x_max, y_min, y_max = edges
    return np.stack([x_min, y_min, x_max, y_max], axis=1)
