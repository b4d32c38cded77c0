"""CheXlocalize's masks: image -> finding -> COCO run lengths, an empty mask where there is nothing to draw."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Bool

from mmpkd.cohort.converters.archive_json import read_archive_json
from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.images import BrokenImageError, read_size
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.rle import check_rle, decode_rle, encode_rle

_NAMES_OF_MASKS = {"Airspace Opacity": "Lung Opacity"}


def read_masks(roots: Roots, cases: pd.DataFrame, base: Path, findings: Sequence[str], ledger: Ledger) -> pd.DataFrame:
    """Return ``key``, ``finding`` and ``rle`` of each mask that is not empty, in the pixels of the image at hand.

    Args:
        roots: Hold ``gt_segmentations_*.json``.
        cases: ``key`` (``patient1_study1_view1_frontal``), ``image`` and labels.
        base: Folder that images are relative to.
        findings: Whose masks to keep.
        ledger: Told what was left out.

    Raises:
        InputError: A mask that is none.
    """
    image_of = dict(zip(cases["key"], cases["image"], strict=True))
    sizes: dict[str, tuple[int, int]] = {}
    left = dict.fromkeys(("image", "finding", "empty"), 0)
    resized, rows = 0, []
    problems = Problems()
    for path in sorted(
        roots.all("gt_segmentations_val.json", "gt_segmentations_test.json"), key=lambda path: path.name
    ):
        masks = read_archive_json(path)
        ledger.version(path.name, f"masks of {len(masks):,} images")
        for number, (key, by_finding) in enumerate(masks.items(), start=1):
            if not isinstance(by_finding, Mapping):
                problems.add(f"{path.name}, image {number}: holds no masks by finding; download it anew.")
                continue
            for name, mask in by_finding.items():
                finding = _NAMES_OF_MASKS.get(name, name)
                if key not in image_of or finding not in findings:
                    left["finding" if key in image_of else "image"] += 1
                    continue
                try:
                    counts, size, empty = _checked(mask)
                except ValueError as error:
                    problems.add(f"{path.name}, image {number}, finding {finding!r}: the run lengths {error}.")
                    continue
                if empty:
                    left["empty"] += 1
                    continue
                if key not in sizes:
                    sizes[key] = _size(base / image_of[key], size)
                if sizes[key] != size:
                    resized += 1
                    counts = encode_rle(_resampled(decode_rle(counts, size), sizes[key]))
                rows.append((key, finding, counts))
    problems.raise_any()
    ledger.drop("masks of images that are not in the cohort (other views, not on disk)", left["image"])
    ledger.drop("masks of findings that are not chosen", left["finding"])
    ledger.drop("empty masks", left["empty"])
    if resized:
        ledger.note(f"{resized} masks lie on smaller copies of their images and were resampled to them.")
    table = pd.DataFrame(rows, columns=["key", "finding", "rle"])
    _count_disagreements(table, cases, findings, ledger)
    return table


def _checked(mask: Any) -> tuple[str, tuple[int, int], bool]:
    """Return run lengths, size, and whether they hold no pixel."""
    try:
        height, width = (int(side) for side in mask["size"])
        counts = mask["counts"]
    except (TypeError, KeyError, ValueError):
        raise ValueError("have no size or no counts") from None
    text = counts if isinstance(counts, str) else " ".join(map(str, counts)) if isinstance(counts, list) else "?"
    runs = check_rle(text, (height, width))
    return text, (height, width), not runs[1::2].any()


def _size(path: Path, otherwise: tuple[int, int]) -> tuple[int, int]:
    try:
        return read_size(path)
    except BrokenImageError:
        return otherwise  # the cohort's own reader leaves the case out and tells it


def _resampled(mask: Bool[np.ndarray, "height width"], size_px: tuple[int, int]) -> Bool[np.ndarray, "rows columns"]:
    """Return the mask at another size: a pixel is inside when its centre is; one that would vanish keeps a pixel."""
    at = [((np.arange(new) + 0.5) * old / new).astype(int) for new, old in zip(size_px, mask.shape, strict=True)]
    small: np.ndarray = mask[np.ix_(*at)]
    if not small.any():
        centre = (np.argwhere(mask)[0] * size_px // mask.shape).astype(int)
        small[tuple(centre)] = True
    return small


def _count_disagreements(masks: pd.DataFrame, cases: pd.DataFrame, findings: Sequence[str], ledger: Ledger) -> None:
    drawn = set(zip(masks["key"], masks["finding"], strict=True))
    scored = cases[cases["split"].isin(["val", "test"])]
    positive = {(key, finding) for finding in findings for key in scored.loc[scored[finding] == 1, "key"]}
    ledger.count("positive labels of val and test without a mask", len(positive - drawn))
    ledger.count("masks of a finding that the image's labels do not name", len(drawn - positive))
