"""Masses and calcification clusters, each under 1% of the image, drawn into the breast with their exact masks."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool

from mmpkd.cohort.phantom.breast import Breast, build_breast, paint_breast
from mmpkd.cohort.phantom.canvas import develop
from mmpkd.cohort.phantom.scene import LEFT, RIGHT, Place, Scene, bounding_boxes
from mmpkd.cohort.phantom.streams import Streams

WIDTH_MM = 200.0
MASS, CALCIFICATION = range(2)
_NAMES = ("mass", "calcification")
_GRAINS = 9
_LEVELS = (-0.25, 0.25)  # from upper or outer to lower or inner, for reports and zones alike
_DEPTHS = (0.42, 0.62)  # from the chest wall to the nipple
PATIENT_SLOTS = (*(f"{name}.into" for name in _NAMES), "mass.spiculated")
IMAGE_SLOTS = (
    *(f"{name}.down" for name in _NAMES),
    "mass.turn",
    "mass.aspect",
    "mass.spikes",
    *(f"calcification.{part}{grain}" for grain in range(_GRAINS) for part in ("angle", "radius", "bright")),
)


def render(
    streams: Streams,
    present: Bool[np.ndarray, "images findings"],
    size_px: int,
    contrast: float,
    pixel_noise: float,
) -> Scene:
    """Render mammograms with their findings, masks and places."""
    breast = build_breast(streams, size_px)
    image = paint_breast(breast, streams)
    shown = present[:, :, None, None]
    strength = (shown * contrast).astype(np.float32)
    spots = {name: _choose_spot(name, streams, present) for name in _NAMES}
    masks = np.zeros((len(streams), len(_NAMES), size_px, size_px), bool)
    masks[:, MASS] = _paint_mass(image, breast, spots["mass"], streams, strength[:, MASS]) & shown[:, MASS]
    cluster = _paint_calcification(image, breast, spots["calcification"], streams, strength[:, CALCIFICATION])
    masks[:, CALCIFICATION] = cluster & shown[:, CALCIFICATION]
    device = streams.named["device"]
    gain = streams.spread("gain", 0.95, 1.2)
    density = np.digitize(streams.named["density"], [0.25, 0.5, 0.75])
    return Scene(
        images=develop(image, gain, streams.spread("gamma", 0.85, 1.1), streams.noise, pixel_noise),
        masks=masks,
        places=_describe(breast, spots, streams),
        zones=_breast_zones(breast),
        attributes={
            "side": np.where(streams.named["side"] < 0.5, "R", "L"),
            "view": np.where(breast.oblique[:, 0, 0], "MLO", "CC"),
            "density": np.array(["a", "b", "c", "d"])[density],
            "device": np.where(device < 0.5, "A", "B"),
        },
    )


def _choose_spot(
    name: str, streams: Streams, present: Bool[np.ndarray, "images findings"]
) -> tuple[np.ndarray, np.ndarray]:
    """Return (into, down) of a finding; a cluster keeps clear of a mass."""
    into = streams.uniform(f"{name}.into", 0.22, 0.80)
    down = streams.uniform(f"{name}.down", -0.72, 0.72)
    if name == "calcification":
        near = present[:, MASS] & (np.abs(down - streams.uniform("mass.down", -0.72, 0.72)) < 0.35)
        down = np.where(near, np.where(down > 0.0, down - 0.7, down + 0.7), down)
    return into, down


def _offset(breast: Breast, spot: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    into, down = (value[:, None, None].astype(np.float32) for value in spot)
    depth, height = breast.point(into, down)
    return breast.depth - depth, breast.height - height


def _paint_mass(
    image: np.ndarray,
    breast: Breast,
    spot: tuple[np.ndarray, np.ndarray],
    streams: Streams,
    strength: np.ndarray,
) -> np.ndarray:
    """Draw an oval mass, or a smaller core with spicules; the mask is the mass without the spicules."""
    across, down = _offset(breast, spot)
    severity = streams.spread("mass.severity")
    spiculated = streams.spread("mass.spiculated") < 0.5
    turn = streams.spread("mass.turn", 0.0, 3.14)
    aspect = np.where(spiculated, 1.0, streams.spread("mass.aspect", 0.75, 0.95)).astype(np.float32)
    cos, sin = np.cos(turn), np.sin(turn)
    along, beside = cos * across + sin * down, cos * down - sin * across
    distance = np.sqrt(along * along * aspect + beside * beside / aspect)
    radius = mass_radius(severity)
    core = np.where(spiculated, 0.92 * radius, radius)
    image += strength * (0.20 + 0.10 * severity) * breast.frame.edge(core - distance, 0.022)
    angle = np.arctan2(beside, along)
    ray = np.cos(angle * np.floor(streams.spread("mass.spikes", 6.0, 11.0))) + 0.6 * np.cos(angle * 4.0 + 6.0 * turn)
    ray = np.clip(ray, 0.0, 1.0) * np.clip(1.6 - 0.6 * distance / core, 0.0, 0.8)
    image += strength * 0.17 * ray * spiculated * breast.frame.edge(distance - 0.8 * core, 0.02)
    return np.asarray(distance < core)


def _paint_calcification(
    image: np.ndarray,
    breast: Breast,
    spot: tuple[np.ndarray, np.ndarray],
    streams: Streams,
    strength: np.ndarray,
) -> np.ndarray:
    """Draw a cluster of bright grains, each at least half a pixel wide; the mask is the disc that holds them."""
    across, down = _offset(breast, spot)
    radius = cluster_radius(streams.spread("calcification.severity"))
    grain_px = max(0.005, 0.45 * breast.frame.pixel)
    count = 5.0 + 4.0 * streams.spread("calcification.severity")
    bright = np.zeros_like(image)
    for grain in range(_GRAINS):
        turn = streams.spread(f"calcification.angle{grain}", 0.0, 6.283)
        far = np.sqrt(streams.spread(f"calcification.radius{grain}")) * radius * 0.85
        x, y = across - far * np.cos(turn), down - far * np.sin(turn)
        peak = streams.spread(f"calcification.bright{grain}", 0.6, 1.0) * (grain < count)
        bright = np.maximum(bright, peak * np.exp((x * x + y * y) * (-0.5 / grain_px**2)))
    image += strength * 0.62 * bright
    return np.asarray(across * across + down * down < radius * radius)


def mass_radius(severity: np.ndarray) -> np.ndarray:
    """Return the radius of a mass in shares of the image width (7 to 10 mm; at most 0.8% of the image)."""
    return np.asarray(0.033 + 0.017 * severity)


def cluster_radius(severity: np.ndarray) -> np.ndarray:
    """Return the radius of a cluster in shares of the image width (7 to 10 mm; at most 0.8% of the image)."""
    return np.asarray(0.034 + 0.016 * severity)


def _describe(breast: Breast, spots: dict[str, tuple[np.ndarray, np.ndarray]], streams: Streams) -> tuple[Place, ...]:
    side = np.where(breast.side[:, 0, 0] < 0.0, RIGHT, LEFT)
    places = []
    for name, radius in (("mass", mass_radius), ("calcification", cluster_radius)):
        into, down = spots[name]
        severity = streams.named[f"{name}.severity"]
        zone = np.digitize(down, _LEVELS)
        depth = 2 - np.digitize(into, _DEPTHS)
        places.append(Place(side, zone, depth, 2.0 * WIDTH_MM * radius(severity), severity))
    return tuple(places)


def _breast_zones(breast: Breast) -> dict[str, np.ndarray]:
    """Return the boxes of three levels by three depths, cut where reports cut them."""
    into = breast.depth / breast.reach
    down = breast.height / (breast.half * np.sqrt(np.clip(1.0 - into * into, 0.05, 1.0)))
    levels, depths = (-9.0, *_LEVELS, 9.0), (-9.0, *_DEPTHS, 9.0)
    zones = {}
    for level, low, high in zip(("first", "central", "last"), levels[:-1], levels[1:], strict=True):
        for depth, near, far in zip(("posterior", "middle", "anterior"), depths[:-1], depths[1:], strict=True):
            inside = (breast.inward > 0) & (down >= low) & (down < high) & (into >= near) & (into < far)
            zones[f"{level} {depth}"] = bounding_boxes(inside)
    return zones
