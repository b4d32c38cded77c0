"""Every kind of image file becomes the right uint8 pixels, and every broken one a short sentence."""

import contextlib
import io
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from mmpkd.cohort.images import (
    MAX_PIXELS,
    BrokenImageError,
    decode,
    decode_fitted,
    decode_mask,
    fit_pixels,
    read_bytes,
    read_size,
    to_eight_bits,
)
from mmpkd.errors import InputError

GREY = np.array([[0, 50, 100], [150, 200, 255]], np.uint8)


def encoded(image, form="PNG", **options):
    stream = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(stream, form, **options)
    return stream.getvalue()


def textured(height, width, seed=0):
    """A smooth picture with detail, as JPEG likes it."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 16 + 1, width // 16 + 1), dtype=np.uint8))
    return np.array(coarse.resize((width, height), Image.Resampling.BICUBIC))


@pytest.mark.parametrize("form", ["PNG", "TIFF", "PPM"])
def test_grey_of_8_bits_stays_as_it_is(form):
    np.testing.assert_array_equal(decode(encoded(GREY, form)), GREY)


def test_jpeg_is_read_to_within_its_own_loss():
    picture = textured(64, 48)
    assert np.abs(decode(encoded(picture, "JPEG", quality=95)).astype(int) - picture).mean() < 1.5


@pytest.mark.parametrize("order", ["<", ">"])
def test_16_bits_are_stretched_from_minimum_to_maximum(order):
    values = np.array([[1000, 1100], [1300, 1500]], np.uint16)  # 255 (v - 1000) / 500
    expected = [[0, 51], [153, 255]]
    mode = "I;16" if order == "<" else "I;16B"
    image = Image.frombytes(mode, (2, 2), values.astype(f"{order}u2").tobytes())
    np.testing.assert_array_equal(decode(encoded(image, "TIFF")), expected)


def test_16_bit_png_and_pgm_follow_the_same_rule():
    values = np.array([[1000, 1100], [1300, 1500]], np.uint16)
    np.testing.assert_array_equal(decode(encoded(values, "PNG")), [[0, 51], [153, 255]])
    pgm = b"P5\n2 2\n65535\n" + values.astype(">u2").tobytes()
    np.testing.assert_array_equal(decode(pgm), [[0, 51], [153, 255]])


@pytest.mark.parametrize("kind", [np.int32, np.float32])
def test_32_bit_tiff_follows_the_same_rule_negatives_included(kind):
    np.testing.assert_array_equal(
        decode(encoded(np.array([[-500, -400], [0, 500]], kind), "TIFF")), [[0, 26], [128, 255]]
    )


def test_a_constant_deep_image_is_black_and_divides_by_nothing():
    assert (decode(encoded(np.full((3, 3), 4095, np.uint16))) == 0).all()


def test_values_that_are_not_finite_count_as_the_minimum():
    np.testing.assert_array_equal(to_eight_bits(np.array([np.nan, 1.0, 2.0, np.inf])), [0, 0, 255, 0])
    assert (to_eight_bits(np.full(3, np.nan)) == 0).all()


def test_a_deep_tiff_that_stores_white_as_0_is_turned_positive():
    values = np.array([[1000, 1500]], np.uint16)
    np.testing.assert_array_equal(decode(encoded(values, "TIFF", tiffinfo={262: 0})), [[255, 0]])
    np.testing.assert_array_equal(decode(encoded(values, "TIFF", tiffinfo={262: 1})), [[0, 255]])


def test_colour_stays_colour_or_becomes_luminance():
    pixels = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [10, 20, 30]]], np.uint8)
    np.testing.assert_array_equal(decode(encoded(pixels)), pixels)
    grey = decode(encoded(pixels), channels=1)  # .299 R + .587 G + .114 B: 76.2, 149.7, 29.1, 18.2
    np.testing.assert_array_equal(grey, [[76, 150, 29, 18]])


def test_grey_becomes_colour_when_asked():
    np.testing.assert_array_equal(decode(encoded(GREY), channels=3), np.stack([GREY] * 3, -1))


def test_palettes_bitmaps_and_transparency_are_resolved():
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putdata([0, 1])
    np.testing.assert_array_equal(decode(encoded(palette)), [[[10, 20, 30], [200, 100, 50]]])
    bitmap = Image.fromarray(np.array([[True, False]]))
    np.testing.assert_array_equal(decode(encoded(bitmap)), [[255, 0]])
    see_through = np.array([[[200, 100, 50, 255], [200, 100, 50, 0]]], np.uint8)  # the second shows the black beneath
    np.testing.assert_array_equal(decode(encoded(see_through)), [[[200, 100, 50], [0, 0, 0]]])
    grey_alpha = Image.merge("LA", [Image.fromarray(GREY), Image.new("L", (3, 2), 255)])
    np.testing.assert_array_equal(decode(encoded(grey_alpha)), GREY)


@pytest.mark.parametrize(
    ("orientation", "upright"),
    [(1, lambda a: a), (3, lambda a: a[::-1, ::-1]), (6, lambda a: np.rot90(a, -1)), (8, np.rot90)],
)
def test_the_exif_orientation_is_applied(orientation, upright):
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(GREY, "PNG", exif=exif)
    np.testing.assert_array_equal(decode(data), upright(GREY))
    np.testing.assert_array_equal(decode_mask(data), upright(GREY))
    fitted = decode_fitted(data, 16, 1, "pad")
    assert fitted.size_px == upright(GREY).shape
    np.testing.assert_array_equal(fitted.pixels, fit_pixels(np.ascontiguousarray(upright(GREY)), 16, 1, "pad"))


def test_the_size_is_read_upright_from_the_header(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    (tmp_path / "turned.jpg").write_bytes(encoded(textured(30, 50), "JPEG", exif=exif))
    (tmp_path / "plain.png").write_bytes(encoded(textured(30, 50)))
    assert read_size(tmp_path / "turned.jpg") == (50, 30)
    assert read_size(tmp_path / "plain.png") == (30, 50)


# --- on the canvas -----------------------------------------------------------------------------------------------


def test_a_wide_image_lies_between_black_bars():
    pixels = fit_pixels(np.full((50, 100), 200, np.uint8), 32, 1, "pad")
    assert pixels.shape == (1, 32, 32)
    assert (pixels[0, 8:24] == 200).all()
    assert (pixels[0, :8] == 0).all()
    assert (pixels[0, 24:] == 0).all()


def test_an_image_of_the_canvas_size_is_not_resampled():
    picture = textured(64, 64)
    for fit in ("pad", "stretch", "crop"):
        np.testing.assert_array_equal(decode_fitted(encoded(picture), 64, 1, fit).pixels[0], picture)


def test_crop_takes_the_central_square():
    picture = textured(64, 100)
    np.testing.assert_array_equal(fit_pixels(picture, 64, 1, "crop")[0], picture[:, 18:82])


@pytest.mark.parametrize("fit", ["pad", "stretch", "crop"])
@pytest.mark.parametrize("shape", [(1100, 1501), (1501, 700)])
def test_decoding_a_jpeg_reduced_changes_nothing_that_matters(shape, fit):
    """The fast way (decoding at 1/2 to 1/8) against decoding all and reducing then, also for odd sizes."""
    data = encoded(textured(*shape), "JPEG", quality=92)
    fast = decode_fitted(data, 64, 1, fit)
    slow = fit_pixels(decode(data), 64, 1, fit)
    assert fast.size_px == shape
    difference = fast.pixels.astype(int) - slow
    assert np.abs(difference).mean() < 1
    assert np.abs(difference).max() <= 8


def test_shrinking_averages_instead_of_skipping():
    checks = np.indices((512, 512)).sum(0) % 2 * 255
    pixels = fit_pixels(checks.astype(np.uint8), 32, 1, "stretch")
    assert np.abs(pixels.astype(float) - 127.5).max() < 3


def test_colour_is_planes_first():
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[..., 0], pixels[..., 2] = 10, 30
    fitted = decode_fitted(encoded(pixels), 8, 3, "pad").pixels
    assert fitted.shape == (3, 8, 8)
    np.testing.assert_array_equal(fitted[:, 0, 0], [10, 0, 30])


def test_a_typo_in_the_fit_is_not_blamed_on_the_image():
    with pytest.raises(InputError, match="did you mean 'crop'"):
        decode_fitted(encoded(GREY), 8, 1, "corp")


# --- masks -------------------------------------------------------------------------------------------------------


def test_masks_keep_their_own_values():
    deep = np.array([[0, 1], [2, 700]], np.uint16)
    np.testing.assert_array_equal(decode_mask(encoded(deep)), deep)
    labels = Image.new("P", (3, 1))
    labels.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
    labels.putdata([0, 1, 2])
    np.testing.assert_array_equal(decode_mask(encoded(labels)), [[0, 1, 2]])
    np.testing.assert_array_equal(decode_mask(encoded(Image.fromarray(np.array([[True, False]])))), [[1, 0]])


def test_a_colour_mask_is_its_luminance():
    pixels = np.array([[[255, 255, 255], [0, 0, 0]]], np.uint8)
    np.testing.assert_array_equal(decode_mask(encoded(pixels)), [[255, 0]])


# --- broken files ------------------------------------------------------------------------------------------------


def png_header(width, height):
    """A PNG that claims a size and holds no pixels."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", 13) + body + struct.pack(">I", zlib.crc32(body))
    return b"\x89PNG\r\n\x1a\n" + chunk + struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))


