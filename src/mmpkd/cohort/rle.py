"""Masks as run lengths, in COCO's convention: runs of 0 and 1 in turn, the first of 0, down columns.

The compressed form is COCO's own (pycocotools, ``maskApi.c``: ``rleToString``): each run, from the fourth on less the
run before the last, as a signed number of 5 bits a character, low bits first, characters from 48 on.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Int

_MOST_BITS = 60  # of one run; a longer number is a hostile one


def decode_rle(rle: str, size_px: tuple[int, int]) -> Bool[np.ndarray, "height width"]:
    """Return the mask of run lengths.

    Args:
        rle: Plain, numbers parted by blanks or commas, or compressed.
        size_px: Height and width.

    Raises:
        ValueError: Not run lengths, or not of this size; the message fits after "the run lengths".
    """
    runs = check_rle(rle, size_px)
    inside = np.arange(len(runs)) % 2 == 1
    return np.repeat(inside, runs).reshape(size_px[1], size_px[0]).T


def encode_rle(mask: Bool[np.ndarray, "height width"]) -> str:
    """Return a mask's plain run lengths."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.concatenate([[0], edges, [flat.size]]))
    first = [0] if flat.size and flat[0] else []
    return " ".join(map(str, [*first, *runs.tolist()]))


def check_rle(rle: str, size_px: tuple[int, int]) -> Int[np.ndarray, " runs"]:
    """Return the runs; they sum to the image's area.

    Raises:
        ValueError: As for :func:`decode_rle`.
    """
    numbers = rle.replace(",", " ").split()
    area = size_px[0] * size_px[1]
    # One word of digits may be either form ("04": a full mask of 4 px); only a single run of the area is plain.
    plain = len(numbers) != 1 or numbers[0] == str(area)
    try:
        runs = [int(number) for number in numbers] if plain else _decompress(numbers[0])
    except (ValueError, IndexError):
        raise ValueError("are neither plain nor compressed COCO run lengths") from None
    if any(run < 0 for run in runs):
        raise ValueError("hold a negative run")
    if sum(runs) != area:  # of Python's integers: a sum of int64 may wrap around to the area
        raise ValueError(f"cover {sum(runs):,} px but the image has {size_px[1]} x {size_px[0]}")
    return np.array(runs, dtype=np.int64)


def _decompress(text: str) -> list[int]:
    runs: list[int] = []
    position = 0
    while position < len(text):
        value, shift, more = 0, 0, True
        while more:
            code = ord(text[position]) - 48
            if not 0 <= code < 64 or shift >= _MOST_BITS:
                raise ValueError
            value |= (code & 31) << shift
            more = bool(code & 32)
            position, shift = position + 1, shift + 5
            if not more and code & 16:
                value |= -1 << shift
        runs.append(value + runs[-2] if len(runs) > 2 else value)
    return runs
