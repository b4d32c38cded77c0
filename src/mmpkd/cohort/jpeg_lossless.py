"""Lossless JPEG (the old kind, process 14), as DICOM files of mammography and computed radiography hold it.

Decoded here, in numpy, because the compiled decoders that can be installed under a permissive licence end the whole
process on some damaged files, and a damaged file may cost its own image alone. ITU-T T.81 (1992), annex H.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
from jaxtyping import Int, UInt8, UInt16

_SOI, _EOI, _SOF3, _DHT, _SOS, _DRI = 0xD8, 0xD9, 0xC3, 0xC4, 0xDA, 0xDD
_RESTARTS = range(0xD0, 0xD8)
_CHUNK_BYTES = 1 << 18
_MARGIN_BYTES = 24  # more than a pixel of four components takes: 4 (16 + 15) bits
_INVALID = 31  # the step after bits that are no code: anything but 0, so that the walk ends


@dataclass
class _Stream:
    """What the segments before a scan say."""

    precision: int = 0
    shape: tuple[int, int] = (0, 0)
    components: list[int] = field(default_factory=list)
    tables: dict[int, tuple[np.ndarray, np.ndarray]] = field(default_factory=dict)
    restart: int = 0


def decode_jpeg_lossless(data: bytes, height: int, width: int, samples: int) -> UInt16[np.ndarray, "h w samples"]:
    """Decode one lossless JPEG (SOF3, Huffman coded, any of the seven predictors).

    Args:
        data: The codestream.
        height: Number of rows that it must have.
        width: Number of columns that it must have.
        samples: Number of components that it must have.

    Raises:
        ValueError: Damaged, cut off, of other size, or no lossless JPEG. (An ``IndexError``, ``KeyError`` or
            ``struct.error`` may come of damage, too.)
    """
    stream = _Stream()
    out = np.zeros((height, width, samples), np.uint16)
    missing = set(range(samples))
    offset = 2
    while missing:
        marker, body, offset = _segment(data, offset)
        if marker == _SOF3:
            _read_frame(stream, body)
            if stream.shape != (height, width) or len(stream.components) != samples:
                raise ValueError("another size than the header says")
        elif marker == _DHT:
            _read_tables(stream, body)
        elif marker == _DRI:
            stream.restart = struct.unpack(">H", body[:2])[0]
        elif marker == _SOS:
            coded, offset = _coded(data, offset)
            for component, values in _scan(stream, body, coded).items():
                out[..., component] = values
                missing.discard(component)
        elif marker == _EOI:
            raise ValueError("truncated")
    return out


def _segment(data: bytes, offset: int) -> tuple[int, bytes, int]:
    """Return a marker, the content of its segment and where the next begins."""
    if data[offset] != 0xFF:
        raise ValueError("no marker where one belongs")
    marker = data[offset + 1]
    if marker == 0xFF:  # padding
        return marker, b"", offset + 1
    if marker in (_SOI, _EOI, *_RESTARTS):
        return marker, b"", offset + 2
    length = struct.unpack_from(">H", data, offset + 2)[0]
    return marker, data[offset + 4 : offset + 2 + length], offset + 2 + max(length, 2)


def _read_frame(stream: _Stream, body: bytes) -> None:
    stream.precision, height, width, count = struct.unpack_from(">BHHB", body)
    if not 2 <= stream.precision <= 16:
        raise ValueError("a precision that does not exist")
    stream.shape = (height, width)
    parts = [body[6 + 3 * k : 9 + 3 * k] for k in range(count)]
    if any(part[1] != 0x11 for part in parts):
        raise ValueError("subsampled components")
    stream.components = [part[0] for part in parts]


def _read_tables(stream: _Stream, body: bytes) -> None:
    """Read Huffman tables as arrays over the next 16 bits: length of the code (0: none), and category."""
    while len(body) > 16:
        slot, counts = body[0] & 15, body[1:17]
        symbols = body[17 : 17 + sum(counts)]
        lengths, categories = np.zeros(1 << 16, np.uint8), np.zeros(1 << 16, np.uint8)
        start, used = 0, 0
        for length, count in enumerate(counts, 1):
            for symbol in symbols[used : used + count]:
                end = start + (1 << (16 - length))
                if symbol > 16 or end > 1 << 16:
                    raise ValueError("a Huffman table that cannot be")
                lengths[start:end], categories[start:end] = length, symbol
                start = end
            used += count
        stream.tables[slot] = lengths, categories
        body = body[17 + len(symbols) :]


def _coded(data: bytes, offset: int) -> tuple[list[bytes], int]:
    """Return the coded parts of a scan between restart markers, unstuffed, and where the next segment begins."""
    parts: list[bytes] = []
    start = offset
    while True:
        end = data.find(b"\xff", offset)
        if end < 0 or end + 1 >= len(data):
            return [*parts, data[start:].replace(b"\xff\x00", b"\xff")], len(data)
        following = data[end + 1]
        if following in _RESTARTS:
            parts.append(data[start:end].replace(b"\xff\x00", b"\xff"))
            start = end + 2
        elif following not in (0, 0xFF):
            return [*parts, data[start:end].replace(b"\xff\x00", b"\xff")], end
        offset = end + 1 if following == 0xFF else end + 2


def _scan(stream: _Stream, body: bytes, parts: list[bytes]) -> dict[int, np.ndarray]:
    """Decode one scan: the values of each component that it holds."""
    count = body[0]
    places = [stream.components.index(body[1 + 2 * k]) for k in range(count)]
    tables = [stream.tables[body[2 + 2 * k] >> 4] for k in range(count)]
    predictor, shift = body[1 + 2 * count], body[3 + 2 * count] & 15
    height, width = stream.shape
    if not 1 <= predictor <= 7 or not 1 <= count <= 4 or shift >= stream.precision:
        raise ValueError("a scan that cannot be")
    rows = stream.restart // width if stream.restart else height
    if rows < 1 or (stream.restart and stream.restart % width):
        raise ValueError("restarts within a row")
    first = 1 << (stream.precision - shift - 1)
    blocks = []
    for top, part in zip(range(0, height, rows), parts, strict=False):
        size = min(rows, height - top)
        differences = _differences(part, size * width, tables).reshape(size, width, count)
        blocks.append(np.stack([_undo(differences[..., k], predictor, first) for k in range(count)], -1))
    values = np.concatenate(blocks)
    if len(values) < height:
        raise ValueError("truncated")
    return {place: values[..., k] << shift for k, place in enumerate(places)}


def _differences(
    data: bytes, pixels: int, tables: list[tuple[np.ndarray, np.ndarray]]
) -> Int[np.ndarray, " pixels*components"]:
    """Return the coded differences, components interleaved.

    Where a code begins is known only after the one before it. Hence the step that a code beginning there would take is
    computed for every bit at once, and plain Python walks along these steps; the rest is done for all codes at once.
    """
    wanted, bits = pixels * len(tables), 8 * len(data)
    octets = np.frombuffer(data + bytes(_MARGIN_BYTES), np.uint8)
    starts: list[int] = []
    append, position = starts.append, 0
    steps = [_steps(*table) for table in tables]
    for first in range(0, len(data), _CHUNK_BYTES):
        window = _sixteen_bits(octets[first : first + _CHUNK_BYTES + _MARGIN_BYTES])
        walks = [step[window].tobytes() for step in steps]
        base, end = 8 * first, min(8 * (first + _CHUNK_BYTES), bits)
        while position < end and len(starts) < wanted:
            for walk in walks:
                append(position)
                position += walk[position - base]
    if len(starts) < wanted or position > bits:
        raise ValueError("truncated")
    at = np.asarray(starts, np.int64)
    word = np.zeros(len(at), np.uint64)
    for k in range(5):
        word = word << np.uint64(8) | octets[(at >> 3) + k]
    word <<= (24 + (at & 7)).astype(np.uint64)  # the code now begins at the highest bit
    head = (word >> np.uint64(48)).astype(np.int64)
    length, category = np.empty(len(at), np.uint8), np.empty(len(at), np.uint8)
    for k, (lengths, categories) in enumerate(tables):
        length[k :: len(tables)] = lengths[head[k :: len(tables)]]
        category[k :: len(tables)] = categories[head[k :: len(tables)]]
    if not length.all():
        raise ValueError("bits that are no code")
    extra = np.minimum(category, 15).astype(np.uint64)
    tail = word << length.astype(np.uint64)
    value = (tail >> np.uint64(1) >> (np.uint64(63) - extra)).astype(np.int64)  # in two steps: extra may be 0
    size = np.int64(1) << extra.astype(np.int64)
    value = np.where(value < size >> 1, value - size + 1, value)
    return np.where(category == 0, 0, np.where(category == 16, 32768, value))


def _sixteen_bits(octets: UInt8[np.ndarray, " bytes"]) -> UInt16[np.ndarray, " bits"]:
    """Return the 16 bits from every bit on."""
    wide = octets.astype(np.uint32)
    three = wide[:-2] << 16 | wide[1:-1] << 8 | wide[2:]
    return (three[:, None] >> np.arange(8, 0, -1, dtype=np.uint32)).astype(np.uint16).ravel()


def _steps(lengths: np.ndarray, categories: np.ndarray) -> UInt8[np.ndarray, " 65536"]:
    """Return how many bits a code and the value after it take."""
    whole = lengths + np.where(categories == 16, 0, categories).astype(np.uint8)
    whole[lengths == 0] = _INVALID
    return whole


def _undo(differences: Int[np.ndarray, "h w"], predictor: int, first: int) -> UInt16[np.ndarray, "h w"]:
    """Add the predictions, modulo 2^16: table H.1, with a left edge from above and a top row from the left."""
    values = differences.astype(np.uint16)
    values[0, 0] = (int(values[0, 0]) + first) & 0xFFFF
    if predictor == 1:
        values[:, 0] = np.cumsum(values[:, 0], dtype=np.uint16)
        return np.cumsum(values, axis=1, dtype=np.uint16)
    values[0] = np.cumsum(values[0], dtype=np.uint16)
    for above, row in pairwise(values):
        _undo_row(row, above.astype(np.int64), predictor)
    return values


def _undo_row(row: UInt16[np.ndarray, " w"], above: Int[np.ndarray, " w"], predictor: int) -> None:
    row[0] = (int(row[0]) + int(above[0])) & 0xFFFF
    if predictor in (2, 3):
        row[1:] += (above[1:] if predictor == 2 else above[:-1]).astype(np.uint16)
    elif predictor in (4, 5):
        step = np.diff(above)
        row[1:] += (step if predictor == 4 else step >> 1).astype(np.uint16)
        row[:] = np.cumsum(row, dtype=np.uint16)
    else:  # each value needs the one before it, halved: no sum does it
        left, out = int(row[0]), row.tolist()
        for column, (up, corner) in enumerate(zip(above[1:].tolist(), above[:-1].tolist(), strict=True), 1):
            guess = up + ((left - corner) >> 1) if predictor == 6 else (left + up) >> 1
            left = out[column] = (out[column] + guess) & 0xFFFF
        row[:] = out
