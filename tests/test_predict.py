"""The finished student in use: from image files to probabilities and maps in their own pixels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from mmpkd.attribute.attribute import explain
from mmpkd.distil.checkpoint import save_student
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import Student, build_student
from mmpkd.errors import InputError
from mmpkd.predict import predict_files


@pytest.fixture
def student(tmp_path: Path) -> Student:
    torch.manual_seed(0)
    settings = StudentSettings(image_size_px=32, patch_px=8, width=32, depth=2, heads=2)
    student = build_student(settings, ("nodule", "effusion")).eval()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    save_student(student, tmp_path / "student", {})
    return student


@pytest.fixture
def pictures(tmp_path: Path) -> list[Path]:
    paths = []
    for index, (height, width) in enumerate(((32, 32), (50, 20))):
        pixels = np.random.default_rng(index).integers(0, 256, (height, width), dtype=np.uint8)
        paths.append(tmp_path / f"picture-{index}.png")
        Image.fromarray(pixels).save(paths[-1])
    return paths


def test_probabilities_and_maps_are_the_students_own(student: Student, pictures: list[Path], tmp_path: Path) -> None:
    table = predict_files(tmp_path / "student", pictures, tmp_path / "maps", method="legrad")
    pixels = torch.from_numpy(np.asarray(Image.open(pictures[0])).copy())[None, None]
    images = student.prepare(pixels)
    with torch.no_grad():
        expected = student(images).sigmoid()[0].numpy()
    np.testing.assert_allclose(table.loc[0, ["nodule", "effusion"]].to_numpy(float), expected, atol=1e-6)
    heat = np.load(tmp_path / "maps" / "picture-0-effusion.npy")
    tokens = explain(student, images, "legrad", ["effusion"], pixels=False)[0, 0].numpy()
    centres = heat.reshape(4, 8, 4, 8)[:, 3:5, :, 3:5].mean((1, 3))
    assert np.corrcoef(centres.ravel(), tokens.ravel())[0, 1] > 0.98
    assert np.load(tmp_path / "maps" / "picture-1-nodule.npy").shape == (50, 20)


def test_a_method_that_says_nothing_about_the_student_is_refused_before_any_image_is_read(
    student: Student, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="needs a student with the patch head"):
        predict_files(tmp_path / "student", [tmp_path / "absent.png"], tmp_path / "maps", method="patch")
    with pytest.raises(InputError, match="there is no such file"):
        predict_files(tmp_path / "student", [tmp_path / "absent.png"])


def test_a_dicom_file_is_predicted_as_the_same_pixels_in_a_png(
    student: Student, pictures: list[Path], tmp_path: Path
) -> None:
    pixels = np.asarray(Image.open(pictures[1]))
    header = FileDataset(str(tmp_path / "film"), {}, preamble=b"\0" * 128)
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.PatientName = "CANARY^NAME"
    header.Rows, header.Columns = pixels.shape
    header.SamplesPerPixel, header.PhotometricInterpretation, header.PixelRepresentation = 1, "MONOCHROME1", 0
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit = 7
    header.PixelData = (255 - pixels).tobytes()  # stored white as 0
    header.save_as(tmp_path / "film", enforce_file_format=False)
    # one by one: in one batch the last bit of a prediction may depend on a picture's place
    png, dicom = (
        predict_files(tmp_path / "student", [path], tmp_path / "maps").loc[0, "nodule"]
        for path in (pictures[1], tmp_path / "film")
    )
    assert png == dicom
    first, second = (np.load(tmp_path / "maps" / f"{name}-nodule.npy") for name in ("picture-1", "film"))
    np.testing.assert_array_equal(first, second)
