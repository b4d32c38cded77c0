"""MIMIC-CXR-JPG, MIMIC-CXR's reports, MS-CXR, CheXmask and Chest ImaGenome in small."""

from __future__ import annotations

import csv
import gzip
import io
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BOXED = [
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Lung Opacity",
    "Pleural Effusion",
    "Pneumonia",
    "Pneumothorax",
]
COLUMNS = [
    "Atelectasis",
    "Cardiomegaly",
    "Consolidation",
    "Edema",
    "Enlarged Cardiomediastinum",
    "Fracture",
    "Lung Lesion",
    "Lung Opacity",
    "No Finding",
    "Pleural Effusion",
    "Pleural Other",
    "Pneumonia",
    "Pneumothorax",
    "Support Devices",
]
METADATA = [
    "dicom_id",
    "subject_id",
    "study_id",
    "PerformedProcedureStepDescription",
    "ViewPosition",
    "Rows",
    "Columns",
    "StudyDate",
    "StudyTime",
    "ProcedureCodeSequence_CodeMeaning",
    "ViewCodeSequence_CodeMeaning",
    "PatientOrientationCodeSequence_CodeMeaning",
]
PATIENTS = 30
PA, LATERAL, AP, LATER, UNSTATED, UNLISTED = range(6)  # images of a patient, by their place in the id
VIEWS = {PA: "PA", LATERAL: "LATERAL", AP: "AP", LATER: "AP", UNSTATED: "", UNLISTED: "PA"}
GHOST, UNLABELLED = 90, 91
NO_SECTIONS, NO_REPORT, EMPTY_REPORT, JOINED_HEADING, CANARY, IN_INDICATION = 9, 11, 12, 13, 14, 15
UNCERTAIN, BLANK = 7, 8  # patients whose cardiomegaly is -1 and not mentioned


def subject(i: int) -> str:
    return str(10000100 + i if i < 24 or i >= PATIENTS else 11000000 + i)


def study(i: int, later: bool = False) -> str:
    return str(50000000 + 10 * i + later)


def dicom(i: int, k: int = PA) -> str:
    return f"{i:08x}-bde0afdd-112c0b34-7bc16630-{k:08x}"


def size(i: int) -> tuple[int, int]:
    """Height and width."""
    return 48 + i % 3, 64 + i % 4


def official(i: int) -> str:
    return "test" if 24 <= i < PATIENTS else "validate" if 20 <= i < 24 else "train"


def images() -> Iterator[tuple[int, int]]:
    """Patient and image, of the table of splits."""
    for i in range(PATIENTS):
        yield i, PA
        yield i, LATERAL
        if i % 5 == 0:
            yield i, AP
        if i % 7 == 3:
            yield i, LATER
    yield 4, UNSTATED
    yield 6, UNLISTED
    yield GHOST, PA
    yield UNLABELLED, PA


def study_of(i: int, k: int) -> str:
    return study(i, k == LATER)


def label(i: int, finding: str) -> str:
    """Label of a patient's first study; its later study has those of patient i + 1."""
    if i == UNCERTAIN and finding == "Cardiomegaly":
        return "-1.0"
    return {0: "1.0", 1: ""}.get((i + BOXED.index(finding)) % 4, "0.0") if finding in BOXED else ""


def report(i: int) -> str:
    found = [name.lower() for name in BOXED if label(i, name) == "1.0"]
    if i == NO_SECTIONS:
        return f"                                 FINAL REPORT\n AP chest compared to ___.  {found[0]}, unchanged.\n"
    if i == EMPTY_REPORT:
        return " \n"
    indication = " INDICATION:  ___F with cough" + (" indicanary" if i == IN_INDICATION else "")
    body = f"There is {' and '.join(found)}." + (" Zyxcanary is seen." if i == CANARY else "")
    end = f" FINDINGS: \n \n {body}\n \n IMPRESSION: \n \n {found[0].capitalize()} of patient ___.\n"
    if i == JOINED_HEADING:
        end = f" FINDINGS AND IMPRESSION:  {body}\n"
    return f"                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n\n{indication}\n\n{end}"


