"""A teacher of one cohort labels the cases of another: by what it learned there, and by nothing of theirs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from mmpkd.cli import app
from mmpkd.cohort.read import read_cohort
from mmpkd.errors import InputError
from mmpkd.files import read_table
from mmpkd.study.lend import lend
from mmpkd.study.load import load_study
from mmpkd.teach.diagnose import auroc


@pytest.fixture(scope="module")
def studies(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("studies")
    phantoms = {
        "a": {"kind": "chest", "patients": 120, "size_px": 32, "seed": 1},
        "b": {"kind": "chest", "patients": 60, "size_px": 32, "seed": 2, "label_noise": 0.4},
        "breast": {"kind": "breast", "patients": 30, "size_px": 32, "seed": 3},
    }
    for name, phantom in phantoms.items():
        study = {"name": name, "cohort": {"phantom": phantom}, "teach": {"folds": 2}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(study), encoding="utf-8")
    return folder


def test_the_lent_teacher_knows_what_its_own_cohort_taught(studies: Path) -> None:
    assert lend(studies / "a.yaml", studies / "b.yaml", studies / "lent.parquet") > 0
    table = read_table(studies / "lent.parquet")
    settings, root = load_study(studies / "b.yaml")
    cohort = read_cohort(settings.cohort, root).cohort
    logits = table.pivot(index="case", columns="finding", values="logit").reindex(cohort.cases.index)
    truth = cohort.evaluation_labels
    areas = [auroc(logits[name].to_numpy(), truth[:, column]) for column, name in enumerate(cohort.findings)]
    assert np.mean(areas) > 0.8  # its own labels, nearly at random, would teach nothing
    assert set(table["fold"]) == {-1}


def test_the_table_is_one_for_a_precomputed_teacher(studies: Path) -> None:
    paths = [str(studies / name) for name in ("a.yaml", "breast.yaml", "m.parquet")]
    done = CliRunner().invoke(app, ["lend", *paths, "-q", "--finding", "mass=nodule"])
    assert done.exit_code == 0, done.output
    data = yaml.safe_load((studies / "breast.yaml").read_text(encoding="utf-8"))
    data["teach"] = {"teacher": {"kind": "precomputed", "table": str(studies / "m.parquet")}}
    (studies / "c.yaml").write_text(yaml.safe_dump(data), encoding="utf-8")
    settings, root = load_study(studies / "c.yaml")
    from mmpkd.teach.crossfit import teach

    cohort = read_cohort(settings.cohort, root).cohort
    matrix = teach(cohort, settings.teach).soft_labels.matrix(cohort.cases.index, cohort.findings)
    mass = cohort.findings.index("mass")
    assert np.isfinite(matrix[:, mass]).any()
    assert np.isnan(np.delete(matrix, mass, axis=1)).all()


@pytest.mark.parametrize(
    ("findings", "message"),
    [
        ((), "the cohorts share no finding"),
        (("mass=nodul",), "the lending cohort has no finding 'nodul'; did you mean 'nodule'"),
        (("mas=nodule",), "the borrowing cohort has no finding 'mas'"),
        (("mass",), "--finding mass: is not OWN=THEIRS"),
    ],
)
def test_what_cannot_be_lent_is_told(studies: Path, findings: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        lend(studies / "a.yaml", studies / "breast.yaml", studies / "none.parquet", findings)
    assert not (studies / "none.parquet").exists()
