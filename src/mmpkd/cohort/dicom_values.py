"""Stored values of a DICOM file become grey levels of 8 bits, as the file says that they are to be looked at.

Stored values have at most 16 bits. So each step is computed once for every value that there could be, and the image
goes through one table at the end: exact, and cheap for images of any size. DICOM PS3.3, C.7.6.3, C.11.1 and C.11.2.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float64, Int32, UInt8
from pydicom import Dataset

from mmpkd.cohort.dicom_codec import Stored
from mmpkd.cohort.dicom_header import DicomHeader
from mmpkd.cohort.images import BrokenImageError


class _Table(NamedTuple):
    """A look-up table: entry k belongs to the input ``first + k``; inputs outside take the nearest entry."""

    first: int
    bits: int
    entries: Float64[np.ndarray, " entries"]

    def __call__(self, values: Float64[np.ndarray, " values"]) -> Float64[np.ndarray, " values"]:
        inside = np.clip(np.rint(values) - self.first, 0, len(self.entries) - 1)
        return self.entries[inside.astype(np.int64)]


def grey_levels(stored: Stored, header: DicomHeader) -> tuple[UInt8[np.ndarray, "height width"], tuple[str, ...]]:
    """Return grey levels, 0 black, and the names of the steps by which they came about, in order.

    ``modality-lut`` or ``rescale`` (slope v + intercept, unless it is 1 v + 0) gives the values their meaning.
    ``voi-lut``, else the first ``window``, chooses what is seen:  linear, 255 ((v - (c - 1/2)) / (w - 1) + 1/2);
    linear-exact, 255 ((v - c) / w + 1/2); sigmoid, 255 / (1 + exp(-4 (v - c) / w)); each cut to 0..255. Without either,
    ``stretch`` is 255 (v - min) / (max - min) over the image's own values, padding left out; unsigned values of 8 bits
    whose meaning is not changed stay as they are, as in any other file of 8 bits. ``inverted`` is 255 - v, for
    MONOCHROME1. Tables and windows that cannot be (no entries, a width of 0) are passed over.
    """
    elements, steps = header.elements, []
    low = -(1 << (stored.bits - 1)) if header.signed else 0
    inputs = np.arange(low, low + (1 << stored.bits), dtype=np.float64)
    with np.errstate(all="ignore"):
        values = inputs
        modality = _table_of(elements.get("ModalityLUTSequence"), header.little, signed=header.signed)
        slope, intercept = _number(elements.get("RescaleSlope")), _number(elements.get("RescaleIntercept"))
        if modality is not None:
            values = modality(values)
            steps.append("modality-lut")
        elif slope and intercept is not None and (slope, intercept) != (1, 0):
            values = slope * values + intercept
            steps.append("rescale")
        voi = _table_of(elements.get("VOILUTSequence"), header.little, signed=bool(values.min() < 0))
        seen = _windowed(values, elements) if voi is None else 255 * voi(values) / ((1 << voi.bits) - 1)
        if seen is not None:
            steps.append("window" if voi is None else "voi-lut")
        elif steps or header.signed or stored.bits != 8:
            present = _present(stored.values - low, len(inputs)) & ~_is_padding(inputs, elements, stored.bits)
            seen = _stretched(values, present)
            steps.append("stretch")
        else:
            seen = values
        if header.photometric == "MONOCHROME1":
            seen = 255 - seen
            steps.append("inverted")
        levels = np.rint(np.clip(np.nan_to_num(seen, nan=0.0, posinf=255.0, neginf=0.0), 0, 255)).astype(np.uint8)
    return levels[stored.values - low], tuple(steps)


def palette_colours(stored: Stored, header: DicomHeader) -> UInt8[np.ndarray, "height width 3"]:
    """Return the colours of a palette; of entries of 16 bits the high byte.

    Raises:
        BrokenImageError: The palette is missing, broken, or of segments.
    """
    planes = []
    for colour in ("Red", "Green", "Blue"):
        name = f"{colour}PaletteColorLookupTable"
        table = _table(
            header.elements.get(f"{name}Descriptor"),
            header.elements.get(f"{name}Data"),
            header.little,
            signed=header.signed,
        )
        if table is None:
            raise BrokenImageError("has a palette that is missing, broken, or of a kind that is not read")
        entries = table.entries if table.bits <= 8 else table.entries // 256
        lookup = table._replace(entries=np.clip(entries, 0, 255))
        low = int(stored.values.min())
        inputs = np.arange(low, int(stored.values.max()) + 1, dtype=np.float64)
        planes.append(lookup(inputs).astype(np.uint8)[stored.values - low])
    return np.stack(planes, -1)


def _windowed(values: Float64[np.ndarray, " values"], elements: Dataset) -> Float64[np.ndarray, " values"] | None:
    center, width = _number(elements.get("WindowCenter")), _number(elements.get("WindowWidth"))
    function = str(elements.get("VOILUTFunction") or "LINEAR").strip().upper()
    if center is None or width is None or width <= 0:
        return None
    if function == "SIGMOID":
        return 255 / (1 + np.exp(-4 * (values - center) / width))
    if function == "LINEAR_EXACT":
        return np.clip(255 * (values - (center - width / 2)) / width, 0, 255)
    if function != "LINEAR" or width < 1:
        return None
    if width == 1:
        return np.where(values <= center - 0.5, 0.0, 255.0)
    return np.clip(255 * (values - (center - width / 2)) / (width - 1), 0, 255)


def _stretched(
    values: Float64[np.ndarray, " values"], present: Bool[np.ndarray, " values"]
) -> Float64[np.ndarray, " values"]:
    some = values[present & np.isfinite(values)]
    if not len(some) or some.min() == some.max():
        return np.zeros_like(values)
    return np.clip(255 * ((values - some.min()) / (some.max() - some.min())), 0, 255)


def _present(indices: Int32[np.ndarray, "height width"], count: int) -> Bool[np.ndarray, " values"]:
    present = np.zeros(count, bool)
    present[indices] = True
    return present


def _is_padding(inputs: Float64[np.ndarray, " values"], elements: Dataset, bits: int) -> Bool[np.ndarray, " values"]:
    """Whether stored values stand for no pixel; compared by their bits, for writers disagree on the sign."""
    value, limit = elements.get("PixelPaddingValue"), elements.get("PixelPaddingRangeLimit")
    if not isinstance(value, int):
        return np.zeros(len(inputs), bool)
    if not isinstance(limit, int):
        return (inputs.astype(np.int64) ^ value) & ((1 << bits) - 1) == 0
    ends = [end - (1 << bits) if inputs[0] < 0 and end > inputs[-1] else end for end in (value, limit)]
    return (inputs >= min(ends)) & (inputs <= max(ends))


def _table_of(sequence: Any, little: bool, signed: bool) -> _Table | None:
    """Return the first table of a sequence, ``None`` where there is none that can be used."""
    if not sequence or isinstance(sequence, str | bytes):
        return None
    return _table(sequence[0].get("LUTDescriptor"), sequence[0].get("LUTData"), little, signed)


def _table(descriptor: Any, data: Any, little: bool, signed: bool) -> _Table | None:
    if descriptor is None or data is None or isinstance(descriptor, str | bytes | int) or len(descriptor) != 3:
        return None
    count, first, bits = (int(value) for value in descriptor)
    count = (count & 0xFFFF) or 1 << 16
    if not 1 <= bits <= 16:
        return None
    if isinstance(data, bytes):
        packed = bits <= 8 and len(data) < 2 * count  # entries of 8 bits, two to a word
        words = np.frombuffer(data[: len(data) // 2 * 2], np.uint8 if packed else "<u2" if little else ">u2")
        if packed and not little:
            words = words.reshape(-1, 2)[:, ::-1].ravel()
    else:
        words = np.atleast_1d(np.asarray(data, np.int64)) & 0xFFFF
        if bits <= 8 and len(words) < count:
            words = np.stack([words & 255, words >> 8], -1).ravel()
    if len(words) < count:
        return None
    first = (first + 0x8000 & 0xFFFF) - 0x8000 if signed else first & 0xFFFF
    return _Table(first, bits, words[:count].astype(np.float64))


def _number(value: Any) -> float | None:
    """Return the first number of an element, ``None`` where there is no finite one."""
    if value is None or isinstance(value, bytes):
        return None
    if not isinstance(value, str | int | float) and hasattr(value, "__len__"):
        value = value[0] if len(value) else None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
