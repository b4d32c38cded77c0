"""DICOM files of each transfer syntax and colour model become the pixels that they stand for."""

import io
import logging
from pathlib import Path

import jpeg_ls
import numpy as np
import pydicom.data
import pytest
from PIL import Image
from pydicom import uid

from mmpkd.cohort import dicom_header
from mmpkd.cohort.cache import cache_images
from mmpkd.cohort.dicom import read_dicom
from mmpkd.cohort.images import BrokenImageError, decode, decode_fitted, decode_mask, fit_pixels, read_size

VALUES = np.tile(np.array([[0, 1000], [2000, 4095]], np.uint16), (20, 24))
WINDOW = {"BitsStored": 12, "WindowCenter": 2048, "WindowWidth": 4096}
SEEN = np.tile([[0, 62], [125, 255]], (20, 24))  # 255 ((v - 2047.5) / 4095 + 1/2) = 255 v / 4095
NATIVE = [
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
]


def rle(values):
    """RLE by hand: one segment a byte plane, high bytes first, each row copied as it is (at most 128 bytes)."""
    planes = [(values >> 8).astype(np.uint8), values.astype(np.uint8)] if values.itemsize == 2 else [values]
    segments = [b"".join(bytes([len(row) - 1]) + row.tobytes() for row in plane) for plane in planes]
    segments = [part + bytes(len(part) % 2) for part in segments]
    offsets = np.zeros(16, "<u4")
    offsets[0] = len(segments)
    offsets[1 : len(segments) + 1] = 64 + np.cumsum([0, *map(len, segments[:-1])])
    return offsets.tobytes() + b"".join(segments)


def jpeg_2000(values):
    stream = io.BytesIO()
    Image.fromarray(values).save(stream, "JPEG2000", no_jp2=True, irreversible=False, num_resolutions=3)
    return stream.getvalue()


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name[:24])
def test_uncompressed_values_are_read_in_each_syntax(make_dicom, syntax):
    image = read_dicom(make_dicom(VALUES, syntax, **WINDOW))
    np.testing.assert_array_equal(image.pixels, SEEN)
    assert image.steps == ("window",)
    eight = np.array([[1, 2, 3], [40, 50, 255], [7, 8, 9]], np.uint8)  # an odd number of bytes
    np.testing.assert_array_equal(decode(make_dicom(eight, syntax)), eight)


@pytest.mark.parametrize("syntax", [uid.JPEGLossless, uid.JPEGLosslessSV1])
def test_lossless_jpeg_is_read(make_dicom, encode_lossless, syntax):
    data = make_dicom(VALUES, syntax, encode_lossless(VALUES, 12), **WINDOW)
    np.testing.assert_array_equal(decode(data), SEEN)


@pytest.mark.parametrize("syntax", [uid.JPEGLSLossless, uid.JPEGLSNearLossless])
def test_jpeg_ls_is_read(make_dicom, syntax):
    data = make_dicom(VALUES, syntax, bytes(jpeg_ls.encode_array(VALUES)), **WINDOW)
    np.testing.assert_array_equal(decode(data), SEEN)


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEG2000])
def test_jpeg_2000_is_read(make_dicom, syntax):
    window = {"WindowCenter": 2048, "WindowWidth": 4096}
    np.testing.assert_array_equal(decode(make_dicom(VALUES, syntax, jpeg_2000(VALUES), **window)), SEEN)


def test_rle_is_read(make_dicom):
    np.testing.assert_array_equal(decode(make_dicom(VALUES, uid.RLELossless, rle(VALUES), **WINDOW)), SEEN)
    eight = np.array([[1, 2], [40, 255]], np.uint8)
    np.testing.assert_array_equal(decode(make_dicom(eight, uid.RLELossless, rle(eight))), eight)


@pytest.mark.parametrize("syntax", [uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit])
def test_lossy_jpeg_is_read_to_within_its_own_loss(make_dicom, syntax):
    ramp = np.add.outer(np.arange(48), 3 * np.arange(56)).astype(np.uint8)
    stream = io.BytesIO()
    Image.fromarray(ramp).save(stream, "JPEG", quality=95)
    pixels = decode(make_dicom(ramp, syntax, stream.getvalue()))
    assert np.abs(pixels.astype(int) - ramp).mean() < 1.5


def test_a_codestream_knows_its_depth_better_than_the_header(make_dicom, encode_lossless):
    """Signed values of 13 bits that the encoder took for unsigned: -2000 is stored as 6192."""
    values = np.array([[-2000, 0], [500, 1000]], np.int16)
    coded = encode_lossless(values.astype(int) & 0x1FFF, 13)
    np.testing.assert_array_equal(decode_mask(make_dicom(values, uid.JPEGLosslessSV1, coded, BitsStored=16)), values)


# --- colour ------------------------------------------------------------------------------------------------------

