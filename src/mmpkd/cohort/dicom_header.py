"""The part of a DICOM header that decides pixels, read and checked. Identifying elements are never looked at.

Messages hold no value of the header except sizes: any element may hold a name.
"""

from __future__ import annotations

import io
import math
import re
import zlib
from typing import Any, BinaryIO, NamedTuple, NoReturn

from pydicom import Dataset
from pydicom.filereader import read_dataset
from pydicom.tag import BaseTag, Tag
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from mmpkd.cohort.images import MAX_BYTES, MAX_PIXELS, BrokenImageError

GREY = ("MONOCHROME1", "MONOCHROME2")
PALETTE = "PALETTE COLOR"
COLOUR = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")

_PALETTES = [
    f"{colour}PaletteColorLookupTable{part}" for colour in ("Red", "Green", "Blue") for part in ("Descriptor", "Data")
]
_PIXELS = ["PixelData", "FloatPixelData", "DoubleFloatPixelData"]
_FIRST_PIXELS = 0x7FE00008
_KEYWORDS = [
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelPaddingValue", "PixelPaddingRangeLimit", "PixelSpacing", "ImagerPixelSpacing"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *_PALETTES,
    *_PIXELS,
]
_ELEMENTS: list[BaseTag | int] = [Tag(keyword) for keyword in _KEYWORDS]


class DicomHeader(NamedTuple):
    """What a file says of its pixels.

    Args:
        elements: The elements themselves, for those that are looked at only where they matter.
        syntax: The transfer syntax UID.
        rows: Height in pixels.
        columns: Width in pixels.
        samples: 1, or 3 for colour.
        photometric: One of ``GREY``, ``PALETTE`` or ``COLOUR``.
        allocated: Bits that a value takes, 8 or 16.
        stored: Bits that a value has.
        high: Highest bit of the value.
        signed: Whether values are in two's complement.
    """

    elements: Dataset
    syntax: str
    rows: int
    columns: int
    samples: int
    photometric: str
    allocated: int
    stored: int
    high: int
    signed: bool

    @property
    def little(self) -> bool:
        """Whether the low byte of a word comes first."""
        return self.syntax != ExplicitVRBigEndian

    @property
    def spacing_mm(self) -> tuple[float, float] | None:
        """Distance of rows and of columns: in the patient where known, else at the detector."""
        for keyword in ("PixelSpacing", "ImagerPixelSpacing"):
            values = self.elements.get(keyword)
            if values and not isinstance(values, str | bytes) and len(values) == 2:
                rows, columns = (float(value) for value in values)
                if all(math.isfinite(value) and value > 0 for value in (rows, columns)):
                    return rows, columns
        return None


def is_dicom(head: bytes) -> bool:
    """Whether a file that begins so (132 bytes) is to be read as DICOM: by its mark, or by an old file's first tag."""
    return head[128:132] == b"DICM" or _is_bare(head)


def _is_bare(head: bytes) -> bool:
    return head[128:132] != b"DICM" and head[:2] in (b"\x02\x00", b"\x08\x00", b"\x00\x08") and len(head) > 8


def read_header(stream: BinaryIO, with_pixels: bool) -> DicomHeader:
    """Read and check a header; its ``elements`` hold the pixel data, still coded, if ``with_pixels``.

    Raises:
        BrokenImageError: No image, several, or one of a kind or size that is not read.
    """
    head = stream.read(132)
    stream.seek(0)
    bare = _is_bare(head)
    elements, syntax = _parse(stream, with_pixels)
    if "Rows" not in elements or "Columns" not in elements:
        if bare:
            raise BrokenImageError("is not a JPEG, PNG, TIFF, PGM, PPM or DICOM image, or its head is broken")
        raise BrokenImageError("is a DICOM file that holds no image")
    header = DicomHeader(
        elements,
        syntax,
        rows=_whole(elements, "Rows"),
        columns=_whole(elements, "Columns"),
        samples=_whole(elements, "SamplesPerPixel", 1),
        photometric=str(elements.get("PhotometricInterpretation", "")).strip().upper(),
        allocated=_whole(elements, "BitsAllocated"),
        stored=_whole(elements, "BitsStored", _whole(elements, "BitsAllocated")),
        high=_whole(elements, "HighBit", _whole(elements, "BitsStored", _whole(elements, "BitsAllocated")) - 1),
        signed=_whole(elements, "PixelRepresentation", 0) == 1,
    )
    _check(header)
    if with_pixels and "PixelData" not in elements:
        floats = any(keyword in elements for keyword in _PIXELS)
        raise BrokenImageError(f"is a DICOM file {'of floating-point values' if floats else 'without pixel data'}")
    return header


