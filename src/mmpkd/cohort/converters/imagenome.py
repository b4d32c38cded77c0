"""Zones of MIMIC-CXR's frontal images by Chest ImaGenome: 29 anatomical boxes and the findings reports name in them.

Source: Wu et al. 2021, Chest ImaGenome (boxes by a detector, findings mined from reports). Scene graphs are read one at
a time. `zones` gives lungs and heart as masks.
"""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.zones import COLUMNS, Sizes
from mmpkd.errors import InputError

_GRAPH = "_SceneGraph.json"


def find_imagenome(roots: Roots) -> Path | None:
    """Return the scene graphs of Chest ImaGenome: the zip, or the folder that it was unpacked to."""
    found = roots.find("scene_graph.zip")
    if found is None:
        found = next((path for path in roots.all("scene_graph") if path.is_dir()), None)
    return found


def read_imagenome(path: Path, sizes_px: Sizes, ledger: Ledger, rows: int = 5_000) -> Iterator[pd.DataFrame]:
    """Yield the anatomical boxes of wanted images, in original pixels, with the findings that the report names there.

    Args:
        path: ``scene_graph.zip``, or a folder of ``<image>_SceneGraph.json``.
        sizes_px: Image id -> height and width of the original image, which boxes are cut to.
        ledger: Told, when all is read, what was left out.
        rows: Least rows of a part, but the last.

    Raises:
        InputError: A zip that cannot be read, or a document that is no scene graph.
    """
    part: list[dict[str, Any]] = []
    found, outside = 0, 0
    for place, graph in _graphs(path, sizes_px):
        found += 1
        try:
            image = str(graph["image_id"])
            if image not in sizes_px:
                raise InputError(f"{path.name}, {place}: is the graph of another image; download it anew.")
            boxes = _boxes(graph, sizes_px[image])
        except (KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{path.name}, {place}: is no scene graph; download it anew.") from None
        kept = [box for box in boxes if box["x_max"] > box["x_min"] and box["y_max"] > box["y_min"]]
        outside += len(boxes) - len(kept)
        part += [{"image": image, "source": "Chest ImaGenome", **box} for box in kept]
        if len(part) >= rows:
            yield pd.DataFrame(part, columns=COLUMNS)
            part = []
    if part:
        yield pd.DataFrame(part, columns=COLUMNS)
    ledger.version("Chest ImaGenome", f"{path.name}, {'zip' if path.is_file() else 'folder'}")
    ledger.drop("images that are not in Chest ImaGenome", len(sizes_px) - found)
    ledger.drop("boxes of Chest ImaGenome without area in their image", outside)


def _graphs(path: Path, sizes_px: Sizes) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield a place that tells no id, and the document, in the order of the archive."""
    try:
        if path.is_dir():
            names = sorted(image for image in sizes_px if (path / f"{image}{_GRAPH}").is_file())
            for number, image in enumerate(names, start=1):
                yield f"graph {number}", json.loads((path / f"{image}{_GRAPH}").read_bytes())
            return
        with zipfile.ZipFile(path) as archive:
            for number, info in enumerate(archive.infolist(), start=1):
                name = info.filename.rpartition("/")[2]
                if name.endswith(_GRAPH) and name.removesuffix(_GRAPH) in sizes_px:
                    yield f"entry {number}", json.loads(archive.read(info))
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, RecursionError, NotImplementedError):
        raise InputError(f"{path.name}: holds a scene graph that cannot be read; download it anew.") from None


def _boxes(graph: Mapping[str, Any], size_px: tuple[int, int]) -> list[dict[str, Any]]:
    named: dict[str, list[str]] = {}
    for entry in graph.get("attributes", ()):
        said = [item.split("|") for group in entry["attributes"] for item in group]
        named[entry["bbox_name"]] = sorted(
            {parts[2] for parts in said if len(parts) == 3 and parts[:2] == ["anatomicalfinding", "yes"]}
        )
    boxes = {}
    for entry in graph["objects"]:
        prefix = "original_" if "original_x1" in entry else ""
        corners = [float(entry[f"{prefix}{name}"]) for name in ("x1", "y1", "x2", "y2")]
        cut = np.clip(corners, 0, [size_px[1], size_px[0]] * 2)
        boxes[entry["bbox_name"]] = {
            "zone": str(entry["bbox_name"]),
            **dict(zip(("x_min", "y_min", "x_max", "y_max"), cut.tolist(), strict=True)),
            "height": size_px[0],
            "width": size_px[1],
            "findings": "|".join(named.get(entry["bbox_name"], ())) or None,
        }
    return list(boxes.values())
