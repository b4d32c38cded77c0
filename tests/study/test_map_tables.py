"""What a study says of maps beyond localisation, on untrained students: checks, slices, ensembles, repeats, sanity."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mmpkd.attribute.perturb import patch_shares, perturbation_curves, random_maps
from mmpkd.attribute.vit import vit_of
from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.compare.repeatability import SEEDS
from mmpkd.distil.checkpoint import load_student, save_student
from mmpkd.evaluate.faithfulness import area
from mmpkd.evaluate.similarity import ensemble, spearman
from mmpkd.files import read_table
from mmpkd.study.baselines import untrained_student
from mmpkd.study.cell import CellWork, attribute_cell, evaluate_cell, predict_cell
from mmpkd.study.checks import ROI_METHOD, check_cell, checked_targets
from mmpkd.study.comparison import compare_study, write_baselines
from mmpkd.study.inputs import localised_positions, without_privileged
from mmpkd.study.localise import COLUMNS, token_map_on_canvas
from mmpkd.study.map_file import read_maps
from mmpkd.study.run import StudyRun
from mmpkd.study.settings import load_study
from mmpkd.study.slices import roi_slices

STUDY = {
    "cohort": "cohort/cohort.yaml",
    "student": {"image_size_px": 32, "patch_px": 8, "width": 32, "depth": 2, "heads": 2},
    "evaluate": {"maps": ["attention", "legrad"], "checks": {"rois": 12, "steps": 4}},
    "arms": ["hard", "mmpkd"],
    "seeds": 4,
    "compare": {"replicates": 100},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """A study whose cells have students, trained by nobody, all scored and compared."""
    folder = tmp_path_factory.mktemp("study")
    write_phantom(PhantomSettings(patients=50, size_px=32, seed=1), folder / "cohort")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    run = StudyRun(*load_study(folder / "study.yaml"), folder / "run")
    with run.claimed():
        run.cohort()
    work = make_work(run)
    for place, (arm, seed) in enumerate(run.cells):
        cell = run.folder.cell(arm, seed)
        student = untrained_student(work, seed=place)
        with torch.no_grad():  # fresh weights are so small that every map is flat
            generator = torch.Generator().manual_seed(place)
            for parameter in student.parameters():
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        save_student(student, cell.student, {})
        for step in (predict_cell, attribute_cell, evaluate_cell, check_cell):
            step(work, cell)
    write_baselines(work, run.folder, threads=1)
    compare_study(work, run.folder, run.cells)
    return run


@pytest.fixture(scope="module")
def work(run: StudyRun) -> CellWork:
    return make_work(run)


def make_work(run: StudyRun) -> CellWork:
    return CellWork(run.study, without_privileged(run.inputs.cohort), run.inputs.images, None, run.provenance)


def find(table: pd.DataFrame, **wanted: str) -> pd.Series:
    rows = table
    for column, value in wanted.items():
        rows = rows[rows[column] == value]
    assert len(rows) == 1, f"{len(rows)} rows for {wanted}"
    return rows.iloc[0]


def maps_of_targets(work: CellWork, run: StudyRun, arm: str, method: str) -> np.ndarray:
    positions = list(localised_positions(work.cohort))
    stacked = []
    for seed in run.study.seeds:
        maps = read_maps(run.folder.cell(arm, seed).maps(method))
        stacked.append([maps.values[positions.index(t.position), maps.findings.index(t.finding)] for t in work.targets])
    return np.array(stacked)


class TestChecks:
    def test_a_sample_of_rois_is_checked_the_same_for_every_cell(self, run: StudyRun, work: CellWork) -> None:
        targets = checked_targets(work)
        assert len(targets) == 12 < len(work.targets)
        for arm, seed in run.cells:
            table = read_table(run.folder.cell(arm, seed).checks)
            assert list(table.columns) == COLUMNS
            pairs = table[["case", "finding"]].drop_duplicates().itertuples(index=False, name=None)
            assert set(pairs) == {(t.case, t.finding) for t in targets}
            assert set(table["method"]) == {"attention", "legrad", ROI_METHOD}

    def test_faithfulness_is_that_of_the_curves_against_random_orders(self, run: StudyRun, work: CellWork) -> None:
        cell, target = run.folder.cell("mmpkd", 2), checked_targets(work)[3]
        student = load_student(cell.student)
        vit, shares = vit_of(student), patch_shares(vit_of(student), 4)
        images = student.prepare(torch.from_numpy(work.images.batch(np.array([target.position]))))
        column = work.cohort.findings.index(target.finding)
        maps = read_maps(cell.maps("legrad"))
        row = list(localised_positions(work.cohort)).index(target.position)
        own = torch.from_numpy(maps.values[row, column].astype(np.float32))[None]

        def gap(heat: torch.Tensor) -> float:
            rise, fall = (
                perturbation_curves(vit, images, heat, [column], kind, steps=4, output="sigmoid").double().numpy()
                for kind in ("insertion", "deletion")
            )
            return float(area(rise, shares)[0] - area(fall, shares)[0])

        table = read_table(cell.checks)
        table = table[(table["case"] == target.case) & (table["finding"] == target.finding)]
        found = find(table, method="legrad", metric="insertion_minus_deletion")["value"]
        assert found == pytest.approx(gap(own), abs=1e-5)
        level = np.mean([gap(random_maps(vit, images, seed)) for seed in (1, 2)])
        gained = find(table, method="legrad", metric="faithfulness_gain")["value"]
        assert gained == pytest.approx(gap(own) - level, abs=1e-5)

    def test_none_are_made_where_none_are_wanted(self, run: StudyRun, work: CellWork, tmp_path: Path) -> None:
        from mmpkd.folder import CellFolder

        quiet = work.study.evaluate.checks.model_copy(update={"rois": 0})
        evaluate = work.study.evaluate.model_copy(update={"checks": quiet})
        silent = replace(work, study=work.study.model_copy(update={"evaluate": evaluate}))
        check_cell(silent, CellFolder(tmp_path))
        assert read_table(CellFolder(tmp_path).checks).empty

    def test_baselines_are_not_compared_in_what_they_were_never_given(self, run: StudyRun) -> None:
        table = read_table(run.folder.comparison)
        faithful = table[(table["kind"] == "difference") & (table["metric"] == "faithfulness_gain")]
        assert set(faithful["reference_arm"]) == {"hard"}
        assert find(faithful, method="legrad", finding="macro")["cases"] > 0


class TestSlices:
    def test_true_positives_follow_each_students_own_threshold(self, run: StudyRun, work: CellWork) -> None:
        predictions = pd.concat(
            [read_table(run.folder.cell(arm, seed).predictions).assign(arm=arm, seed=seed) for arm, seed in run.cells]
        )
        found = roi_slices(work, predictions)["true positives"]
        mine = predictions[(predictions["arm"] == "hard") & (predictions["seed"] == 1)]
        mine = mine[mine["finding"] == "effusion"].set_index("case")
        cohort = work.cohort
        column = cohort.findings.index("effusion")
        val = cohort.in_split("val")
        p = mine.loc[cohort.cases.index[val], "probability"].to_numpy()
        y = cohort.labels[val, column]
        gains = {t: np.mean(p[y == 1] >= t) - np.mean(p[y == 0] >= t) for t in p}
        threshold = max(t for t, gain in gains.items() if gain > max(gains.values()) - 1e-12)
        positive = cohort.cases.index[cohort.in_split("test") & (cohort.evaluation_labels[:, column] == 1)]
        expected = {case for case in positive if mine.loc[case, "probability"] >= threshold}
        rows = found[(found["arm"] == "hard") & (found["seed"] == 1) & (found["finding"] == "effusion")]
        assert set(rows["case"]) == expected

    def test_strata_hold_every_roi_once(self, run: StudyRun, work: CellWork) -> None:
        slices = roi_slices(work, read_table(run.folder.cell("hard", 0).predictions).assign(arm="hard", seed=0))
        strata = [table for name, table in slices.items() if name.startswith("ROI ")]
        assert sum(len(table) for table in strata) == len(work.targets)
        table = read_table(run.folder.slices)
        assert {"true positives", "ROI 1% to 5%"} <= set(table["slice"])
        assert not set(table["metric"]) & {"deletion", "shift_ssim"}


class TestSeeds:
    def test_similarity_between_seeds_is_the_mean_over_pairs(self, run: StudyRun, work: CellWork) -> None:
        maps = maps_of_targets(work, run, "mmpkd", "legrad").astype(float)
        pairs = [spearman(maps[s], maps[t]) for s in range(4) for t in range(s + 1, 4)]
        of_targets = pd.DataFrame({"finding": [t.finding for t in work.targets], "value": np.mean(pairs, axis=0)})
        table = read_table(run.folder.repeatability)
        for finding, expected in of_targets.groupby("finding")["value"].mean().items():
            row = find(table, kind=SEEDS, arm="mmpkd", method="legrad", metric="spearman", finding=finding)
            assert row["estimate"] == pytest.approx(expected, abs=1e-9)
            assert row["seeds"] == 4
        kinds = {"seeds", "unrelated", "excess", "arms", "ensembles", "ensemble-gain", "change"}
        assert set(table["kind"]) == kinds

    def test_the_ensemble_is_scored_as_the_mean_of_maps_of_equal_weight(self, run: StudyRun, work: CellWork) -> None:
        mean = ensemble(maps_of_targets(work, run, "hard", "attention"))
        shares = []
        for token_map, target in zip(mean, work.targets, strict=True):
            heat = token_map_on_canvas(token_map, target, work.images).astype(float)
            shares.append(heat[target.mask].sum() / heat.sum() / target.mask.mean())
        scored = pd.DataFrame({"finding": [t.finding for t in work.targets], "value": shares})
        wanted = {"kind": "ensemble", "arm": "hard", "method": "attention", "metric": "energy_enrichment"}
        row = find(read_table(run.folder.ensembles), **wanted, finding="macro")
        assert row["estimate"] == pytest.approx(scored.groupby("finding")["value"].mean().mean(), abs=1e-6)


def test_maps_are_followed_while_a_student_forgets(run: StudyRun, work: CellWork) -> None:
    table = read_table(run.folder.sanity)
    layers = table.drop_duplicates("depth").set_index("depth")["layer"]
    assert layers.tolist() == ["head", "norm", "blocks.1", "blocks.0", "embedding"]
    rows = table[(table["metric"] == "spearman") & (table["finding"] == "macro")]
    attention = rows[rows["method"] == "attention"].set_index("layer")["estimate"]
    assert attention["head"] == attention["norm"] == pytest.approx(1.0)  # it reads neither
    assert attention["blocks.0"] < 0.9
    assert rows[rows["method"] == "legrad"].set_index("layer")["estimate"]["head"] < 0.9
