"""COCO in small: instances and captions of two parts, a crowd, a box without an area, one past the edge."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

CATEGORIES = {1: "person", 3: "car", 17: "cat", 18: "dog", 62: "chair"}
CHOSEN = ["person", "cat", "dog"]
WORD = "zyzzyva"  # stands in each caption
WIDTH, HEIGHT = 64, 48


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)
    Image.fromarray(values).resize((WIDTH, HEIGHT), Image.Resampling.NEAREST).save(path, quality=95)


def write_tree(folder: Path, year: int = 2017) -> dict[str, Any]:
    """Write the tree.

    Cases: 24 of train, 12 of val; image i has category i % 5, but none where i % 4 is 3. One image of train is not on
    disk. Boxes: 18 of train and 9 of val, of which cars and chairs (i % 5 is 1 or 4) leave: i = 1, 4, 6, 9, 14, 16, 21
    and 1, 4, 6, 9; 11 and 5 stay. Besides: a crowd, a box without an area, and one past the edge, which stays: 17.
    """
    names = list(CATEGORIES)
    for part, count, start in (("train", 24, 391000), ("val", 12, 785000)):
        images, objects, captions = [], [], []
        for i in range(count):
            number = start + i
            name = f"{number:012d}.jpg" if year == 2017 else f"COCO_{part}{year}_{number:012d}.jpg"
            images.append({"license": 4, "file_name": name, "height": HEIGHT, "width": WIDTH, "id": number})
            write_image(folder / f"{part}{year}" / name, number)
            category = names[i % 5]
            if i % 4 != 3:
                objects.append(instance(number, category, [8.5, 10, 20, 16.25]))
            captions += [
                {"image_id": number, "id": 2 * i, "caption": f"A {WORD} beside a {CATEGORIES[category]}."},
                {"image_id": number, "id": 2 * i + 1, "caption": "Something\nelse. "},
            ]
        if part == "train":
            images.append({"file_name": "000000999999.jpg", "height": HEIGHT, "width": WIDTH, "id": 999999})
            objects.append(instance(999999, 1, [1, 1, 5, 5]))
            objects.append(instance(start + 3, 1, [0, 0, 60, 40]) | {"iscrowd": 1})
            objects.append(instance(start, 18, [30, 30, 0, 4]))
            objects.append(instance(start, 17, [50, 40, 20, 4]))
        info = {"info": {"contributor": WORD}, "licenses": [{"id": 4, "name": WORD}], "images": images}
        kinds = [{"supercategory": "thing", "id": key, "name": name} for key, name in CATEGORIES.items()]
        annotations = folder / "annotations"
        annotations.mkdir(exist_ok=True)
        instances = info | {"annotations": objects, "categories": kinds}
        (annotations / f"instances_{part}{year}.json").write_text(json.dumps(instances))
        (annotations / f"captions_{part}{year}.json").write_text(json.dumps(info | {"annotations": captions}))
    return {
        "archive": "coco",
        "roots": [folder],
        "options": {"findings": CHOSEN},
        "canaries": [WORD, "000000391005", "391005"],
        "cases": 36,
        "rois": 17,
        "study": {"teach": {"teacher": "tfidf", "folds": 3}},
    }


def instance(image: int, category: int, box: list[float]) -> dict[str, Any]:
    outline = [[box[0], box[1], box[0] + 1, box[1], box[0], box[1] + 1]]
    return {
        "segmentation": outline,
        "area": box[2] * box[3],
        "iscrowd": 0,
        "image_id": image,
        "bbox": box,
        "category_id": category,
        "id": 7,
    }
