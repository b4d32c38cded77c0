"""Lossless JPEG comes back bit by bit, from a plain encoder and from files of other programs."""

import numpy as np
import pytest

from mmpkd.cohort import jpeg_lossless
from mmpkd.cohort.jpeg_lossless import decode_jpeg_lossless


@pytest.mark.parametrize("predictor", range(1, 8))
@pytest.mark.parametrize("precision", [8, 12, 16])
def test_each_predictor_is_undone_at_each_depth(encode_lossless, predictor, precision):
    values = np.random.default_rng(predictor).integers(0, 1 << precision, (9, 7))
    values[2:5] = 3  # differences of 0, too
    decoded = decode_jpeg_lossless(encode_lossless(values, precision, predictor), 9, 7, 1)
    np.testing.assert_array_equal(decoded[..., 0], values)


def test_the_largest_difference_has_no_further_bits(encode_lossless):
    values = np.array([[0, 32768, 0, 65535]])  # from 32768: -32768 = +32768 modulo 2^16
    np.testing.assert_array_equal(decode_jpeg_lossless(encode_lossless(values, 16), 1, 4, 1)[..., 0], values)


def test_colours_restarts_and_shifted_points_are_read(encode_lossless):
    values = np.random.default_rng(0).integers(0, 64, (8, 6, 3)) * 4
    data = encode_lossless(values, 8, predictor=4, shift=2, restart_rows=3)
    np.testing.assert_array_equal(decode_jpeg_lossless(data, 8, 6, 3), values)


def test_long_streams_are_walked_in_pieces(encode_lossless, monkeypatch):
    monkeypatch.setattr(jpeg_lossless, "_CHUNK_BYTES", 5)
    values = np.random.default_rng(1).integers(0, 4096, (6, 5, 3))
    np.testing.assert_array_equal(decode_jpeg_lossless(encode_lossless(values, 12), 6, 5, 3), values)


def test_a_stream_that_ends_early_or_has_another_size_is_refused(encode_lossless):
    data = encode_lossless(np.random.default_rng(2).integers(0, 4096, (20, 20)), 12)
    for broken in (data[: len(data) // 2], data[: len(data) // 2] + b"\xff\xd9"):
        with pytest.raises(ValueError, match="truncated"):
            decode_jpeg_lossless(broken, 20, 20, 1)
    with pytest.raises(ValueError, match="another size"):
        decode_jpeg_lossless(data, 20, 21, 1)