RGB = np.array([[[255, 0, 0], [0, 255, 0], [10, 20, 30]]], np.uint8)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name[:24])
def test_rgb_is_read_by_pixel_and_by_plane(make_dicom, syntax):
    by_plane = np.ascontiguousarray(RGB.transpose(2, 0, 1)).reshape(RGB.shape)
    np.testing.assert_array_equal(decode(make_dicom(RGB, syntax)), RGB)
    np.testing.assert_array_equal(decode(make_dicom(by_plane, syntax, PlanarConfiguration=1)), RGB)


def test_colour_of_16_bits_is_cut_to_its_high_bytes(make_dicom):
    np.testing.assert_array_equal(decode(make_dicom(RGB.astype(np.uint16) * 256 + 200)), RGB)


def test_ybr_becomes_rgb(make_dicom):
    # R = Y + 1.402 (Cr - 128), G = Y - .344 (Cb - 128) - .714 (Cr - 128), B = Y + 1.772 (Cb - 128)
    ybr = np.array([[[76, 85, 255], [128, 128, 128], [150, 44, 21]]], np.uint8)
    image = read_dicom(make_dicom(ybr, PhotometricInterpretation="YBR_FULL"))
    np.testing.assert_allclose(image.pixels, [[[254, 0, 0], [128, 128, 128], [0, 255, 1]]], atol=1)
    assert image.steps == ("ybr",)


def test_halved_chroma_is_spread_over_both_pixels(make_dicom):
    two = np.array([[[76, 150, 85, 255], [128, 60, 128, 128]]], np.uint8)  # Y1 Y2 Cb Cr
    data = make_dicom(two[..., :3], PhotometricInterpretation="YBR_FULL_422", Columns=4)
    start = data.rindex(two[..., :3].tobytes())
    pixels = decode(data[: start - 4] + (8).to_bytes(4, "little") + two.tobytes())
    expected = [[[254, 0, 0], [255, 74, 74], [128, 128, 128], [60, 60, 60]]]  # the second Y is 74 above the first
    np.testing.assert_allclose(pixels, expected, atol=1)


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name[:24])
@pytest.mark.parametrize("bits", [8, 16])
def test_palettes_are_resolved(make_dicom, syntax, bits):
    colours = np.array([[10, 20, 30], [200, 100, 50], [1, 2, 3], [7, 8, 9]])
    order = ">" if syntax == uid.ExplicitVRBigEndian else "<"
    palette = {}
    for k, name in enumerate(("Red", "Green", "Blue")):
        entries = colours[:, k].astype(np.uint8)
        words = entries.view("<u2") if bits == 8 else entries * np.uint16(257)
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [4, 5, bits]
        palette[f"{name}PaletteColorLookupTableData"] = words.astype(f"{order}u2").tobytes()
    indices = np.array([[0, 5, 6], [7, 8, 255]], np.uint8)  # the first entry belongs to 5; outside the nearest counts
    image = read_dicom(make_dicom(indices, syntax, PhotometricInterpretation="PALETTE COLOR", **palette))
    np.testing.assert_array_equal(image.pixels, colours[[[0, 0, 1], [2, 3, 3]]])
    assert image.steps == ("palette",)


# --- masks, sizes, canvas ----------------------------------------------------------------------------------------


def test_a_mask_keeps_its_own_integers(make_dicom):
    mask = np.array([[0, 255], [255, 0]], np.uint8)
    plain = {"WindowCenter": 10, "WindowWidth": 2, "RescaleSlope": 3, "RescaleIntercept": 1}
    np.testing.assert_array_equal(decode_mask(make_dicom(mask, **plain)), mask)
    np.testing.assert_array_equal(decode_mask(make_dicom(mask, PhotometricInterpretation="MONOCHROME1")), mask)
    labels = np.array([[-3, 0], [700, 32767]], np.int16)
    np.testing.assert_array_equal(decode_mask(make_dicom(labels)), labels)
    np.testing.assert_array_equal(decode_mask(make_dicom(RGB)), [[76, 150, 18]])  # .299 R + .587 G + .114 B


@pytest.mark.parametrize("syntax", NATIVE, ids=lambda syntax: syntax.name[:24])
def test_the_size_needs_no_pixels(make_dicom, tmp_path, syntax):
    path = tmp_path / "a file of any name"
    path.write_bytes(make_dicom(VALUES, syntax, without=["PixelData"]))
    assert read_size(path) == (40, 48)


def test_a_dicom_file_is_fitted_as_its_pixels_are(make_dicom):
    data = make_dicom(VALUES, **WINDOW)
    fitted = decode_fitted(data, 16, 1, "pad")
    np.testing.assert_array_equal(fitted.pixels, fit_pixels(decode(data), 16, 1, "pad"))
    assert fitted.size_px == (40, 48)
    assert fitted.steps == ("window",)
    assert decode_fitted(data, 16, 3, "crop").pixels.shape == (3, 16, 16)


