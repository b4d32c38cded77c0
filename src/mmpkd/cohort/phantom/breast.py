"""Mammograms: outline, pectoral muscle and glandular texture of a breast. Findings are drawn by `breast_findings`.

A right breast hangs from the image's right edge, a left breast from its left edge, as they are read side by side.
Lengths are shares of the image width, which stands for 200 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mmpkd.cohort.phantom.canvas import Frame, blend, pose, texture
from mmpkd.cohort.phantom.streams import Streams

PATIENT_SLOTS = ("side", "device", "reach", "height", "density", "gland_turn", "scale", "first_view")
IMAGE_SLOTS = ("shift_v", "tilt", "gain", "gamma", "droop", "nipple", "muscle")
GRIDS = (5, 9, 18, 28)


@dataclass(frozen=True)
class Breast:
    """One breast in each image; numbers have the shape (images, 1, 1).

    Args:
        frame: Body coordinates; ``u`` is not used for depth.
        depth: Distance of every pixel from the chest wall, positive into the breast.
        height: Height of every pixel over the breast's axis, positive downwards.
        reach: Distance of the nipple from the chest wall.
        half: Half the height of the breast at the chest wall.
        inward: Distance to the skin, positive inside.
        oblique: Whether the view is mediolateral oblique (else craniocaudal).
        side: −1 right, 1 left.
    """

    frame: Frame
    depth: np.ndarray
    height: np.ndarray
    reach: np.ndarray
    half: np.ndarray
    inward: np.ndarray
    oblique: np.ndarray
    side: np.ndarray

    def point(self, into: np.ndarray, down: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (depth, height) of a point ``into`` the breast (0 wall, 1 nipple), ``down`` from −1 to 1."""
        return into * self.reach, down * self.half * np.sqrt(np.maximum(1.0 - into * into, 0.0))


def build_breast(streams: Streams, size_px: int) -> Breast:
    """Return the outline of the breast of each image."""
    zero = np.zeros((len(streams), 1, 1), np.float32)
    frame = pose(
        size_px,
        zero,
        streams.spread("shift_v", -0.04, 0.04),
        streams.spread("tilt", -0.06, 0.06),
        streams.spread("scale", 0.94, 1.05),
    )
    side = np.where(streams.spread("side") < 0.5, np.float32(-1.0), np.float32(1.0))
    first = streams.named["first_view"] < 0.5
    oblique = ((streams.image % 2 == 0) == first)[:, None, None]
    depth = 0.5 + side * frame.u
    sag = np.where(oblique, streams.spread("droop", 0.08, 0.2), 0.0).astype(np.float32)
    height = frame.v - 0.5 - sag * np.maximum(depth, 0.0)
    reach = streams.spread("reach", 0.52, 0.80)
    half = streams.spread("height", 0.36, 0.46)
    along, across = np.maximum(depth, 0.0) / reach, height / half
    radius = np.sqrt(along * along + across * across)
    inward = (1.0 - radius) * np.minimum(reach, half)
    return Breast(frame, depth, height, reach, half, inward, oblique, side)


def paint_breast(breast: Breast, streams: Streams) -> np.ndarray:
    """Return the breast: fat, glandular tissue in a cone behind the nipple, skin, pectoral muscle, background."""
    frame = breast.frame
    size_px = frame.v.shape[-1]
    inside = frame.edge(breast.inward, 0.02)
    thickness = np.clip(breast.inward * 6.0, 0.0, 1.0)
    coarse, middle, fine, finest = (texture(grid, size_px) for grid in streams.grids)
    density = streams.spread("density")
    turn = streams.spread("gland_turn", -0.35, 0.35)
    along = breast.depth / breast.reach
    cone = 1.0 - np.abs(breast.height - turn * breast.half * (1.0 - along)) / (breast.half * (0.95 - 0.45 * along))
    gland = np.clip(cone * 1.1 - 0.55 + 0.75 * density + 0.30 * coarse + 0.22 * middle, 0.0, 1.0)
    gland *= thickness
    strands = np.maximum(1.0 - 2.2 * np.abs(fine), 0.0) + 0.7 * np.maximum(1.0 - 2.2 * np.abs(finest), 0.0)
    fibres = 0.03 * fine + 0.03 * finest + 0.05 * strands
    tissue = (
        0.03 * strands * thickness + 0.17 + 0.08 * thickness + 0.022 * middle + gland * (0.20 + 0.10 * density + fibres)
    )
    image = np.asarray(inside * tissue + 0.02)
    image += 0.10 * frame.edge(0.008 - np.abs(breast.inward - 0.006), 0.012)
    nipple = breast.depth - breast.reach
    knob = 0.022 - np.sqrt(nipple * nipple + breast.height * breast.height)
    blend(image, 0.42, frame.edge(knob, 0.015))
    low = streams.spread("muscle", 0.45, 0.75)
    drop = low - frame.v
    muscle = frame.edge(drop * (0.26 + 0.2 * drop) - breast.depth, 0.03) * breast.oblique
    blend(image, 0.47 + 0.10 * drop + 0.012 * fine, muscle * 0.95)
    return image
