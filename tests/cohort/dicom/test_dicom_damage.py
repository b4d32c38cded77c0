"""Broken and hostile DICOM files cost their own image alone, and no message holds a value of a header."""

import io
import logging
import struct
import time
import tracemalloc
import zlib

import jpeg_ls
import numpy as np
import pytest
from PIL import Image
from pydicom import uid

from mmpkd.cohort.dicom import read_dicom
from mmpkd.cohort.images import MAX_PIXELS, BrokenImageError, decode, decode_fitted, decode_mask, read_size

PICTURE = np.add.outer(np.arange(24), 2 * np.arange(32)).astype(np.uint16) * 31
LUT = {"WindowCenter": 1000, "WindowWidth": 2000, "RescaleSlope": "1.5", "RescaleIntercept": "-3"}
_MUTANTS = 1000


def bases(make_dicom, encode_lossless):
    """Small files of every kind of reader there is."""
    eight = (PICTURE >> 4).astype(np.uint8)
    jpeg, jpeg_2000 = io.BytesIO(), io.BytesIO()
    Image.fromarray(eight).save(jpeg, "JPEG")
    Image.fromarray(PICTURE).save(jpeg_2000, "JPEG2000", no_jp2=True, irreversible=False, num_resolutions=3)
    palette = {}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = bytes(range(256)) * 2
    rle = struct.pack("<16L", 1, 64, *[0] * 14) + b"".join(bytes([31]) + row.tobytes() for row in eight)
    return [
        make_dicom(PICTURE, uid.ImplicitVRLittleEndian, **LUT),
        make_dicom(PICTURE, uid.ExplicitVRLittleEndian, **LUT),
        make_dicom(PICTURE, uid.ExplicitVRBigEndian, **LUT),
        make_dicom(PICTURE, uid.DeflatedExplicitVRLittleEndian),
        make_dicom(PICTURE, uid.ExplicitVRLittleEndian)[132:],
        make_dicom(eight, PhotometricInterpretation="PALETTE COLOR", **palette),
        make_dicom(np.stack([eight] * 3, -1), PhotometricInterpretation="YBR_FULL"),
        make_dicom(eight, uid.RLELossless, rle),
        make_dicom(eight, uid.JPEGBaseline8Bit, jpeg.getvalue()),
        make_dicom(PICTURE, uid.JPEGLosslessSV1, encode_lossless(PICTURE, 12)),
        make_dicom(PICTURE, uid.JPEGLSLossless, bytes(jpeg_ls.encode_array(PICTURE))),
        make_dicom(PICTURE, uid.JPEG2000Lossless, jpeg_2000.getvalue()),
    ]


def mutant(rng, sound):
    """Flip, cut, insert, repeat, or write an absurd length; in the header as often as in the pixels."""
    data = bytearray(sound)
    for _ in range(rng.integers(1, 5)):
        place = int(rng.integers(0, len(data)) if rng.random() < 0.5 else rng.integers(0, min(len(data), 900)))
        kind = rng.integers(0, 6)
        if kind < 2:
            data[place] = rng.integers(256)
        elif kind == 2 and place > 1:
            del data[place:]
        elif kind == 3:
            data[place:place] = rng.bytes(rng.integers(1, 9))
        elif kind == 4:
            data[place : place + 4] = rng.choice(
                [b"\xff\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\0", b"\xfe\xff\0\xe0"]
            )
        else:
            data[place:place] = data[place : place + int(rng.integers(1, 200))]
    return bytes(data)


def test_a_thousand_mutants_are_an_image_or_the_one_known_error(make_dicom, encode_lossless, caplog, capfd, tmp_path):
    sound = bases(make_dicom, encode_lossless)
    for data in sound:
        assert decode(data).shape[:2] == PICTURE.shape
    rng = np.random.default_rng(0)
    images, told = 0, []
    readers = [decode, decode_mask, lambda data: decode_fitted(data, 16, 1, "pad").pixels]
    with caplog.at_level(logging.DEBUG):
        for number in range(_MUTANTS):
            data = mutant(rng, sound[number % len(sound)])
            (tmp_path / "one").write_bytes(data or b"0")
            began = time.monotonic()
            for read in (readers[number % 3], lambda _: read_size(tmp_path / "one")):
                try:
                    images += np.ndim(read(data)) > 1
                except BrokenImageError as error:
                    told.append(str(error))
            assert time.monotonic() - began < 5
    assert _MUTANTS // 10 < images < _MUTANTS
    assert "CANARY" not in "".join(told)
    assert max(map(len, told)) < 120
    assert not caplog.records
    assert capfd.readouterr() == ("", "")


