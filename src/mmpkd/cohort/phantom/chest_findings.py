"""The five chest findings, drawn into the anatomy of `chest` with their exact masks.

Cardiomegaly is the anatomy itself (a heart wider than half the thorax); its mask is the heart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from mmpkd.cohort.phantom.canvas import blend, develop, texture
from mmpkd.cohort.phantom.chest import (
    Lung,
    Thorax,
    build_lung,
    build_thorax,
    heart_distance,
    paint_bones,
    paint_breasts,
    paint_lungs,
    paint_middle,
    paint_soft_tissue,
)
from mmpkd.cohort.phantom.scene import BOTH, LEFT, RIGHT, Place, Scene, bounding_boxes
from mmpkd.cohort.phantom.streams import Streams

WIDTH_MM = 350.0
_LEVELS = (0.38, 0.64)  # down the lung: where upper ends and lower begins, for reports and zones alike
NODULE, CONSOLIDATION, EFFUSION, PNEUMOTHORAX, CARDIOMEGALY = range(5)
_NAMES = ("nodule", "consolidation", "effusion", "pneumothorax", "cardiomegaly")
PATIENT_SLOTS = (
    *(f"{name}.side" for name in _NAMES),
    *(f"{name}.{part}" for name in ("nodule", "consolidation") for part in ("down", "across")),
    "effusion.both",
    "pneumothorax.extent",
)
IMAGE_SLOTS = ("nodule.jitter", "consolidation.jitter", "consolidation.aspect")


class _Spot(NamedTuple):
    """Centre of a round or patchy finding: side, and how far down and across the lung."""

    side: np.ndarray
    down: np.ndarray
    across: np.ndarray


def render(
    streams: Streams,
    present: Bool[np.ndarray, "images findings"],
    size_px: int,
    contrast: float,
    pixel_noise: float,
) -> Scene:
    """Render frontal chest images with their findings, masks and places."""
    sides = _choose_sides(streams, present)
    spots = {name: _choose_spot(name, sides, streams, present) for name in ("nodule", "consolidation")}
    severity = {name: streams.spread(f"{name}.severity") for name in _NAMES}
    shown = present[:, :, None, None]
    strength = (shown * contrast).astype(np.float32)
    thorax = build_thorax(streams, size_px, shown[:, CARDIOMEGALY], severity["cardiomegaly"])
    lungs = build_lung(thorax, RIGHT), build_lung(thorax, LEFT)
    heart = thorax.frame.edge(heart_distance(thorax, streams, lungs[1]), 0.02)
    image = paint_soft_tissue(thorax, streams)
    inside = paint_lungs(image, thorax, streams, lungs)
    field = (inside > 0.5) & (heart < 0.5)
    masks = np.zeros((len(streams), len(_NAMES), size_px, size_px), bool)

    # Each painter gets its side as (images, 1, 1) and leaves images without the finding untouched.
    side = {name: value[:, None, None] for name, value in sides.items()}
    on = {name: strength[:, k] for k, name in enumerate(_NAMES)}
    extent = streams.spread("pneumothorax.extent")
    air = _paint_pneumothorax(
        image,
        thorax,
        lungs,
        side["pneumothorax"],
        severity["pneumothorax"],
        extent,
        on["pneumothorax"],
    )
    patch = _paint_consolidation(
        image,
        thorax,
        inside,
        spots["consolidation"],
        streams,
        severity["consolidation"],
        on["consolidation"],
    )
    paint_middle(image, thorax, streams, heart)
    fluid = _paint_effusion(image, thorax, lungs, side["effusion"], severity["effusion"], on["effusion"])
    spot = _paint_nodule(image, thorax, spots["nodule"], severity["nodule"], on["nodule"])
    paint_bones(image, thorax, streams)
    paint_breasts(image, thorax, streams)
    for finding, extent_of in (
        (PNEUMOTHORAX, air & field),
        (CONSOLIDATION, patch & field),
        (EFFUSION, fluid & field),
    ):
        masks[:, finding] = extent_of & shown[:, finding]
    masks[:, NODULE] = spot & shown[:, NODULE]
    masks[:, CARDIOMEGALY] = (heart > 0.5) & shown[:, CARDIOMEGALY]

    device = streams.named["device"]
    gain = streams.spread("gain", 0.88, 1.12) * np.where(device < 0.6, 1.0, 0.93)[:, None, None].astype(np.float32)
    return Scene(
        images=develop(image, gain, streams.spread("gamma", 0.85, 1.2), streams.noise, pixel_noise),
        masks=masks,
        places=_describe(sides, spots, streams),
        zones=_lung_zones(thorax),
        attributes={
            "sex": np.where(streams.named["female"] < 0.5, "F", "M"),
            "view": np.where(streams.named["view"] < 0.65, "PA", "AP"),
            "device": np.select([device < 0.6, device < 0.85], ["A", "B"], "C"),
        },
    )


def _choose_sides(streams: Streams, present: Bool[np.ndarray, "images findings"]) -> dict[str, np.ndarray]:
    """Return the side of each finding; one that another would hide moves to the other lung."""
    sides = {name: np.where(streams.named[f"{name}.side"] < 0.5, RIGHT, LEFT) for name in _NAMES}
    sides["cardiomegaly"] = np.full(len(streams), BOTH)
    sides["effusion"] = np.where(streams.named["effusion.both"] < 0.2, BOTH, sides["effusion"])
    for mover, stayer in (
        ("pneumothorax", "effusion"),
        ("consolidation", "pneumothorax"),
        ("nodule", "consolidation"),
    ):
        clash = present[:, _NAMES.index(stayer)] & (sides[mover] == sides[stayer])
        sides[mover] = np.where(clash, -sides[mover], sides[mover])
    return sides


def _choose_spot(
    name: str, sides: dict[str, np.ndarray], streams: Streams, present: Bool[np.ndarray, "images findings"]
) -> _Spot:
    """Return the centre of a finding: above an effusion, inside a collapsed lung, beside the heart."""
    side = sides[name]
    down = streams.uniform(f"{name}.down", 0.18, 0.84) + streams.uniform(f"{name}.jitter", -0.04, 0.04)
    wet = present[:, EFFUSION] & ((sides["effusion"] == side) | (sides["effusion"] == BOTH))
    down = np.where(wet, 0.16 + 0.55 * (down - 0.14), down)
    across = streams.uniform(f"{name}.across", 0.35, 0.78)
    collapsed = present[:, PNEUMOTHORAX] & (sides["pneumothorax"] == side)
    across = np.where(collapsed, 0.6 * across, across)
    down = np.where(collapsed, np.maximum(down, 0.45), down)
    beside_heart = (side == LEFT) & (down > 0.5)
    return _Spot(side, down, np.where(beside_heart, np.maximum(across, 0.68), across))


def _distance(thorax: Thorax, spot: _Spot) -> tuple[np.ndarray, np.ndarray]:
    side, down, across = (value[:, None, None].astype(np.float32) for value in spot)
    centre_u, centre_v = thorax.point(side, down, across)
    return thorax.frame.u - centre_u, thorax.frame.v - centre_v


def nodule_radius(severity: np.ndarray) -> np.ndarray:
    """Return the radius of a nodule in shares of the image width (12 to 21 mm)."""
    return np.asarray(0.034 + 0.026 * severity)


def consolidation_radius(severity: np.ndarray) -> np.ndarray:
    """Return the mean radius of a consolidation in shares of the image width (32 to 49 mm)."""
    return np.asarray(0.09 + 0.05 * severity)


def _paint_nodule(
    image: np.ndarray, thorax: Thorax, spot: _Spot, severity: np.ndarray, strength: np.ndarray
) -> np.ndarray:
    across, down = _distance(thorax, spot)
    depth = nodule_radius(severity) - np.sqrt(across * across + down * down)
    image += strength * (0.34 + 0.12 * severity) * thorax.frame.edge(depth, 0.018)
    return np.asarray(depth > 0.0)


def _paint_consolidation(
    image: np.ndarray,
    thorax: Thorax,
    inside: np.ndarray,
    spot: _Spot,
    streams: Streams,
    severity: np.ndarray,
    strength: np.ndarray,
) -> np.ndarray:
    across, down = _distance(thorax, spot)
    radius = consolidation_radius(severity)
    aspect = streams.spread("consolidation.aspect", 0.8, 1.25)
    across, down = across * (aspect / radius), down / (aspect * radius)
    blur = texture(streams.grids[1], image.shape[-1])
    depth = 1.0 - across * across - down * down + 0.22 * blur
    cloud = np.clip(depth * 1.1, 0.0, 1.0)
    fleck = 1.0 + 0.18 * texture(streams.grids[2], image.shape[-1])
    image += strength * (0.30 + 0.12 * severity) * cloud * inside * fleck
    return np.asarray(depth > 0.25)


def _paint_effusion(
    image: np.ndarray,
    thorax: Thorax,
    lungs: tuple[Lung, Lung],
    side: np.ndarray,
    severity: np.ndarray,
    strength: np.ndarray,
) -> np.ndarray:
    """Draw fluid that fills the lateral angle first, climbs the chest wall, and hides the diaphragm."""
    frame = thorax.frame
    extent = np.zeros(image.shape, bool)
    tissue = 0.53 + 0.16 * frame.v
    for lung, name in zip(lungs, (RIGHT, LEFT), strict=True):
        here = (side == name) | (side == BOTH)
        rise = np.clip((lung.across - 0.05) * (1.0 / 0.30), 0.0, 1.1)
        height = (0.085 + 0.20 * severity) * (0.40 + 0.75 * rise * rise)
        depth = frame.v - 0.5 * (lung.floor + thorax.base[(name + 1) // 2]) + height
        within = np.minimum(lung.to_wall, lung.across - thorax.inner) + 0.008  # over the seams of the lung's soft edge
        cover = frame.edge(depth, 0.03) * frame.edge(within, 0.02) * frame.edge(lung.floor + 0.05 - frame.v)
        blend(image, tissue, cover * np.minimum(here * strength, 1.0))
        extent |= (depth > 0.0) & (lung.inside > 0.5) & here
    return extent


def _paint_pneumothorax(
    image: np.ndarray,
    thorax: Thorax,
    lungs: tuple[Lung, Lung],
    side: np.ndarray,
    severity: np.ndarray,
    extent: np.ndarray,
    strength: np.ndarray,
) -> np.ndarray:
    """Draw air between chest wall and lung: darker, without markings, bounded by the line of the pleura."""
    frame = thorax.frame
    gap = 0.05 + 0.065 * severity
    reach = (0.5 + 0.35 * extent) * (thorax.base[1] - thorax.apex)
    down = np.clip((frame.v - thorax.apex) / reach, 0.0, 1.0)
    gap = gap * (1.0 - down * down)
    edge_of_lung = thorax.outer(frame.v - 0.9 * gap) - gap
    region = np.zeros(image.shape, bool)
    for lung, name in zip(lungs, (RIGHT, LEFT), strict=True):
        here = (side == name) & (gap > 0.012)
        depth = lung.across - edge_of_lung
        amount = lung.inside * (here * strength)
        blend(image, 0.10, np.minimum(frame.edge(depth, 0.016) * amount, 1.0))
        image += amount * (0.18 * frame.edge(0.009 - np.abs(depth + 0.006), 0.016) + 0.03 * frame.edge(-depth))
        region |= (depth > 0.0) & (lung.inside > 0.5) & here
    return region


def _describe(sides: dict[str, np.ndarray], spots: dict[str, _Spot], streams: Streams) -> tuple[Place, ...]:
    places = []
    nowhere = np.zeros(len(streams), int)
    for name in _NAMES:
        severity = streams.named[f"{name}.severity"]
        size = {"nodule": nodule_radius, "consolidation": consolidation_radius}.get(name, np.zeros_like)(severity)
        zone = np.digitize(spots[name].down, _LEVELS) if name in spots else nowhere
        places.append(Place(sides[name], zone, nowhere, 2.0 * WIDTH_MM * size, severity))
    return tuple(places)


def _lung_zones(thorax: Thorax) -> dict[str, np.ndarray]:
    """Return the boxes of the six lung zones, cut where reports cut them; the lower one reaches the chest's floor."""
    frame, edges = thorax.frame, (-1.0, *_LEVELS, 3.0)
    zones = {}
    for side, name in ((RIGHT, "right"), (LEFT, "left")):
        floor = thorax.base[(side + 1) // 2]
        down = (frame.v - thorax.apex) / (floor - 0.6 * thorax.dome - thorax.apex)
        half = (frame.u * side > 0) & (frame.u * side < thorax.width + 0.02)
        half &= (frame.v > thorax.apex - 0.02) & (frame.v < floor + 0.02)
        for level, low, high in zip(("upper", "middle", "lower"), edges[:-1], edges[1:], strict=True):
            zones[f"{name} {level}"] = bounding_boxes(half & (down >= low) & (down < high))
    return zones
