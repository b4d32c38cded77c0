"""Pictures of example cases: the image with the ROI's outline, and maps laid over the image, as PNG.

Maps are shown in viridis, which is perceptually uniform and holds up under colour blindness, and more
transparent where they are low. They are scaled within each map: places compare, strengths do not.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float, UInt8

if TYPE_CHECKING:
    from PIL import Image

COLOUR_MAP = "viridis"
_MOST_OPAQUE = 0.78
_OUTLINE = (255, 255, 255)
_HALO = (10, 14, 20)


def image_with_roi(
    image: UInt8[np.ndarray, "height width"], roi: Bool[np.ndarray, "height width"] | None, side_px: int
) -> Image.Image:
    """Return the grey image, its longer side ``side_px``, the ROI outlined in white between dark lines."""
    pixels = np.repeat(_resized(image.astype(np.float32), side_px)[..., None], 3, axis=2)
    return _picture(_outlined(pixels, roi))


def map_overlay(
    image: UInt8[np.ndarray, "height width"],
    values: Float[np.ndarray, "height width"],
    roi: Bool[np.ndarray, "height width"] | None,
    side_px: int,
) -> Image.Image:
    """Return the map over the grey image: colour and opacity both rise with the map, the ROI outlined."""
    import matplotlib

    grey = np.repeat(_resized(image.astype(np.float32), side_px)[..., None], 3, axis=2)
    strength = np.clip(_resized(scale_map(values), side_px), 0, 1)
    colours = matplotlib.colormaps[COLOUR_MAP](strength)[..., :3] * 255
    opacity = _MOST_OPAQUE * (strength**0.7)[..., None]
    return _picture(_outlined(grey * (1 - opacity) + colours * opacity, roi))


def scale_map(values: Float[np.ndarray, "height width"]) -> Float[np.ndarray, "height width"]:
    """Scale a map to 0 .. 1 between its minimum and its 99.5th percentile; a constant map becomes 0."""
    finite = np.nan_to_num(np.asarray(values, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(finite.min()), float(np.percentile(finite, 99.5))
    if high <= low:
        high = float(finite.max())
    if high <= low:
        return np.zeros_like(finite)
    return np.clip((finite - low) / (high - low), 0, 1)


def colour_bar(width_px: int = 120, height_px: int = 10) -> Image.Image:
    """Return the colour scale of the maps as they appear on mid grey, low at the left."""
    import matplotlib

    strength = np.linspace(0, 1, width_px)[None, :].repeat(height_px, axis=0)
    colours = matplotlib.colormaps[COLOUR_MAP](strength)[..., :3] * 255
    opacity = _MOST_OPAQUE * (strength**0.7)[..., None]
    return _picture(110 * (1 - opacity) + colours * opacity)


def png_data_uri(picture: Image.Image) -> str:
    """Return the picture as a ``data:`` URI, without any metadata."""
    from PIL import Image

    buffer = io.BytesIO()
    picture.quantize(256, dither=Image.Dither.NONE).save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")


def _resized(values: np.ndarray, side_px: int) -> np.ndarray:
    from PIL import Image

    height, width = values.shape
    scale = side_px / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC))


def _outlined(pixels: np.ndarray, roi: np.ndarray | None) -> np.ndarray:
    if roi is None or not roi.any():
        return pixels
    from scipy import ndimage

    mask = _resized(roi.astype(np.float32), max(pixels.shape[:2])) > 0.5
    framed = np.pad(mask, 1)
    near = ndimage.generate_binary_structure(2, 1)
    grown = ndimage.binary_dilation(framed, near, iterations=2)
    line = (grown & ~ndimage.binary_erosion(framed, near, iterations=1))[1:-1, 1:-1]
    halo = ndimage.binary_dilation(line, near, iterations=2) & ~line
    shown = pixels.copy()
    shown[halo] = 0.35 * shown[halo] + 0.65 * np.array(_HALO)
    shown[line] = _OUTLINE
    return shown


def _picture(pixels: np.ndarray) -> Image.Image:
    from PIL import Image

    return Image.fromarray(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
