"""Builds a small run folder as the study's stages leave it: invented numbers, believable in shape."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from safetensors.numpy import save_file

from mmpkd.files import write_json, write_table
from mmpkd.folder import RunFolder
from mmpkd.report.build import write_report

ARMS = ("hard", "mmpkd")
SEEDS = (0, 1, 2)
FINDINGS = ("nodule", "consolidation", "effusion")
FOURTEEN = (
    "atelectasis",
    "cardiomegaly",
    "consolidation",
    "edema",
    "enlarged_cardiomediastinum",
    "fracture",
    "lung_lesion",
    "lung_opacity",
    "no_finding",
    "pleural_effusion",
    "pleural_other",
    "pneumonia",
    "pneumothorax",
    "support_devices",
)
HIDDEN_CASE = "case-7731-hidden"
HIDDEN_FOLDER = "/mnt/vault/ward7"
BASELINES = ("chance", "centre-prior", "mean-roi-prior")
POLICIES = ("matched-area", "top-area=0.1")


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., RunFolder]:
    """Return a function that writes a run folder for the given findings, small unless asked to be whole."""

    def make(findings: Sequence[str] = FINDINGS, name: str = "run", whole: bool = False) -> RunFolder:
        return build_run(tmp_path / name, findings, whole=whole)

    return make


@pytest.fixture
def run_folder(make_run: Callable[..., RunFolder]) -> RunFolder:
    """Return a small run folder: every file, but AUROC and IoU alone and one example case."""
    return make_run()


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Return a run folder with every metric, for reading only."""
    return build_run(tmp_path_factory.mktemp("whole") / "run", whole=True)


@pytest.fixture(scope="session")
def whole_report(whole_run: RunFolder) -> str:
    """Return the report of the whole run folder."""
    return write_report(whole_run).read_text(encoding="utf-8")


@pytest.fixture
def hidden() -> tuple[str, ...]:
    """Return what lies in the run folder and must never reach a report."""
    return (HIDDEN_CASE, HIDDEN_FOLDER, "vault", "cases.csv", "images/")


@pytest.fixture
def fourteen() -> tuple[str, ...]:
    """Return the fourteen findings of a common chest X-ray labeller."""
    return FOURTEEN


def build_run(path: Path, findings: Sequence[str] = FINDINGS, whole: bool = True) -> RunFolder:
    """Write every file that a report reads."""
    folder = RunFolder(path)
    path.mkdir(parents=True, exist_ok=True)
    _write_documents(folder, findings)
    rng = np.random.default_rng(7)
    write_table(folder.comparison, _comparison(rng, findings, whole))
    for arm_index, arm in enumerate(ARMS):
        for seed in SEEDS:
            write_table(folder.cell(arm, seed).history, _history(rng, arm_index))
    predictions = pd.DataFrame({"case": [HIDDEN_CASE], "split": "test", "finding": findings[0], "probability": 0.4})
    write_table(folder.cell("hard", 0).predictions, predictions)
    write_table(folder.cases, pd.DataFrame({"case": [HIDDEN_CASE], "patient": ["p1"], "split": ["test"]}))
    _write_gallery(folder, rng, findings, count=6 if whole else 1)
    return folder