REFUSED = {
    "several frames": ({"NumberOfFrames": 3}, r"holds 3 images \(frames\); give each its own file"),
    "a million frames": ({"NumberOfFrames": 1_000_000}, r"holds 1,000,000 images"),
    "no frame": ({"NumberOfFrames": 0}, "holds no frame"),
    "no pixel data": ({"without": ["PixelData"]}, "without pixel data"),
    "no rows": ({"without": ["Rows"]}, "holds no image"),
    "no bits": ({"without": ["BitsAllocated"]}, "no usable BitsAllocated"),
    "rows of 0": ({"Rows": 0}, "has no pixels"),
    "rows that are not there": ({"Rows": 500}, "cut off"),
    "65,535 x 65,535": ({"Rows": 65_535, "Columns": 65_535}, f"65,535 x 65,535 pixels; no more than {MAX_PIXELS:,}"),
    "1 bit": ({"BitsAllocated": 1, "BitsStored": 1}, "in 1 bits; 8 and 16"),
    "64 bits": ({"BitsAllocated": 64}, "in 64 bits; 8 and 16"),
    "more bits than there are": ({"BitsStored": 17}, "do not fit BitsAllocated"),
    "no bits stored": ({"BitsStored": 0, "HighBit": 0}, "do not fit BitsAllocated"),
    "a high bit too low": ({"HighBit": 3}, "do not fit BitsAllocated"),
    "a colour model of no name": ({"PhotometricInterpretation": "CANARY"}, "colour model that is not read"),
    "grey of three samples": ({"SamplesPerPixel": 3}, "colour model that is not read"),
    "four samples": ({"SamplesPerPixel": 4, "PhotometricInterpretation": "ARGB"}, "colour model that is not read"),
    "no palette": ({"PhotometricInterpretation": "PALETTE COLOR"}, "palette that is missing"),
    "MPEG": ({"syntax": uid.MPEG2MPML, "coded": b"1234"}, "compressed in a way that is not read"),
    "no codestream": ({"syntax": uid.JPEG2000, "coded": b"12345678"}, "head is broken"),
    "an empty codestream": ({"syntax": uid.JPEGLSLossless, "coded": b"\xff\xd8\xff\xd9"}, "cannot be decoded|head is"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_not_read_is_told_in_a_few_words(make_dicom, name):
    how, told = REFUSED[name]
    data = make_dicom(PICTURE, **how)
    for read in (read_dicom, decode, lambda data: decode_fitted(data, 16, 1, "pad")):
        with pytest.raises(BrokenImageError, match=told) as caught:
            read(data)
        assert len(str(caught.value)) < 120
        assert "CANARY" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "lossless JPEG", "JPEG-LS", "JPEG 2000"])
def test_a_codestream_larger_than_the_header_says_is_never_decoded(make_dicom, encode_lossless, kind):
    """Sixty thousand pixels a side would take gigabytes; the header says 24 x 32."""
    size = struct.pack(">HH", 60_000, 60_000)
    if kind == "JPEG 2000":
        syntax = uid.JPEG2000Lossless
        siz = struct.pack(">HHLLLLLLLLHBBB", 41, 0, 60_000, 60_000, 0, 0, 60_000, 60_000, 0, 0, 1, 15, 1, 1)
        coded = b"\xff\x4f\xff\x51" + siz + bytes(20)
    elif kind == "JPEG-LS":
        syntax = uid.JPEGLSLossless
        coded = b"\xff\xd8\xff\xf7\0\x0b\x10" + size + b"\1\1\x11\0" + b"\xff\xda\0\x08\1\1\0\0\0\0" + bytes(20)
    else:
        syntax, marker = (uid.JPEGBaseline8Bit, 0xC0) if kind == "JPEG" else (uid.JPEGLosslessSV1, 0xC3)
        coded = bytes([0xFF, 0xD8, 0xFF, marker, 0, 11, 8]) + size + b"\1\1\x11\0" + bytes(20)
    data = make_dicom(PICTURE, syntax, coded)
    tracemalloc.start()
    try:
        with pytest.raises(BrokenImageError, match="another size or depth than its header says"):
            decode(data)
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_size_of_a_monster_is_refused_from_its_header(make_dicom, tmp_path):
    (tmp_path / "a.dcm").write_bytes(make_dicom(PICTURE, Rows=65_535, Columns=65_535))
    with pytest.raises(BrokenImageError, match="no more than"):
        read_size(tmp_path / "a.dcm")
    (tmp_path / "b.dcm").write_bytes(make_dicom(PICTURE, NumberOfFrames=2))
    with pytest.raises(BrokenImageError, match="holds 2 images"):
        read_size(tmp_path / "b.dcm")


