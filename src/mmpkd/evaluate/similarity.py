"""How alike are two maps? Structure (SSIM), order (Spearman), place of the highest pixels; and many maps as one.

For maps of two seeds, two arms, a trained and a randomised student, an image and a slightly changed one. Which maps to
compare, and what unrelated maps score, is :mod:`mmpkd.evaluate.repeatability`'s matter. What has no meaning (structure
or order of a constant map) is NaN.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, final, runtime_checkable

import numpy as np
from jaxtyping import Float, Real
from scipy.stats import rankdata

from mmpkd.errors import InputError

SSIM_WINDOW, SSIM_SIGMA, SSIM_K1, SSIM_K2 = 11, 1.5, 0.01, 0.03  # Wang et al. 2004, section III.B
TOP_SHARE = 0.1

Maps = Real[np.ndarray, "maps height width"]
Others = Real[np.ndarray, "others other_height other_width"]
Prepared = tuple[np.ndarray, ...]


@runtime_checkable
class Measure(Protocol):
    """A similarity in two steps, so that a map compared with many is prepared once."""

    @property
    def name(self) -> str:
        """Its name in tables."""
        ...

    def prepare(self, maps: Maps) -> Prepared:
        """Return what is computed of each map alone: arrays with one row a map."""
        ...

    def compare(self, first: Prepared, second: Prepared) -> Float[np.ndarray, " maps"]:
        """Return the similarity of each map of ``first`` with the map of ``second`` in the same row."""
        ...


@final
@dataclass(frozen=True)
class Ssim:
    r"""Structural similarity of maps scaled to [0, 1] each, :math:`(a - \min a) / (\max a - \min a)`.

    .. math:: \mathrm{mean}_w \frac{(2 \mu_a \mu_b + C_1)(2 \sigma_{ab} + C_2)}
        {(\mu_a^2 + \mu_b^2 + C_1)(\sigma_a^2 + \sigma_b^2 + C_2)}, \qquad C_1 = (0.01)^2, \; C_2 = (0.03)^2

    with means, variances and covariance under a Gaussian window w (standard deviation 1.5 pixels) and the mean over all
    places where the window fits wholly. The window's side is 11, on small maps the largest odd number up to half the
    side and one (3 of 6, 5 of 8, 7 of 14), so that a token grid still has several windows. 1: the same; 0:
    unrelated. NaN where a map is constant.

    Source: Wang et al. 2004, "Image quality assessment", equation 13, without its downsampling.
    """

    name: str = "ssim"

    def prepare(self, maps: Maps) -> Prepared:
        """Scale, and take local means and variances."""
        maps = _finite(maps)
        low, high = maps.min(axis=(1, 2), keepdims=True), maps.max(axis=(1, 2), keepdims=True)
        scaled = (maps - low) / np.where(high > low, high - low, np.nan)
        mean = _windowed(scaled)
        return scaled, mean, _windowed(scaled * scaled) - mean * mean

    def compare(self, first: Prepared, second: Prepared) -> Float[np.ndarray, " maps"]:
        """Return the mean over windows."""
        (a, mean_a, variance_a), (b, mean_b, variance_b) = first, second
        c1, c2 = SSIM_K1**2, SSIM_K2**2
        product = mean_a * mean_b
        over = (2 * product + c1) * (2 * (_windowed(a * b) - product) + c2)
        under = (mean_a * mean_a + mean_b * mean_b + c1) * (variance_a + variance_b + c2)
        similarity: np.ndarray = (over / under).mean(axis=(1, 2))
        return similarity


@final
@dataclass(frozen=True)
class Spearman:
    """Spearman's rank correlation: Pearson's of the pixels' mid-ranks. NaN where a map is constant."""

    name: str = "spearman"

    def prepare(self, maps: Maps) -> Prepared:
        """Rank, centre and scale to length 1."""
        flat = _finite(maps).reshape(len(maps), -1)
        ranks = rankdata(flat, axis=1) - (flat.shape[1] + 1) / 2
        length = np.sqrt((ranks * ranks).sum(axis=1, keepdims=True))
        return (ranks / np.where(length > 0, length, np.nan),)

    def compare(self, first: Prepared, second: Prepared) -> Float[np.ndarray, " maps"]:
        """Return the inner products."""
        return np.einsum("np,np->n", first[0], second[0]).clip(-1.0, 1.0)


