"""DICOM files made in memory, each with names of a patient that must never be seen again."""

import io
import struct

import numpy as np
import pytest
from pydicom import Dataset, dcmwrite
from pydicom.dataset import FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian

CANARIES = {
    "PatientName": "CANARY^NAME",
    "PatientID": "CANARY-ID-17",
    "StudyDescription": "CANARY STUDY",
    "AccessionNumber": "CANARY-ACC",
}


def make_dicom(values, syntax=ExplicitVRLittleEndian, coded=None, without=(), **elements):
    """Return the bytes of a DICOM file of ``values``; ``elements`` replace what its header would hold."""
    values = np.asarray(values)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3.4"
    colour = values.ndim == 3
    bits = 8 * values.dtype.itemsize
    header = {
        **CANARIES,
        "Rows": values.shape[0],
        "Columns": values.shape[1],
        "SamplesPerPixel": 3 if colour else 1,
        "PhotometricInterpretation": "RGB" if colour else "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(values.dtype.kind == "i"),
        **({"PlanarConfiguration": 0} if colour else {}),
        **elements,
    }
    header.setdefault("HighBit", header["BitsStored"] - 1)
    for keyword, value in header.items():
        if keyword not in without:
            setattr(dataset, keyword, value)
    raw = values.astype(values.dtype.newbyteorder(">" if syntax == ExplicitVRBigEndian else "<")).tobytes()
    if "PixelData" not in without:
        dataset.PixelData = encapsulate([coded]) if coded is not None else raw + bytes(len(raw) % 2)
        dataset["PixelData"].VR = "OB" if coded is not None or bits == 8 else "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    dcmwrite(stream, dataset, enforce_file_format=True)
    return stream.getvalue()


def encode_lossless(values, precision, predictor=1, shift=0, restart_rows=0):
    """A plain encoder of lossless JPEG (T.81, annex H): one code of 5 bits for each of the 17 categories."""
    height, width = values.shape[:2]
    planes = values.reshape(height, width, -1).astype(int) >> shift
    count = planes.shape[2]
    guesses = {
        1: lambda a, b, c: a,
        2: lambda a, b, c: b,
        3: lambda a, b, c: c,
        4: lambda a, b, c: a + b - c,
        5: lambda a, b, c: a + ((b - c) >> 1),
        6: lambda a, b, c: b + ((a - c) >> 1),
        7: lambda a, b, c: (a + b) >> 1,
    }
    parts, bits = [], ""
    for y in range(height):
        top = y == 0 or (restart_rows and y % restart_rows == 0)
        if top and y:
            parts.append(bits)
            bits = ""
        for x in range(width):
            for k in range(count):
                plane = planes[..., k]
                if top:
                    guess = plane[y, x - 1] if x else 1 << (precision - shift - 1)
                elif x == 0:
                    guess = plane[y - 1, 0]
                else:
                    guess = guesses[predictor](plane[y, x - 1], plane[y - 1, x], plane[y - 1, x - 1])
                step = (plane[y, x] - guess + 32767) % 65536 - 32767  # -32767 .. 32768
                size = int(abs(step)).bit_length()
                bits += f"{size:05b}"
                if 0 < size < 16:
                    bits += f"{step if step > 0 else step + (1 << size) - 1:0{size}b}"
    parts.append(bits)
    packed = []
    for number, part in enumerate(parts):
        full = part + "1" * (-len(part) % 8)
        body = int(full, 2).to_bytes(len(full) // 8, "big").replace(b"\xff", b"\xff\x00")
        packed.append(body + (bytes([0xFF, 0xD0 + number % 8]) if number < len(parts) - 1 else b""))

    def segment(marker, content):
        return bytes([0xFF, marker]) + struct.pack(">H", len(content) + 2) + content

    parts_of_frame = b"".join(bytes([k + 1, 0x11, 0]) for k in range(count))
    parts_of_scan = b"".join(bytes([k + 1, 0]) for k in range(count))
    return b"".join(
        [
            b"\xff\xd8",
            segment(0xC4, bytes([0, *(0, 0, 0, 0, 17), *[0] * 11, *range(17)])),
            segment(0xDD, struct.pack(">H", restart_rows * width)) if restart_rows else b"",
            segment(0xC3, struct.pack(">BHHB", precision, height, width, count) + parts_of_frame),
            segment(0xDA, bytes([count]) + parts_of_scan + bytes([predictor, 0, shift])),
            *packed,
            b"\xff\xd9",
        ]
    )


@pytest.fixture(name="make_dicom")
def _make_dicom():
    return make_dicom


@pytest.fixture(name="encode_lossless")
def _encode_lossless():
    return encode_lossless
