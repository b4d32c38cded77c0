"""MS-CXR's boxes on MIMIC-CXR's images: which are usable, and whose patients must leave training."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.ms_cxr import find_ms_cxr, read_ms_cxr
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.images import BrokenImageError, read_size

CORNERS = ["x_min", "y_min", "x_max", "y_max"]


def take_boxes(roots: Roots, images: pd.DataFrame, findings: Sequence[str], ledger: Ledger) -> pd.DataFrame:
    """Return the usable boxes, if any, and move every image of a patient of MS-CXR to test.

    Args:
        roots: Where MS-CXR may lie.
        images: As :func:`mmpkd.cohort.converters.mimic_tables.read_images` returns them; ``split`` is changed.
        findings: Whose boxes to keep.
        ledger: Told who moved and which boxes were left out.
    """
    path = find_ms_cxr(roots)
    if path is None:
        ledger.note("There is no MS_CXR_Local_Alignment table in the roots, so the cohort has no boxes.")
        return pd.DataFrame()
    boxes = read_ms_cxr(path, ledger)
    at = pd.Index(images["image"]).get_indexer(pd.Index(boxes["image"]))
    ledger.drop("boxes of images that are not in the cohort", int((at < 0).sum()))
    boxes, at = boxes[at >= 0], at[at >= 0]
    here = images.iloc[at]
    differs = pd.Series(here["split"].to_numpy() != boxes["split"].to_numpy()) & boxes["split"].ne("").to_numpy()
    ledger.count(
        "images whose split in MS-CXR differs from MIMIC-CXR's (MS-CXR's is not used)",
        here["image"][differs.to_numpy()].nunique(),
    )
    patients = images["patient"].isin(here["patient"])
    for split in ("train", "val"):
        moved = patients & (images["split"] == split)
        ledger.count(f"patients with boxes, moved from {split} to test", images.loc[moved, "patient"].nunique())
        ledger.drop(f"{split} images of patients with boxes, moved to test", int(moved.sum()))
    images.loc[patients, "split"] = "test"
    same = (here[["height", "width"]].to_numpy() == boxes[["height", "width"]].to_numpy()).all(1)
    ledger.drop("boxes of another image size than the metadata's", int((~same).sum()))
    chosen = boxes["finding"].isin(findings).to_numpy()
    ledger.drop("boxes of findings that are not chosen", int((same & ~chosen).sum()))
    ledger.note(
        "Every patient with a box on an image of the cohort, of any finding, is a test patient and not trained on."
    )
    return boxes[same & chosen].reset_index(drop=True)


def on_copies(boxes: pd.DataFrame, images: pd.DataFrame, base: Path, ledger: Ledger) -> pd.DataFrame:
    """Return the boxes in the pixels of the images at hand, which may be smaller copies."""
    of = images.set_index("image").loc[boxes["image"].unique()]
    sizes = {
        image: _size(base / f"p{row.patient[:2]}" / f"p{row.patient}" / f"s{row.study}" / f"{image}.jpg")
        for image, row in of.iterrows()
    }
    stated = boxes[["width", "height"]].to_numpy(float)
    real = np.array([sizes[image] or size for image, size in zip(boxes["image"], stated[:, ::-1], strict=True)], float)
    scale = real[:, ::-1] / stated
    resized = (scale != 1).any(1)
    if resized.any():
        ledger.note(f"{resized.sum()} boxes lie on copies of another size than the original and were scaled to them.")
    boxes[CORNERS] = boxes[CORNERS].to_numpy(float) * np.tile(scale, 2)
    return boxes


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return read_size(path)
    except BrokenImageError:
        return None  # the cohort's own reader leaves the case out and tells it
