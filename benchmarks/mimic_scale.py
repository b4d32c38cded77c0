"""How long MIMIC-CXR-JPG takes to convert at its true size, and how much memory.

    python benchmarks/mimic_scale.py [--images 377110] [--studies 227835] [--unpacked]

It writes an archive of that many table rows and reports (some 600 characters each, in one zip) into a temporary folder:
the tables have every column of the true ones, patients have a folder, and there are no image files, since conversion
opens none but those with boxes. It prints the time and the peak resident memory of a process that converts it, beside
the goal of 2 minutes and 2 GB on two cores. One process does all of it.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd

FINDINGS = (
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
)
SENTENCES = (
    "The heart is mildly enlarged.",
    "There is no focal consolidation, pleural effusion or pneumothorax.",
    "Mild interstitial edema has improved since ___.",
    "An endotracheal tube ends 4 cm above the carina.",
    "Bibasilar opacities are compatible with atelectasis.",
    "Mediastinal and hilar contours are unchanged.",
    "Small bilateral pleural effusions persist.",
    "No acute osseous abnormality is seen.",
)
STUDIES_OF_A_PATIENT = 3.5
BOXED_IMAGES = 1_047


def main() -> None:
    """Write the archive, convert it in a process of its own, print its figures."""
    parser = argparse.ArgumentParser(description="Conversion of MIMIC-CXR-JPG at its true size.")
    parser.add_argument("--images", type=int, default=377_110, help="rows of the tables")
    parser.add_argument("--studies", type=int, default=227_835, help="reports")
    parser.add_argument("--unpacked", action="store_true", help="reports as files, in place of a zip")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure is not None:
        print(json.dumps(measure(given.measure)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        start = time.perf_counter()
        write_archive(folder / "archive", given.images, given.studies, given.unpacked)
        print(f"wrote {given.images:,} table rows and {given.studies:,} reports in {time.perf_counter() - start:.0f} s")
        command = [sys.executable, __file__, "--measure", str(folder)]
        answer = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        print(f"conversion    {answer['wall']:6.1f} s ({answer['cpu']:.1f} s of CPU), {answer['cases']:,} cases")
        print(f"peak memory   {answer['peak']:6.2f} GB")
        print(f"cohort        {answer['disk']:6.1f} MB")
        print("goal           120 s, 2 GB")


def measure(folder: Path) -> dict[str, float]:
    """Convert the archive; return seconds, peak resident memory in GB, and what was written."""
    import resource

    from mmpkd.cohort.converters import convert_archive

    wall, cpu = time.perf_counter(), time.process_time()
    out = convert_archive("mimic-cxr", [folder / "archive"], folder / "cohort").parent
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    unit = 1 if sys.platform == "darwin" else 2**10
    counts = json.loads((out / "conversion.json").read_text())["counts"]
    return {
        "wall": wall,
        "cpu": cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9,
        "cases": counts["cases in the cohort"],
        "disk": sum(path.stat().st_size for path in out.iterdir()) / 1e6,
    }


def write_archive(folder: Path, images: int, studies: int, unpacked: bool) -> None:
    """Write tables, reports, boxes, and a folder for each patient."""
    rng = np.random.default_rng(0)
    patients = max(1, round(studies / STUDIES_OF_A_PATIENT))
    of_study = np.sort(np.concatenate([np.arange(patients), rng.integers(0, patients, studies - patients)]))
    subject = (10_000_032 + of_study * (9_900_000 // patients)).astype(str)
    study = np.char.mod("%d", 50_000_000 + np.arange(studies))
    of_image = np.sort(np.concatenate([np.arange(studies), rng.integers(0, studies, images - studies)]))
    ids = rng.integers(0, 2**32, (images, 5))
    dicom = ["-".join(f"{part:08x}" for part in row) for row in ids.tolist()]
    write_tables(folder, rng, dicom, subject[of_image], study[of_image])
    write_labels(folder, rng, subject, study)
    for name in np.unique(subject):
        (folder / "files" / f"p{name[:2]}" / f"p{name}").mkdir(parents=True)
    (folder / "files" / f"p{subject[0][:2]}" / f"p{subject[0]}" / f"s{study[0]}").mkdir()
    write_reports(folder / "mimic-cxr", rng, subject, study, unpacked)


def write_tables(
    folder: Path, rng: np.random.Generator, dicom: list[str], subject: np.ndarray, study: np.ndarray
) -> None:
    """Write the split, the metadata and MS-CXR."""
    images = len(dicom)
    (folder / "ms-cxr").mkdir(parents=True)
    splits = np.array(["train", "validate", "test"])[np.searchsorted([0.979, 0.987], rng.random(images))]
    first = dict(zip(subject, splits, strict=True))
    split = pd.DataFrame(
        {"dicom_id": dicom, "study_id": study, "subject_id": subject, "split": [first[name] for name in subject]}
    )
    write(split, folder / "mimic-cxr-2.0.0-split.csv.gz")
    metadata = pd.DataFrame(
        {
            "dicom_id": dicom,
            "subject_id": subject,
            "study_id": study,
            "PerformedProcedureStepDescription": "CHEST (PA AND LAT)",
            "ViewPosition": rng.choice(["AP", "PA", "LATERAL", "LL", ""], images, p=[0.39, 0.255, 0.22, 0.095, 0.04]),
            "Rows": 3056,
            "Columns": 2544,
            "StudyDate": rng.integers(21_800_101, 22_001_231, images),
            "StudyTime": rng.integers(0, 235_959, images) + 0.531,
            "ProcedureCodeSequence_CodeMeaning": "CHEST (PA AND LAT)",
            "ViewCodeSequence_CodeMeaning": "postero-anterior",
            "PatientOrientationCodeSequence_CodeMeaning": "Erect",
        }
    )
    write(metadata, folder / "mimic-cxr-2.0.0-metadata.csv.gz")
    frontal = np.flatnonzero(metadata["ViewPosition"].isin(["AP", "PA"]))[:: max(1, images // BOXED_IMAGES // 2)]
    at = frontal[:BOXED_IMAGES]
    boxes = pd.DataFrame(
        {
            "category_name": rng.choice(["Pneumonia", "Edema", "Cardiomegaly", "Pneumothorax"], len(at)),
            "label_text": "a phrase",
            "path": [f"files/p{subject[i][:2]}/p{subject[i]}/s{study[i]}/{dicom[i]}.jpg" for i in at],
            **dict(zip("xywh", (600, 700, 500, 400), strict=True)),
            "image_width": 2544,
            "image_height": 3056,
            "dicom_id": [dicom[i] for i in at],
            "split": "test",
        }
    )
    boxes.to_csv(folder / "ms-cxr" / "MS_CXR_Local_Alignment_v1.1.0.csv", index=False)


def write_labels(folder: Path, rng: np.random.Generator, subject: np.ndarray, study: np.ndarray) -> None:
    """Write CheXpert's labels, mostly blank."""
    values = np.array(["", "1.0", "0.0", "-1.0"])
    labels = {name: rng.choice(values, len(study), p=[0.72, 0.16, 0.08, 0.04]) for name in FINDINGS}
    write(
        pd.DataFrame({"subject_id": subject, "study_id": study, **labels}), folder / "mimic-cxr-2.0.0-chexpert.csv.gz"
    )


