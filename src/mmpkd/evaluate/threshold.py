"""How a map is made into attended pixels: threshold policies, each an explicit name that scores record.

``top-area=0.1`` attends the highest tenth of the pixels, ``matched-area`` as many pixels as the ROI has. A
new policy (Otsu, a fraction of the maximum) is one more class with ``attended`` and one more name here.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Real

from mmpkd.errors import InputError, did_you_mean

DEFAULT_POLICIES = ("top-area=0.1", "matched-area")


class Policy(ABC):
    """A rule that says which pixels of a map count as attended."""

    @property
    @abstractmethod
    def name(self) -> str:
        """The name under which scores record the policy; :func:`parse_policy` reads it back."""

    @abstractmethod
    def attended(
        self, maps: Real[np.ndarray, "maps pixels"], masks: Real[np.ndarray, "maps pixels"]
    ) -> Float[np.ndarray, "maps pixels"]:
        """Return each pixel's membership in [0, 1]; between the two where ties are shared out."""


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

    def attended(
        self, maps: Real[np.ndarray, "maps pixels"], masks: Real[np.ndarray, "maps pixels"]
    ) -> Float[np.ndarray, "maps pixels"]:
        """Return membership in the top ``share`` of the pixels; the masks are not looked at."""
        return top_pixels(maps, np.full(len(maps), self.share * maps.shape[1]))


@final
@dataclass(frozen=True)
class MatchedArea(Policy):
    """Attend as many of the highest pixels as the ROI has: a wide map gains nothing by being wide."""

    @property
    def name(self) -> str:
        """``matched-area``."""
        return "matched-area"

    def attended(
        self, maps: Real[np.ndarray, "maps pixels"], masks: Real[np.ndarray, "maps pixels"]
    ) -> Float[np.ndarray, "maps pixels"]:
        """Return membership in the top |ROI| pixels."""
        return top_pixels(maps, masks.sum(axis=1, dtype=np.float64))


_KINDS = {"top-area": "top-area=SHARE, for example top-area=0.1", "matched-area": "matched-area"}


def parse_policy(name: str) -> Policy:
    """Return the policy that a recorded name means; a wrong name is one :class:`InputError`.

    >>> parse_policy("top-area=0.1")
    TopArea(share=0.1)
    """
    kind, equals, value = name.partition("=")
    if kind not in _KINDS:
        raise InputError(f"there is no threshold policy {name!r}{did_you_mean(kind, _KINDS)}")
    if kind == "matched-area":
        if equals:
            raise InputError(f"the threshold policy {name!r} takes no value; write matched-area.")
        return MatchedArea()
    try:
        share = float(value)
    except ValueError:
        share = float("nan")
    if not 0 < share <= 1:
        raise InputError(f"the threshold policy {name!r} needs a share over 0 and up to 1; write {_KINDS[kind]}.")
    return TopArea(share)


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
