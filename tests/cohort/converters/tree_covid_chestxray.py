"""covid-chestxray-dataset in small: paths of findings, CT among X-rays, a licence for each image."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HEADER = [
    "patientid",
    "offset",
    "sex",
    "age",
    "finding",
    "RT_PCR_positive",
    "survival",
    "intubated",
    "intubation_present",
    "went_icu",
    "in_icu",
    "needed_supplemental_O2",
    "extubated",
    "temperature",
    "pO2_saturation",
    "leukocyte_count",
    "neutrophil_count",
    "lymphocyte_count",
    "view",
    "modality",
    "date",
    "location",
    "folder",
    "filename",
    "doi",
    "url",
    "license",
    "clinical_notes",
    "other_notes",
    "",
]
EARLY_HEADER = [
    "Patientid",
    "offset",
    "sex",
    "age",
    "finding",
    "survival",
    "view",
    "date",
    "location",
    "filename",
    "doi",
    " url",
    "license",
    "notes",
]
FINDINGS = [
    "Pneumonia/Viral/COVID-19",
    "Pneumonia/Bacterial/Streptococcus",
    "No Finding",
    "Pneumonia/Viral/SARS",
    "Tuberculosis",
    "Pneumonia",
]
EARLY = {"Pneumonia/Viral/COVID-19": "COVID-19", "Pneumonia/Viral/SARS": "SARS"}
EARLY |= {"Pneumonia/Bacterial/Streptococcus": "Streptococcus"}
WORD = "zyzzyva"  # stands in each note
PLACE, DOI = "Quidnunkia", "10.5555/zzq"
FIRST = 730416


def write_image(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 256, (6, 7), np.uint8)
    Image.fromarray(np.kron(values, np.ones((8, 8), np.uint8))).save(path)


def name_of(i: int) -> str:
    return f"quag-{FIRST + i}.png"


def write_tree(folder: Path, early: bool = False) -> dict[str, Any]:
    """Write the tree; ``early``: the first releases' header and flat names of findings.

    Cases: 48 patients with one frontal X-ray, their findings the six in turn, and a second X-ray of the first: 49.
    Rows that leave: a CT, a lateral view, one of unknown and one of no finding yet, one not on disk, one twice.
    """
    rows = [row_of(i, FIRST + i, FINDINGS[i % 6]) for i in range(48)]
    rows.append(row_of(48, FIRST, FINDINGS[0]) | {"view": "AP Supine", "offset": "3", "license": ""})
    rows.append(row_of(49, FIRST + 49, FINDINGS[0]) | {"modality": "CT", "view": "Axial", "folder": "volumes"})
    rows.append(row_of(50, FIRST + 50, FINDINGS[0]) | {"view": "L"})
    rows.append(row_of(51, FIRST + 51, "Unknown"))
    rows.append(row_of(52, FIRST + 52, "todo"))
    rows.append(row_of(53, FIRST + 53, FINDINGS[0]))
    rows.append(rows[4])
    for i, row in enumerate(rows):
        if i != 53:
            write_image(folder / row["folder"] / row["filename"], FIRST + i)
    header = EARLY_HEADER if early else HEADER
    names = {"Patientid": "patientid", " url": "url", "notes": "clinical_notes"} if early else {}
    with (folder / "metadata.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        for row in rows:
            written = row | ({"finding": EARLY.get(row["finding"], row["finding"])} if early else {})
            writer.writerow([written.get(names.get(name, name), "") for name in header])
    return {
        "archive": "covid-chestxray",
        "roots": [folder],
        "canaries": [WORD, PLACE, DOI, str(FIRST), f"quag-{FIRST + 7}"],
        "cases": 49,
        "rois": 0,
        "study": {"teach": {"teacher": "fusion", "folds": 3}},
    }


def row_of(i: int, patient: int, finding: str) -> dict[str, str]:
    return {
        "patientid": str(patient),
        "offset": "0",
        "sex": "MF"[i % 2],
        "age": "" if i % 5 == 0 else str(30 + i),
        "finding": finding,
        "RT_PCR_positive": "Y" if finding.endswith("COVID-19") else "",
        "survival": "Y" if i % 3 else "N",
        "temperature": "38.5" if i % 4 else "",
        "leukocyte_count": ">9" if i == 1 else "",
        "view": "PA" if i % 2 else "AP",
        "modality": "X-ray",
        "date": "2020",
        "location": f"{PLACE}, Hubei",
        "folder": "images",
        "filename": name_of(i),
        "doi": DOI,
        "license": "CC BY-NC-SA 4.0" if i % 3 else "CC0",
        "clinical_notes": "" if i % 7 == 3 else f'A {WORD}, "{i}" years old,\nwith cough.',
        "other_notes": WORD,
    }