def test_sequences_nested_without_end_do_not_end_the_process():
    nest = b"\x28\0\x10\x30SQ\0\0\xff\xff\xff\xff\xfe\xff\0\xe0\xff\xff\xff\xff"  # VOILUTSequence, item, both open
    head = b"\x28\0\x10\0US\2\0\1\0"
    meta = b"\2\0\x10\0UI\x14\0" + b"1.2.840.10008.1.2.1\0"
    for depth in (50, 5000):
        with pytest.raises(BrokenImageError):
            decode(bytes(128) + b"DICM" + meta + head + nest * depth)


def test_elements_of_the_wrong_kind_are_told_or_passed_over(make_dicom):
    sound = make_dicom(PICTURE, WindowCenter=1000, WindowWidth=2000)
    rows = sound.index(b"\x28\0\x10\0US")
    for kind in (b"DS", b"LO", b"FL", b"PN", b"AT"):
        with pytest.raises(BrokenImageError):
            decode(sound[: rows + 4] + kind + sound[rows + 6 :])
    window = sound.index(b"\x28\0\x50\x10DS")
    assert read_dicom(sound[: window + 4] + b"LO" + sound[window + 6 :]).steps == ("window",)
    assert read_dicom(sound[: window + 8] + b"CANARY"[:4] + sound[window + 12 :]).steps == ("stretch",)


def test_a_deflated_file_that_is_cut_off_is_told(make_dicom):
    data = make_dicom(PICTURE, uid.DeflatedExplicitVRLittleEndian)
    with pytest.raises(BrokenImageError, match="cut off"):
        decode(data[:-40])
    start = 144 + int.from_bytes(data[140:144], "little")
    packer = zlib.compressobj(wbits=-15)
    cut = zlib.decompress(data[start:], -15)[:-400]
    with pytest.raises(BrokenImageError, match="cut off"):
        decode(data[:start] + packer.compress(cut) + packer.flush())


PLANTED = {
    "transfer syntax": (b"1.2.840.10008.1.2.1\0", b"CANARY.10008.1.2.1.0"),
    "colour model": (b"MONOCHROME2 ", b"CANARY MODEL"),
    "frames": (b"IS\2\0" + b"1 ", b"IS\6\0CANARY"),
    "slope": (b"DS\4\0" + b"1.5 ", b"DS\6\0CANARY"),
    "window": (b"DS\6\0" + b"1000.0", b"DS\6\0CANARY"),
    "spacing": (b"DS\x08\0" + b"0.1\\0.2 ", b"DS\x0c\0CANARY\\CANAR"),
    "rows": (b"\x28\0\x10\0US\2\0", b"\x28\0\x10\0PN\6\0CANARY"),
    "a UID that is not read": (b"1.2.3.4\0", b"CANARY.4"),
    "nothing": (b"", b""),
}


@pytest.mark.parametrize("name", PLANTED)
def test_no_value_of_a_header_is_in_a_message_a_log_or_a_warning(make_dicom, caplog, capfd, recwarn, tmp_path, name):
    """Every file of `make_dicom` names a patient; here elements that are looked at hold a name, too."""
    sound = make_dicom(PICTURE, NumberOfFrames=1, PixelSpacing=[0.1, 0.2], **LUT)
    old, new = PLANTED[name]
    assert old in sound
    data = sound.replace(old, new, 1)
    told = []
    with caplog.at_level(logging.DEBUG):
        for broken in (data, data[:-100], data.replace(b"\x28\0\x11\0US", b"\x28\0\x11\0UL", 1)):
            (tmp_path / "one").write_bytes(broken)
            for read in (read_dicom, decode_mask, lambda _: read_size(tmp_path / "one")):
                try:
                    read(broken)
                except BrokenImageError as error:
                    told += [repr(error), repr(error.__cause__)]
    assert told
    assert "CANAR" not in "".join(told)
    assert not caplog.records
    assert not recwarn.list
    assert capfd.readouterr() == ("", "")
