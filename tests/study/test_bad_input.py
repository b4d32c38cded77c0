"""Studies that cannot give an answer are refused in one sentence, before anything is trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.errors import InputError
from mmpkd.study.load import load_study
from mmpkd.study.run import StudyRun


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("cohort")
    write_phantom(PhantomSettings(patients=30, size_px=32, seed=3), root)
    return root


def _refused(folder: Path, tmp_path: Path, table: pd.DataFrame, **changes: object) -> str:
    description = yaml.safe_load((folder / "cohort.yaml").read_text(encoding="utf-8"))
    name = f"{tmp_path.name}.csv"
    table.to_csv(folder / name, index=False)
    description |= {"table": name, "root": str(folder), **changes.pop("cohort", {})}  # type: ignore[dict-item]
    study = {"cohort": description, "arms": ["hard", "mmpkd"], "seeds": 1, **changes}
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(study), encoding="utf-8")
    settings, root = load_study(path)
    run = StudyRun(settings, root, tmp_path / "run")
    with pytest.raises(InputError) as caught:
        run.everything()
    assert len(caught.value.problems) == 1
    assert not list((tmp_path / "run").glob("cells/*/*"))
    return caught.value.problems[0]


def _cases(cohort: Path) -> pd.DataFrame:
    return pd.read_csv(cohort / "cases.csv")


def _split(table: pd.DataFrame) -> pd.DataFrame:
    """A split in the table: the first patients test, the next validation, the others train."""
    order = pd.factorize(table["patient"])[0]
    return table.assign(split=np.select([order < 8, order < 14], ["test", "val"], "train"))


def test_one_patient(cohort: Path, tmp_path: Path) -> None:
    told = _refused(cohort, tmp_path, _cases(cohort).assign(patient="only"))
    assert told == "1 patient cannot be divided into 3 parts; ask for fewer parts or add patients."


def test_one_test_patient(cohort: Path, tmp_path: Path) -> None:
    table = _split(_cases(cohort))
    table.loc[table["split"] == "test", "patient"] = "only"
    told = _refused(cohort, tmp_path, table, cohort={"split": {"column": "split"}})
    assert "the test split has" in told
    assert "intervals resample patients and need at least two" in told


def test_one_training_patient(cohort: Path, tmp_path: Path) -> None:
    table = _split(_cases(cohort))
    table.loc[table["split"] == "train", "patient"] = "only"
    told = _refused(cohort, tmp_path, table, cohort={"split": {"column": "split"}})
    assert told.endswith("the training split has 1 patient; out-of-fold soft labels need two.")


def test_all_labels_of_a_finding_missing(cohort: Path, tmp_path: Path) -> None:
    told = _refused(cohort, tmp_path, _cases(cohort).assign(effusion=np.nan))
    assert "the finding 'effusion' has no labelled case in train" in told


def test_an_endpoint_that_does_not_exist(cohort: Path, tmp_path: Path) -> None:
    told = _refused(cohort, tmp_path, _cases(cohort), compare={"primary": {"finding": "efusion"}})
    assert told == "compare.primary.finding: there is no finding 'efusion'; did you mean 'effusion'?"


def test_an_endpoint_that_the_test_cases_cannot_answer(cohort: Path, tmp_path: Path) -> None:
    table = _split(_cases(cohort))
    table.loc[table["split"] == "test", "truth_effusion"] = 0
    changes = {"cohort": {"split": {"column": "split"}}, "compare": {"primary": {"finding": "effusion"}}}
    told = _refused(cohort, tmp_path, table, **changes)
    assert told.startswith(
        "compare.primary.finding: the test split has no case with 'effusion', so its auroc is undefi"
    )


def test_a_teacher_that_fails_in_one_fold_names_it_and_keeps_the_others(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mmpkd.teach.text import TfidfTeacher

    learn, fits = TfidfTeacher.fit, []

    def fails_once(self: TfidfTeacher, *arguments: object) -> None:
        fits.append(1)
        if len(fits) == 3:
            raise InputError("this fold's text is empty; leave the cases out.")
        learn(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(TfidfTeacher, "fit", fails_once)
    told = _refused(cohort, tmp_path, _cases(cohort))
    assert told == "teacher, fold 2: this fold's text is empty; leave the cases out."
    assert len(list((tmp_path / "run" / "teacher-folds").iterdir())) == 2
