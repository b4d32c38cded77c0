"""The whole way, small: phantom to report, resumed after kills, and the command line's errors."""

from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner, Result

from mmpkd.cli import app
from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.errors import InputError
from mmpkd.files import read_json, read_table, write_json
from mmpkd.folder import RunFolder
from mmpkd.study.load import load_study
from mmpkd.study.run import StudyRun
from mmpkd.study.settings import StudySettings

SMALL = {
    "name": "small",
    "cohort": "cohort/cohort.yaml",
    "teach": {"teacher": "tfidf", "folds": 2},
    "student": {"image_size_px": 32, "patch_px": 8, "width": 32, "depth": 2, "heads": 2},
    "training": {"epochs": 3, "batch_size": 32, "warmup_epochs": 0.5, "checkpoint_every_s": 0},
    "seeds": 2,
    "evaluate": {"checks": {"rois": 10, "steps": 4}},
    "compare": {"replicates": 100},
    "execution": {"workers": 1, "device": "cpu"},
}


@pytest.fixture(scope="module")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(PhantomSettings(patients=60, size_px=32, seed=1), folder / "cohort")
    (folder / "study.yaml").write_text(yaml.safe_dump(SMALL))
    return folder


def command(*words: str) -> Result:
    """Run `mmpkd` in this process: a fresh one takes seconds to import torch."""
    return CliRunner().invoke(app, list(words))


