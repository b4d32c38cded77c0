"""The figure of teachers of different quality, from run folders that are written here instead of trained."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
import yaml

from mmpkd.cohort.read import read_cohort
from mmpkd.compare.compare import compare_arms
from mmpkd.errors import InputError
from mmpkd.files import write_json, write_table
from mmpkd.folder import RunFolder
from mmpkd.study.comparison import test_labels as labels_of_test
from mmpkd.study.load import load_study

QUALITIES = {"poor": 0.6, "fair": 0.75, "good": 0.9}
STUDY = {
    "cohort": {"phantom": {"kind": "chest", "patients": 60, "size_px": 32, "seed": 3}},
    "arms": {"hard": {}, "mmpkd": {}},
    "seeds": 3,
    "compare": {"replicates": 100},
    "variants": dict.fromkeys(QUALITIES),
}


@pytest.fixture(scope="module")
def figures(script: Callable[[str], ModuleType]) -> ModuleType:
    return script("studies/figures.py")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, pd.DataFrame]:
    """Write three variants whose students gain as their teacher is good; return study file, folder and labels."""
    folder = tmp_path_factory.mktemp("spectrum")
    path = folder / "toy.yaml"
    path.write_text(yaml.safe_dump(STUDY), encoding="utf-8")
    settings, root = load_study(path, None, folder / "cohorts", variant="poor")
    labels = labels_of_test(read_cohort(settings.cohort, root).cohort)
    for variant, quality in QUALITIES.items():
        out = RunFolder(folder / "out" / variant)
        for arm, seed in ((arm, seed) for arm in ("hard", "mmpkd") for seed in settings.seeds):
            rng = np.random.default_rng([seed, arm == "mmpkd", round(100 * quality) * (arm == "mmpkd")])
            signal = 1.0 if arm == "hard" else 1.0 + 4.0 * (quality - 0.75)
            logits = signal * labels["label"] + rng.normal(size=len(labels))
            table = labels[["case", "finding"]].assign(split="test", probability=1 / (1 + np.exp(-logits)))
            unlabelled = table.iloc[:1].assign(case="a case that trains", split="train")
            write_table(out.cell(arm, seed).predictions, pd.concat([table, unlabelled]))
        write_json(out.teacher, {"test": {"macro": {"auroc": quality, "reference_auroc": None}}})
        write_json(out.verdict, {})
    return path, folder / "out", labels


def test_gains_are_those_of_the_comparison(figures: ModuleType, run: tuple[Path, Path, pd.DataFrame]) -> None:
    path, out, labels = run
    settings, _ = load_study(path, None, out.parent / "cohorts", variant="good")
    folder = RunFolder(out / "good")
    found = figures._gain(folder, settings, figures.read_labels(labels)).interval()
    tables = [
        pd.read_parquet(folder.cell(arm, seed).predictions).query("split == 'test'").assign(arm=arm, seed=seed)
        for arm in ("hard", "mmpkd")
        for seed in settings.seeds
    ]
    compared = compare_arms(pd.concat(tables), labels, replicates=100).query("role == 'primary'").iloc[0]
    assert found == pytest.approx(tuple(compared[["estimate", "low", "high"]]))


def test_a_threshold_is_drawn_and_printed(
    figures: ModuleType, run: tuple[Path, Path, pd.DataFrame], capsys: pytest.CaptureFixture[str]
) -> None:
    path, out, _ = run
    assert len(figures.spectrum(out, path).axes) == 1
    printed = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:2] for line in printed[2:5]] == [
        ["| poor", "0.600"],
        ["| fair", "0.750"],
        ["| good", "0.900"],
    ]
    crossing = float(printed[-1].split("AUROC of ")[1].split()[0])
    assert 0.65 < crossing < 0.85


def test_a_folder_without_variants_is_told(figures: ModuleType, run: tuple[Path, Path, pd.DataFrame]) -> None:
    path, out, _ = run
    with pytest.raises(InputError, match="holds no finished variant"):
        figures.spectrum(out.parent / "cohorts", path)
