"""A study whose arms are told where, from the phantom's reports to targets and verdict."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.cohort.zones import SCHEMES
from mmpkd.errors import InputError
from mmpkd.files import read_json, read_table
from mmpkd.folder import CellFolder
from mmpkd.study.arm import arm_rois, arm_targets
from mmpkd.study.load import load_study
from mmpkd.study.preflight import check_names
from mmpkd.study.run import StudyRun
from mmpkd.study.settings import StudySettings

STUDY = {
    "cohort": "cohort/cohort.yaml",
    "teach": {"folds": 2, "located": {}},
    "student": {"image_size_px": 32, "patch_px": 8, "width": 16, "depth": 1, "heads": 2, "head": "patch"},
    "training": {"epochs": 2, "batch_size": 16, "warmup_epochs": 0.5, "precision": "fp32"},
    "arms": {
        "hard": {},
        "spatial": {},
        "zones-shuffled": {},
        "zones-prior": {},
        "zones-mirrored": {},
        "zone-truth": {},
        "half": {"kind": "spatial", "zones": {"unsaid": 0.5, "side_errors": 0.1}},
        "boxes-5": {"kind": "roi-supervised", "boxes": 5},
    },
    "seeds": [0],
    "compare": {"primary": {"arm": "spatial"}, "replicates": 100},
    "evaluate": {"checks": {"rois": 0}},
    "execution": {"workers": 1},
}


@pytest.fixture(scope="module")
def study_run(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(PhantomSettings(patients=60, size_px=32, seed=1), folder / "cohort")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    study, root = load_study(folder / "study.yaml")
    run = StudyRun(study, root, folder / "run")
    check_names(study)
    with run.claimed():
        run.cohort()
        run.teach()
    return run


def _zones(run: StudyRun, arm: str, seed: int = 0):
    targets = arm_targets(run.work, arm, seed, CellFolder(Path("unused")))
    assert targets.zones is not None
    return targets.zones


def test_the_table_holds_located_rows_beside_those_of_the_image(study_run):
    table = read_table(study_run.folder.soft_labels)
    assert set(table["region"]) == {"image", *SCHEMES["six"].regions}


def test_training_cases_alone_are_told_where(study_run):
    zones, train = _zones(study_run, "spatial"), study_run.work.cohort.in_split("train")
    assert np.isnan(zones.logits[~train]).all()
    assert not np.isnan(zones.logits[train]).all()
    assert zones.coverage.shape[1:] == (11, 4, 4)


def test_located_labels_agree_with_the_rois(study_run):
    said, true = _zones(study_run, "spatial").logits, _zones(study_run, "zone-truth").logits
    both = ~np.isnan(said) & ~np.isnan(true)
    assert both.sum() > 200
    assert ((said > 0) == (true > 0))[both].mean() > 0.95  # the labels are noisy, the reports are not


def test_sides_are_the_patients(study_run):
    """A breaking test for laterality: a flip in the phantom, the zones or the rules makes it fail."""
    said, cohort = _zones(study_run, "spatial").logits, study_run.inputs.cohort
    regions, nodule = SCHEMES["six"].regions, study_run.work.cohort.findings.index("nodule")
    assert cohort.rois is not None
    boxes = cohort.rois[cohort.rois["finding"] == "nodule"].drop_duplicates("case").set_index("case")
    checked = 0
    for row, case in enumerate(cohort.cases.index):
        if case in boxes.index and said[row, nodule, regions.index("left")] > 0:
            centre = (boxes.loc[case, "x_min"] + boxes.loc[case, "x_max"]) / 2
            assert centre > 16  # the patient's left is the image's right half
            checked += 1
    assert checked >= 4


def test_mirrored_zones_exchange_sides_and_nothing_else(study_run):
    regions = SCHEMES["six"].regions
    said, mirrored = (_zones(study_run, arm).logits for arm in ("spatial", "zones-mirrored"))
    np.testing.assert_array_equal(said[..., regions.index("left lower")], mirrored[..., regions.index("right lower")])
    np.testing.assert_array_equal(said[..., regions.index("lower")], mirrored[..., regions.index("lower")])


def test_doses_change_their_share(study_run):
    said, half = (_zones(study_run, arm).logits for arm in ("spatial", "half"))
    told = ~np.isnan(said).all(axis=2)
    assert np.isnan(half[told]).all(axis=1).mean() == pytest.approx(0.5, abs=0.1)


def test_each_seed_draws_its_own_boxes(study_run):
    cases = [set(arm_rois(study_run.work, "boxes-5", seed).rois["case"]) for seed in (0, 1)]
    assert [len(each) for each in cases] == [5, 5]
    assert cases[0] != cases[1]
    trains = set(study_run.work.cohort.cases.index[study_run.work.cohort.in_split("train")])
    assert cases[0] <= trains


def test_a_cohort_without_zones_is_refused_before_any_training(study_run):
    study = study_run.study
    bare = study.model_copy(update={"cohort": study.cohort.model_copy(update={"zones": None})})
    with pytest.raises(InputError, match="no located soft labels"):
        check_names(bare)


def test_a_teacher_that_is_not_located_is_told(study_run):
    work = replace(study_run.work, located=None)
    with pytest.raises(InputError, match=r"say nothing of any zone; set 'teach\.located'"):
        arm_targets(work, "spatial", 0, CellFolder(Path("unused")))


def _with_given(run: StudyRun, folder: Path, table) -> StudyRun:
    """Return the study with a precomputed teacher in the place of the rules."""
    table.to_csv(run.root / f"{folder.name}.csv", index=False)
    teach = {"teacher": {"kind": "precomputed", "table": f"{folder.name}.csv"}}
    study = StudySettings.from_data({**run.study.to_data(), "teach": teach}, "study.yaml")
    return StudyRun(study, run.root, folder / "run")


def test_zone_labels_from_elsewhere_teach_as_the_rules_do(study_run, tmp_path):
    given = _with_given(study_run, tmp_path, read_table(study_run.folder.soft_labels))
    with given.claimed():
        given.cohort()
        given.teach()
    ours, theirs = _zones(study_run, "spatial"), _zones(given, "spatial")
    np.testing.assert_allclose(theirs.logits, ours.logits)
    np.testing.assert_array_equal(theirs.coverage, ours.coverage)


def test_a_region_that_the_scheme_lacks_is_told(study_run, tmp_path):
    table = read_table(study_run.folder.soft_labels).replace({"region": {"left lower": "left lwer"}})
    given = _with_given(study_run, tmp_path, table)
    with given.claimed(), pytest.raises(InputError, match=r"'left lwer' is none of the scheme 'six'; did you mean"):
        given.teach()
    assert not given.folder.soft_labels.is_file()


@pytest.mark.slow
def test_the_whole_study_runs(study_run):
    study_run.everything()
    verdict = read_json(study_run.folder.verdict)
    assert verdict
    history = read_table(study_run.folder.cell("spatial", 0).history)
    assert history["train_zones"].notna().all()
