"""How a map is made into attended pixels: threshold policies, each an explicit name that scores record.

``top-area=0.1`` attends the highest tenth of the pixels, ``matched-area`` as many pixels as the ROI has, ``otsu``
those above the map's own best split, ``max-fraction=0.5`` those of at least half the maximum. A policy is an area:
it attends the highest so many pixels, and ties at the threshold are shared out. A share tuned on validation ROIs
(``mmpkd.evaluate.tuning``) is recorded as the ``top-area=<share>`` that it is.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Real

from mmpkd.errors import InputError, did_you_mean
from mmpkd.evaluate.ranking import Ranked, rank

DEFAULT_POLICIES = ("top-area=0.1", "matched-area")
_EQUALLY_GOOD = 1e-9


class Policy(ABC):
    """A rule that says how many of a map's highest pixels count as attended."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name under which scores record the policy; :func:`parse_policy` reads it back."""

    @abstractmethod
    def area_px(self, ranked: Ranked) -> Float[np.ndarray, " maps"]:
        """Return each map's attended area; it need not be whole."""

    def attended(
        self, maps: Real[np.ndarray, "maps pixels"], masks: Real[np.ndarray, "maps pixels"]
    ) -> Float[np.ndarray, "maps pixels"]:
        """Return each pixel's membership in [0, 1]; between the two where ties are shared out."""
        return top_pixels(maps, self.area_px(rank(maps, masks.astype(np.float64))))


@final
@dataclass(frozen=True)
class TopArea(Policy):
    """Attend the highest ``share`` of the pixels.

    Args:
        share: Share of the image's pixels, over 0 and at most 1.
    """

    share: float

    @property
    def name(self) -> str:
        """``top-area=<share>``."""
        return f"top-area={self.share:g}"

    def area_px(self, ranked: Ranked) -> Float[np.ndarray, " maps"]:
        """Return ``share x N``; the masks are not looked at."""
        return np.full(len(ranked.values), self.share * ranked.image_px)


@final
@dataclass(frozen=True)
class MatchedArea(Policy):
    """Attend as many of the highest pixels as the ROI has: a wide map gains nothing by being wide."""

    @property
    def name(self) -> str:
        """``matched-area``."""
        return "matched-area"

    def area_px(self, ranked: Ranked) -> Float[np.ndarray, " maps"]:
        """Return |M|."""
        return ranked.roi_px


@final
@dataclass(frozen=True)
class Otsu(Policy):
    """Attend the upper of the two classes into which the map's own values fall best (Otsu 1979).

    The threshold maximises the variance between the classes, ``w0 w1 (m0 - m1)^2`` with shares w and means m,
    over every split of the sorted values: exact, where the usual 256 bins depend on the outliers. Of splits that
    are equally good, the highest. The masks are not looked at. A constant map has one class only: all of it is
    attended (none, if it is zero), so that its precision is chance and never a hit.
    """

    @property
    def name(self) -> str:
        """``otsu``."""
        return "otsu"

    def area_px(self, ranked: Ranked) -> Float[np.ndarray, " maps"]:
        """Return the pixels above the split."""
        pixels, above = ranked.image_px, ranked.ranked_px
        if not len(above):
            return np.zeros(0)
        sums = np.cumsum(ranked.relative, axis=1)
        means = sums[:, -1] / pixels
        # With k pixels above that sum to S: w0 w1 (m0 - m1)^2 = (S - k m)^2 / (k (N - k)).
        between = sums.ravel()[ranked.ends - 1] - above * means[ranked.group_maps]
        between *= between
        between /= above * np.maximum(pixels - above, 1)
        between[above == pixels] = -1.0
        best = np.maximum.reduceat(between, ranked.first_groups)
        good = np.flatnonzero(between >= (best - _EQUALLY_GOOD * np.abs(best))[ranked.group_maps])
        chosen = good[np.searchsorted(good, ranked.first_groups)]
        return np.where(ranked.values[:, 0] > 0, ranked.ranked_px[chosen], 0.0)


@final
@dataclass(frozen=True)
class MaxFraction(Policy):
    """Attend the pixels of at least ``fraction`` times the map's maximum.

    Args:
        fraction: Over 0 and at most 1.

    The masks are not looked at. A constant map is attended everywhere, a zero map nowhere (NaN precision).
    """

    fraction: float

    @property
    def name(self) -> str:
        """``max-fraction=<fraction>``."""
        return f"max-fraction={self.fraction:g}"

    def area_px(self, ranked: Ranked) -> Float[np.ndarray, " maps"]:
        """Return the pixels with ``a >= fraction x max a``."""
        highest = ranked.values[:, :1].astype(np.float64)
        high = (ranked.values >= self.fraction * highest).sum(axis=1)
        return np.where(highest[:, 0] > 0, high, 0.0)


_PLAIN: dict[str, Callable[[], Policy]] = {"matched-area": MatchedArea, "otsu": Otsu}
_VALUED: dict[str, tuple[Callable[[float], Policy], str]] = {
    "top-area": (TopArea, "top-area=SHARE, for example top-area=0.1"),
    "max-fraction": (MaxFraction, "max-fraction=SHARE, for example max-fraction=0.5"),
}


def parse_policy(name: str) -> Policy:
    """Return the policy that a recorded name means; a wrong name is one :class:`InputError`.

    >>> parse_policy("top-area=0.1")
    TopArea(share=0.1)
    """
    kind, equals, value = name.partition("=")
    if kind not in (*_PLAIN, *_VALUED):
        raise InputError(f"there is no threshold policy {name!r}{did_you_mean(kind, [*_PLAIN, *_VALUED])}")
    if kind in _PLAIN:
        if equals:
            raise InputError(f"the threshold policy {name!r} takes no value; write {kind}.")
        return _PLAIN[kind]()
    try:
        share = float(value)
    except ValueError:
        share = float("nan")
    make, written = _VALUED[kind]
    if not 0 < share <= 1:
        raise InputError(f"the threshold policy {name!r} needs a share over 0 and up to 1; write {written}.")
    return make(share)


def top_pixels(
    maps: Real[np.ndarray, "maps pixels"], area_px: Float[np.ndarray, " maps"]
) -> Float[np.ndarray, "maps pixels"]:
    """Return membership in each map's highest ``area_px`` pixels, ties at the threshold shared out equally.

    Pixels above the threshold are members; those equal to it share what is left of the area, each to the same
    part. The members therefore sum to ``area_px`` exactly (it need not be whole), a constant map is a member
    everywhere to the same part, and nothing depends on the order in which pixels are sorted.
    """
    pixels = maps.shape[1]
    ranked = np.sort(maps, axis=1)
    last = np.clip(np.ceil(area_px).astype(np.int64), 1, pixels)
    threshold = np.take_along_axis(ranked, (pixels - last)[:, None], axis=1)
    above = maps > threshold
    tied = maps == threshold
    part = (area_px - above.sum(axis=1)) / tied.sum(axis=1)
    # q x N can overshoot a whole number by one rounding; the part is a share whatever happens there.
    members: np.ndarray = above + tied * np.clip(part, 0.0, 1.0)[:, None]
    return members
