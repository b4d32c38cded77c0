"""Frontal chest radiographs: the anatomy of a patient. Findings are drawn by `chest_findings`.

The patient's right is the image's left. Lengths are shares of the image width, which stands for 350 mm.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from mmpkd.cohort.phantom.canvas import Frame, blend, pose, texture
from mmpkd.cohort.phantom.streams import Streams

PATIENT_SLOTS = (
    "scale", "female", "device", "width", "apex", "base", "base_offset", "dome", "hilum", "heart", "heart_turn",
    "heart_aspect", "heart_shift", "rib_space", "rib_phase", "rib_strength", "clavicle", "body", "stomach",
)  # fmt: skip
IMAGE_SLOTS = ("shift_u", "shift_v", "tilt", "gain", "gamma", "view", "breath", "vessel_phase")
GRIDS = (5, 10, 20)
_TAPER = 0.42  # height below the apex at which a lung reaches its full width


@dataclass(frozen=True)
class Lung:
    """One lung field.

    Args:
        across: Lateral coordinate of every pixel, positive on this side.
        inside: Soft extent, 0 to 1.
        to_wall: Distance to the lateral chest wall, negative outside.
        floor: Height (v) of the diaphragm below every pixel.
    """

    across: Float[np.ndarray, "images height width"]
    inside: Float[np.ndarray, "images height width"]
    to_wall: Float[np.ndarray, "images height width"]
    floor: Float[np.ndarray, "images height width"]


@dataclass(frozen=True)
class Thorax:
    """Shapes of the thorax of each image; every number has the shape (images, 1, 1)."""

    frame: Frame
    width: np.ndarray
    apex: np.ndarray
    inner: np.ndarray
    base: tuple[np.ndarray, np.ndarray]
    dome: np.ndarray
    heart_half_width: np.ndarray
    heart_u: np.ndarray
    heart_v: np.ndarray

    def outer(self, v: np.ndarray) -> np.ndarray:
        """Return the lateral boundary of the lungs at height v."""
        rise = 1.0 - np.clip((v - self.apex) / _TAPER, 0.0, 1.0)
        bow = np.sqrt(np.maximum(1.0 - rise * rise * np.sqrt(rise), 0.0))
        return np.asarray(self.width * bow * (0.9 + 0.12 * v))

    def point(self, side: np.ndarray, down: np.ndarray, across: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return (u, v) of a point ``down`` (0 apex, 1 base) and ``across`` (0 medial, 1 lateral) a lung."""
        base = np.where(side < 0, self.base[0], self.base[1]) - 0.6 * self.dome
        v = self.apex + down * (base - self.apex)
        return side * (self.inner + across * (self.outer(v) - self.inner)), v


def build_thorax(streams: Streams, size_px: int, enlarged: np.ndarray, severity: np.ndarray) -> Thorax:
    """Return the thorax of each image; ``enlarged`` hearts are wider by ``severity`` (both (images, 1, 1))."""
    frame = pose(
        size_px,
        streams.spread("shift_u", -0.035, 0.035),
        streams.spread("shift_v", -0.03, 0.03),
        streams.spread("tilt", -0.07, 0.07),
        streams.spread("scale", 0.93, 1.06),
    )
    width = streams.spread("width", 0.35, 0.41)
    breath = streams.spread("breath", -0.03, 0.02)
    base = streams.spread("base", 0.80, 0.86) + breath
    ratio = np.where(enlarged, 0.59 + 0.12 * severity, 0.40 + 0.09 * streams.spread("heart"))
    return Thorax(
        frame=frame,
        width=width,
        apex=streams.spread("apex", 0.09, 0.14),
        inner=streams.spread("hilum", 0.045, 0.065),
        base=(base - streams.spread("base_offset", 0.01, 0.035), base),
        dome=streams.spread("dome", 0.07, 0.11),
        heart_half_width=(ratio * width).astype(np.float32),
        heart_u=(0.22 * ratio * width + streams.spread("heart_shift", -0.01, 0.015)).astype(np.float32),
        heart_v=base - 0.155 - 0.04 * (ratio - 0.45).astype(np.float32),
    )


