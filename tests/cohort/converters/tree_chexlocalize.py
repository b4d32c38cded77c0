"""CheXlocalize and CheXpert in small: three sets, masks as COCO's compressed run lengths, empty ones included."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

TRAIN_HEADER = (
    "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,Lung Lesion,"
    "Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices"
)
FINDINGS = TRAIN_HEADER.split(",")[5:]
CHOSEN = ["Cardiomegaly", "Lung Opacity", "Pleural Effusion"]  # of the study; the others are blank in training
MASKED = [
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Airspace Opacity",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Support Devices",
]
HEIGHT, WIDTH = 40, 56


def patient(number: int) -> str:
    return f"patient{number:05d}"


def image_of(number: int, file: str = "view1_frontal.jpg") -> str:
    return f"{patient(number)}/study1/{file}"


def write_image(path: Path, seed: int, size: tuple[int, int]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (5, 7), np.uint8)
    Image.fromarray(values).resize(size[::-1], Image.Resampling.NEAREST).save(path, quality=95)


def compressed(runs: list[int]) -> str:
    """Write runs as COCO does (see tests/cohort/test_rle.py)."""
    text = ""
    for i, run in enumerate(runs):
        number = run - runs[i - 2] if i > 2 else run
        groups = 1
        while not -(2 ** (5 * groups - 1)) <= number < 2 ** (5 * groups - 1):
            groups += 1
        bits = [(number >> 5 * k) & 31 for k in range(groups)]
        text += "".join(chr(48 + bit + (32 if k < groups - 1 else 0)) for k, bit in enumerate(bits))
    return text


def box_runs(top: int, left: int, height: int, width: int) -> list[int]:
    """Return the runs of a full box in a mask of HEIGHT x WIDTH, worked column by column."""
    first = HEIGHT * left + top
    runs = [first]
    for _ in range(width - 1):
        runs += [height, HEIGHT - height]
    return [*runs, height, HEIGHT * WIDTH - first - HEIGHT * (width - 1) - height]


def labels_of(i: int) -> dict[str, str]:
    """Each chosen finding is there in one patient of three, none in one of four."""
    return {name: "1.0" if i % 4 != 3 and i % 3 == k else "0.0" for k, name in enumerate(CHOSEN)}


def write_tree(folder: Path, small: bool = False, train: bool = True) -> dict[str, Any]:
    """Write the tree; ``small``: CheXpert-v1.0-small, half the size.

    Cases: 24 frontal training images, 8 of val, 12 of test. Training rows that leave: a lateral one, one not on disk.
    Masks: all ten findings of each val and test image, empty but for the chosen ones that its labels name: of 20
    images with i % 4 != 3 (6 of val's 8, 9 of test's 12) one each, 15 in all; a lateral mask besides.
    """
    chexpert = folder / ("CheXpert-v1.0-small" if small else "CheXpert")
    size = (HEIGHT // 2, WIDTH // 2) if small else (HEIGHT, WIDTH)
    prefix = "CheXpert-v1.0-small" if small else "CheXpert-v1.0"
    rows = {"train": [TRAIN_HEADER], "valid": [TRAIN_HEADER]}
    first = {"train": 11, "valid": 64541, "test": 64741}
    count = {"train": 24 if train else 0, "valid": 8, "test": 12}
    masks: dict[str, dict[str, Any]] = {"valid": {}, "test": {}}
    test_rows = ["Path," + ",".join(name for name in FINDINGS if name != "No Finding")]
    for split, start in first.items():
        for i in range(count[split]):
            labels = dict.fromkeys(FINDINGS, "" if split == "train" else "0.0") | labels_of(i)
            if split == "train" and i == 2:
                labels["Cardiomegaly"] = "-1.0"
            if split == "train" and i == 5:
                labels["Cardiomegaly"] = ""
            path = image_of(start + i)
            on_disk = "val" if split == "valid" and not small else split
            write_image(chexpert / on_disk / path, start + i, size)
            if split == "test":
                test_rows.append(f"{prefix}/test/{path},{','.join(labels[name] for name in FINDINGS[1:])}")
            else:
                sex = "Female" if i % 2 else "Male"
                view = "AP" if i % 3 else "PA"
                rows[split].append(f"{prefix}/{split}/{path},{sex},{30 + i},Frontal,{view},{','.join(labels.values())}")
            if split != "train":
                key = path.removesuffix(".jpg").replace("/", "_")
                masks[split][key] = {
                    name: {"size": [HEIGHT, WIDTH], "counts": compressed([HEIGHT * WIDTH])} for name in MASKED
                }
                for name in CHOSEN:
                    if labels[name] == "1.0":
                        drawn = {"size": [HEIGHT, WIDTH], "counts": compressed(box_runs(10, 20, 16, 8))}
                        masks[split][key]["Airspace Opacity" if name == "Lung Opacity" else name] = drawn
    if train:
        lateral = image_of(11, "view2_lateral.jpg")
        write_image(chexpert / "train" / lateral, 1, size)
        blank = "," * (len(FINDINGS) - 1)
        rows["train"].append(f"{prefix}/train/{lateral},Male,30,Lateral,,{blank}")
        rows["train"].append(f"{prefix}/train/{image_of(60000)},Male,30,Frontal,AP,{blank}")
        (chexpert / "train.csv").write_text("\n".join(rows["train"]) + "\n")
    (chexpert / "valid.csv").write_text("\n".join(rows["valid"]) + "\n")
    (chexpert / "test_labels.csv").write_text("\n".join(test_rows) + "\n")
    masks["test"]["patient64741_study1_view2_lateral"] = {"Cardiomegaly": {"size": [2, 2], "counts": "04"}}
    localize = folder / "CheXlocalize"
    localize.mkdir()
    (localize / "gt_segmentations_val.json").write_text(json.dumps(masks["valid"]))
    (localize / "gt_segmentations_test.json").write_text(json.dumps(masks["test"]))
    return {
        "archive": "chexlocalize",
        "roots": [chexpert, localize],
        "options": {"findings": CHOSEN},
        "canaries": [patient(11), patient(64541), patient(64745), "patient64741_study1"],
        "cases": 24 + 8 + 12,
        "rois": 15,
        "study": {"teach": {"teacher": "tabular", "folds": 3}},
    }
