"""The arms as a study's cells train them: what each is shown, and what is refused before any training."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.distil import loop
from mmpkd.distil.arms import Targets
from mmpkd.distil.roi_coverage import roi_coverage
from mmpkd.errors import InputError
from mmpkd.files import read_table
from mmpkd.folder import CellFolder
from mmpkd.study.cell import CellWork, distil_cell
from mmpkd.study.inputs import check_arms, read_inputs, without_privileged
from mmpkd.study.load import load_study
from mmpkd.study.settings import StudySettings

STUDY = {
    "cohort": "cohort/cohort.yaml",
    "student": {"image_size_px": 32, "patch_px": 8, "width": 16, "depth": 1, "heads": 2, "head": "patch"},
    "training": {"epochs": 2, "batch_size": 16, "warmup_epochs": 0.5, "precision": "fp32"},
    "arms": {
        "hard": {},
        "roi-supervised": {},
        "random-labels": {},
        "steady": {"kind": "mmpkd", "attention": {"consistency": 1.0, "entropy": 0.1}},
    },
    "compare": {"primary": {"arm": "steady"}},
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


def _history(work: CellWork, arm: str, folder: Path, seed: int = 0):
    distil_cell(work, arm, seed, CellFolder(folder))
    return read_table(CellFolder(folder).history)


def _weights(folder: Path) -> bytes:
    return (CellFolder(folder).student / "weights.safetensors").read_bytes()


def _without_rois(work: CellWork) -> CellWork:
    cohort = work.study.cohort.model_copy(update={"rois": None})
    return replace(
        work,
        study=work.study.model_copy(update={"cohort": cohort}),
        cohort=replace(work.cohort, rois=None),
    )


def test_each_arm_trains_with_its_own_terms(work, tmp_path):
    terms = {}
    for arm in work.study.arms:
        columns = list(_history(work, arm, tmp_path / arm))
        terms[arm] = columns[columns.index("train_soft") + 1 : columns.index("learning_rate")]
    assert terms == {
        "hard": [],
        "roi-supervised": ["train_roi"],
        "random-labels": [],
        "steady": ["train_entropy", "train_consistency"],
    }


@pytest.fixture
def handed(monkeypatch: pytest.MonkeyPatch) -> list[Targets]:
    """Targets that reach the training, which then does not take place."""
    targets: list[Targets] = []

    def note(_student, _training, given, *_args, **_more):
        targets.append(given)
        raise InterruptedError

    monkeypatch.setattr(loop, "train", note)
    return targets


def test_arms_are_given_nothing_of_validation_and_test_cases(work, tmp_path, handed):
    with pytest.raises(InterruptedError):
        distil_cell(work, "steady", 0, CellFolder(tmp_path))
    (targets,) = handed
    in_train = work.cohort.in_split("train")
    assert np.isnan(targets.hard[~in_train]).all()
    assert np.isnan(targets.soft_logits[~in_train]).all()
    np.testing.assert_array_equal(targets.hard[in_train], work.cohort.labels[in_train])
    np.testing.assert_array_equal(targets.soft_logits[in_train], work.soft_logits[in_train])


def test_labels_of_other_splits_change_no_bit_of_any_arm(work, tmp_path):
    labels = work.cohort.labels.copy()
    in_test = work.cohort.in_split("test")
    labels[in_test] = 1 - labels[in_test]
    other = replace(work, cohort=replace(work.cohort, labels=labels))
    for arm in ("random-labels", "roi-supervised"):
        for name, each in (("one", work), ("other", other)):
            distil_cell(each, arm, 0, CellFolder(tmp_path / arm / name))
        assert _weights(tmp_path / arm / "one") == _weights(tmp_path / arm / "other")


def test_rois_of_other_splits_change_no_bit_of_the_supervised_arm(work, tmp_path):
    training = work.cohort.cases.index[work.cohort.in_split("train")]
    fewer = work.cohort.rois[work.cohort.rois["case"].isin(training)]
    assert len(fewer) < len(work.cohort.rois)
    other = replace(work, cohort=replace(work.cohort, rois=fewer))
    for name, each in (("one", work), ("other", other)):
        distil_cell(each, "roi-supervised", 0, CellFolder(tmp_path / name))
    assert _weights(tmp_path / "one") == _weights(tmp_path / "other")


def test_coverage_of_the_phantom_is_that_of_its_training_findings(work):
    positions = np.flatnonzero(work.cohort.in_split("train"))
    coverage = roi_coverage(work.cohort, work.images, positions, (4, 4))
    rois = work.cohort.rois
    pairs = set(map(tuple, rois[["case", "finding"]].drop_duplicates().to_numpy()))
    found = {
        (work.cohort.cases.index[positions[case]], work.cohort.findings[finding])
        for case, finding in zip(coverage.cases, coverage.findings, strict=True)
    }
    labels = work.cohort.labels
    expected = {
        (case, finding)
        for case, finding in pairs
        if (position := work.cohort.cases.index.get_loc(case)) in set(positions.tolist())
        and labels[position, work.cohort.findings.index(finding)] != 0
    }
    assert found == expected
    assert len(found) > 20


def test_random_labels_are_another_permutation_for_each_seed(work, tmp_path, handed):
    for seed in (0, 0, 1):
        with pytest.raises(InterruptedError):
            distil_cell(work, "random-labels", seed, CellFolder(tmp_path))
    first, again, other = (targets.hard for targets in handed)
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other, equal_nan=True)


def test_a_cohort_without_rois_refuses_the_supervised_arm_before_the_first_of_any_is_trained(work, tmp_path):
    with pytest.raises(InputError) as caught:
        distil_cell(_without_rois(work), "hard", 0, CellFolder(tmp_path / "hard"))
    (problem,) = caught.value.problems
    assert problem.startswith("arms.roi-supervised: objective.attention.roi: training by ROIs needs a cohort that has")
    assert not list(tmp_path.iterdir())


def _study(arms: dict[str, object], **parts: object) -> StudySettings:
    cohort = {"table": "a.csv", "case": "case", "labels": ["nodule"]}
    primary = {"compare": {"reference_arm": next(iter(arms)), "primary": {"arm": list(arms)[-1]}}}
    return StudySettings.from_data({"cohort": cohort, "arms": arms, **primary, **parts}, "study.yaml")


def test_every_arm_that_cannot_be_trained_is_told_at_once():
    still = {"shift": 0, "scale": 0, "rotate_deg": 0, "brightness": 0, "contrast": 0}
    arms = {
        "hard": {},
        "steady": {"kind": "mmpkd", "attention": {"consistency": 1.0}},
        "random-labels": {"attention": {"roi": 1.0}},
    }
    with pytest.raises(InputError) as caught:
        check_arms(_study(arms, training={"augment": still}))
    first, second = caught.value.problems
    assert first.startswith("arms.steady: objective.attention.consistency: it compares two augmented views")
    assert second.startswith("arms.random-labels: objective.attention.roi: the arm 'random-labels' trains on permuted")


def test_arms_without_terms_pass_without_rois():
    check_arms(_study({"hard": {}, "mmpkd": {}, "random-labels": {}}))


def test_a_misspelt_term_in_the_study_file_is_one_sentence():
    with pytest.raises(InputError) as caught:
        _study({"hard": {}, "mmpkd": {"attention": {"consistancy": 1.0}}})
    (problem,) = caught.value.problems
    assert "consistancy" in problem
    assert "did you mean 'consistency'?" in problem


def test_terms_survive_the_resolved_study_file():
    study = _study({"hard": {}, "steady": {"kind": "mmpkd", "attention": {"consistency": 0.5}}})
    again = StudySettings.from_data(yaml.safe_load(study.to_yaml()), "study.yaml")
    assert again.arms["steady"].objective.attention.consistency == 0.5
    assert again == study