def test_a_cache_remembers_the_steps_of_each_image(make_dicom, tmp_path):
    (tmp_path / "a.dcm").write_bytes(make_dicom(VALUES, **WINDOW))
    (tmp_path / "b.dcm").write_bytes(make_dicom(VALUES, PhotometricInterpretation="MONOCHROME1"))
    (tmp_path / "c").write_bytes(make_dicom(VALUES + np.uint16(1), **WINDOW))
    Image.fromarray(SEEN.astype(np.uint8)).save(tmp_path / "d.png")
    for _ in range(2):  # decoded, then found
        cached = cache_images(["a.dcm", "b.dcm", "c", "d.png"], tmp_path, 16, 1, "pad", tmp_path / "cache")
        assert cached.kept.all()
        assert cached.steps.tolist() == ["window", "stretch inverted", "window", ""]
        assert cached.count_steps() == {"window": 2, "stretch inverted": 1}


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        ({"PixelSpacing": [0.2, 0.1], "ImagerPixelSpacing": [0.3, 0.3]}, (0.2, 0.1)),
        ({"ImagerPixelSpacing": [0.07, 0.07]}, (0.07, 0.07)),
        ({"PixelSpacing": [0, 0.1]}, None),
        ({}, None),
    ],
)
def test_the_spacing_is_that_of_the_patient_else_of_the_detector(make_dicom, elements, expected):
    assert read_dicom(make_dicom(VALUES, **elements)).spacing_mm == expected


@pytest.mark.parametrize("syntax", NATIVE[:3], ids=lambda syntax: syntax.name[:24])
def test_old_files_without_a_preamble_are_read(make_dicom, syntax):
    data = make_dicom(VALUES, syntax, **WINDOW)
    meta = 132 + 12 + int.from_bytes(data[140:144], "little")
    np.testing.assert_array_equal(decode(data[132:]), SEEN)
    np.testing.assert_array_equal(decode(data[meta:]), SEEN)
    with pytest.raises(BrokenImageError, match="is not a JPEG, PNG, TIFF, PGM, PPM or DICOM"):
        decode(make_dicom(VALUES, syntax, without=["Rows"])[meta:])


# --- the files that pydicom carries ------------------------------------------------------------------------------

CARRIED = Path(pydicom.data.__file__).parent / "test_files"
BARS = [[255, 0, 0], [255, 128, 128], [0, 255, 0], [128, 255, 128], [0, 0, 255]]
BARS += [[128, 128, 255], [0, 0, 0], [64, 64, 64], [192, 192, 192], [255, 255, 255]]


@pytest.mark.parametrize("name", sorted(path.name for path in CARRIED.glob("SC_rgb_*.dcm") if "small" not in path.name))
def test_the_colour_bars_of_many_programs_look_alike(name):
    """Ten bars of known colour, in JPEG (baseline, lossless, LS, 2000), RLE and YBR: lossy ones are 6 levels off."""
    if "frame" in name or "32bit" in name:
        with pytest.raises(BrokenImageError, match=r"2 images|32 bits"):
            decode((CARRIED / name).read_bytes())
        return
    pixels = decode((CARRIED / name).read_bytes())
    if pixels.shape[0] == 100:
        np.testing.assert_allclose(pixels[5::10, 50].astype(int), BARS, atol=6)


def test_the_same_picture_in_seven_encodings_gives_the_same_pixels():
    pictures = [decode(path.read_bytes()) for path in sorted(CARRIED.glob("MR_small*.dcm"))]
    assert len(pictures) >= 7
    for picture in pictures[1:]:
        np.testing.assert_array_equal(picture, pictures[0])


def test_every_carried_file_is_an_image_or_told_in_a_sentence(caplog, capfd):
    outcomes = {}
    folder = CARRIED.parent
    with caplog.at_level(logging.DEBUG):
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            try:
                outcomes[path.name] = decode(path.read_bytes()).shape
            except BrokenImageError as error:
                outcomes[path.name] = str(error)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
    told = {name: reason for name, reason in outcomes.items() if isinstance(reason, str)}
    assert all(len(reason) < 120 and "\n" not in reason for reason in told.values())
    assert len(outcomes) - len(told) >= 50
    assert outcomes["CT_small.dcm"] == (128, 128)
    assert outcomes["image_dfl.dcm"] == (512, 512)
    assert outcomes["examples_palette.dcm"] == (350, 800, 3)
    assert outcomes["GDCMJ2K_TextGBR.dcm"] == (400, 400, 3)
    for name, reason in {
        "examples_ybr_color.dcm": "30 images",
        "rtdose.dcm": "15 images",
        "liver_1frame.dcm": "in 1 bits",
        "JPGExtended.dcm": "JPEG of 12 bits",
        "MR_truncated.dcm": "cut off",
        "rtplan.dcm": "holds no image",
    }.items():
        assert reason in told[name]


def test_a_deflated_file_is_inflated_no_further_than_a_file_may_be_long(make_dicom, monkeypatch):
    data = make_dicom(np.zeros((300, 300), np.uint8), uid.DeflatedExplicitVRLittleEndian)
    assert len(data) < 2000
    monkeypatch.setattr(dicom_header, "MAX_BYTES", 50_000)
    with pytest.raises(BrokenImageError, match="more than 50,000 bytes once inflated"):
        decode(data)