def _write_documents(folder: RunFolder, findings: Sequence[str]) -> None:
    study = {
        "name": "phantom-chest",
        "cohort": {
            "name": "phantom-chest",
            "root": HIDDEN_FOLDER,
            "table": "cases.csv",
            "labels": {name: name for name in findings},
            "text": "report",
            "note": f"copied from {HIDDEN_FOLDER}/old/cases.csv last year",
        },
        "teacher": {"kind": "encoder", "model": "microsoft/BiomedNLP-PubMedBERT", "folds": 5},
        "student": {"backbone": "vit_tiny_patch16_224", "size_px": 64, "patch_px": 8},
        "objective": {"preset": "paper", "weight": 0.5, "temperature": 2.0},
        "arms": list(ARMS),
        "seeds": list(SEEDS),
        "compare": {"level": 0.95, "primary": {"metric": "auroc", "finding": "macro"}},
    }
    folder.study.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    run = {
        "study_fingerprint": "9f2c41d07ab35e18",
        "mmpkd_version": "0.1.0",
        "versions": {"python": "3.11.9", "torch": "2.6.0", "timm": "1.0.15", "numpy": "2.1.3"},
        "arms": list(ARMS),
        "seeds": list(SEEDS),
        "plan": [f"distil {arm} seed {seed}" for arm in ARMS for seed in SEEDS],
        "seconds": {"cohort": 3.2, "teach": 6.9, "distil": 83.4, "attribute": 7.5, "compare": 4.8},
        "threads": 2,
        "platform": "Linux x86_64",
    }
    write_json(folder.run, run)
    cohort = {
        "name": "phantom-chest",
        "task": "multi-label",
        "cases": 2400,
        "patients": 1210,
        "splits": {
            "train": {"cases": 1440, "patients": 724},
            "val": {"cases": 360, "patients": 184},
            "test": {"cases": 600, "patients": 302},
        },
        "findings": {
            name: {
                "positive": 260 + 97 * (i % 5),
                "negative": 2000 - 130 * (i % 4),
                "missing": 60 + 35 * (i % 6),
            }
            for i, name in enumerate(findings)
        },
        "text": {"coverage": 0.96, "median_words": 31},
        "metadata": None,
        "rois": {name: 70 + 9 * i for i, name in enumerate(findings)},
        "warnings": [
            "11 pairs of identical images lie in one split; they were kept.",
            f"images/{HIDDEN_CASE}.png: is cut short; it is left out.",
        ],
    }
    write_json(folder.cohort, cohort)
    write_json(folder.teacher, _teacher(findings))
    verdict = {
        "question": "Does privileged text make the student better, and does it look in the right place?",
        "answer": "With privileged text the student tells findings apart better, by 0.05 AUROC.",
        "sentences": [
            "Macro AUROC on test rises from 0.79 (hard) to 0.84 (mmpkd): +0.051, 95% interval "
            "+0.028 to +0.075, over 3 seeds and 302 patients.",
            "Maps at the ROI's own area overlap it more than those of hard do, and than the mean-ROI prior.",
        ],
        "caveats": [
            "No control arm has run (label smoothing, shuffled soft labels), so the gain cannot be "
            "credited to privileged knowledge yet.",
            "Three seeds say little about the spread between trainings.",
        ],
    }
    write_json(folder.verdict, verdict)


def _teacher(findings: Sequence[str]) -> dict[str, object]:
    def scores(index: int) -> dict[str, float | int]:
        auroc = 0.985 - 0.008 * (index % 5)
        return {
            "auroc": auroc,
            "auroc_low": auroc - 0.012,
            "auroc_high": auroc + 0.008,
            "brier": 0.05 + 0.004 * index,
            "calibration_error": 0.012 + 0.002 * index,
            "entropy_bits": 0.31 + 0.02 * index,
            "cases": 2250 - 20 * index,
            "positives": 260 + 97 * (index % 5),
            "reference_auroc": auroc + 0.007,
            "reference_auroc_low": auroc - 0.001,
            "reference_auroc_high": min(auroc + 0.013, 1.0),
        }

    return {
        "kind": "encoder",
        "settings": {
            "teacher": {
                "kind": "encoder",
                "model": "microsoft/BiomedNLP-PubMedBERT",
                "cache": HIDDEN_FOLDER,
                "epochs": 3,
            },
            "folds": 5,
            "calibrate": True,
        },
        "findings": {name: scores(i) for i, name in enumerate(findings)},
        "macro": scores(1),
        "test": {"findings": {name: scores(i + 1) for i, name in enumerate(findings)}, "macro": scores(2)},
        "out_of_fold": True,
        "folds": 5,
        "warnings": [
            "The teacher is nearly certain of effusion (entropy 0.08 bits): its soft labels add little there."
        ],
        "tokens_cut_share": 0.014,
    }