def boxes() -> list[dict[str, Any]]:
    """Rows of MS-CXR 1.1.0."""
    rows = []
    for i, k, finding, box, split in (
        (0, PA, "Cardiomegaly", (10, 12, 20, 16), "test"),  # MIMIC: train
        (0, PA, "Cardiomegaly", (10, 12, 20, 16), "test"),  # again, for another phrase
        (1, PA, "Pneumonia", (5, 5, 10, 10), "train"),
        (1, PA, "Atelectasis", (30, 10, 12, 12), "train"),
        (2, PA, "Pneumothorax", (4, 4, 8, 8), "val"),  # MIMIC: train; of another size, see below
        (21, PA, "Edema", (8, 8, 16, 16), "val"),
        (24, PA, "Lung Opacity", (54, 20, 15, 10), "test"),  # the image is 64 wide
        (25, AP, "Pleural Effusion", (3, 6, 9, 12), "test"),
        (26, PA, "Consolidation", (20, 20, 20, 20), "val"),  # MIMIC: test
        (GHOST, PA, "Pneumonia", (1, 1, 5, 5), "train"),
    ):
        height, width = size(i)
        rows.append(
            {
                "category_name": finding,
                "label_text": f"phrasecanary of row {len(rows)}",
                "path": f"files/p{subject(i)[:2]}/p{subject(i)}/s{study_of(i, k)}/{dicom(i, k)}.jpg",
                **dict(zip("xywh", box, strict=True)),
                "image_width": width + (i == 2),
                "image_height": height,
                "dicom_id": dicom(i, k),
                "split": split,
            }
        )
    return rows


def as_coco(rows: list[dict[str, Any]]) -> dict[str, Any]:
    pictures = {row["path"]: row for row in rows}
    ids = {path: number for number, path in enumerate(pictures, start=1)}
    return {
        "info": {"description": "MS-CXR"},
        "licenses": [],
        "categories": [{"id": k, "name": name, "supercategory": "disease"} for k, name in enumerate(BOXED, start=1)],
        "images": [
            {
                "id": ids[path],
                "file_name": path.rsplit("/", 1)[1],
                "path": path,
                "width": row["image_width"],
                "height": row["image_height"],
                **({"split": row["split"]} if "split" in row else {}),
            }
            for path, row in pictures.items()
        ],
        "annotations": [
            {
                "id": number,
                "image_id": ids[row["path"]],
                "category_id": BOXED.index(row["category_name"]) + 1,
                "bbox": [row[name] for name in "xywh"],
                "label_text": row["label_text"],
                "iscrowd": 0,
            }
            for number, row in enumerate(rows, start=1)
        ],
    }


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = io.StringIO(newline="")
    csv.writer(text).writerows([header, *rows])
    data = text.getvalue().encode()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)


def row_runs(left: int, top: int, right: int, bottom: int, width: int) -> str:
    """Return a box as CheXmask's runs: starts from 1 and lengths, along rows."""
    return " ".join(f"{row * width + left + 1} {right - left}" for row in range(top, bottom))


def write_zones(folder: Path) -> None:
    """CheXmask: patient 0 (moved to test), 1 (Dice .69), 24, 25 (other size), 3 (train). ImaGenome: 0 and 24."""
    rows = []
    for i, dice in ((0, 0.93), (1, 0.69), (24, 0.7), (25, 0.9), (3, 0.9)):
        height, width = (1024, 1024) if i == 25 else size(i)
        masks = [row_runs(*box, width) for box in ((36, 6, 60, 40), (4, 6, 28, 40), (24, 20, 44, 38))]
        rows.append([dicom(i), dice, 0.95, "[1 2 3 4]", *masks, height, width])
    header = ["dicom_id", "Dice RCA (Mean)", "Dice RCA (Max)", "Landmarks", "Left Lung", "Right Lung", "Heart"]
    write_csv(folder / "chexmask" / "OriginalResolution" / "MIMIC-CXR-JPG.csv", [*header, "Height", "Width"], rows)
    graphs = folder / "chest-imagenome" / "silver_dataset"
    graphs.mkdir(parents=True)
    with zipfile.ZipFile(graphs / "scene_graph.zip", "w") as archive:
        for i in (0, 3, 24):
            archive.writestr(f"scene_graph/{dicom(i)}_SceneGraph.json", json.dumps(graph(i)))


