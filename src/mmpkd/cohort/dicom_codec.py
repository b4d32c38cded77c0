"""The pixel data of a DICOM file, in any transfer syntax that is read, becomes the values that were stored.

Codestreams are measured against the header before a compiled decoder sees them, since such decoders take memory for
whatever size a codestream claims.
"""

from __future__ import annotations

import struct
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int32, UInt8
from pydicom import uid
from pydicom.encaps import encapsulate, get_frame
from pydicom.pixels.decoders.base import get_decoder

from mmpkd.cohort.dicom_header import COLOUR, DicomHeader
from mmpkd.cohort.images import BrokenImageError
from mmpkd.cohort.jpeg_lossless import decode_jpeg_lossless

_NATIVE = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian, uid.ExplicitVRBigEndian)
_JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit)
_LOSSLESS = (uid.JPEGLossless, uid.JPEGLosslessSV1)
_JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
_JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000, uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
_PLUGINS: dict[str, str] = {
    uid.RLELossless: "pydicom",
    **dict.fromkeys(_JPEG, "pillow"),
    **dict.fromkeys(_JPEG_LS, "pyjpegls"),
    **dict.fromkeys(_JPEG_2000, "pylibjpeg"),
}
_END_OF_IMAGE = b"\xff\xd9"
_CUT_OFF = "cannot be decoded (it is cut off)"
_SIZE = "has compressed pixels of another size or depth than its header says"


class Stored(NamedTuple):
    """Values as stored and the number of bits that they have, which a codestream knows better than the header."""

    values: Int32[np.ndarray, "height width"]
    bits: int


class _Frame(NamedTuple):
    """What a codestream says of itself."""

    height: int
    width: int
    samples: int
    precision: int


def stored_values(header: DicomHeader) -> Stored:
    """Return the stored values of a file of one sample a pixel (grey levels, or indices of a palette).

    Raises:
        BrokenImageError: Cut off, or compressed in a way or to a size that is not read.
    """
    if header.syntax in _NATIVE or header.syntax == uid.RLELossless:
        raw, bits, high = _decoded(header, header.allocated, header.allocated), header.stored, header.high
    else:
        raw, bits = _decompressed(header)
        high = bits - 1
    pattern = raw.astype(np.int32)
    pattern >>= high + 1 - bits
    pattern &= (1 << bits) - 1
    if header.signed:
        pattern -= (pattern >> (bits - 1)) << bits
    return Stored(pattern, bits)


def colour_values(header: DicomHeader) -> UInt8[np.ndarray, "height width 3"]:
    """Return RGB of 8 bits; of deeper values the high byte.

    Raises:
        BrokenImageError: As for :func:`stored_values`.
    """
    plain = header.syntax in _NATIVE or header.syntax == uid.RLELossless
    if plain and header.photometric in ("YBR_ICT", "YBR_RCT"):
        raise BrokenImageError("has a colour model that is not read")
    raw, bits = (_decoded(header, header.allocated, header.stored), header.stored) if plain else _decompressed(header)
    if bits > 8 and header.photometric in ("YBR_FULL", "YBR_FULL_422"):
        raise BrokenImageError("has a colour model that is not read (YBR deeper than 8 bits)")
    return (raw >> max(bits - 8, 0)).astype(np.uint8)


def _decompressed(header: DicomHeader) -> tuple[np.ndarray, int]:
    """Decode a JPEG of any kind; return what it holds and its precision."""
    if header.syntax not in (*_PLUGINS, *_LOSSLESS):
        raise BrokenImageError("is compressed in a way that is not read; convert it to JPEG 2000 or none")
    source = get_frame(header.elements.PixelData, 0, number_of_frames=1)
    frame = _frame_of_jpeg_2000(source) if header.syntax in _JPEG_2000 else _frame_of_jpeg(source)
    precision = frame.precision
    if frame[:3] != (header.rows, header.columns, header.samples) or not 2 <= precision <= 16:
        raise BrokenImageError(_SIZE)
    if header.syntax in _JPEG and precision != 8:
        raise BrokenImageError(f"is a lossy JPEG of {precision} bits; 8 are read")
    if header.syntax in _LOSSLESS:
        values = decode_jpeg_lossless(source, *frame[:3])
        if header.photometric in COLOUR and header.photometric != "RGB":
            raise BrokenImageError("has a colour model that is not read")
        return (values[..., 0] if header.samples == 1 else values), precision
    if header.syntax in _JPEG_LS:
        source += _END_OF_IMAGE * 8  # without an end the decoder looks for one far beyond
    return _decoded(header, 8 if precision <= 8 else 16, precision, encapsulate([source], has_bot=False)), precision


def _decoded(header: DicomHeader, allocated: int, stored: int, source: bytes | None = None) -> np.ndarray:
    """Let pydicom decode, told all that it needs, so that it looks at no header."""
    native = header.syntax in _NATIVE
    source = header.elements.PixelData if source is None else source
    options: dict[str, Any] = {
        "rows": header.rows,
        "columns": header.columns,
        "samples_per_pixel": header.samples,
        "photometric_interpretation": header.photometric,
        "bits_allocated": allocated,
        "bits_stored": stored,
        "pixel_representation": int(header.signed and header.samples == 1),
        "number_of_frames": 1,
        "pixel_keyword": "PixelData",
        "pixel_vr": header.elements["PixelData"].VR,
        "correct_unused_bits": False,
        "allow_excess_frames": False,
    }
    if header.samples == 3:
        options["planar_configuration"] = 1 if header.elements.get("PlanarConfiguration") == 1 else 0
    size = header.rows * header.columns * header.samples * allocated // 8
    if native:
        if header.photometric == "YBR_FULL_422":
            size = size // 3 * 2
        if len(source) < size:
            raise BrokenImageError(_CUT_OFF)
        source = source[: size + size % 2]
    elif header.syntax == uid.RLELossless and len(source) > 2 * size + 4096:
        raise BrokenImageError(_SIZE)  # runs that say more than the image holds could fill any memory
    decoder = get_decoder(uid.UID(header.syntax))
    plugin = "" if native else _PLUGINS[header.syntax]
    return decoder.as_array(source, index=0, raw=header.samples == 1, decoding_plugin=plugin, **options)[0]


def _frame_of_jpeg(data: bytes) -> _Frame:
    """Read the frame header of a JPEG or JPEG-LS."""
    offset = 2
    while data[offset] == 0xFF:
        marker, length = data[offset + 1], struct.unpack_from(">H", data, offset + 2)[0]
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            precision, height, width, samples = struct.unpack_from(">BHHB", data, offset + 4)
            return _Frame(height, width, samples, precision)
        offset += 1 if marker == 0xFF else 2 + length
    raise BrokenImageError("has compressed pixels whose head is broken")


def _frame_of_jpeg_2000(data: bytes) -> _Frame:
    """Read the SIZ segment of a JPEG 2000 codestream, bare or in a JP2 box."""
    start = data.find(b"\xff\x4f\xff\x51", 0, 4096)
    if start < 0:
        raise BrokenImageError("has compressed pixels whose head is broken")
    right, bottom, left, top, tile_width, tile_height, *_ = struct.unpack_from(">8L", data, start + 8)
    samples, depth = struct.unpack_from(">HB", data, start + 40)
    if not tile_width or not tile_height or -(-right // tile_width) * -(-bottom // tile_height) > 0xFFFF:
        raise BrokenImageError("has compressed pixels whose head is broken")
    return _Frame(bottom - top, right - left, samples, (depth & 127) + 1)