def write_reports(
    folder: Path, rng: np.random.Generator, subject: np.ndarray, study: np.ndarray, unpacked: bool
) -> None:
    """Write some 600 characters a study."""
    folder.mkdir()
    drawn = rng.integers(0, len(SENTENCES), (len(study), 6)).tolist()
    said = ([SENTENCES[i] for i in row] for row in drawn)
    texts = (
        "                                 FINAL REPORT\n EXAMINATION:  CHEST (PORTABLE AP)\n\n INDICATION:  ___ year "
        f"old with shortness of breath  // evaluate for acute process, study {k}\n\n TECHNIQUE:  Single AP view of the "
        "chest.\n\n COMPARISON:  Chest radiograph from ___.\n\n FINDINGS: \n \n "
        f"{' '.join(row[:4])}\n \n IMPRESSION: \n \n {' '.join(row[4:])}\n"
        for k, row in enumerate(said)
    )
    names = (f"files/p{name[:2]}/p{name}/s{of}.txt" for name, of in zip(subject, study, strict=True))
    if unpacked:
        for name, text in zip(names, texts, strict=True):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        return
    with zipfile.ZipFile(folder / "mimic-cxr-reports.zip", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name, text in zip(names, texts, strict=True):
            archive.writestr(name, text)


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a compressed CSV."""
    with gzip.open(path, "wt", compresslevel=1, newline="") as file:
        table.to_csv(file, index=False)


if __name__ == "__main__":
    main()