def score_tables(out: Path) -> dict[str, str]:
    """Hash every score table of a run."""
    names = (
        "predictions.parquet",
        "localisation.parquet",
        "comparison.parquet",
        "baselines.parquet",
        "soft_labels.parquet",
    )
    return {
        str(path.relative_to(out)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(out.rglob("*.parquet"))
        if path.name in names
    }


@pytest.mark.slow
def test_phantom_to_report_and_killed_runs_end_with_the_same_bytes(phantom_folder, tmp_path):
    study = str(phantom_folder / "study.yaml")
    whole = command("run", study, "--out", str(tmp_path / "whole"), "-q")
    assert whole.exit_code == 0, whole.stderr
    assert "mmpkd - hard" in whole.stdout
    expected = score_tables(tmp_path / "whole")
    assert len(expected) == 2 * 2 * 2 + 3  # two tables a cell, four cells, three of the study
    assert (tmp_path / "whole" / "report.html").stat().st_size > 10_000

    out = tmp_path / "killed"
    # Killed when the first fold of the teacher, the first checkpoint and the first predictions are there.
    for sign in ("teacher-folds/*", "cells/*/*/checkpoint/*", "cells/*/*/predictions.parquet"):
        process = subprocess.Popen([sys.executable, "-m", "mmpkd", "run", study, "--out", str(out), "-q"])
        deadline = time.monotonic() + 120
        while not list(out.glob(sign)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    again = command("run", study, "--out", str(out), "-q")
    assert again.exit_code == 0, again.stderr
    assert score_tables(out) == expected


@pytest.mark.slow
def test_every_stage_by_itself_gives_the_run_in_one(phantom_folder, tmp_path):
    study, out = str(phantom_folder / "study.yaml"), tmp_path / "staged"
    for stage in ("teach", "distil", "attribute", "evaluate", "compare"):
        done = command(stage, study, "--out", str(out), "-q")
        assert done.exit_code == 0, f"{stage}: {done.stderr}"
    assert command("report", str(out)).exit_code == 0
    assert (out / "report.html").is_file()
    student = out / "cells" / "mmpkd" / "seed-0" / "student"
    image = next((phantom_folder / "cohort" / "images").glob("*.png"))
    predicted = command("predict", str(student), str(image), "--maps", str(tmp_path / "maps"), "-q")
    assert predicted.exit_code == 0, predicted.stderr
    assert predicted.stdout.splitlines()[0] == "image,nodule,consolidation,effusion,pneumothorax,cardiomegaly"
    assert len(list((tmp_path / "maps").glob("*.npy"))) == 5


def test_dry_run_prints_the_plan_and_writes_nothing(phantom_folder, tmp_path):
    done = command("run", str(phantom_folder / "study.yaml"), "--out", str(tmp_path / "none"), "--dry-run", "-q")
    assert done.exit_code == 0, done.stderr
    assert "cells: 4 (2 arms: hard, mmpkd; seeds 0, 1)" in done.stdout
    assert not (tmp_path / "none").exists()


class TestBadInput:
    def test_a_run_folder_of_another_study_is_refused(self, phantom_folder, tmp_path):
        study, root = load_study(phantom_folder / "study.yaml")
        run = StudyRun(study, root, tmp_path / "run")
        with run.claimed():
            pass
        record = read_json(RunFolder(tmp_path / "run").run)
        write_json(RunFolder(tmp_path / "run").run, {**record, "study_fingerprint": "another"})
        with pytest.raises(InputError, match="holds the run of another study"), run.claimed():
            pass

    def test_a_folder_with_other_files_is_refused(self, phantom_folder, tmp_path):
        study, root = load_study(phantom_folder / "study.yaml")
        (tmp_path / "thesis.docx").touch()
        with pytest.raises(InputError, match="is not empty"), StudyRun(study, root, tmp_path).claimed():
            pass
        assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]

    def test_a_place_that_cannot_be_written_is_one_sentence(self, phantom_folder, tmp_path):
        study, root = load_study(phantom_folder / "study.yaml")
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match="a file stands where a folder is needed"):
            StudyRun(study, root, tmp_path / "file" / "run")._write_start()

    def test_unknown_settings_and_typos_are_told_all_at_once(self):
        with pytest.raises(InputError) as caught:
            StudySettings.from_data(
                {
                    "cohort": {"table": "a.csv", "labels": ["x"]},
                    "studnet": {},
                    "training": {"epoch": 3},
                    "seeds": [1, 1],
                },
                "study.yaml",
            )
        told = "\n".join(caught.value.problems)
        assert "unknown setting 'studnet'; did you mean 'student'?" in told
        assert "unknown setting 'training.epoch'; did you mean 'epochs'?" in told
        assert "a seed is given twice" in told

    def test_an_endpoint_of_an_arm_that_is_not_there(self):
        with pytest.raises(InputError, match=r"compare\.primary\.arm is 'mmpkd', which is none of the arms"):
            StudySettings.from_data(
                {"cohort": {"table": "a.csv", "labels": ["x"]}, "arms": {"hard": {}, "other": {"kind": "mmpkd"}}},
                "s.yaml",
            )

    def test_the_command_exits_with_2_and_one_sentence(self, tmp_path):
        done = command("run", str(tmp_path / "none.yaml"))
        assert done.exit_code == 2
        assert done.stderr.startswith("mmpkd: ")
        assert done.stderr.count("\n") == 1
        assert "Traceback" not in done.stderr


def test_arms_and_seeds_may_be_written_short_or_long():
    base = {"cohort": {"table": "a.csv", "labels": ["x"]}}
    short = StudySettings.from_data({**base, "arms": ["hard", "mmpkd"], "seeds": 2}, "s")
    long = StudySettings.from_data(
        {**base, "arms": {"hard": {"kind": "hard"}, "mmpkd": {"lambda": 0.5}}, "seeds": [0, 1]}, "s"
    )
    assert short == long
    assert short.seeds == (0, 1)
    assert StudySettings.from_data(yaml.safe_load(short.to_yaml()), "s") == short


def test_a_finished_run_says_what_ran_without_patients_names(phantom_folder, tmp_path):
    study, root = load_study(phantom_folder / "study.yaml")
    run = StudyRun(study, root, tmp_path / "run")
    with run.claimed():
        run.cohort()
    patients = set(run.inputs.cohort.cases["patient"])
    assert not patients & set(read_table(run.folder.cases)["patient"])
    assert read_json(run.folder.run)["arms"] == ["hard", "mmpkd"]
