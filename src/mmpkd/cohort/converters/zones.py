"""Zones of X-rays by CheXmask: lungs and heart as run lengths, for MIMIC-CXR-JPG, CheXpert, ChestX-ray8 and others.

Source: Gaggion et al. 2024, CheXmask, Scientific Data: masks by HybridGNet; those whose Dice by reverse classification
(RCA) is below 0.7 are not to be trusted. The table is read a part at a time. `imagenome` gives zones as boxes.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int

from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CohortWriter
from mmpkd.cohort.images import BrokenImageError, read_size
from mmpkd.errors import InputError, did_you_mean

COLUMNS = ("image", "zone", "source", "x_min", "y_min", "x_max", "y_max", "rle", "height", "width", "findings")
LEAST_DICE = 0.7

_MASKS = {"Left Lung": "left lung", "Right Lung": "right lung", "Heart": "heart"}
_IDS = ("dicom_id", "Path", "image_id", "Image Index", "ImageID", "Image ID", "Image")
_DICE = ("Dice RCA (Mean)", "Dice RCA (Max)")
_ROWS = 500  # of CheXmask at a time; a row is some 30 kB

Sizes = Mapping[str, tuple[int, int]]


def find_chexmask(roots: Roots, *names: str) -> Path | None:
    """Return CheXmask's table for an archive, that at original resolution before any other."""
    return roots.find(*(f"OriginalResolution/{name}" for name in names), *names)


def write_chexmask(
    roots: Roots, names: Sequence[str], images: pd.DataFrame, base: Path, writer: CohortWriter, parts: int = 0
) -> None:
    """Write the zones of the images given, if CheXmask's table for the archive lies in the roots.

    Args:
        roots: Where the table may lie.
        names: Of the table.
        images: ``id`` (CheXmask's), ``key`` (of the case) and ``image`` (path below ``base``).
        base: Folder of the images; their sizes are read from their headers.
        writer: Of the cohort.
        parts: As for :func:`read_chexmask`.
    """
    path = find_chexmask(roots, *names)
    if path is None:
        return
    sizes_px: dict[str, tuple[int, int]] = {}
    for name, image in zip(images["id"], images["image"], strict=True):
        with contextlib.suppress(BrokenImageError):  # the cohort's own reader leaves the case out and tells it
            sizes_px[name] = read_size(base / image)
    case_of = dict(zip(images["id"], writer.pseudonyms("case", images["key"]), strict=True))
    writer.write_zones(
        part.assign(image=part["image"].map(case_of)).rename(columns={"image": "case"})
        for part in read_chexmask(path, sizes_px, writer.ledger, parts)
    )
    writer.ledger.note("Zones are in pixels of the original image, whose height and width stand beside.")


def read_chexmask(path: Path, sizes_px: Sizes, ledger: Ledger, parts: int = 0) -> Iterator[pd.DataFrame]:
    """Yield the zones of wanted images: ``left lung``, ``right lung``, ``heart``, with COCO run lengths and a box.

    Args:
        path: CheXmask's CSV. Its column of image ids is called ``dicom_id``, ``Path``, ``image_id``, ... by archive.
        sizes_px: Image id -> height and width of the original image.
        ledger: Told, when all is read, what was left out.
        parts: Of an id that is a path, the last parts that name the image; 0 for the whole id.

    Raises:
        InputError: A missing column, or a row that is no mask.
    """
    usable = _header(path)
    left = dict.fromkeys(("size", "dice", "empty"), 0)
    seen: set[str] = set()
    row = 1
    for chunk in _chunks(path, usable):
        if parts:
            chunk[usable[0]] = chunk[usable[0]].str.split("/").str[-parts:].str.join("/")
        chosen = np.flatnonzero(chunk[usable[0]].isin(list(sizes_px)))
        rows: list[dict[str, Any]] = []
        for at in chosen:
            entry = dict(zip(chunk.columns, chunk.iloc[at], strict=True))
            where = f"{path.name}, row {row + at + 1}"
            image = entry[usable[0]]
            if image in seen:
                continue
            seen.add(image)
            height, width = (_number(entry[name], f"{where}, column {name!r}") for name in usable[2:4])
            dice = _number(entry[usable[1]] or "nan", f"{where}, column {usable[1]!r}")
            if not dice >= LEAST_DICE:
                left["dice"] += 1
            elif [height, width] != list(sizes_px[image]):
                left["size"] += 1
            else:
                for column, zone in _MASKS.items():
                    mask = _zone(entry[column], sizes_px[image], f"{where}, column {column!r}")
                    left["empty"] += mask is None
                    if mask is not None:
                        rows.append({"image": image, "zone": zone, "source": "CheXmask", **mask})
        row += len(chunk)
        if rows:
            yield pd.DataFrame(rows, columns=COLUMNS)
    ledger.version("CheXmask", f"{path.name}, image ids in {usable[0]!r}")
    ledger.count("images that zones of CheXmask were looked for", len(sizes_px))
    ledger.drop("images that are not in CheXmask", len(sizes_px) - len(seen))
    ledger.drop(f"images whose masks have an RCA Dice below {LEAST_DICE:g}", left["dice"])
    ledger.drop("images whose masks have another size than the original", left["size"])
    ledger.drop("empty masks of CheXmask", left["empty"])