@final
@dataclass(frozen=True)
class TopOverlap:
    r"""IoU of the highest pixels of both maps, as many as ``share`` of the map, rounded, at least one.

    .. math:: \frac{i}{2 k - i}, \qquad i = \sum_n p_n q_n

    with :math:`p_n, q_n` the chance of pixel n to be among the highest k. Ties at the edge of the k are shared out,
    each map's by its own draw: a constant map scores what a random one does, ``s / (2 - s)``, and a map with ties
    there less than 1 with itself.
    """

    share: float = TOP_SHARE
    name: str = "top_overlap"

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1:
            raise InputError(f"the share of highest pixels is over 0 and at most 1, not {self.share:g}.")

    def prepare(self, maps: Maps) -> Prepared:
        """Return each pixel's chance to be among the highest, and their number."""
        flat = _finite(maps).reshape(len(maps), -1)
        count = max(1, round(self.share * flat.shape[1]))
        edge = np.partition(flat, -count, axis=1)[:, -count, None]
        above, tied = flat > edge, flat == edge
        left = count - above.sum(axis=1, keepdims=True)
        return above + tied * (left / tied.sum(axis=1, keepdims=True)), np.full(len(flat), float(count))

    def compare(self, first: Prepared, second: Prepared) -> Float[np.ndarray, " maps"]:
        """Return intersection over union of the expected counts."""
        inside = np.einsum("np,np->n", first[0], second[0])
        overlap: np.ndarray = inside / (first[1] + second[1] - inside)
        return overlap


MEASURES: dict[str, Measure] = {measure.name: measure for measure in (Ssim(), Spearman(), TopOverlap())}


def similarity(maps: Maps, others: Others, measure: Measure) -> Float[np.ndarray, " maps"]:
    """Return the similarity of each map with the other in the same row.

    Args:
        maps: (n, H, W), finite.
        others: (n, H, W), finite; the measures are symmetric.
        measure: One of ``MEASURES``, or :class:`TopOverlap` with another share.

    Raises:
        InputError: Shapes that differ, or a map with NaN or infinite values.
    """
    if maps.shape != others.shape or 0 in maps.shape[1:]:
        raise InputError(f"maps are {maps.shape} and {others.shape}; give both as (maps, height, width).")
    if not len(maps):
        return np.zeros(0)
    return measure.compare(measure.prepare(maps), measure.prepare(others))


def ssim(maps: Maps, others: Others) -> Float[np.ndarray, " maps"]:
    """Return :class:`Ssim` of each pair of maps."""
    return similarity(maps, others, Ssim())


def spearman(maps: Maps, others: Others) -> Float[np.ndarray, " maps"]:
    """Return :class:`Spearman` of each pair of maps."""
    return similarity(maps, others, Spearman())


def top_overlap(maps: Maps, others: Others, share: float = TOP_SHARE) -> Float[np.ndarray, " maps"]:
    """Return :class:`TopOverlap` of each pair of maps."""
    return similarity(maps, others, TopOverlap(share))


def ensemble(maps: Real[np.ndarray, "seeds *any height width"]) -> Float[np.ndarray, "*any height width"]:
    """Return the mean over seeds of maps scaled to sum 1, so that no seed weighs more; a zero map adds nothing."""
    mean: np.ndarray = _shares(maps).mean(axis=0)
    return mean


def disagreement(maps: Real[np.ndarray, "seeds *any height width"]) -> Float[np.ndarray, "*any height width"]:
    """Return each pixel's standard deviation over seeds (divisor seeds - 1) of maps scaled to sum 1.

    Seeds whose map is zero everywhere are left out; NaN with fewer than two left.
    """
    shares = _shares(maps)
    spoken = shares.sum(axis=(-2, -1), keepdims=True) > 0
    count = np.where(spoken.sum(axis=0) > 1, spoken.sum(axis=0), np.nan)
    squares = np.where(spoken, (shares - shares.sum(axis=0) / count) ** 2, 0.0).sum(axis=0)
    deviation: np.ndarray = np.sqrt(squares / (count - 1))
    return deviation


def _shares(maps: np.ndarray) -> np.ndarray:
    if not len(maps) or not (np.isfinite(maps).all() and (maps >= 0).all()):
        raise InputError("maps of several seeds are combined where there is a seed and all values are finite and >= 0.")
    maps = maps.astype(np.float64)
    total = maps.sum(axis=(-2, -1), keepdims=True)
    shares: np.ndarray = maps / np.where(total > 0, total, 1.0)
    return shares


def _finite(maps: np.ndarray) -> np.ndarray:
    maps = maps.astype(np.float64)
    broken = ~np.isfinite(maps).all(axis=(1, 2))
    if broken.any():
        raise InputError(f"map {int(np.argmax(broken))} holds NaN or infinite values, so it is like no other.")
    return maps


def _windowed(maps: np.ndarray) -> np.ndarray:
    """Return Gaussian-weighted means over every place where the window fits wholly."""
    rows, columns = (_sliding(side) for side in maps.shape[1:])
    means: np.ndarray = rows @ maps @ columns.T
    return means


def _sliding(side: int) -> np.ndarray:
    """Return (places, side): the window's weights along one axis at each place."""
    if side < 3:
        return np.full((1, side), 1 / side)
    half = (min(SSIM_WINDOW, max(3, side // 2 + 1)) - 1) // 2
    weights = np.exp(-0.5 * (np.arange(-half, half + 1) / SSIM_SIGMA) ** 2)
    sliding = np.zeros((side - 2 * half, side))
    for place, row in enumerate(sliding):
        row[place : place + 2 * half + 1] = weights / weights.sum()
    return sliding
