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


def _borrowing(folder: Path, name: str, teacher: object, **more: object) -> Path:
    own = yaml.safe_load((folder / "breast.yaml").read_text(encoding="utf-8"))
    path = folder / f"{name}.yaml"
    path.write_text(yaml.safe_dump({**own, "teach": {"teacher": teacher}, **more}), encoding="utf-8")
    return path


def test_a_study_may_name_the_study_that_lends_its_teacher(studies: Path) -> None:
    path = _borrowing(studies, "of-a", {"lent": {"study": "a.yaml", "findings": {"mass": "nodule"}}})
    settings, root = load_study(path)
    table = root / settings.teach.teacher["table"]
    assert settings.teach.teacher["kind"] == "precomputed"
    assert table.resolve().parent == studies / "cohorts"
    lend(studies / "a.yaml", studies / "breast.yaml", studies / "same.parquet", ["mass=nodule"])
    assert read_table(table).equals(read_table(studies / "same.parquet"))


def test_a_lent_teacher_is_fitted_once_and_anew_for_another_finding(studies: Path) -> None:
    lent = {"study": "a.yaml", "findings": {"mass": "nodule"}}
    first, root = load_study(_borrowing(studies, "once", {"lent": lent}))
    made = (root / first.teach.teacher["table"]).stat().st_mtime_ns
    again, _ = load_study(_borrowing(studies, "twice", {"lent": lent}, seeds=2))
    assert again.teach == first.teach
    assert (root / again.teach.teacher["table"]).stat().st_mtime_ns == made
    other, _ = load_study(_borrowing(studies, "other", {"lent": {**lent, "findings": {"mass": "effusion"}}}))
    assert other.teach != first.teach


def test_a_variant_may_borrow_from_another_of_its_file(studies: Path) -> None:
    variants = {
        "source": {"cohort": {"phantom": {"kind": "chest", "patients": 120, "seed": 1}}, "teach": {"folds": 2}},
        "lent": {"teach": {"teacher": {"lent": {"variant": "source", "findings": {"mass": "nodule"}}}}},
        "again": {"teach": {"teacher": {"lent": {"variant": "lent", "findings": {"mass": "mass"}}}}},
    }
    path = _borrowing(studies, "both", "tfidf", variants=variants)
    settings, root = load_study(path, variant="lent")
    assert set(read_table(root / settings.teach.teacher["table"])["finding"]) == {"mass"}
    with pytest.raises(InputError, match=r"the teacher of both.yaml, variant 'lent', is lent itself; name the study"):
        load_study(path, variant="again")


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ({"lent": {"study": "a.yaml"}, "kind": "tfidf"}, "'kind' stands beside 'lent'; leave it out"),
        ({"lent": {"studie": "a.yaml"}}, "'teach.teacher.lent'.*'studie'.*did you mean 'study'"),
        ({"lent": {"study": "nowhere.yaml"}}, "nowhere.yaml"),
        ({"lent": {"study": "a.yaml", "variant": "x"}}, "a.yaml: has no variant 'x'; it is an ordinary study"),
        ({"lent": {"study": "a.yaml", "findings": {"mass": "nodul"}}}, "the lending cohort has no finding 'nodul'"),
        ({"lent": {"study": "a.yaml"}}, "the cohorts share no finding"),
        ({"lent": {"variant": "x"}}, "wrong.yaml: has no variant 'x'"),
    ],
)
def test_what_cannot_be_borrowed_is_told(studies: Path, teacher: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_study(_borrowing(studies, "wrong", teacher))


def test_a_study_that_borrows_from_itself_is_told(studies: Path) -> None:
    with pytest.raises(InputError, match=r"the teacher of itself.yaml is lent itself"):
        load_study(_borrowing(studies, "itself", {"lent": {}}))


def test_variants_of_one_cohort_lie_under_the_root_that_is_given(studies: Path, tmp_path: Path) -> None:
    _, given = load_study(studies / "breast.yaml")
    description = {**yaml.safe_load((given / "cohort.yaml").read_text(encoding="utf-8")), "root": "nowhere"}
    variants = {"source": {}, "lent": {"teach": {"teacher": {"lent": {"variant": "source"}}}}}
    path = tmp_path / "moved.yaml"
    path.write_text(yaml.safe_dump({"cohort": description, "teach": {"folds": 2}, "variants": variants}))
    settings, root = load_study(path, given, variant="lent")
    assert root == given
    assert len(read_table(root / settings.teach.teacher["table"]))
