"""Writing a phantom as an ordinary cohort: PNG images and masks, two tables, and the YAML that describes them.

A chunk is in memory at a time; `cohort.yaml` comes last, so that a cohort that has it is complete.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import yaml
from jaxtyping import Bool

from mmpkd.cohort.phantom.assemble import Phantom, generate_chunks
from mmpkd.cohort.phantom.settings import PhantomSettings
from mmpkd.files import write_text, written_whole
from mmpkd.progress import SILENT, Progress

_FRACTIONS = {"train": 0.55, "val": 0.15, "test": 0.30}


def write_phantom(settings: PhantomSettings, folder: Path, progress: Progress = SILENT) -> Path:
    """Write the phantom into ``folder`` and return the path of its ``cohort.yaml``.

    Writes ``images/<case>.png``, ``masks/<case>_<finding>.png`` for each finding that is present (0 and 255),
    ``cases.csv`` (case, patient, image, labels, ``truth_<finding>``, marker, report, metadata), ``rois.csv`` (one row a
    connected piece: its box, half-open in pixels, and the mask it is in, which is what counts where masks are read),
    ``zones.csv`` (one row a zone of an image), ``phantom.yaml`` (the settings) and ``cohort.yaml``. Memory does not
    grow with the cohort.

    Raises:
        InputError: The folder cannot be written or the disk is full.
    """
    description = folder / "cohort.yaml"
    with (
        written_whole(folder / "cases.csv") as cases,
        written_whole(folder / "rois.csv") as rois,
        written_whole(folder / "zones.csv") as zones,
    ):
        description.unlink(missing_ok=True)
        for name in ("images", "masks"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        metadata: list[str] = []
        with (
            cases.open("w", encoding="utf-8", newline="") as case_file,
            rois.open("w", encoding="utf-8", newline="") as roi_file,
            zones.open("w", encoding="utf-8", newline="") as zone_file,
            progress.bar("phantom", settings.patients) as advance,
        ):
            for number, chunk in enumerate(generate_chunks(settings)):
                _write_pixels(chunk, folder)
                _case_table(chunk).to_csv(case_file, index=False, header=number == 0)
                _roi_table(chunk).to_csv(roi_file, index=False, header=number == 0)
                chunk.zones.to_csv(zone_file, index=False, header=number == 0)
                metadata = list(chunk.metadata.columns)
                advance(chunk.cases["patient"].nunique())
    write_text(folder / "phantom.yaml", settings.to_yaml())
    text = yaml.safe_dump(_describe(settings, metadata), sort_keys=False, width=110)
    write_text(description, text)
    return description


def _write_pixels(chunk: Phantom, folder: Path) -> None:
    from PIL import Image

    for case, pixels, masks in zip(chunk.cases["case"], chunk.images, chunk.masks, strict=True):
        Image.fromarray(pixels).save(folder / "images" / f"{case}.png", compress_level=1)
        for name, mask in zip(chunk.findings, masks, strict=True):
            if mask.any():
                path = folder / "masks" / f"{case}_{name}.png"
                Image.fromarray(mask.astype(np.uint8) * 255).save(path, compress_level=1)


def _case_table(chunk: Phantom) -> pd.DataFrame:
    labels = pd.DataFrame(chunk.labels, columns=list(chunk.findings)).astype("Int64")
    truth = pd.DataFrame(chunk.truth, columns=[f"truth_{name}" for name in chunk.findings]).astype("Int64")
    own = chunk.cases[["case", "patient"]].assign(image="images/" + chunk.cases["case"] + ".png")
    marker = chunk.cases["marker"].astype(int)
    return pd.concat([own, labels, truth, marker, pd.Series(chunk.text, name="report"), chunk.metadata], axis=1)


def _roi_table(chunk: Phantom) -> pd.DataFrame:
    rows = [
        (case, name, *box, f"masks/{case}_{name}.png")
        for case, masks in zip(chunk.cases["case"], chunk.masks, strict=True)
        for name, mask in zip(chunk.findings, masks, strict=True)
        for box in boxes_of(mask)
    ]
    return pd.DataFrame(rows, columns=["case", "finding", "x_min", "y_min", "x_max", "y_max", "mask"])


def boxes_of(mask: Bool[np.ndarray, "height width"]) -> Iterator[tuple[int, int, int, int]]:
    """Yield (x_min, y_min, x_max, y_max), half-open, of each connected piece of a mask (touching corners connect)."""
    from scipy.ndimage import find_objects, label

    if mask.any():
        pieces, _ = label(mask, structure=np.ones((3, 3), int))
        for rows, columns in find_objects(pieces):
            yield int(columns.start), int(rows.start), int(columns.stop), int(rows.stop)


def _describe(settings: PhantomSettings, metadata: list[str]) -> dict[str, object]:
    return {
        "name": f"phantom-{settings.kind}",
        "root": ".",
        "table": "cases.csv",
        "case": "case",
        "image": "image",
        "patient": "patient",
        "task": "multi-label",
        "labels": {name: name for name in settings.findings},
        "reference": {name: f"truth_{name}" for name in settings.findings},
        "text": "report",
        "metadata": metadata,
        "rois": {
            "table": "rois.csv",
            "case": "case",
            "finding": "finding",
            "boxes": ["x_min", "y_min", "x_max", "y_max"],
            "mask": "mask",
        },
        "zones": {
            "scheme": "six" if settings.kind == "chest" else "breast",
            "table": "zones.csv",
            "boxes": ["x_min", "y_min", "x_max", "y_max"],
        },
        "split": {"fractions": _FRACTIONS, "seed": settings.seed},
    }