def build_lung(thorax: Thorax, side: int) -> Lung:
    """Return the lung field of a side (−1: the patient's right)."""
    frame = thorax.frame
    across = frame.u * side
    to_wall = thorax.outer(frame.v) - across
    bow = (across - 0.16) * (1.0 / 0.2)
    floor = thorax.base[(side + 1) // 2] - thorax.dome * np.maximum(1.0 - bow * bow, -0.6)
    depth = np.minimum(np.minimum(to_wall, across - thorax.inner), floor - frame.v)
    return Lung(across, frame.edge(depth, 0.022), to_wall, floor)


def heart_distance(thorax: Thorax, streams: Streams, left: Lung) -> np.ndarray:
    """Return a distance that is positive inside the heart: a turned ellipse that rests on the diaphragm."""
    turn = streams.spread("heart_turn", 0.25, 0.6)
    cos, sin = np.cos(turn), np.sin(turn)
    across, down = thorax.frame.u - thorax.heart_u, thorax.frame.v - thorax.heart_v
    long = thorax.heart_half_width * 1.04
    short = (0.09 + 0.42 * thorax.heart_half_width) * streams.spread("heart_aspect", 0.94, 1.06)
    along = (cos * across + sin * down) / long
    beside = (cos * down - sin * across) / short
    ellipse = (1.0 - np.sqrt(along * along + beside * beside)) * short
    bed = np.minimum(left.floor, thorax.base[1] - 0.5 * thorax.dome) + 0.03
    return np.asarray(np.minimum(ellipse, bed - thorax.frame.v))


def paint_soft_tissue(thorax: Thorax, streams: Streams) -> np.ndarray:
    """Return the body without lungs: outline, abdomen, soft-tissue texture."""
    frame = thorax.frame
    slope = np.clip(frame.v / 0.2 + 0.1, 0.0, 1.0)
    slope = slope * slope * (3.0 - 2.0 * slope)
    reach = 0.12 + (streams.spread("body", 0.32, 0.36) + thorax.width - 0.37) * slope
    waist = 0.08 * np.maximum(frame.v - 0.25, 0.0)
    body = frame.edge(reach - waist - np.abs(frame.u), 0.03)
    tissue = 0.50 + 0.16 * frame.v + 0.025 * texture(streams.grids[0], frame.v.shape[-1])
    image = np.asarray(0.03 + body * tissue)
    across, down = frame.u - 0.17, frame.v - thorax.base[1] - 0.01
    bubble = streams.spread("stomach", -0.04, 0.07) - np.sqrt(0.6 * across * across + 2.5 * down * down)
    image -= 0.16 * frame.edge(bubble, 0.03)  # air in the stomach, under the patient's left diaphragm
    return image


def paint_lungs(image: np.ndarray, thorax: Thorax, streams: Streams, lungs: tuple[Lung, Lung]) -> np.ndarray:
    """Darken the lung fields and draw hila and vessels, in place; return the soft extent of both lungs."""
    frame = thorax.frame
    size_px = image.shape[-1]
    inside = np.asarray(np.maximum(lungs[0].inside, lungs[1].inside))
    across, down = np.abs(frame.u) - 0.08, frame.v - 0.45
    distance = np.sqrt(across * across + 0.6 * down * down)
    grain = texture(streams.grids[2], size_px)
    fade = np.exp(distance * -5.0)
    angle = np.arctan2(down, across + 0.02)
    fan = np.cos(angle * 9.0 + grain * 0.7 + streams.spread("vessel_phase", 0.0, 6.28))
    air = 0.20 + 0.05 * frame.v + fade * (0.10 + 0.07 * fan) + 0.018 * grain
    air += 0.02 * texture(streams.grids[1], size_px)
    blend(image, air, inside)
    return inside


def paint_middle(image: np.ndarray, thorax: Thorax, streams: Streams, heart: np.ndarray) -> None:
    """Draw heart, aortic knob, spine and windpipe, in place."""
    frame = thorax.frame
    blend(image, 0.60 + 0.05 * frame.v, heart)
    knob_u, knob_v = frame.u - thorax.inner - 0.005, frame.v - 0.30
    blend(image, 0.56, frame.edge(0.042 - np.sqrt(knob_u * knob_u + knob_v * knob_v), 0.02))
    beside = np.abs(frame.u)
    discs = np.cos(frame.v * (6.2832 / 0.062))
    image += frame.edge(0.036 - beside, 0.02) * (0.05 + 0.025 * discs)
    image -= frame.edge(0.016 - beside, 0.02) * frame.edge(0.30 - frame.v, 0.06) * 0.13


def paint_bones(image: np.ndarray, thorax: Thorax, streams: Streams) -> None:
    """Add ribs (two sets of arcs) and clavicles, in place."""
    frame = thorax.frame
    beside = np.abs(frame.u)
    space = streams.spread("rib_space", 0.082, 0.095)
    strength = streams.spread("rib_strength", 0.6, 1.2)
    cage = frame.edge(thorax.outer(frame.v) + 0.012 - beside, 0.02) * frame.edge(0.9 - frame.v, 0.2)
    back = frame.v - 0.10 * beside - 1.5 * beside * beside * beside
    phase = streams.spread("rib_phase", 0.0, 6.28)
    arcs = np.maximum(np.cos(back * (6.2832 / space) + phase), 0.0)
    front = np.cos((frame.v + 0.5 * beside) * (6.2832 / (1.15 * space)) + 2.0 * phase)
    rim = np.clip(beside * 4.0 - 0.5, 0.0, 1.0)
    image += cage * strength * (0.085 * arcs * arcs + 0.035 * rim * np.maximum(front, 0.0))
    line = frame.v - 0.175 + streams.spread("clavicle", 0.12, 0.24) * beside
    bone = frame.edge(0.013 - np.abs(line), 0.018) * frame.edge(0.36 - beside, 0.05) * frame.edge(beside - 0.02, 0.02)
    image += 0.13 * bone


def paint_breasts(image: np.ndarray, thorax: Thorax, streams: Streams) -> None:
    """Add the faint shadows of breasts over the lower lungs of female patients, in place."""
    frame = thorax.frame
    across, down = np.abs(frame.u) - 0.22, frame.v - 0.60
    shadow = frame.edge(0.17 - np.sqrt(across * across + down * down), 0.05)
    image += (streams.spread("female") < 0.5) * 0.05 * shadow
