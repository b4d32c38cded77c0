"""How a cohort's zones are described in YAML."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from mmpkd.cohort.zones import SCHEMES, SchemeName, ZoneScheme
from mmpkd.errors import did_you_mean
from mmpkd.settings import Settings


class ZoneSettings(Settings):
    """Zones of the cohort's images (:mod:`mmpkd.cohort.zones`).

    Args:
        scheme: What the zones are called.
        table: Path relative to the root: one row a zone of an image. Without it zones are fixed shares of the picture,
            which is rough: bodies differ, and so do cuts of the picture.
        case: Its column of case ids.
        zone: Its column of zone names.
        boxes: Its four columns of coordinates, in pixels of the original image, top-left origin.
        box_format: ``xyxy`` or ``xywh``, as for ROIs.
        mask: Its column of mask paths.
        mask_value: Its column of the pixel value that counts as inside.
        rle: Its column of masks as COCO run lengths.
        names: Name in the table -> zone of the scheme, for names that are none themselves; ``null`` ignores one.
        lungs: Name in the table -> the side whose lung it is, ``left`` or ``right``, for tables of whole lungs and the
            scheme ``six``: the lung's box is cut in equal thirds.
    """

    scheme: SchemeName = "six"
    table: str | None = None
    case: str = "case"
    zone: str = "zone"
    boxes: tuple[str, str, str, str] | None = None
    box_format: Literal["xyxy", "xywh"] = "xyxy"
    mask: str | None = None
    mask_value: str | None = None
    rle: str | None = None
    names: dict[str, str | None] = Field(default_factory=dict)
    lungs: dict[str, Literal["left", "right"]] = Field(default_factory=dict)

    @property
    def named(self) -> ZoneScheme:
        """The scheme itself."""
        return SCHEMES[self.scheme]

    @model_validator(mode="after")
    def _check(self) -> ZoneSettings:
        for zone in self.names.values():
            if zone is not None and zone not in self.named.zones:
                raise ValueError(
                    f"the scheme {self.scheme!r} has no zone {zone!r}{did_you_mean(zone, self.named.zones)}"
                )
        if self.lungs and (self.scheme != "six" or self.boxes is None):
            raise ValueError("'lungs' are cut into the zones of the scheme 'six', by their boxes; give 'boxes'")
        if self.table is None and not self.named.boxes:
            raise ValueError(f"the scheme {self.scheme!r} has no fixed places; give a 'table' of zones")
        if self.table is not None and self.boxes is None and self.mask is None and self.rle is None:
            raise ValueError("neither 'boxes' nor 'mask' nor 'rle' is given; name the columns of one of them")
        return self
