"""The diagnosis of a run folder, as far as the run has come."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from mmpkd.cli import app
from mmpkd.cohort.cohort import Cohort
from mmpkd.files import read_json, write_table
from mmpkd.study.load import load_study
from mmpkd.study.run import StudyRun

PHANTOM = {"kind": "chest", "patients": 90, "size_px": 32, "seed": 3, "label_noise": 0.1}
STUDY = {
    "cohort": {"phantom": PHANTOM},
    "teach": {"folds": 2},
    "arms": {"hard": {}, "mmpkd": {"lambda": 0.5}},
    "seeds": 2,
    "compare": {"replicates": 200},
}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    path = tmp_path_factory.mktemp("study") / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY, sort_keys=False), encoding="utf-8")
    settings, root = load_study(path)
    run = StudyRun(settings, root, path.parent / "runs" / "study")
    with run.claimed():
        run.teach()
    return run


def _predict(run: StudyRun, cohort: Cohort, arm: str, seed: int, scores: np.ndarray) -> None:
    cases, findings = cohort.cases.index, list(cohort.findings)
    kept = np.flatnonzero(~cohort.in_split("train"))
    table = pd.DataFrame(
        {
            "case": np.repeat(cases[kept].to_numpy(), len(findings)),
            "split": np.repeat(cohort.cases["split"].to_numpy()[kept], len(findings)),
            "finding": np.tile(findings, len(kept)),
            "probability": scores[kept].ravel(),
        }
    )
    write_table(run.folder.cell(arm, seed).predictions, table, {})
    history = pd.DataFrame({"epoch": range(1, 13), "val_auroc": np.linspace(0.5, 0.9, 12)})
    write_table(run.folder.cell(arm, seed).history, history, {})


def test_a_run_without_students_is_diagnosed_as_far_as_it_goes(taught: StudyRun) -> None:
    outcomes = {check.name: check.outcome for check in taught.diagnose()}
    unknown = {name for name, outcome in outcomes.items() if outcome == "unknown"}
    assert unknown == {"teacher-gap", "information-gain", "can-help", "error-transfer", "lambda", "under-trained"} | {
        "varying-maps"
    }
    assert outcomes["spatial-content"] == "fine"  # the phantom's reports name places


def test_students_that_copy_the_teacher_are_found_out(taught: StudyRun) -> None:
    from mmpkd.teach.soft_labels import SoftLabels

    rng, cohort = np.random.default_rng(0), taught.table.cohort
    soft = SoftLabels.read(taught.folder.soft_labels).matrix(cohort.cases.index, cohort.findings)
    for seed in (0, 1):
        weak = cohort.evaluation_labels + 2.0 * rng.normal(size=soft.shape)
        _predict(taught, cohort, "hard", seed, weak)
        _predict(taught, cohort, "mmpkd", seed, soft + 0.01 * rng.normal(size=soft.shape))
    checks = {check.name: check for check in taught.diagnose()}
    assert checks["teacher-gap"].outcome == "fine"
    assert checks["error-transfer"].outcome == "concern"
    assert checks["under-trained"].outcome == "concern"
    written = read_json(taught.folder.diagnosis)["checks"]
    assert [check["name"] for check in written] == list(checks)


def test_the_command_prints_each_check_with_its_remedy(taught: StudyRun) -> None:
    study = taught.folder.path.parents[1] / "study.yaml"
    done = CliRunner().invoke(app, ["diagnose", str(study), "--out", str(taught.folder.path), "-q"])
    assert done.exit_code == 0, done.output
    assert "teacher-gap" in done.output
    assert done.output.count("->") == sum(line.startswith("concern") for line in done.output.splitlines())
