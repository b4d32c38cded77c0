"""Using the student: from image files to probabilities and overlays. No cohort, no teacher, no study needed."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import pandas as pd

from mmpkd.attribute.attribute import map_method, token_maps
from mmpkd.attribute.vit import vit_of
from mmpkd.cohort.cache import cache_images
from mmpkd.cohort.geometry import Fit
from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.checkpoint import load_student
from mmpkd.distil.predict import predict_probabilities
from mmpkd.distil.student import Student
from mmpkd.errors import InputError
from mmpkd.progress import SILENT, Progress


def predict_files(
    student_folder: Path,
    paths: Sequence[Path],
    maps_folder: Path | None = None,
    progress: Progress = SILENT,
    method: str | None = None,
) -> pd.DataFrame:
    """Return a table ``image, <finding>, ...`` of probabilities, one row a readable image.

    Args:
        student_folder: A ``student`` folder of a run.
        paths: Image files, in the formats a cohort takes.
        maps_folder: Also write each finding's map, in original pixels, as ``<stem>-<finding>.npy`` (float32).
        progress: Where to show progress.
        method: Of the maps, as in a study file (``legrad+smooth=1``); by default the one of the student's head.

    Raises:
        InputError: The folder holds no student, the method says nothing about it, or an image cannot be read (all
            are named).
    """
    student = load_student(student_folder)
    if method is not None:
        map_method(method, vit_of(student))
    files = [path.resolve() for path in paths]
    missing = [f"{path}: there is no such file." for path in files if not path.is_file()]
    if missing:
        raise InputError(missing)
    with tempfile.TemporaryDirectory() as scratch:
        cached = cache_images(
            [path.as_posix().lstrip("/") for path in files],
            root=Path(files[0].anchor),
            size_px=student.settings.image_size_px,
            channels=student.settings.channels,
            fit=cast(Fit, student.fit),
            cache_dir=Path(scratch),
            progress=progress,
            max_broken_share=0.0,
        )
        if cached.problems:
            raise InputError(cached.problems)
        images = cached.image_set()
        everything = np.arange(len(files))
        probabilities = predict_probabilities(student, images, everything)
        if maps_folder is not None:
            _write_maps(student, images, files, maps_folder, method)
    table = pd.DataFrame(probabilities, columns=list(student.findings))
    table.insert(0, "image", [path.name for path in files])
    return table


def _write_maps(student: Student, images: ImageSet, files: Sequence[Path], folder: Path, method: str | None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    maps = token_maps(student, images, method=method)
    for index, path in enumerate(files):
        pixels = images.geometry(index).map_to_original(maps.values[index].astype(np.float32))
        for finding, heat in zip(maps.findings, pixels, strict=True):
            np.save(folder / f"{path.stem}-{finding}.npy", heat.astype(np.float32))
