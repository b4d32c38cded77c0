"""NIH ChestX-ray14 in small: ragged headers, both forms of ages, boxes in pixels of 1024 x 1024."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

FINDINGS = [
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
]
BOXED = ["Atelectasis", "Cardiomegaly", "Effusion", "Infiltrate", "Mass", "Nodule", "Pneumonia", "Pneumothorax"]
FIRST = 73190400  # patients count from here; eight digits that stand nowhere by chance
HEADER = (
    "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,"
    "OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y]"
)
BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"
SIZE_PX = 64

CROSSING = FIRST + 50  # has an image in either list
BOXED_IN_TRAINING = FIRST + 7  # Pneumothorax, twice


def name_of(patient: int, number: int = 0) -> str:
    return f"{patient:08d}_{number:03d}.png"


def write_image(path: Path, seed: int, size_px: int = SIZE_PX) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (8, 8), np.uint8)
    Image.fromarray(np.kron(values, np.ones((size_px // 8, size_px // 8), np.uint8))).save(path)


def write_tree(folder: Path, version: str = "2017", layout: str = "zips", size_px: int = SIZE_PX) -> dict[str, Any]:
    """Write the tree.

    Cases: 42 patients with one finding each (28 of training, 14 of test), 6 healthy ones with two images, one of two
    findings, one who crosses the lists with an image in each: 42 + 12 + 1 + 2 = 57. Rows that leave: one not on
    disk, one in neither list. Boxes: 8 of test patients, 1 of a training patient, 2 of images that are not there.
    """
    # patient, follow-up, labels, list
    rows = [(FIRST + i, 0, FINDINGS[i % 14], "train" if i < 28 else "test") for i in range(42)]
    for i in range(6):
        rows += [(FIRST + 42 + i, number, "No Finding", "train" if i < 4 else "test") for number in range(2)]
    rows.append((FIRST + 48, 0, "Effusion|Mass", "test"))
    rows += [(CROSSING, 0, "Edema", "train"), (CROSSING, 1, "No Finding", "test")]
    rows.append((FIRST + 51, 0, "Edema", "train"))  # not on disk
    rows.append((FIRST + 52, 0, "Edema", ""))  # in neither list
    lines, lists = [HEADER + ("," if version == "2017" else "")], {"train": [], "test": [], "": []}
    for i, (patient, number, labels, split) in enumerate(rows):
        age = 414 if i == 3 else 20 + i
        written = f"{age:03d}Y" if version == "2017" else str(age)
        if version == "2017" and i == 5:
            written = "006M"
        view = "AP" if i % 3 == 0 else "PA"
        end = ",2682,2749,0.19431199,0.19431199" + ("," if version == "2017" else "")
        lines.append(f"{name_of(patient, number)},{labels},{number},{patient},{written},{'FM'[i % 2]},{view}{end}")
        lists[split].append(name_of(patient, number))
        if patient != FIRST + 51:
            parts = {"zips": f"images_{1 + i % 2:03d}/images", "flat": "images"}[layout]
            write_image(folder / parts / name_of(patient, number), i, size_px)
    table = "Data_Entry_2017.csv" if version == "2017" else "Data_Entry_2017_v2020.csv"
    (folder / table).write_text("\n".join(lines) + "\n")
    (folder / "train_val_list.txt").write_text("\n".join(lists["train"]) + "\n")
    (folder / "test_list.txt").write_text("\n".join(lists["test"]))
    boxes = [(name_of(FIRST + 28 + i), finding) for i, finding in enumerate(BOXED)]
    boxes += [(name_of(BOXED_IN_TRAINING), "Pneumothorax"), (name_of(FIRST + 51), "Mass"), (name_of(7), "Mass")]
    box_lines = [f"{name},{finding},225.084745762712,512.0,86.7796610169492,128,,," for name, finding in boxes]
    (folder / "BBox_List_2017.csv").write_text("\n".join([BOX_HEADER, *box_lines]) + "\n")
    return {
        "archive": "nih-chestxray14",
        "roots": [folder],
        "canaries": [str(FIRST), str(FIRST + 30), str(CROSSING), "0.19431199"],
        "cases": 57,
        "rois": 9,
        "study": {"teach": {"teacher": "tabular", "folds": 3}},
    }