def pages(count):
    stream = io.BytesIO()
    frames = [Image.fromarray(GREY + i) for i in range(count)]
    frames[0].save(stream, "TIFF", save_all=True, append_images=frames[1:])
    return stream.getvalue()


BROKEN = {
    "a truncated JPEG": (lambda: encoded(textured(200, 200), "JPEG")[:2000], "cut off"),
    "a truncated PNG": (lambda: encoded(textured(200, 200))[:2000], "cut off"),
    "a truncated PGM": (lambda: b"P5\n200 200\n255\n" + bytes(500), "cut off|cannot be decoded"),
    "a truncated TIFF": (lambda: encoded(textured(200, 200), "TIFF")[:2000], "cannot be decoded|head is broken"),
    "60,000 x 60,000": (lambda: png_header(60_000, 60_000), f"no more than {MAX_PIXELS:,}"),
    "just over the limit": (lambda: png_header(15_001, 10_000), "15,001 x 10,000 pixels; no more than"),
    "text": (lambda: b"not an image at all", "is not a JPEG, PNG, TIFF, PGM, PPM or DICOM"),
    "only a signature": (lambda: b"\x89PNG\r\n\x1a\n", "head is broken|cannot be decoded"),
    "a GIF": (lambda: encoded(GREY, "GIF"), "is not a JPEG"),
    "three pages": (lambda: pages(3), "holds 3 images; give each its own file"),
    "DICOM": (lambda: bytes(128) + b"DICM" + bytes(100), "DICOM file that holds no image"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_told_in_a_few_words(name):
    make, told = BROKEN[name]
    for read in (decode, decode_mask, lambda data: decode_fitted(data, 32, 1, "pad")):
        with pytest.raises(BrokenImageError, match=told) as caught:
            read(make())
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 120


def test_a_huge_image_is_refused_before_any_memory_is_taken():
    import tracemalloc

    tracemalloc.start()
    try:
        with pytest.raises(BrokenImageError):
            decode(png_header(60_000, 60_000))
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG", "PPM"])
def test_no_damage_gets_past_as_another_exception(form):
    """Bytes flipped and cut at random: either pixels or the one known error, and never a warning."""
    rng = np.random.default_rng(0)
    sound = encoded(textured(40, 40), form)
    for _ in range(60):
        data = bytearray(sound[: rng.integers(len(sound) // 2, len(sound) + 1)])
        for position in rng.integers(0, len(data), 5):
            data[position] = rng.integers(256)
        with contextlib.suppress(BrokenImageError):
            assert decode(bytes(data)).dtype == np.uint8


def test_what_is_no_file_is_told(tmp_path):
    (tmp_path / "empty.png").touch()
    os.mkfifo(tmp_path / "pipe.png")
    for name, told in {
        "absent.png": "does not exist",
        "empty.png": r"is empty \(0 bytes\)",
        ".": "is a folder",
        "pipe.png": "is not a regular file",
    }.items():
        for read in (read_bytes, read_size):
            with pytest.raises(BrokenImageError, match=told):
                read(tmp_path / name)


def test_a_file_beyond_the_limit_is_not_read(tmp_path):
    with (tmp_path / "huge.tif").open("wb") as stream:
        stream.truncate(2**30 + 1)  # a hole, not a gigabyte
    with pytest.raises(BrokenImageError, match="1,073,741,825 bytes; no more than"):
        read_bytes(tmp_path / "huge.tif")
