"""The control arms as a study trains them: more epochs, soft labels of image-only students, and what they cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.distil import loop
from mmpkd.distil.settings import AttentionTerms
from mmpkd.errors import InputError
from mmpkd.files import read_json, read_table
from mmpkd.folder import CellFolder
from mmpkd.study.arm import arm_cost, arm_steps, arm_targets, arm_training
from mmpkd.study.cell import CellWork, distil_cell
from mmpkd.study.comparison import weak_controls
from mmpkd.study.inputs import check_arms, read_inputs, without_privileged
from mmpkd.study.load import load_study
from mmpkd.study.plan import Plan
from mmpkd.study.run import StudyRun
from mmpkd.study.settings import StudySettings
from mmpkd.study.summary import summary_lines
from mmpkd.teach.crossfit import held_out_folds

CONTROLS = ("longer", "label-smoothing", "self", "shuffled", "permuted", "constant")
STUDY: dict[str, Any] = {
    "cohort": "cohort/cohort.yaml",
    "teach": {"teacher": "tfidf", "folds": 2},
    "student": {"image_size_px": 32, "patch_px": 8, "width": 16, "depth": 1, "heads": 2},
    "training": {"epochs": 2, "batch_size": 16, "warmup_epochs": 0.5, "precision": "fp32"},
    "arms": {"hard": {}, "mmpkd": {}, **{name: {} for name in CONTROLS}},
    "seeds": 1,
    "evaluate": {"checks": {"rois": 0}},
    "compare": {"replicates": 100},
    "execution": {"workers": 1, "device": "cpu"},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(PhantomSettings(patients=60, size_px=32, seed=1), folder / "cohort")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


@pytest.fixture(scope="module")
def work(folder: Path) -> CellWork:
    study, root = load_study(folder / "study.yaml")
    inputs = read_inputs(study, root, folder / "cache")
    return CellWork(study, without_privileged(inputs.cohort), inputs.images, None, {})


def study(arms: dict[str, object], **parts: object) -> StudySettings:
    primary = {"compare": {"reference_arm": next(iter(arms)), "primary": {"arm": list(arms)[-1]}}}
    cohort = {"table": "a.csv", "case": "case", "labels": ["nodule"]}
    return StudySettings.from_data({"cohort": cohort, "arms": arms, **primary, **parts}, "study.yaml")


def test_longer_trains_twice_the_epochs_and_its_learning_rate_ends_at_the_end_of_them(work, tmp_path):
    histories = {}
    for arm in ("hard", "longer"):
        distil_cell(work, arm, 0, CellFolder(tmp_path / arm))
        histories[arm] = read_table(CellFolder(tmp_path / arm).history)
    assert [len(histories[arm]) for arm in ("hard", "longer")] == [2, 4]
    rates = histories["longer"]["learning_rate"].to_numpy()
    assert rates[1] > 10 * rates[3]
    assert histories["longer"]["train_soft"].isna().all()


def test_any_arm_may_have_its_own_epochs():
    asked = study({"hard": {}, "longer": {"epochs_factor": 1.5}, "mmpkd": {"lambda": 0.3, "epochs_factor": 0.5}})
    assert [arm_training(asked, arm).epochs for arm in asked.arms] == [30, 45, 15]
    assert asked.arms["mmpkd"].objective.lambda_ == 0.3
    assert StudySettings.from_data(yaml.safe_load(asked.to_yaml()), "study.yaml") == asked


def test_epochs_that_the_warm_up_does_not_fit_and_a_factor_of_nothing_are_refused():
    with pytest.raises(InputError) as caught:
        check_arms(study({"hard": {}, "mmpkd": {"epochs_factor": 0.01}}, training={"warmup_epochs": 3}))
    (problem,) = caught.value.problems
    assert problem.startswith("arms.mmpkd: training, 1 epochs")
    assert "'warmup_epochs' (3) exceeds 'epochs' (1)" in problem
    with pytest.raises(InputError, match="epochs_factor"):
        study({"hard": {}, "longer": {"epochs_factor": 0}})


def test_arms_cost_what_they_train():
    asked = study(
        {
            "hard": {},
            "longer": {},
            "self": {},
            "steady": {"kind": "mmpkd", "attention": {"consistency": 1.0}, "epochs_factor": 2},
            "shuffled": {},
        }
    )
    costs = {arm: arm_cost(asked, arm) for arm in asked.arms}
    assert costs == {"hard": 1.0, "longer": 2.0, "self": 5.0, "steady": 4.0, "shuffled": 1.0}
    assert [arm_steps(asked, arm) for arm in asked.arms] == [30, 60, 180, 60, 30]
    in_sample = study({"hard": {}, "self": {"epochs_factor": 2}}, teach={"out_of_fold": False})
    assert (arm_cost(in_sample, "self"), arm_steps(in_sample, "self")) == (4.0, 120)
    # two cells of 1 and 3 hundred passes over 100 cases at 50 images/s: 2 of them after each other, or side by side
    cells, costs = [("hard", 0), ("self", 0)], {"hard": 1.0, "self": 3.0}
    assert Plan(cells, 100, 100, 1, 1, 50.0, costs).training_s == 800.0
    plan = Plan(cells, 100, 100, 2, 1, 50.0, costs)
    assert plan.training_s == 600.0
    assert "100 cases x 100 epochs a cell (self 3 times that); 2 at a time" in "\n".join(plan.lines())


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[SimpleNamespace]:
    """Note each training and go on with it."""
    calls: list[SimpleNamespace] = []
    original = loop.train

    def note(student, training, targets, images, **more):
        calls.append(SimpleNamespace(targets=targets, **more))
        return original(student, training, targets, images, **more)

    monkeypatch.setattr(loop, "train", note)
    return calls


def test_self_learns_from_students_that_have_not_seen_the_patient(work, tmp_path, trainings):
    targets = arm_targets(work, "self", 0, CellFolder(tmp_path))
    train = np.flatnonzero(work.cohort.in_split("train"))
    fold = held_out_folds(work.cohort, work.study.teach)
    patients = work.cohort.cases["patient"].to_numpy()
    assert len(trainings) == 2
    for number, call in enumerate(trainings):
        np.testing.assert_array_equal(call.train_positions, train[fold != number])
        assert not set(patients[call.train_positions]) & set(patients[train[fold == number]])
        others = np.setdiff1d(np.arange(len(work.cohort)), call.train_positions)
        assert np.isnan(call.targets.hard[others]).all()
        assert np.isnan(call.targets.soft_logits).all()
        assert call.targets.objective.lambda_ == 0.0
        assert call.targets.objective.attention == AttentionTerms()
    assert len({call.seed for call in trainings} | {0}) == 3
    assert np.isfinite(targets.soft_logits[train]).all()
    assert np.isnan(targets.soft_logits[~work.cohort.in_split("train")]).all()
    np.testing.assert_array_equal(targets.hard[train], work.cohort.labels[train])


def test_self_goes_on_after_the_folds_that_are_done_and_ends_with_the_same_bytes(
    work, tmp_path, trainings, monkeypatch
):
    whole, killed = CellFolder(tmp_path / "whole"), CellFolder(tmp_path / "killed")
    expected = arm_targets(work, "self", 3, whole).soft_logits
    noted = loop.train

    def fail_in_the_second_fold(*args, folder, **more):
        if folder.path.name == "fold-1":
            raise InterruptedError
        return noted(*args, folder=folder, **more)

    monkeypatch.setattr(loop, "train", fail_in_the_second_fold)
    with pytest.raises(InterruptedError):
        arm_targets(work, "self", 3, killed)
    monkeypatch.setattr(loop, "train", noted)
    trainings.clear()
    np.testing.assert_array_equal(arm_targets(work, "self", 3, killed).soft_logits, expected)
    assert len(trainings) == 1
    arm_targets(work, "self", 3, killed)
    assert len(trainings) == 1
    assert whole.self_soft_labels.read_bytes() == killed.self_soft_labels.read_bytes()
    assert not list(tmp_path.rglob("checkpoint"))


def test_self_is_another_teacher_for_each_seed(work, tmp_path):
    one, other = (arm_targets(work, "self", seed, CellFolder(tmp_path / str(seed))).soft_logits for seed in (0, 1))
    assert not np.array_equal(one, other, equal_nan=True)


def test_self_in_sample_is_one_student_that_labels_its_own_cases(work, tmp_path, trainings):
    settings = work.study.model_copy(update={"teach": work.study.teach.model_copy(update={"out_of_fold": False})})
    arm_targets(replace(work, study=settings), "self", 0, CellFolder(tmp_path))
    (call,) = trainings
    np.testing.assert_array_equal(call.train_positions, np.flatnonzero(work.cohort.in_split("train")))


def test_more_folds_than_patients_are_one_sentence(work, tmp_path):
    settings = work.study.model_copy(update={"teach": work.study.teach.model_copy(update={"folds": 500})})
    with pytest.raises(InputError, match=r"teach\.folds is 500, but the training split has \d+ patients"):
        arm_targets(replace(work, study=settings), "self", 0, CellFolder(tmp_path))


@pytest.mark.parametrize("arm", ["label-smoothing", "shuffled", "permuted", "constant"])
def test_controls_made_of_soft_labels_are_refused_before_the_teacher_ran(work, tmp_path, arm):
    with pytest.raises(InputError, match="needs soft labels; run `mmpkd teach` first"):
        distil_cell(work, arm, 0, CellFolder(tmp_path))


def test_a_study_of_arms_without_teacher_needs_none(folder, tmp_path):
    (folder / "bare.yaml").write_text(
        yaml.safe_dump({**STUDY, "arms": ["hard", "longer", "self"], "compare": {"primary": {"arm": "self"}}})
    )
    bare, root = load_study(folder / "bare.yaml")
    run = StudyRun(bare, root, tmp_path / "run")
    assert run.work.soft_logits is None
    asked, root = load_study(folder / "study.yaml")
    with pytest.raises(InputError, match="the soft labels are missing"):
        _ = StudyRun(asked, root, tmp_path / "other").work


def test_shuffled_is_called_weak_where_many_cases_are_alone_with_their_labels(work):
    soft = np.zeros(work.cohort.labels.shape)
    assert weak_controls(work) == []  # no soft labels at all
    unlike = replace(work.cohort, labels=np.arange(soft.size, dtype=float).reshape(soft.shape))
    (sentence,) = weak_controls(replace(work, soft_logits=soft, cohort=unlike))
    assert sentence.startswith("The control 'shuffled' is weak here: 100% of the training cases with soft labels")
    alike = replace(work, soft_logits=soft, cohort=replace(work.cohort, labels=np.zeros_like(soft)))
    assert weak_controls(alike) == []


@pytest.mark.slow
def test_all_arms_run_in_one_study_and_the_verdict_holds_the_primary_arm_against_each(folder, tmp_path):
    asked, root = load_study(folder / "study.yaml")
    run = StudyRun(asked, root, tmp_path / "run")
    assert run.everything().is_file()
    comparison = read_table(run.folder.comparison)
    controls = comparison[comparison["kind"] == "control"]
    assert set(controls["reference_arm"]) == set(CONTROLS)
    assert set(controls["arm"]) == {"mmpkd"}
    estimate = {row.arm: row.estimate for row in _macro_auroc(comparison[comparison["kind"] == "arm"])}
    for row in controls.itertuples():
        assert row.estimate == pytest.approx(estimate["mmpkd"] - estimate[row.reference_arm])
        assert row.low <= row.estimate <= row.high
    sentences = " ".join(read_json(run.folder.verdict)["sentences"])
    for name in CONTROLS:
        assert f"'{name}'" in sentences
    caveats = read_json(run.folder.verdict)["caveats"]
    lines = summary_lines(run.folder)
    assert [line for line in lines if "caveat" in line] == [f"  caveat: {caveat}" for caveat in caveats]


def _macro_auroc(rows: pd.DataFrame) -> list[Any]:
    return list(rows[(rows["metric"] == "auroc") & (rows["finding"] == "macro")].itertuples())


@pytest.mark.parametrize("device", ["cpu", "auto"])
def test_a_study_for_the_cpu_trains_all_its_students_there(work, tmp_path, monkeypatch, device):
    asked = []

    def accelerator(**settings: object) -> None:
        asked.append(settings["cpu"])
        raise ZeroDivisionError("far enough")

    monkeypatch.setattr(loop, "Accelerator", accelerator)
    execution = work.study.execution.model_copy(update={"device": device})
    here = replace(work, study=work.study.model_copy(update={"execution": execution}))
    for arm in ("hard", "self"):  # the second trains its teachers first
        with pytest.raises(ZeroDivisionError, match="far enough"):
            distil_cell(here, arm, 0, CellFolder(tmp_path / arm))
    assert asked == [device == "cpu"] * 2
