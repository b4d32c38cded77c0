"""Calmer maps of any method: smoothed on the token grid, or averaged over noisy copies of the image.

Both wrap a map method and are map methods themselves, so they nest and go wherever one does.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from mmpkd.attribute.contract import Images, MapMethod, Maps
from mmpkd.attribute.vit import Vit
from mmpkd.errors import InputError

_REACH = 4.0  # standard deviations, as in scipy.ndimage: what lies beyond weighs less than 1e-4


def smooth_grid(maps: Float[Tensor, "*any rows columns"], sigma_tokens: float) -> Float[Tensor, "*any rows columns"]:
    r"""Smooth maps with a Gaussian, mirrored at the borders.

    .. math:: b_i = \sum_k w_k \, a_{\mathrm{mirror}(i + k)}, \qquad w_k \propto e^{-k^2 / 2 \sigma^2},
        \quad |k| \le 4 \sigma

    along rows, then along columns. The mirror lies on the edge of the grid (d c b a | a b c d | d c b a), which makes
    each axis's matrix symmetric with rows that sum to 1: a map keeps its mass (its sum) and a constant map stays as it
    is. ``scipy.ndimage.gaussian_filter(mode="reflect")`` on tensors.

    Args:
        maps: Maps on any grid; negative values are smoothed like others.
        sigma_tokens: Standard deviation in tokens; 0 changes nothing.

    Raises:
        InputError: A negative or infinite ``sigma_tokens``.
    """
    _check_sigma(sigma_tokens)
    if sigma_tokens == 0:
        return maps
    rows, columns = (_mirrored_gaussian(side, sigma_tokens).to(maps) for side in maps.shape[-2:])
    return rows @ maps @ columns.T


def noisy(images: Images, share: float, generator: torch.Generator) -> Images:
    r"""Return images with Gaussian noise, :math:`x + \sigma (\max x - \min x) \, \epsilon`.

    Args:
        images: Prepared images; values are not clipped afterwards.
        share: :math:`\sigma`, as a share of each image's own range of values over all its pixels and channels, which
            means the same before and after a normalisation that treats channels alike. A constant image stays as it is.
        generator: On the CPU. One :math:`\epsilon` is drawn for all images: a case's noise does not depend on its
            place in the batch, nor on the device.
    """
    drawn = torch.randn(images.shape[1:], generator=generator).to(images)
    spread = images.amax(dim=(1, 2, 3), keepdim=True) - images.amin(dim=(1, 2, 3), keepdim=True)
    return images + share * spread * drawn


@final
class Smoothed:
    """A method's maps after :func:`smooth_grid`.

    What it cannot show: a region narrower than about two ``sigma_tokens``. It smooths the method's non-negative maps:
    where the equation gives signed numbers, the positive part is taken before.

    Args:
        method: Any map method.
        sigma_tokens: Standard deviation of the Gaussian in tokens; 0 gives the method's own maps.

    Raises:
        InputError: A negative or infinite ``sigma_tokens``.
    """

    def __init__(self, method: MapMethod, sigma_tokens: float = 1.0) -> None:
        _check_sigma(sigma_tokens)
        self.method, self.sigma_tokens = method, sigma_tokens
        self.name = f"{method.name}+smooth={sigma_tokens:g}"
        self.class_specific = method.class_specific

    def refuse(self, vit: Vit) -> str | None:
        """Refuse what the method refuses."""
        return self.method.refuse(vit)

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the method's maps, smoothed."""
        return smooth_grid(self.method(vit, images, classes), self.sigma_tokens)


@final
class NoiseAveraged:
    r"""The mean of a method's maps over noisy copies of the image.

    .. math:: a = \frac{1}{n} \sum_{i=1}^{n} a\big(x + \sigma (\max x - \min x) \, \epsilon_i\big),
        \qquad \epsilon_i \sim N(0, 1)

    The noise (:func:`noisy`) follows from the seed and the size of the image: every case of every batch gets the same
    :math:`\epsilon_1 \ldots \epsilon_n`. Cost: n times the method's.

    Source: Smilkov et al. 2017, "SmoothGrad" (arXiv 1706.03825), who average signed gradients of pixels. Departure:
    the method's non-negative maps are averaged, so noise that changes a gradient's sign does not cancel out.

    Args:
        method: Any map method.
        copies: n.
        noise: :math:`\sigma`, as a share of each image's range of values (the paper's noise level; it uses 0.1 to 0.2);
            0 gives the method's own maps.
        seed: Of the noise.

    Raises:
        InputError: No copies, or a negative or infinite ``noise``.
    """

    def __init__(self, method: MapMethod, copies: int = 16, noise: float = 0.1, seed: int = 0) -> None:
        if copies < 1:
            raise InputError(f"maps are averaged over at least 1 noisy copy, not {copies}.")
        if not (math.isfinite(noise) and noise >= 0):
            raise InputError(f"noise is a share of the image's range, at least 0, not {noise:g}; try 0.1.")
        self.method, self.copies, self.noise, self.seed = method, copies, noise, seed
        self.name = f"{method.name}+noise={noise:g}"
        self.class_specific = method.class_specific

    def refuse(self, vit: Vit) -> str | None:
        """Refuse what the method refuses."""
        return self.method.refuse(vit)

    def __call__(self, vit: Vit, images: Images, classes: Sequence[int]) -> Maps:
        """Return the mean map."""
        if self.noise == 0:
            return self.method(vit, images, classes)
        generator = torch.Generator().manual_seed(self.seed)
        total = self.method(vit, noisy(images, self.noise, generator), classes)
        for _ in range(self.copies - 1):
            total = total + self.method(vit, noisy(images, self.noise, generator), classes)
        return total / self.copies


def _check_sigma(sigma_tokens: float) -> None:
    if not (math.isfinite(sigma_tokens) and sigma_tokens >= 0):
        raise InputError(f"maps are smoothed with a sigma of at least 0 tokens, not {sigma_tokens:g}; try 1.")


def _mirrored_gaussian(side: int, sigma: float) -> Float[Tensor, "side side"]:
    """Return the matrix that smooths one axis."""
    reach = int(_REACH * sigma + 0.5)
    offsets = torch.arange(-reach, reach + 1)
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    landed = (torch.arange(side)[:, None] + offsets) % (2 * side)  # the mirrored grid repeats every two sides
    landed = torch.minimum(landed, 2 * side - 1 - landed)
    matrix = torch.zeros(side, side, dtype=torch.float64)
    return matrix.scatter_add_(1, landed, (weights / weights.sum()).expand(side, -1))
