"""A study's cells trained together end as they end alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.distil import loop, stacked
from mmpkd.distil.checkpoint import load_student
from mmpkd.files import read_table
from mmpkd.folder import RunFolder
from mmpkd.study.cell import CellWork, distil_cell
from mmpkd.study.inputs import read_inputs, without_privileged
from mmpkd.study.load import load_study
from mmpkd.study.stacked import StackedJob, stack_size

STUDY = {
    "cohort": "cohort/cohort.yaml",
    "student": {"image_size_px": 32, "patch_px": 8, "width": 16, "depth": 1, "heads": 2, "head": "patch"},
    "training": {"epochs": 2, "batch_size": 16, "warmup_epochs": 0.5, "precision": "fp32"},
    "teach": {"folds": 2},
    "arms": ["hard", "mmpkd", "longer", "self", "shuffled", "roi-supervised"],
    "seeds": 2,
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> CellWork:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(PhantomSettings(patients=60, size_px=32, seed=1), folder / "cohort")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    study, root = load_study(folder / "study.yaml")
    inputs = read_inputs(study, root, folder / "cache")
    soft_logits = np.random.default_rng(0).normal(size=inputs.cohort.labels.shape)
    return CellWork(study, without_privileged(inputs.cohort), inputs.images, soft_logits, {})


def _cells(work: CellWork, out: Path, arms=None):
    return [(arm, seed, RunFolder(out).cell(arm, seed)) for seed in work.study.seeds for arm in arms or work.study.arms]


def test_each_cell_ends_as_alone_and_what_cannot_be_stacked_is_left(work, tmp_path):
    together, alone = _cells(work, tmp_path / "together"), _cells(work, tmp_path / "alone")
    StackedJob(work, together, size=4)()
    for (arm, seed, folder), (_, _, expected) in zip(together, alone, strict=True):
        if arm == "roi-supervised":
            assert not folder.history.exists()
            continue
        distil_cell(work, arm, seed, expected)
        history, other = read_table(folder.history), read_table(expected.history)
        assert (history.drop(columns="val_auroc") - other.drop(columns="val_auroc")).abs().max(axis=None) < 1e-3
        if np.argmax(history["val_auroc"]) == np.argmax(other["val_auroc"]):
            weights = load_student(expected.student).state_dict()
            for name, value in load_student(folder.student).state_dict().items():
                assert torch.allclose(value, weights[name], atol=5e-3), (arm, name)
        assert not folder.checkpoint.exists()
        if arm == "self":
            labels, others = (read_table(each.self_soft_labels)["logit"] for each in (folder, expected))
            assert np.abs(labels - others).max() < 0.05


def test_finished_cells_are_not_trained_again(work, tmp_path, monkeypatch):
    cells = _cells(work, tmp_path, ["hard", "mmpkd"])
    StackedJob(work, cells[:2], size=8)()
    seen = []
    real = stacked.train_stacked

    def counted(student, members, *rest, **more):
        seen.append([member.seed for member in members])
        return real(student, members, *rest, **more)

    monkeypatch.setattr(stacked, "train_stacked", counted)
    monkeypatch.setattr(loop, "train", lambda *_, **__: pytest.fail("a cell trained alone"))
    StackedJob(work, cells, size=8)()
    assert seen == [[1, 1]]
    for _, _, folder in cells:
        assert folder.history.is_file()


def test_a_stack_too_large_for_the_device_is_halved(work, tmp_path, monkeypatch):
    cells = _cells(work, tmp_path, ["hard", "mmpkd", "shuffled"])
    sizes = []
    real = stacked.train_stacked

    def full(student, members, *rest, **more):
        sizes.append(len(members))
        if len(members) > 2:
            raise torch.OutOfMemoryError
        return real(student, members, *rest, **more)

    monkeypatch.setattr(stacked, "train_stacked", full)
    StackedJob(work, cells, size=8)()
    assert sizes == [6, 3, 1, 2, 3, 1, 2]
    assert all(folder.history.is_file() for _, _, folder in cells)


@pytest.mark.parametrize(("given", "expected"), [("auto", 1), (1, 1), (6, 6)])
def test_a_cpu_stacks_on_request_only(work, given, expected):
    execution = work.study.execution.model_copy(update={"stack": given})
    study = work.study.model_copy(update={"execution": execution})
    assert stack_size(study, torch.device("cpu")) == expected


def test_students_that_draw_at_random_are_never_stacked(work):
    execution = work.study.execution.model_copy(update={"stack": 6})
    student = work.study.student.model_copy(update={"drop_path": 0.2, "depth": 2})
    study = work.study.model_copy(update={"execution": execution, "student": student})
    assert stack_size(study, torch.device("cpu")) == 1


def test_one_cells_bad_objective_costs_only_that_cell(work, tmp_path):
    arms = dict(work.study.arms)
    arms["mmpkd"] = arms["mmpkd"].model_copy(update={"epochs_factor": 0.1})  # too short for the warm-up
    training = work.study.training.model_copy(update={"epochs": 9, "warmup_epochs": 1.5})
    bad = replace(work, study=work.study.model_copy(update={"arms": arms, "training": training}))
    cells = _cells(bad, tmp_path, ["mmpkd", "hard"])
    StackedJob(bad, cells, size=8)()
    assert [folder.history.is_file() for _, _, folder in cells] == [False, True, False, True]
