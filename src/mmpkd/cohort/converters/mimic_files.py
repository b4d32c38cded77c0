"""Where MIMIC-CXR's images and reports lie: both trees are ``files/p10/p10000032/...``, apart or as one."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

from mmpkd.cohort.converters.roots import Roots
from mmpkd.errors import InputError

_GROUP = "p1[0-9]"
_PROBED = 50  # patients looked into to tell what a tree holds
REPORTS_ZIP = "mimic-cxr-reports.zip"


@dataclass(frozen=True)
class Found:
    """Reports: a zip, or the folder that holds ``p10``."""

    path: Path
    zipped: bool


def find_images(roots: Roots) -> Path:
    """Return the folder that holds ``p10`` and so on of the JPEGs (``files`` in the archive).

    Raises:
        InputError: There is none.
    """
    found = _tree(roots, "images")
    if found is None:
        where = ", ".join(map(str, roots.folders))
        raise InputError(
            f"{where}: holds no images as files/p10/p10000032/s50414267/*.jpg; "
            "give the folder that they lie in as well."
        )
    return found


def find_reports(roots: Roots) -> Found:
    """Return where the reports are; the zip goes before the folder.

    Raises:
        InputError: There are none.
    """
    zipped = roots.find(REPORTS_ZIP)
    if zipped is not None:
        return Found(zipped, zipped=True)
    folder = _tree(roots, "reports")
    if folder is None:
        where = ", ".join(map(str, roots.folders))
        raise InputError(
            f"{where}: holds no {REPORTS_ZIP} and no reports as files/p10/p10000032/s50414267.txt; "
            "give the folder that they lie in as well."
        )
    return Found(folder, zipped=False)


def patients_on_disk(images: Path) -> set[str]:
    """Return the patients that have a folder; ten folders are listed, no image is looked at."""
    return {path.name[1:] for group in images.glob(_GROUP) if group.is_dir() for path in group.iterdir()}


def _tree(roots: Roots, wanted: Literal["images", "reports"]) -> Path | None:
    """Return the first folder with ``p10`` to ``p19`` whose first patients hold what is wanted."""
    groups = [path for path in roots.all(_GROUP) if path.is_dir()]
    groups += [path for folder in roots.all("files") for path in sorted(folder.glob(_GROUP))]
    for folder in dict.fromkeys(path.parent for path in groups):
        patients = islice((path for group in sorted(folder.glob(_GROUP)) for path in sorted(group.iterdir())), _PROBED)
        if any(_holds(patient, wanted) for patient in patients):
            return folder
    return None


def _holds(patient: Path, wanted: Literal["images", "reports"]) -> bool:
    if not patient.is_dir():
        return False
    entries = list(patient.iterdir())
    if wanted == "images":  # a folder a study; no image is looked at
        return any(path.is_dir() for path in entries)
    return any(path.suffix == ".txt" for path in entries)
