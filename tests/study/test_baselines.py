"""Baselines of a study: every map method has all six, on the students' own ROIs."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mmpkd.attribute.attribute import token_maps
from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.distil.checkpoint import save_student
from mmpkd.evaluate.baselines import BASELINES
from mmpkd.evaluate.localisation import localisation_scores
from mmpkd.files import read_table
from mmpkd.study.baselines import untrained_student
from mmpkd.study.cell import CellWork
from mmpkd.study.comparison import write_baselines
from mmpkd.study.inputs import localised_positions
from mmpkd.study.load import load_study
from mmpkd.study.localise import COLUMNS, Target, score_blind, score_maps, token_map_on_canvas
from mmpkd.study.run import StudyRun

METHODS = ("attention", "attention=max")
POLICIES = ("matched-area", "otsu")
STUDY = {
    "cohort": "cohort/cohort.yaml",
    "student": {"image_size_px": 32, "patch_px": 8, "width": 32, "depth": 2, "heads": 2},
    "evaluate": {"maps": list(METHODS), "policies": list(POLICIES)},
    "seeds": [3, 1],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """A study whose first cell has a student, trained by nobody, and nothing else."""
    folder = tmp_path_factory.mktemp("study")
    write_phantom(PhantomSettings(patients=30, size_px=32, seed=1), folder / "cohort")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    run = StudyRun(*load_study(folder / "study.yaml"), folder / "run")
    with run.claimed():
        run.cohort()
    return run


@pytest.fixture(scope="module")
def work(run: StudyRun) -> CellWork:
    from mmpkd.study.inputs import without_privileged

    return CellWork(run.study, without_privileged(run.inputs.cohort), run.inputs.images, None, run.provenance)


@pytest.fixture(scope="module")
def table(run: StudyRun, work: CellWork) -> pd.DataFrame:
    save_student(untrained_student(work, seed=3), run.folder.cell("hard", 3).student, {})
    write_baselines(work, run.folder, threads=1)
    return read_table(run.folder.baselines)


def test_every_method_has_every_baseline_on_every_roi(table: pd.DataFrame, work: CellWork) -> None:
    assert set(table.columns) == {"arm", *COLUMNS}
    counts = table.groupby(["method", "arm", "policy", "metric"]).size()
    assert set(counts) == {len(work.targets)}
    assert set(counts.index.droplevel(["policy", "metric"])) == {(m, arm) for m in METHODS for arm in BASELINES}
    assert not table.duplicated(["arm", *COLUMNS[:-1]]).any()


def test_chance_is_the_constant_map_and_its_contrast_is_zero(table: pd.DataFrame) -> None:
    wide = table.pivot(index=COLUMNS[:-1], columns="arm", values="value").reset_index()
    contrast = wide["metric"] == "cnr"
    assert wide.loc[~contrast, "uniform"].to_numpy() == pytest.approx(wide.loc[~contrast, "chance"].to_numpy())
    assert wide.loc[contrast, "uniform"].isna().all()
    assert (wide.loc[contrast, "chance"] == 0).all()


def test_what_sees_no_picture_scores_the_same_under_every_method(table: pd.DataFrame) -> None:
    for arm in ("chance", "centre-prior", "mean-roi-prior"):
        one, other = (table[(table["arm"] == arm) & (table["method"] == m)]["value"].to_numpy() for m in METHODS)
        np.testing.assert_array_equal(one, other)


def test_the_untrained_student_is_scored_by_its_own_maps(table: pd.DataFrame, work: CellWork) -> None:
    positions = localised_positions(work.cohort)
    for method in METHODS:
        maps = token_maps(untrained_student(work), work.images, positions, method)
        expected = score_maps(work.targets, maps, positions, work.images, POLICIES)["value"]
        found = table[(table["arm"] == "untrained") & (table["method"] == method)]["value"]
        assert found.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-6, nan_ok=True)


def test_baselines_are_the_same_each_time_and_keep_the_threads(
    table: pd.DataFrame, run: StudyRun, work: CellWork
) -> None:
    torch.manual_seed(7)
    threads = torch.get_num_threads()
    write_baselines(work, run.folder, threads=1)
    assert torch.get_num_threads() == threads
    pd.testing.assert_frame_equal(read_table(run.folder.baselines), table)


def test_fresh_weights_depend_on_the_seed_alone_and_leave_torchs_state(work: CellWork) -> None:
    state = torch.get_rng_state()
    first, again, other = (untrained_student(work, seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_the_roi_drawn_by_the_grid_finds_itself(table: pd.DataFrame, work: CellWork) -> None:
    wide = table.pivot(index=COLUMNS[:-1], columns="arm", values="value").reset_index()
    wide = wide[wide["method"] == "attention"]
    mean = wide[wide["policy"] != "otsu"].groupby("metric")[["roi-on-grid", "mean-roi-prior", "untrained"]].mean()
    assert mean.loc["iou", "roi-on-grid"] > 4 * mean.loc["iou", "untrained"]
    assert mean.loc["pixel_auroc", "roi-on-grid"] > mean.loc["pixel_auroc"].drop("roi-on-grid").max()
    areas = {(t.case, t.finding): t.mask.mean() for t in work.targets}
    enriched = wide[wide["metric"] == "energy_enrichment"]
    most = [1 / areas[key] for key in zip(enriched["case"], enriched["finding"], strict=True)]
    assert (enriched["roi-on-grid"] > 1).all()
    assert (enriched["roi-on-grid"] < np.array(most)).all()


def test_rois_of_several_sizes_score_as_each_alone(work: CellWork, monkeypatch: pytest.MonkeyPatch) -> None:
    positions = localised_positions(work.cohort)
    maps = token_maps(untrained_student(work), work.images, positions, "attention")
    targets = [
        Target(t.position, t.case, t.patient, t.finding, t.mask[:: 1 + index % 2, :: 1 + index % 2])
        for index, t in enumerate(work.targets[:6])
    ]
    monkeypatch.setattr("mmpkd.study.localise.CHUNK_PIXELS", 2 * targets[0].mask.size)
    table = score_maps(targets, maps, positions, work.images, POLICIES)
    rows = table.groupby(["case", "finding"], sort=False)
    assert list(rows.groups) == [(t.case, t.finding) for t in targets]
    for target, (_, found) in zip(targets, rows, strict=True):
        token_map = maps.values[list(positions).index(target.position), maps.findings.index(target.finding)]
        heat = token_map_on_canvas(token_map, target, work.images)
        expected = localisation_scores(heat[None], target.mask[None], POLICIES)
        assert list(zip(found["policy"], found["metric"], strict=True)) == list(expected)
        assert found["value"].to_numpy() == pytest.approx(np.concatenate(list(expected.values())), nan_ok=True)


def test_the_prior_is_that_of_other_patients() -> None:
    left, right = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    left[:, :2], right[:, 2:] = True, True
    targets = [Target(0, "a", "p", "mass", left), Target(1, "b", "q", "mass", right)]
    known = [Target(2, "c", "r", "mass", left)]

    def overlaps(prior_targets: list[Target]) -> list[float]:
        table = score_blind(targets, prior_targets, ("matched-area",), ("attention",))
        return table.query("arm == 'mean-roi-prior' and metric == 'iou'")["value"].tolist()

    assert overlaps([]) == [0, 0]  # each has only the other's ROI, on the other side
    other = Target(3, "d", "s", "nodule", right)
    assert overlaps([other]) == [0, 0]  # a finding without ROIs of its own in training falls back by itself
    assert overlaps(known) == [1, 0]


def test_a_study_without_rois_has_an_empty_table(run: StudyRun, work: CellWork, tmp_path: Path) -> None:
    from dataclasses import replace

    from mmpkd.folder import RunFolder

    blind = replace(work, cohort=replace(work.cohort, rois=None))
    write_baselines(blind, RunFolder(tmp_path), threads=1)
    assert read_table(RunFolder(tmp_path).baselines).empty
