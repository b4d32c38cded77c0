"""From stored values to grey levels: each step worked by hand."""

import numpy as np
import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from mmpkd.cohort.dicom import read_dicom

SYNTAXES = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]


def seen(data):
    image = read_dicom(data)
    return image.pixels.ravel().tolist(), image.steps


def table(descriptor, entries, vr="US", order="<"):
    item = Dataset()
    item.add_new("LUTDescriptor", "US", [value & 0xFFFF for value in descriptor])
    item.add_new("LUTData", vr, entries if vr == "US" else np.asarray(entries, f"{order}u2").tobytes())
    return Sequence([item])


@pytest.mark.parametrize(
    ("elements", "expected"),
    [
        # linear: 255 ((v - 99.5) / 50 + 1/2): v 80 -> 28.05, 100 -> 130.05, 124 -> 252.45
        ({"WindowCenter": 100, "WindowWidth": 51}, [0, 28, 130, 252, 255]),
        # of two windows the first
        ({"WindowCenter": [100, 5], "WindowWidth": [51, 9]}, [0, 28, 130, 252, 255]),
        # linear-exact: 255 ((v - 100) / 50 + 1/2): 80 -> 25.5, 100 -> 127.5, 124 -> 249.9; halves to the even level
        ({"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "LINEAR_EXACT"}, [0, 26, 128, 250, 255]),
        # sigmoid: 255 / (1 + exp(-4 (v - 100) / 80)): 0 -> 1.71, 80 -> 68.58, 124 -> 195.95, 200 -> 253.29
        ({"WindowCenter": 100, "WindowWidth": 80, "VOILUTFunction": "SIGMOID"}, [2, 69, 128, 196, 253]),
        # a linear window of width 1 is a threshold at 99.5
        ({"WindowCenter": 100, "WindowWidth": 1}, [0, 0, 255, 255, 255]),
    ],
)
def test_each_kind_of_window(make_dicom, elements, expected):
    assert seen(make_dicom(np.array([[0, 80, 100, 124, 200]], np.uint16), **elements)) == (expected, ("window",))


@pytest.mark.parametrize(
    "elements",
    [
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": -5},
        {"WindowCenter": 100},
        {"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "NO_SUCH"},
        {"VOILUTSequence": table([0, 0, 16], [1, 2, 3])},  # 0 stands for 65,536 entries
        {"RescaleSlope": 0, "RescaleIntercept": 5},
        {"RescaleSlope": 1, "RescaleIntercept": 0},
    ],
)
def test_what_cannot_be_or_changes_nothing_is_passed_over(make_dicom, elements):
    # 255 (v - 100) / 510
    expected = ([0, 50, 255], ("stretch",))
    assert seen(make_dicom(np.array([[100, 200, 610]], np.uint16), **elements)) == expected


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_window_is_meant_for_rescaled_values(make_dicom, syntax):
    # v - 1024 = -1024, 0, 40, 80; 255 ((v - 40) / 80 + 1/2)
    values = np.array([[0, 1024, 1064, 1104]], np.uint16)
    window = {"WindowCenter": 40.5, "WindowWidth": 81}
    data = make_dicom(values, syntax, RescaleSlope=1, RescaleIntercept=-1024, **window)
    assert seen(data) == ([0, 0, 128, 255], ("rescale", "window"))


def test_a_negative_slope_turns_the_stretch_round(make_dicom):
    data = make_dicom(np.array([[0, 51, 255]], np.uint16), RescaleSlope=-2, RescaleIntercept=7)
    assert seen(data) == ([255, 204, 0], ("rescale", "stretch"))


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("vr", ["US", "OW"])
def test_a_voi_table_comes_before_a_window(make_dicom, syntax, vr):
    # entries belong to 10, 11, 12, 13; of 12 bits: 255 e / 4095. 300 is more than an entry of 8 bits could count
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    voi = table([4, 10, 12], [0, 819, 1638, 4095], vr, order)
    data = make_dicom(np.array([[9, 10, 11, 12, 13, 300]], np.uint16), syntax, VOILUTSequence=voi, WindowCenter=1)
    assert seen(data) == ([0, 0, 51, 102, 255, 255], ("voi-lut",))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_table_of_8_bits_holds_two_entries_a_word(make_dicom, syntax):
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    voi = table([4, 10, 8], [0 | 51 << 8, 102 | 255 << 8], "OW", order)
    data = make_dicom(np.array([[9, 10, 11, 12, 13, 300]], np.uint16), syntax, VOILUTSequence=voi)
    assert seen(data) == ([0, 0, 51, 102, 255, 255], ("voi-lut",))


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_modality_table_may_begin_below_0(make_dicom, syntax):
    modality = table([3, -1, 16], [500, 510, 551])  # -1 -> 500, 0 -> 510, 1 and more -> 551; then 255 (m - 500) / 51
    data = make_dicom(np.array([[-7, -1, 0, 1, 9]], np.int16), syntax, ModalityLUTSequence=modality)
    assert seen(data) == ([0, 0, 50, 255, 255], ("modality-lut", "stretch"))


def test_signed_and_deep_values_are_stretched_from_minimum_to_maximum(make_dicom):
    for kind in (np.int16, np.int8):
        assert seen(make_dicom(np.array([[-100, -49, 104]], kind))) == ([0, 64, 255], ("stretch",))
    assert seen(make_dicom(np.full((1, 3), 700, np.uint16))) == ([0, 0, 0], ("stretch",))


def test_unsigned_values_of_8_bits_stay_as_they_are(make_dicom):
    assert seen(make_dicom(np.array([[7, 30, 200]], np.uint8))) == ([7, 30, 200], ())


def test_monochrome1_is_turned_positive_at_the_end(make_dicom):
    one = {"PhotometricInterpretation": "MONOCHROME1"}
    assert seen(make_dicom(np.array([[7, 30, 200]], np.uint8), **one)) == ([248, 225, 55], ("inverted",))
    window = {"WindowCenter": 100, "WindowWidth": 51}
    data = make_dicom(np.array([[0, 80, 100, 124, 200]], np.uint16), **one, **window)
    assert seen(data) == ([255, 227, 125, 3, 0], ("window", "inverted"))


def test_only_the_stored_bits_count(make_dicom):
    values = np.array([[0, 51, 255, 102]])
    overlaid = (values | 0xA000).astype(np.uint16)  # old files keep overlays in the bits above
    assert seen(make_dicom(overlaid, BitsStored=12))[0] == [0, 51, 255, 102]
    shifted = (values << 4 | 9).astype(np.uint16)  # ... or put the value into the high bits
    assert seen(make_dicom(shifted, BitsStored=12, HighBit=15))[0] == [0, 51, 255, 102]
    signed = (np.array([[-2048, 0, 2047]]) & 0xFFF).astype(np.int16)  # twelve bits of two's complement, not extended
    assert seen(make_dicom(signed, BitsStored=12))[0] == [0, 128, 255]


def test_padding_does_not_count_in_the_stretch(make_dicom):
    values = np.array([[-2000, 0, 51, 255]], np.int16)
    assert seen(make_dicom(values, PixelPaddingValue=-2000))[0] == [0, 0, 51, 255]
    high = np.array([[60_000, 1000, 1051, 1255]], np.uint16)
    assert seen(make_dicom(high, PixelPaddingValue=60_000))[0] == [255, 0, 51, 255]
    wide = np.array([[-2000, -1990, -1985, 0, 255]], np.int16)
    ends = {"PixelPaddingValue": -2000, "PixelPaddingRangeLimit": -1985}
    assert seen(make_dicom(wide, **ends))[0] == [0, 0, 0, 0, 255]


def test_large_images_take_little_more_memory_than_their_values(make_dicom):
    import tracemalloc

    data = make_dicom(np.arange(1_000_000, dtype=np.uint32).astype(np.uint16).reshape(1000, 1000))
    tracemalloc.start()
    try:
        read_dicom(data)
        assert tracemalloc.get_traced_memory()[1] < 25_000_000  # 25 bytes a pixel, fixed tables included
    finally:
        tracemalloc.stop()
