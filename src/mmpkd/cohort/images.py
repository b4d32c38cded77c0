"""One image file becomes one uint8 array: as it is, or fitted to the student's canvas.

Reads JPEG, PNG, TIFF, PGM and PPM, and DICOM through `dicom`. Many images, and keeping the result, are `cache`'s work.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
from jaxtyping import Int, Real, UInt8
from PIL import Image, ImageOps, UnidentifiedImageError

from mmpkd.cohort.geometry import Fit, Geometry
from mmpkd.errors import InputError

Channels = Literal[1, 3]

DECODER_VERSION = 3
"""Raised whenever the same file would give other pixels; caches of other versions are left alone."""

MAX_PIXELS = 150_000_000
"""The largest image that is decoded (over twice the largest digital mammogram); larger is refused unread."""

MAX_BYTES = 2**30
"""The largest file that is read."""

_FORMATS = ("JPEG", "PNG", "TIFF", "PPM")
_BARE_DICOM = (b"\x02\x00", b"\x08\x00", b"\x00\x08")  # the first tag of a file that is older than the mark
_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # orientations in which rows are stored as columns
_PHOTOMETRIC = 262
_DRAFT_MARGIN = 3.0  # a reduced JPEG keeps at least this many times the pixels a side that the canvas needs


class BrokenImageError(Exception):
    """A file is not an image that can be used; the message says why, in a few words that fit after "it"."""


class Fitted(NamedTuple):
    """An image on the student's canvas, (channels, size, size), and what it was before, (height, width).

    ``steps`` names what was done to a DICOM file's stored values; see :class:`~mmpkd.cohort.dicom.DicomImage`.
    """

    pixels: UInt8[np.ndarray, "channels size size"]
    size_px: tuple[int, int]
    steps: tuple[str, ...] = ()


def check_file(path: Path) -> os.stat_result:
    """Return a file's status; :class:`BrokenImageError` where it cannot hold an image. Does not open it."""
    try:
        status = path.stat()
    except FileNotFoundError:
        raise BrokenImageError("does not exist") from None
    except (OSError, ValueError) as error:
        raise BrokenImageError(f"cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if stat.S_ISDIR(status.st_mode):
        raise BrokenImageError("is a folder, not a file")
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would wait for ever
        raise BrokenImageError("is not a regular file")
    if status.st_size == 0:
        raise BrokenImageError("is empty (0 bytes)")
    if status.st_size > MAX_BYTES:
        raise BrokenImageError(f"has {status.st_size:,} bytes; no more than {MAX_BYTES:,} are read")
    return status


def read_bytes(path: Path) -> bytes:
    """Return a file's content, raising :class:`BrokenImageError` for whatever cannot be read."""
    check_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise BrokenImageError(f"cannot be read ({error.strerror or error})") from None


def read_size(path: Path) -> tuple[int, int]:
    """Return (height, width) of an image file, upright, from its header alone.

    Raises:
        BrokenImageError: As for :func:`decode`, as far as the header tells.
    """
    check_file(path)
    with decoder_errors(), path.open("rb") as stream:
        if _is_dicom(stream):
            return _dicom().read_dicom_size(stream)
        image = _open(stream)[0]
        turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
        return (image.width, image.height) if turned else (image.height, image.width)


def decode(data: bytes, channels: Channels | None = None) -> UInt8[np.ndarray, "height width *rgb"]:
    """Decode an image file's bytes to uint8, upright, at its own size.

    Args:
        data: The file's content.
        channels: 1 for grey, 3 for RGB; ``None`` keeps what the file has. Colour becomes grey as luminance,
            0.299 R + 0.587 G + 0.114 B (ITU-R BT.601).

    Returns:
        (height, width) for grey, (height, width, 3) for RGB.

    Values of 8 bits stay as they are. Deeper grey values are stretched linearly from the image's own minimum
    to its maximum, 255 (v - min) / (max - min), rounded; a constant image becomes 0; non-finite values count
    as the minimum. (Deep *colour* is cut to its high bytes by the decoder.) The EXIF orientation is applied,
    palettes are resolved, transparency lies on black, and a TIFF that stores white as 0 is turned positive.

    Raises:
        BrokenImageError: Not an image of a known format, cut off, too large, or several pages.
    """
    with decoder_errors():
        image = _open(io.BytesIO(data))[0]
        return np.array(_to_mode(_upright(image), channels, negative=_is_negative(image)))


def decode_mask(data: bytes) -> Int[np.ndarray, "height width"]:
    """Decode a mask file's bytes to its own integers, unscaled.

    They are the grey values, the indices of a palette, or a colour's luminance.

    Raises:
        BrokenImageError: As for :func:`decode`.
    """
    with decoder_errors():
        stream = io.BytesIO(data)
        if _is_dicom(stream):
            return _dicom().read_dicom_mask(data)
        image = _upright(_open(stream)[0])
        if image.mode not in ("1", "L", "P", "I", "F") and not image.mode.startswith("I;16"):
            image = _to_mode(image, 1)
        return np.asarray(image).astype(np.int64)


def decode_fitted(data: bytes, size_px: int, channels: Channels, fit: Fit) -> Fitted:
    """Decode an image file's bytes onto the student's canvas.

    The image is reduced by bicubic interpolation with antialiasing, the filter that timm's transformers are
    trained with. A JPEG many times larger than the canvas is decoded at 1/2, 1/4 or 1/8 of its size first,
    never below three times the canvas, which is several times faster and differs by less than one grey level on
    average.

    Raises:
        BrokenImageError: As for :func:`decode`.
    """
    with decoder_errors():
        image, steps = _open(io.BytesIO(data))
        negative, upright = _is_negative(image), _is_upright(image)
        if not upright:
            image = _upright(image)
        geometry = Geometry(height=image.height, width=image.width, size_px=size_px, fit=fit)
        extent = _draft(image, geometry, channels) if upright else None
        pixels = _place(_to_mode(image, channels, negative), geometry, extent)
    return Fitted(pixels, (geometry.height, geometry.width), steps)


def fit_pixels(
    pixels: UInt8[np.ndarray, "height width *rgb"], size_px: int, channels: Channels, fit: Fit
) -> UInt8[np.ndarray, "channels size size"]:
    """Fit an image already in memory to the student's canvas, as :func:`decode_fitted` does for a file."""
    height, width = pixels.shape[:2]
    geometry = Geometry(height=height, width=width, size_px=size_px, fit=fit)
    return _place(_to_mode(Image.fromarray(pixels), channels), geometry)


def to_eight_bits(values: Real[np.ndarray, "*shape"]) -> UInt8[np.ndarray, "*shape"]:
    """Stretch values linearly from their own minimum..maximum to 0..255; see :func:`decode` for the rule."""
    exact = np.float32 if values.dtype.itemsize < 4 else np.float64
    scaled: np.ndarray[tuple[int, ...], np.dtype[np.floating]] = values.astype(exact)
    finite = np.isfinite(scaled)
    if not finite.any():
        return np.zeros(values.shape, np.uint8)
    low, high = scaled.min(where=finite, initial=np.inf), scaled.max(where=finite, initial=-np.inf)
    if low == high:
        return np.zeros(values.shape, np.uint8)
    scaled[~finite] = low
    scaled -= low
    scaled *= 255.0 / (high - low)
    np.rint(scaled, out=scaled)
    return scaled.astype(np.uint8)


def _is_dicom(stream: BinaryIO) -> bool:
    head = stream.read(132)
    stream.seek(0)
    return head[128:] == b"DICM" or (len(head) > 8 and head[:2] in _BARE_DICOM)


def _dicom() -> ModuleType:
    """Return the reader of DICOM, which takes a while to import and most runs do not need."""
    from mmpkd.cohort import dicom

    return dicom


def _open(stream: BinaryIO) -> tuple[Image.Image, tuple[str, ...]]:
    """Read the header only (of DICOM all), refusing what must not be decoded; return the steps of DICOM, too."""
    if _is_dicom(stream):
        decoded = _dicom().read_dicom(stream.read())
        return Image.fromarray(decoded.pixels), decoded.steps
    try:
        image = Image.open(stream, formats=_FORMATS)
    except UnidentifiedImageError:
        raise BrokenImageError("is not a JPEG, PNG, TIFF, PGM, PPM or DICOM image, or its head is broken") from None
    except Image.DecompressionBombError:
        raise BrokenImageError(f"is too large; no more than {MAX_PIXELS:,} pixels are read") from None
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BrokenImageError(f"has {width:,} x {height:,} pixels; no more than {MAX_PIXELS:,} are read")
    pages = getattr(image, "n_frames", 1)
    if pages > 1 and image.format != "MPO":  # an MPO's later pictures are previews of the first
        raise BrokenImageError(f"holds {pages} images; give each its own file")
    return image, ()


def _upright(image: Image.Image) -> Image.Image:
    return image if _is_upright(image) else ImageOps.exif_transpose(image)


def _is_upright(image: Image.Image) -> bool:
    return bool(image.getexif().get(_ORIENTATION, 1) == 1)


def _is_negative(image: Image.Image) -> bool:
    """Whether a TIFF stores white as 0; Pillow undoes that for 8 bits, but not for deeper values."""
    tags = getattr(image, "tag_v2", None)
    return tags is not None and tags.get(_PHOTOMETRIC) == 0


def _to_mode(image: Image.Image, channels: Channels | None, negative: bool = False) -> Image.Image:
    """Bring any Pillow mode to ``L`` or ``RGB``, 8 bits."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        image = Image.fromarray(to_eight_bits(-values.astype(np.float64) if negative else values))
    elif image.has_transparency_data:
        opaque = Image.new("RGBA", image.size, (0, 0, 0, 255))
        grey = image.mode in ("LA", "La", "L")
        image = Image.alpha_composite(opaque, image.convert("RGBA")).convert("L" if grey else "RGB")
    elif image.mode == "1":
        image = image.convert("L")
    elif image.mode != "L":
        image = image.convert("RGB")
    if channels is not None:
        image = image.convert("L" if channels == 1 else "RGB")
    image.load()
    return image


def _draft(image: Image.Image, geometry: Geometry, channels: Channels) -> tuple[float, float] | None:
    """Ask a JPEG decoder for a reduced image; return the exact (width, height) that the original then has."""
    scale_x, scale_y = geometry.scale
    wanted_width = max(1, round(_DRAFT_MARGIN * image.width * scale_x))
    wanted_height = max(1, round(_DRAFT_MARGIN * image.height * scale_y))
    grey = channels == 1 or image.mode == "L"
    answer = image.draft("L" if grey else "RGB", (wanted_width, wanted_height))
    return None if answer is None else (float(answer[1][2]), float(answer[1][3]))


def _place(
    image: Image.Image, geometry: Geometry, extent: tuple[float, float] | None = None
) -> UInt8[np.ndarray, "channels size size"]:
    """Resize the seen box into its place.

    ``extent`` is the size of the original in pixels of ``image``, where a decoder has reduced it already.
    """
    per_x, per_y = (1.0, 1.0) if extent is None else (extent[0] / geometry.width, extent[1] / geometry.height)
    x_min, y_min, x_max, y_max = geometry.box
    box = (x_min * per_x, y_min * per_y, x_max * per_x, y_max * per_y)
    left, top, right, bottom = geometry.placed
    part = image.resize((right - left, bottom - top), Image.Resampling.BICUBIC, box=box)
    pixels = np.asarray(part)
    planes = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
    out = np.zeros((len(planes), geometry.size_px, geometry.size_px), np.uint8)
    out[:, top:bottom, left:right] = planes
    return out


@contextlib.contextmanager
def decoder_errors() -> Iterator[None]:
    """Turn whatever a decoder raises or warns of into one short sentence."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # damaged metadata beside sound pixels is no reason to speak
            yield
    except (BrokenImageError, InputError):
        raise
    except MemoryError:
        raise BrokenImageError("does not fit into memory") from None
    except Exception as error:  # noqa: BLE001  (a decoder may raise anything on a broken file)
        reason = "it is cut off" if "truncated" in str(error).lower() else type(error).__name__
        raise BrokenImageError(f"cannot be decoded ({reason})") from None
