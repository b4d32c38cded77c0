"""A small CBIS-DDSM in the shape of each of its downloads, with the odd rows of its tables."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zlib import crc32

import numpy as np
from PIL import Image

Layout = Literal["dicom-first", "dicom-later", "dicom-renamed", "jpeg"]

CANARIES = ("P_90007", "P_90016", "canary-device-serial")
HEIGHT, WIDTH = 64, 48
_PATHS = ("image file path", "cropped image file path", "ROI mask file path")
_SIDE = ("left or right breast", "image view", "abnormality id", "abnormality type")
_READING = ("assessment", "pathology", "subtlety")
HEADERS = {
    "mass": ("patient_id", "breast_density", *_SIDE, "mass shape", "mass margins", *_READING, *_PATHS),
    "calc": ("patient_id", "breast density", *_SIDE, "calc type", "calc distribution", *_READING, *_PATHS),
}
DICOM_INFO = ("file_path", "image_path", "DeviceSerialNumber", "PatientID", "SeriesDescription", "SeriesInstanceUID")


@dataclass(frozen=True)
class Abnormality:
    """A row of the tables."""

    kind: str
    split: str
    patient: int
    side: str
    view: str
    number: int
    malignant: bool

    @property
    def folder(self) -> str:
        word = {"train": "Training", "test": "Test"}[self.split]
        return f"{self.kind.title()}-{word}_P_{90000 + self.patient:05d}_{self.side}_{self.view}"

    @property
    def box(self) -> tuple[int, int, int, int]:
        """x_min, y_min, x_max, y_max of its mask."""
        x, y = 4 + self.patient, 8 + 20 * (self.number - 1)
        return x, y, x + 10, y + 14


def abnormalities() -> Iterator[Abnormality]:
    """Patients 1 to 16 have masses, 15 to 28 calcifications, each in two views of one breast."""
    for patient in range(1, 29):
        for kind in ("mass", "calc"):
            if (kind == "mass" and patient > 16) or (kind == "calc" and patient < 15):
                continue
            # patient 15: one breast, both types; patient 16: a mass left in training, a calcification right in test
            split = "test" if (patient % 3 == 0 and patient != 15) or (patient, kind) == (16, "calc") else "train"
            side = "RIGHT" if (patient, kind) == (16, "calc") else "LEFT"
            for view in ("CC", "MLO"):
                yield Abnormality(kind, split, patient, side, view, 1, patient % 2 == 0)
                if (patient, view) == (1, "CC"):  # two abnormalities on one mammogram, the second malignant
                    yield Abnormality(kind, split, patient, side, view, 2, True)


def uid(*parts: object) -> str:
    return "1.3.6.1.4.1.9590." + ".".join(str(crc32(str(part).encode())) for part in parts)


def row_of(it: Abnormality) -> dict[str, str]:
    """Return the row of an abnormality, odd in the ways that rows of the archive are."""
    image = f"{it.folder}/{uid(it.folder, 'study')}/{uid(it.folder, 'full', it.patient)}/000000.dcm"
    roi = f"{it.folder}_{it.number}"
    inside = f"{roi}/{uid(roi, 'study')}/{uid(roi, 'roi', it.patient, it.number)}"
    crop, mask = f"{inside}/000000.dcm", f"{inside}/000001.dcm"
    if it.patient == 2:
        crop, mask = mask, crop
    if it.patient == 4:
        crop, mask = f"{crop}\n", f'"{mask}\n"'
    of_kind = {
        "mass": {
            "mass shape": "OVAL" if it.number == 1 else "IRREGULAR",
            "mass margins": "N/A" if it.patient == 1 else ("CIRCUMSCRIBED", "SPICULATED")[it.patient % 2],
        },
        "calc": {
            "calc type": "AMORPHOUS" if it.patient % 4 else "PLEOMORPHIC",
            "calc distribution": ("CLUSTERED", "LINEAR")[it.patient % 2],
        },
    }[it.kind]
    return {
        "patient_id": f"P_{90000 + it.patient:05d}",
        "breast_density" if it.kind == "mass" else "breast density": str(1 + it.patient % 4),
        "left or right breast": it.side,
        "image view": it.view,
        "abnormality id": str(it.number),
        "abnormality type": {"mass": "mass", "calc": "calcification"}[it.kind],
        **of_kind,
        "assessment": str(2 + it.number + it.malignant),
        "pathology": "MALIGNANT" if it.malignant else ("BENIGN", "BENIGN_WITHOUT_CALLBACK")[it.patient % 3 == 0],
        "subtlety": str(1 + (it.patient + it.number) % 5),
        "image file path": image,
        "cropped image file path": crop,
        "ROI mask file path": mask,
    }


def full_image(it: Abnormality) -> np.ndarray:
    pixels = np.random.default_rng(it.patient).integers(0, 200, (HEIGHT, WIDTH))
    return (pixels + 50 * (it.view == "CC")).astype(np.uint8)


def crop_and_mask(it: Abnormality) -> tuple[np.ndarray, np.ndarray]:
    x_min, y_min, x_max, y_max = it.box
    full = full_image(it)
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[y_min:y_max, x_min:x_max] = 255
    if (it.patient, it.view) == (5, "CC"):  # a mask one row short of its mammogram
        mask = mask[:-1]
    if it.patient == 10:  # a crop as large as its mammogram
        return full, mask
    return full[y_min:y_max, x_min:x_max], mask


def write_dicom(path: Path, pixels: np.ndarray) -> None:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    meta.MediaStorageSOPInstanceUID = generate_uid(entropy_srcs=[str(path)])
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    data.SOPClassUID, data.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    data.DeviceSerialNumber = "canary-device-serial"
    data.Modality, data.SamplesPerPixel, data.PhotometricInterpretation = "MG", 1, "MONOCHROME2"
    data.Rows, data.Columns = pixels.shape
    data.BitsAllocated = data.BitsStored = 8
    data.HighBit, data.PixelRepresentation = 7, 0
    data.PixelData = pixels.tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    data.save_as(path, enforce_file_format=True)


def place(folder: Path, named: str, layout: Layout, number: int) -> Path:
    """Return where a download puts the file that the tables name (without the odd rows' oddities)."""
    owner, study, series, name = named.split("/")
    if layout == "jpeg":
        return folder / "jpeg" / series / f"{number}-{int(name[:6]) + 1}.jpg"
    above = folder / "manifest-1" / "CBIS-DDSM" / owner
    if layout == "dicom-first":
        return above / study / series / name
    if layout == "dicom-later":
        return above / study / series / f"1-{int(name[:6]) + 1}.dcm"
    return above / "07-20-2016-DDSM-NA" / "1.000000-images" / f"1-{int(name[:6]) + 1}.dcm"


def write_tree(folder: Path, layout: Layout = "jpeg", by_series: bool = True) -> dict[str, Any]:
    """Write the archive; without ``by_series`` the JPEG folders are found by csv/dicom_info.csv alone.

    Mammograms: masses 16 x 2, calcifications 14 x 2, less the 2 of patient 15 that have both: 58. Patient 8's oblique
    one has no file: 57 cases. Abnormalities: 33 and 28, of which 1 is on that mammogram, 1 has a mask of another size
    (patient 5) and 1 none at all (patient 7): 58 ROIs.
    """
    tables: dict[tuple[str, str], list[dict[str, str]]] = {}
    info: list[dict[str, str]] = []
    for it in abnormalities():
        row = row_of(it)
        tables.setdefault((it.kind, it.split), []).append(row)
        named = [row[name].replace("\n", "").replace('"', "") for name in _PATHS]
        if it.patient == 2:
            named[1:] = named[:0:-1]
        for path, pixels, what in zip(
            named,
            (full_image(it), *crop_and_mask(it)),
            ("full mammogram images", "cropped images", "ROI mask images"),
            strict=True,
        ):
            if ((it.patient, it.view), what) == ((8, "MLO"), "full mammogram images"):
                continue
            if (it.patient, it.view) == (7, "CC") and what != "full mammogram images":
                continue
            owner, study, series, name = path.split("/")
            if layout == "jpeg" and not by_series:
                series = f"{series}.9"
            at = place(folder, f"{owner}/{study}/{series}/{name}", layout, it.patient)
            at.parent.mkdir(parents=True, exist_ok=True)
            if layout == "jpeg":
                Image.fromarray(pixels).save(at, quality=92)
                info.append(
                    {
                        "file_path": f"CBIS-DDSM/dicom/{series}/{at.stem}.dcm",
                        "image_path": f"CBIS-DDSM/jpeg/{series}/{at.name}",
                        "DeviceSerialNumber": "canary-device-serial",
                        "PatientID": owner,
                        "SeriesDescription": what,
                        "SeriesInstanceUID": series,
                    }
                )
            else:
                write_dicom(at, pixels)
    above = folder / "csv" if layout == "jpeg" else folder
    above.mkdir(parents=True, exist_ok=True)
    for (kind, split), rows in tables.items():
        _write(above / f"{kind}_case_description_{split}_set.csv", HEADERS[kind], rows)
    if info:
        _write(above / "dicom_info.csv", DICOM_INFO, info)
    return {
        "archive": "cbis-ddsm",
        "roots": [folder],
        "canaries": CANARIES,
        "cases": 57,
        "rois": 58,
        "study": {"teach": {"teacher": "tabular", "folds": 3}},
    }


def _write(path: Path, header: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, header)
        writer.writeheader()
        writer.writerows(rows)