def _header(path: Path) -> list[str]:
    """Return the columns to read: id, Dice, height, width, masks."""
    try:
        columns = list(pd.read_csv(path, nrows=0, encoding="utf-8-sig").columns)
    except (OSError, EOFError, zlib.error, ValueError):  # of parsing, of UTF-8
        raise _unreadable(path) from None
    ids = [name for name in _IDS if name in columns]
    dice = [name for name in _DICE if name in columns]
    wanted = [ids[0] if ids else _IDS[0], dice[0] if dice else _DICE[0], "Height", "Width", *_MASKS]
    lacking = [name for name in wanted if name not in columns]
    if lacking:
        raise InputError(
            [f"{path.name}, row 1: there is no column {name!r}{did_you_mean(name, columns)}" for name in lacking]
        )
    return wanted


def _chunks(path: Path, columns: list[str]) -> Iterator[pd.DataFrame]:
    try:
        with pd.read_csv(
            path, usecols=columns, dtype=str, na_filter=False, chunksize=_ROWS, encoding="utf-8-sig"
        ) as chunks:
            for chunk in chunks:
                yield chunk.fillna("")
    except (OSError, EOFError, zlib.error, ValueError):
        raise _unreadable(path) from None


def _unreadable(path: Path) -> InputError:
    return InputError(f"{path.name}: is no whole table of separated fields; download it anew.")


def _number(text: str, where: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise InputError(f"{where}: is no number; download the table anew.") from None


def _zone(text: str, size_px: tuple[int, int], where: str) -> dict[str, Any] | None:
    """Return box and run lengths of one mask; ``None`` if it is empty."""
    try:
        starts, ends = _runs(text, size_px)
    except (ValueError, OverflowError):
        raise InputError(f"{where}: is no mask of {size_px[1]} x {size_px[0]} px; download the table anew.") from None
    if not len(starts):
        return None
    height, width = size_px
    first, last = starts // width, (ends - 1) // width
    wraps = (last > first).any()
    box = (
        0 if wraps else int((starts % width).min()),
        int(first.min()),
        width if wraps else int(((ends - 1) % width).max()) + 1,
        int(last.max()) + 1,
    )
    rle = _down_columns(starts, ends, box, size_px)
    corners = dict(zip(("x_min", "y_min", "x_max", "y_max"), box, strict=True))
    return {**corners, "rle": rle, "height": height, "width": width}


def _runs(text: str, size_px: tuple[int, int]) -> tuple[Int[np.ndarray, " runs"], Int[np.ndarray, " runs"]]:
    """Return starts and ends (after the last) of runs along rows; CheXmask counts from 1: ``start length ...``.

    Raises:
        ValueError: They are none, or leave the image.
    """
    numbers = np.array(text.split(), dtype=np.int64)
    starts, lengths = numbers[::2] - 1, numbers[1::2]
    if len(starts) != len(lengths) or (starts < 0).any() or (lengths <= 0).any():
        raise ValueError
    ends = starts + lengths
    if (ends > size_px[0] * size_px[1]).any() or (ends < starts).any():
        raise ValueError
    return starts, ends


def _down_columns(
    starts: Int[np.ndarray, " runs"],
    ends: Int[np.ndarray, " runs"],
    box: tuple[int, int, int, int],
    size_px: tuple[int, int],
) -> str:
    """Return COCO's run lengths, which go down columns; only the rows and columns of the box are drawn."""
    left, top, right, bottom = box
    height, width = size_px
    # Places in the box alone: a run that goes on in the next row makes the box as wide as the image.
    first = (starts // width - top) * (right - left) + starts % width - left
    edges = np.zeros((bottom - top) * (right - left) + 1, np.int32)
    np.add.at(edges, first, 1)
    np.add.at(edges, first + ends - starts, -1)
    inside = (np.cumsum(edges[:-1], dtype=np.int32) > 0).reshape(bottom - top, right - left)
    padded = np.zeros((right - left, bottom - top + 2), np.int8)
    padded[:, 1:-1] = inside.T
    steps = np.diff(padded, axis=1)
    column, row = np.nonzero(steps == 1)
    begin = (left + column) * height + top + row
    column, row = np.nonzero(steps == -1)
    end = (left + column) * height + top + row
    joined = begin[1:] == end[:-1]  # a run that reaches the bottom goes on at the top of the next column
    begin, end = begin[np.r_[True, ~joined]], end[np.r_[~joined, True]]
    marks = np.column_stack([begin, end]).ravel()
    counts = np.diff(np.r_[0, marks, height * width])
    return " ".join(map(str, (counts if counts[-1] else counts[:-1]).tolist()))
