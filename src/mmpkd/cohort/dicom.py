"""One DICOM file becomes one uint8 image, or the integers of a mask. `images` comes here for every DICOM file.

Identifying elements are never read (`dicom_header`), and what pydicom and the decoders warn of or log is dropped, for
it may quote a header.
"""

from __future__ import annotations

import contextlib
import io
import logging
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

import numpy as np
from jaxtyping import Int64, UInt8

from mmpkd.cohort.dicom_codec import colour_values, stored_values
from mmpkd.cohort.dicom_header import PALETTE, DicomHeader, read_header
from mmpkd.cohort.dicom_values import grey_levels, palette_colours
from mmpkd.cohort.images import decoder_errors

_LOGGERS = ("pydicom", "pylibjpeg", "openjpeg")


class DicomImage(NamedTuple):
    """A DICOM image, ready to be looked at.

    Args:
        pixels: Grey levels, (height, width), or RGB, (height, width, 3).
        steps: Names of what was done to the stored values, in order; see
            :func:`~mmpkd.cohort.dicom_values.grey_levels`. Of colour images ``palette`` or ``ybr``, where resolved.
        spacing_mm: Distance of rows and of columns, as the header says: in the patient, else at the detector; ``None``
            where it says neither.
    """

    pixels: UInt8[np.ndarray, "height width *rgb"]
    steps: tuple[str, ...]
    spacing_mm: tuple[float, float] | None


def read_dicom(data: bytes) -> DicomImage:
    """Decode a DICOM file's bytes.

    Raises:
        BrokenImageError: No image, several frames, too large, damaged, or of a kind that is not read.
    """
    with _quiet():
        header = read_header(io.BytesIO(data), with_pixels=True)
        pixels, steps = _pixels(header)
        return DicomImage(pixels, steps, header.spacing_mm)


def read_dicom_mask(data: bytes) -> Int64[np.ndarray, "height width"]:
    """Decode a DICOM mask's bytes to its own integers: stored values, indices of a palette, or a colour's luminance.

    Raises:
        BrokenImageError: As for :func:`read_dicom`.
    """
    with _quiet():
        header = read_header(io.BytesIO(data), with_pixels=True)
        if header.samples == 3:
            return np.rint(colour_values(header) @ np.array([0.299, 0.587, 0.114])).astype(np.int64)
        return stored_values(header).values.astype(np.int64)


def read_dicom_size(stream: BinaryIO) -> tuple[int, int]:
    """Return (height, width) from the header alone.

    Raises:
        BrokenImageError: As for :func:`read_dicom`, as far as the header tells.
    """
    with _quiet():
        header = read_header(stream, with_pixels=False)
        return header.rows, header.columns


def _pixels(header: DicomHeader) -> tuple[np.ndarray, tuple[str, ...]]:
    if header.samples == 3:
        return colour_values(header), () if header.photometric == "RGB" else ("ybr",)
    if header.photometric == PALETTE:
        return palette_colours(stored_values(header), header), ("palette",)
    return grey_levels(stored_values(header), header)


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Tell every failure in one short sentence, and let no library speak."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL + 1)
        with decoder_errors():
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
