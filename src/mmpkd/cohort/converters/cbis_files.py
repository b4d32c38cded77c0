"""Files of CBIS-DDSM: found under each download's names, and masks told from crops by what they hold.

The tables name files of the first DICOM download. Later downloads kept the folders and renamed the files, or renamed
the inner folders too; the JPEG re-release kept the series' folders alone.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.images import BrokenImageError, decode_mask, read_bytes, read_size
from mmpkd.cohort.rle import encode_rle
from mmpkd.cohort.table import read_table_file
from mmpkd.errors import InputError

Layout = Literal["auto", "dicom", "jpeg"]

SKIP = ("Mass-*_P_*", "Calc-*_P_*", "1.[0-9]*")
"""Folders of images: one a patient, breast, view and abnormality in DICOM, one a series in JPEG."""

ABSENT = "abnormalities whose mask file is not there"
BROKEN = "abnormalities whose mask file cannot be read"
SIZE = "abnormalities whose mask differs in size from the mammogram"
VALUES = "abnormalities whose mask does not hold two values"
FAULTS = (ABSENT, BROKEN, SIZE, VALUES)

_FOLDER = re.compile(r"(Mass|Calc)-(Training|Test)_P_\d+_(LEFT|RIGHT)_(CC|MLO)(_\d+)?")
_BETWEEN = 0.01


class Files(NamedTuple):
    """The files beside one that a table names; ``named`` is that very file, where it is there under its name."""

    paths: tuple[Path, ...] = ()
    named: Path | None = None

    @property
    def ordered(self) -> tuple[Path, ...]:
        """The named file first."""
        return self.paths if self.named is None else (self.named, *self.paths)


class Mask(NamedTuple):
    """An abnormality's mask as run lengths and its box (x_min, y_min, x_max, y_max; half-open), in pixels."""

    path: Path
    rle: str
    box: tuple[int, int, int, int]


def clean_path(path: str) -> str:
    """Return a path of the tables without the line breaks, blanks and quotes that some carry."""
    return re.sub(r"[\s\"']+", "", path.replace("\\", "/"))


class ArchiveFiles:
    """Finds the files that the tables name.

    Args:
        roots: Where the archive lies.
        layout: ``auto`` takes DICOM where its folders are there, else JPEG.

    Raises:
        InputError: There are no images.
    """

    def __init__(self, roots: Roots, layout: Layout = "auto") -> None:
        self._roots = roots
        dicom = roots.all("Mass-*_P_*", "Calc-*_P_*") if layout != "jpeg" else []
        self.layout: Literal["dicom", "jpeg"] = "dicom" if dicom else "jpeg"
        self._folders: dict[str, list[Path]] = defaultdict(list)
        for folder in dicom or (roots.all("jpeg/1.*") if layout != "dicom" else []):
            self._folders[folder.name].append(folder)
        if not self._folders:
            where = ", ".join(str(folder) for folder in roots.folders)
            raise InputError(
                f"{where}: holds no images of CBIS-DDSM (folders such as Mass-Training_P_..., or jpeg/); give the "
                "folder that they lie in as well, or set 'images: false' for a cohort of tables alone."
            )

    def files(self, path: str) -> Files:
        """Return what lies, in this download, where a path of the tables leads."""
        parts = clean_path(path).split("/")
        at = next((k for k, part in enumerate(parts) if _FOLDER.fullmatch(part)), None)
        if at is None or ".." in parts or len(parts) < 2:
            return Files()
        return self._jpeg(parts[at], parts[-2]) if self.layout == "jpeg" else self._dicom(parts[at], parts[at + 1 :])

    def download(self, images: Iterable[Path]) -> str:
        """Say which download these images are of."""
        if self.layout == "jpeg":
            return "JPEG re-release"
        first = any(re.fullmatch(r"\d{6}", path.stem) for path in images)
        return "DICOM, first download (000000.dcm)" if first else "DICOM, later download (1-1.dcm)"

    def _dicom(self, folder: str, inner: Sequence[str]) -> Files:
        for above in self._folders.get(folder, ()):
            exact = above.joinpath(*inner)
            beside = _listed(exact.parent, ".dcm") or sorted(above.rglob("*.dcm"))
            if beside:
                return Files(tuple(beside), exact if exact in beside else None)
        return Files()

    def _jpeg(self, folder: str, series: str) -> Files:
        for above in self._folders.get(series, ()):
            found = _listed(above, ".jpg")
            if found:
                return Files(tuple(found), None)
        return Files(tuple(dict.fromkeys(self._by_patient.get(folder, ()))))

    @cached_property
    def _by_patient(self) -> dict[str, list[Path]]:
        """JPEG files by the folder name of the DICOM download, as csv/dicom_info.csv tells; empty without it."""
        found: dict[str, list[Path]] = defaultdict(list)
        table_path = self._roots.find("dicom_info.csv")
        if table_path is None:
            return found
        table = read_table_file(table_path, table_path.name)
        missing = [name for name in ("PatientID", "image_path") if name not in table.cells]
        if missing:
            raise InputError(f"{table.shown}: there is no column {missing[0]!r}; give the archive's own table.")
        for owner, image in zip(table.column("PatientID"), table.column("image_path"), strict=True):
            *_, series, name = ("", *clean_path(image).split("/"))
            found[owner] += [above / name for above in self._folders.get(series, ()) if (above / name).is_file()]
        return found


def size_of(path: Path) -> tuple[int, int] | None:
    """Return (height, width) of an image from its header, ``None`` where it cannot be read."""
    try:
        return read_size(path)
    except BrokenImageError:
        return None


def find_mask(paths: Iterable[Path], size_px: tuple[int, int]) -> Mask | str:
    """Return the mask among an abnormality's files, or the rule that leaves the abnormality without one.

    The tables swap mask and crop in some rows, so names are not believed: a mask has the mammogram's size and holds two
    values. Headers are read first; pixels only of files of the right size.

    Args:
        paths: Mask and crop, in any order; the first that fits is taken.
        size_px: Height and width of the mammogram.
    """
    paths = list(dict.fromkeys(paths))
    sizes = {path: size_of(path) for path in paths}
    if not paths:
        return ABSENT
    if not any(sizes.values()):
        return BROKEN
    fitting = [path for path in paths if sizes[path] == size_px]
    why = SIZE
    for path in fitting:
        try:
            inside = two_valued(decode_mask(read_bytes(path)))
        except BrokenImageError:
            why = BROKEN
            continue
        if inside is not None:
            return Mask(path, encode_rle(inside), _box(inside))
        why = VALUES
    return why


def two_valued(values: Int[np.ndarray, "height width"]) -> Bool[np.ndarray, "height width"] | None:
    """Return where an image holds the higher of its two values; ``None`` if it holds one value, or many.

    Lossy compression smears the two: up to 1 % of the pixels may lie in the middle half of the range, and the border is
    its middle.
    """
    low, high = int(values.min()), int(values.max())
    quarter = (high - low) / 4
    between = np.count_nonzero((values > low + quarter) & (values < high - quarter))
    if low == high or between > _BETWEEN * values.size:
        return None
    return values > (low + high) / 2


def _box(inside: Bool[np.ndarray, "height width"]) -> tuple[int, int, int, int]:
    x, y = np.flatnonzero(inside.any(axis=0)), np.flatnonzero(inside.any(axis=1))
    return int(x[0]), int(y[0]), int(x[-1]) + 1, int(y[-1]) + 1


def _listed(folder: Path, suffix: str) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix.lower() == suffix and path.is_file())
