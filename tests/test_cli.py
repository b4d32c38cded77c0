"""The command line: exit codes, streams, and what stands in them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mmpkd.cli import app

HEADER = "case,patient,split,nodule,report\n"


def call(*words: str | Path):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of text alone: twelve cases, no images."""
    rows = [
        f"c{n},p{n},{('train', 'train', 'val', 'test')[n % 4]},{n // 4 % 2},{'mass' if n // 4 % 2 else 'clear'} seen\n"
        for n in range(48)
    ]
    (tmp_path / "cases.csv").write_text(HEADER + "".join(rows))
    path = tmp_path / "study.yaml"
    path.write_text(
        "cohort: {table: cases.csv, case: case, patient: patient, labels: [nodule], text: report,\n"
        "         split: {column: split}}\n"
        "teach: {folds: 2, teacher: {kind: tfidf, min_df: 1}}\n"
    )
    return path


def test_check_prints_the_cohort_and_no_text_of_it(study):
    done = call("check", study)
    assert done.exit_code == 0
    assert "48 cases of 48 patients" in done.output
    assert "mass" not in done.output


def test_check_tells_all_problems_and_exits_with_2(study):
    with (study.parent / "cases.csv").open("a") as table:
        table.write("c1,p1,train,2,again\nc99,,elsewhere,0,x\n")
    done = call("check", study)
    assert done.exit_code == 2
    assert "row 50, column 'case': the same id stands in cases.csv, row 3" in done.output
    assert "row 50, column 'nodule': " in done.output
    assert "row 51, column 'patient': " in done.output
    assert "'elsewhere'" in done.output
    assert "Traceback" not in done.output


def test_teach_alone_needs_no_image_and_prints_auroc_with_interval(study, tmp_path):
    done = call("teach", study, "--out", tmp_path / "run", "-q")
    assert done.exit_code == 0, done.output
    assert "training cases, out of fold  nodule                   1.000 (1.000 to 1.000)" in done.output
    assert (tmp_path / "run" / "soft_labels.parquet").is_file()


def test_a_run_of_a_cohort_without_images_is_refused(study, tmp_path):
    done = call("run", study, "--out", tmp_path / "run", "-q")
    assert done.exit_code == 2
    assert "image" in done.output


def test_the_schema_is_json_and_knows_every_part_of_the_study_file():
    schema = json.loads(call("schema").output)
    parts = {"cohort", "teach", "student", "training", "arms", "seeds", "images", "evaluate", "compare", "execution"}
    assert parts <= set(schema["properties"])
    in_place, archive, phantom, path = schema["properties"]["cohort"]["anyOf"]
    assert "labels" in schema["$defs"][in_place["$ref"].removeprefix("#/$defs/")]["properties"]
    assert schema["$defs"][archive["$ref"].removeprefix("#/$defs/")]["required"] == ["archive"]
    assert schema["$defs"][phantom["$ref"].removeprefix("#/$defs/")]["required"] == ["phantom"]
    assert path["type"] == "string"


def test_the_phantom_command_writes_a_cohort_that_check_accepts(tmp_path):
    (tmp_path / "phantom.yaml").write_text("patients: 30\nsize_px: 32\n")
    made = call("phantom", tmp_path / "p", "--settings", tmp_path / "phantom.yaml", "-q")
    assert made.exit_code == 0, made.output
    (tmp_path / "study.yaml").write_text("cohort: p/cohort.yaml\nstudent: {image_size_px: 32}\n")
    done = call("check", tmp_path / "study.yaml", "-q")
    assert done.exit_code == 0, done.output
    assert "30 patients" in done.output


def test_prediction_without_a_student_is_one_sentence(tmp_path):
    done = call("predict", tmp_path, tmp_path / "image.png")
    assert done.exit_code == 2
    assert "Traceback" not in done.output


def test_help_imports_nothing_heavy():
    script = (
        "import sys; from typer.testing import CliRunner; from mmpkd.cli import app;"
        "assert CliRunner().invoke(app, ['--help']).exit_code == 0;"
        "print([name for name in ('torch', 'pandas', 'numpy', 'sklearn', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
