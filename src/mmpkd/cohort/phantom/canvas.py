"""Drawing on many images at once: soft edges, smooth textures, the pose of a body. Knows no anatomy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Float, UInt8


@dataclass(frozen=True)
class Frame:
    """Body coordinates of every pixel.

    Args:
        u: Across; 0 at the body's axis, negative towards the image's left, in shares of the image width.
        v: Down; 0 near the top, 1 near the bottom.
        pixel: Side of a pixel in these coordinates.
    """

    u: Float[np.ndarray, "images height width"]
    v: Float[np.ndarray, "images height width"]
    pixel: float

    def edge(self, distance: np.ndarray, width: float = 0.02) -> np.ndarray:
        """Return 1 inside (distance > 0), 0 outside, and a ramp at least a pixel wide between them."""
        ramp = distance * (1.0 / max(width, self.pixel))
        ramp += 0.5
        np.clip(ramp, 0.0, 1.0, out=ramp)
        return ramp


def pose(size_px: int, shift_u: np.ndarray, shift_v: np.ndarray, tilt: np.ndarray, scale: np.ndarray) -> Frame:
    """Return body coordinates of bodies that are shifted (shares of the image), tilted (radians) and scaled.

    All arguments have the shape (images, 1, 1).
    """
    centre = (np.arange(size_px, dtype=np.float32) + 0.5) / size_px - 0.5
    x = centre[None, None, :] - shift_u
    y = centre[None, :, None] - shift_v
    cos, sin = np.cos(tilt) / scale, np.sin(tilt) / scale
    return Frame(u=cos * x + sin * y, v=cos * y - sin * x + np.float32(0.5), pixel=1.0 / size_px)


@lru_cache(maxsize=32)
def _interpolation(size_px: int, side: int) -> np.ndarray:
    """Return the (size_px, side) matrix that stretches a grid smoothly (Gaussian weights, unit variance)."""
    position = (np.arange(size_px) + 0.5) / size_px * (side - 1)
    weights = np.exp(-0.5 * ((position[:, None] - np.arange(side)[None, :]) / 0.6) ** 2)
    weights /= np.sqrt((weights**2).sum(axis=1, keepdims=True))
    return weights.astype(np.float32)


def texture(grid: Float[np.ndarray, "images side side"], size_px: int) -> Float[np.ndarray, "images height width"]:
    """Return a smooth random field of unit variance with ``side`` bumps across the image."""
    stretch = _interpolation(size_px, grid.shape[-1])
    return np.asarray(np.matmul(np.matmul(stretch, grid), stretch.T))


def blend(image: np.ndarray, value: np.ndarray | float, share: np.ndarray) -> None:
    """Move ``image`` towards ``value`` by ``share`` (0 to 1), in place."""
    image += share * (value - image)


def develop(
    image: Float[np.ndarray, "images height width"],
    gain: np.ndarray,
    gamma: np.ndarray,
    noise: Float[np.ndarray, "images height width"],
    pixel_noise: float,
) -> UInt8[np.ndarray, "images height width"]:
    """Expose (gain, then gamma), add pixel noise and quantise to 8 bits."""
    image = np.asarray(np.clip(image * gain, 1e-3, 1.0))
    np.power(image, gamma, out=image)
    image += pixel_noise * noise
    image *= 255.0
    image += 0.5
    return np.asarray(np.clip(image, 0.0, 255.0).astype(np.uint8))