def _comparison(rng: np.random.Generator, findings: Sequence[str], whole: bool) -> pd.DataFrame:
    rows: list[dict[str, object]] = []
    names = [*findings, "macro"]

    def add(kind: str, arm: str, value: float, half: float, **more: object) -> None:
        row = {"kind": kind, "arm": arm, "reference_arm": "", "metric": "", "policy": "", "method": ""}
        row |= {"finding": "", "estimate": value, "low": value - half, "high": value + half}
        row |= {"cases": 600, "patients": 302, "seeds": 3, "role": "exploratory", **more}
        rows.append(row)

    def add_metric(metric: str, base: float, gain: float, half: float, *baselines: float, **more: str) -> None:
        for finding in names:
            macro = finding == "macro"
            level = base + (0.0 if macro else float(rng.normal(0, 0.12 * abs(base))))
            step = gain + (0.0 if macro else float(rng.normal(0, 0.35 * abs(gain))))
            width = half * (0.7 if macro else 1.3)
            where = {"metric": metric, "finding": finding, **more}
            role = "primary" if macro and metric == "auroc" else "exploratory"
            add("arm", "hard", level, width, **where)
            add("arm", "mmpkd", level + step, width, **where)
            add("difference", "mmpkd", step, 0.8 * width, role=role, reference_arm="hard", **where)
            for name, value in zip(BASELINES, baselines, strict=False):
                add("baseline", name, value, 0.0 if name == "chance" else 0.6 * width, seeds=0, **where)
                for arm, gap in (("hard", level - value), ("mmpkd", level + step - value)):
                    add("difference", arm, gap, width, reference_arm=name, **where)

    add_metric("auroc", 0.79, 0.051, 0.03)
    if not whole:
        add_metric("iou", 0.11, 0.10, 0.02, 0.035, 0.07, 0.12, policy="matched-area", method="attention")
        return pd.DataFrame(rows)
    add_metric("average_precision", 0.52, 0.07, 0.04)
    add_metric("brier", 0.13, -0.018, 0.008)
    add_metric("calibration_error", 0.06, -0.014, 0.012)
    for policy in POLICIES:
        where = {"policy": policy, "method": "attention"}
        add_metric("iou", 0.11, 0.10, 0.02, 0.035, 0.07, 0.12, **where)
        add_metric("precision", 0.19, 0.13, 0.03, 0.06, 0.12, 0.2, **where)
        add_metric("recall", 0.22, 0.15, 0.03, 0.06, 0.13, 0.21, **where)
        add_metric("fdr", 0.81, -0.13, 0.03, 0.94, 0.88, 0.8, **where)
        add_metric("fpr", 0.055, -0.01, 0.006, 0.06, 0.057, 0.052, **where)
        add_metric("attended_area", 0.06, 0.0, 0.004, 0.06, 0.06, 0.06, **where)
    where = {"policy": "", "method": "attention"}
    add_metric("pointing", 0.2, 0.22, 0.05, 0.06, 0.1, 0.24, **where)
    add_metric("energy_enrichment", 2.1, 1.6, 0.4, 1.0, 1.6, 2.6, **where)
    return pd.DataFrame(rows)


def _history(rng: np.random.Generator, arm_index: int, epochs: int = 24) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    progress = 1 - np.exp(-epoch / 7)
    noise = rng.normal(0, 0.006, (3, epochs)) + rng.normal(0, 0.008, (3, 1))
    hard = 0.62 - 0.33 * progress + noise[0]
    table = {
        "epoch": epoch,
        "train_loss": hard if arm_index == 0 else 0.97 * hard,
        "train_hard": hard,
        "learning_rate": 1e-3 * np.cos(np.linspace(0, np.pi / 2, epochs)),
        "val_auroc": 0.5 + (0.3 + 0.05 * arm_index) * progress + noise[1],
    }
    table["train_soft"] = 0.6 - 0.27 * progress + noise[2] if arm_index else np.full(epochs, np.nan)
    return pd.DataFrame(table)


def _write_gallery(folder: RunFolder, rng: np.random.Generator, findings: Sequence[str], count: int) -> None:
    tensors: dict[str, np.ndarray] = {}
    entries = []
    side = 128
    y, x = np.mgrid[:side, :side] / side
    for index in range(count):
        cx, cy, r = (
            rng.choice([0.32, 0.68]) + rng.normal(0, 0.03),
            rng.uniform(0.3, 0.7),
            rng.uniform(0.05, 0.13),
        )
        chest = 0.72 - 0.5 * sum(
            np.exp(-(((x - side_x) / 0.15) ** 4) - ((y - 0.5) / 0.32) ** 4) for side_x in (0.31, 0.69)
        )
        ribs = 0.05 * np.sin(46 * (y + 0.35 * (x - 0.5) ** 2))
        lesion = 0.33 * np.exp(-((((x - cx) ** 2 + (y - cy) ** 2) / r**2) ** 2))
        grain = rng.normal(0, 0.025, (side, side))
        tensors[f"image/{index}"] = np.clip(255 * (chest + ribs + lesion + grain), 0, 255).astype(np.uint8)
        tensors[f"roi/{index}"] = ((x - cx) ** 2 + (y - cy) ** 2 < (1.1 * r) ** 2).astype(np.uint8)
        for arm, pull in zip(ARMS, (0.25, 0.9), strict=True):
            tokens = 0.3 * rng.random((8, 8)) ** 2
            ty, tx = np.mgrid[:8, :8] / 8 + 1 / 16
            tokens += pull * np.exp(-((tx - cx) ** 2 + (ty - cy) ** 2) / (2 * 0.1**2))
            tokens += (1 - pull) * 0.8 * np.exp(-((tx - 0.5) ** 2 + (ty - 0.75) ** 2) / (2 * 0.14**2))
            tensors[f"map/{arm}/{index}"] = np.kron(tokens, np.ones((16, 16))).astype(np.float16)
        entries.append(
            {
                "finding": findings[index % len(findings)],
                "label": 1,
                "probabilities": {
                    "hard": float(rng.uniform(0.2, 0.7)),
                    "mmpkd": float(rng.uniform(0.5, 0.95)),
                },
            }
        )
    save_file(tensors, folder.gallery, metadata={"gallery": json.dumps(entries)})