def graph(i: int) -> dict[str, Any]:
    def entry(name: str, box: Sequence[int]) -> dict[str, Any]:
        corners = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True))
        if i == 24:  # a form without corners of the original
            return {"object_id": f"{dicom(i)}_{name}", "bbox_name": name, **corners}
        of_224 = {key: 224 * value // 64 for key, value in corners.items()}
        original = {f"original_{key}": value for key, value in corners.items()}
        return {"object_id": f"{dicom(i)}_{name}", "bbox_name": name, **of_224, **original}

    return {
        "image_id": dicom(i),
        "patient_id": int(subject(i)),
        "study_id": int(study(i)),
        "objects": [entry("left lung", (36, 6, 60, 40)), entry("cardiac silhouette", (24, 20, 44, 38))],
        "attributes": [
            {
                "left lung": True,
                "bbox_name": "left lung",
                "attributes": [
                    ["anatomicalfinding|yes|lung opacity", "nlp|yes|abnormal", "disease|yes|pneumonia"],
                    ["anatomicalfinding|no|pneumothorax", "anatomicalfinding|yes|atelectasis"],
                ],
                "phrases": ["phrasecanary", "phrasecanary"],
            }
        ],
    }


def write_tree(
    folder: Path, zipped: bool = True, coco: bool = False, version: str = "1.1.0", zones: bool = True, scale: int = 1
) -> dict[str, Any]:
    """Write the tree; ``scale``: images that many times smaller than the tables say.

    Frontal images: 30 PA, 6 more AP (i % 5 == 0), 4 AP of later studies (i % 7 == 3): 40 cases. What leaves: 30 lateral
    images and one of no view, one without metadata, one without a folder on disk, one without labels.
    Boxes: 10 rows, of which leave: one drawn twice, one of another size, one of an image that is not in the cohort.
    Patients 0, 1, 2 (train; 2, 1, 1 images) and 21 (validate) move to test: train 23, val 4, test 13.
    """
    jpg = folder / "mimic-cxr-jpg" / "2.1.0"
    split, metadata = [], []
    for i, k in images():
        split.append([dicom(i, k), study_of(i, k), subject(i), official(i)])
        if k != UNLISTED:
            height, width = size(i)
            meta = [dicom(i, k), subject(i), study_of(i, k), "CHEST (PA AND LAT)", VIEWS[k], height, width]
            metadata.append([*meta, "21800506", "213014.531", "CHEST (PA AND LAT)", "", "Erect"])
        if i != GHOST:
            path = jpg / "files" / f"p{subject(i)[:2]}" / f"p{subject(i)}" / f"s{study_of(i, k)}" / f"{dicom(i, k)}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            values = np.random.default_rng(10 * i + k).integers(0, 256, (5, 7), np.uint8)
            shape = (size(i)[1] // scale, size(i)[0] // scale)
            Image.fromarray(values).resize(shape, Image.Resampling.NEAREST).save(path, quality=95)
    write_csv(jpg / "mimic-cxr-2.0.0-split.csv.gz", ["dicom_id", "study_id", "subject_id", "split"], split)
    write_csv(jpg / "mimic-cxr-2.0.0-metadata.csv.gz", METADATA, metadata)
    studies = {study_of(i, k): (i, k == LATER) for i, k in images() if i != UNLABELLED}
    labelled = [
        [subject(i), name, *(label(i + later, finding) for finding in COLUMNS)] for name, (i, later) in studies.items()
    ]
    write_csv(jpg / "mimic-cxr-2.0.0-chexpert.csv.gz", ["subject_id", "study_id", *COLUMNS], labelled)
    negbio = [["1.0" if value == "-1.0" else value for value in row] for row in labelled]
    write_csv(jpg / "mimic-cxr-2.0.0-negbio.csv.gz", ["subject_id", "study_id", *COLUMNS], negbio)
    read = [
        [study(i), *("0.0" if i == 24 and name == "Lung Opacity" else label(i, name) for name in COLUMNS)]
        for i in range(24, 29)
    ]
    header = ["study_id", *("Airspace Opacity" if name == "Lung Opacity" else name for name in COLUMNS)]
    write_csv(jpg / "mimic-cxr-2.1.0-test-set-labeled.csv", header, read)
    texts = {
        f"files/p{subject(i)[:2]}/p{subject(i)}/s{name}.txt": report(i + later)
        for name, (i, later) in studies.items()
        if i != NO_REPORT
    }
    reports = folder / "mimic-cxr" / "2.1.0"
    reports.mkdir(parents=True)
    if zipped:
        with zipfile.ZipFile(reports / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("files/", "")
            for name, text in texts.items():
                archive.writestr(name, text)
    else:
        for name, text in texts.items():
            (reports / name).parent.mkdir(parents=True, exist_ok=True)
            (reports / name).write_text(text)
    rows = boxes()
    if version == "0.1":
        rows = [{key: value for key, value in row.items() if key != "split"} for row in rows]
    name = f"MS_CXR_Local_Alignment_v{'1.0.0' if version == '0.1' else version}"
    (folder / "ms-cxr").mkdir()
    if coco:
        (folder / "ms-cxr" / f"{name}.json").write_text(json.dumps(as_coco(rows)))
    else:
        write_csv(folder / "ms-cxr" / f"{name}.csv", list(rows[0]), [list(row.values()) for row in rows])
    roots = [jpg, reports, folder / "ms-cxr"]
    if zones:
        write_zones(folder)
        roots += [folder / "chexmask", folder / "chest-imagenome"]
    return {
        "archive": "mimic-cxr",
        "roots": roots,
        "options": {},
        "canaries": [
            subject(0),
            subject(25),
            dicom(0),
            dicom(5, AP),
            f"s{study(3)}",
            "Zyxcanary",
            "zyxcanary",
            "indicanary",
            "phrasecanary",
            "213014.531",
        ],
        "cases": 40,
        "rois": 7,
        "study": {"teach": {"teacher": "tfidf", "folds": 3}},
    }