def _parse(stream: BinaryIO, with_pixels: bool) -> tuple[Dataset, str]:
    """Return the wanted elements and the transfer syntax, guessed from the encoding where the file does not say.

    As ``pydicom.dcmread``, which would inflate deflated elements without a limit.
    """
    stream.seek(132 if stream.read(132)[128:] == b"DICM" else 0)
    meta = read_dataset(
        stream, False, True, stop_when=lambda tag, *_: tag >> 16 != 2, specific_tags=[Tag("TransferSyntaxUID")]
    )
    syntax = str(meta.get("TransferSyntaxUID") or _guess_syntax(stream))
    if syntax == DeflatedExplicitVRLittleEndian:
        stream, syntax = io.BytesIO(_inflate(stream.read())), str(ExplicitVRLittleEndian)
    elements = read_dataset(
        stream,
        is_implicit_VR=syntax == ImplicitVRLittleEndian,
        is_little_endian=syntax != ExplicitVRBigEndian,
        stop_when=None if with_pixels else (lambda tag, *_: tag >= _FIRST_PIXELS),
        specific_tags=_ELEMENTS,
    )
    return elements, syntax


def _guess_syntax(stream: BinaryIO) -> str:
    """Tell the encoding from the first element: its group is a small number, and a value's kind two capitals."""
    first = stream.read(6)
    stream.seek(-len(first), io.SEEK_CUR)
    if not re.fullmatch(rb"[A-Z]{2}", first[4:]):
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if first[1] == 0 else ExplicitVRBigEndian)


def _inflate(data: bytes) -> bytes:
    inflater = zlib.decompressobj(-zlib.MAX_WBITS)
    plain = inflater.decompress(data, MAX_BYTES)
    if inflater.unconsumed_tail:
        _refuse(f"has more than {MAX_BYTES:,} bytes once inflated; no more are read")
    if not inflater.eof:
        _refuse("cannot be decoded (it is cut off)")
    return plain


def _whole(elements: Dataset, keyword: str, default: int | None = None) -> int:
    """Return a whole number of 16 bits, whatever the header holds there."""
    value: Any = elements.get(keyword)
    if (value is None or value == "") and default is not None:
        return default
    if not isinstance(value, int) or not 0 <= value <= 0xFFFF:
        raise BrokenImageError(f"has a broken DICOM header (no usable {keyword})")
    return value


def _check(header: DicomHeader) -> None:
    """Refuse what is not read, before anything is decoded."""
    rows, columns = header.rows, header.columns
    if not rows or not columns:
        _refuse("has no pixels")
    if rows * columns > MAX_PIXELS:
        _refuse(f"has {columns:,} x {rows:,} pixels; no more than {MAX_PIXELS:,} are read")
    frames = header.elements.get("NumberOfFrames")
    if frames not in (None, "", 1):
        count = int(frames)
        _refuse(f"holds {count:,} images (frames); give each its own file" if count > 1 else "holds no frame")
    if header.allocated not in (8, 16):
        _refuse(f"stores a value in {header.allocated} bits; 8 and 16 are read")
    if not 1 <= header.stored <= header.high + 1 <= header.allocated:
        _refuse("has a broken DICOM header (BitsStored and HighBit do not fit BitsAllocated)")
    kinds = {1: (*GREY, PALETTE), 3: COLOUR}.get(header.samples, ())
    if header.photometric not in kinds:
        _refuse("has a colour model that is not read")


def _refuse(reason: str) -> NoReturn:
    raise BrokenImageError(reason)
