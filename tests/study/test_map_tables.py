"""What a study says of maps beyond localisation, on untrained students: checks, slices, ensembles, repeats, sanity."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from mmpkd.attribute.attribute import explain, token_maps
from mmpkd.attribute.perturb import patch_shares, perturbation_curves, random_maps, sufficiency
from mmpkd.attribute.randomise import cascade
from mmpkd.attribute.stability import Shift
from mmpkd.attribute.vit import vit_of
from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.compare.repeatability import SEEDS
from mmpkd.distil.checkpoint import load_student, save_student
from mmpkd.evaluate.faithfulness import area
from mmpkd.evaluate.similarity import MEASURES, ensemble, spearman
from mmpkd.files import read_table
from mmpkd.folder import CellFolder, RunFolder
from mmpkd.study import checks, roi_maps
from mmpkd.study.baselines import untrained_student
from mmpkd.study.cell import CellWork, attribute_cell, evaluate_cell, predict_cell
from mmpkd.study.checks import ROI_METHOD, check_cell, checked_targets, picture_similarity, roi_coverage
from mmpkd.study.comparison import compare_study, write_baselines
from mmpkd.study.inputs import localised_positions, without_privileged
from mmpkd.study.load import load_study
from mmpkd.study.localise import COLUMNS, Target, token_map_on_canvas
from mmpkd.study.map_file import read_maps
from mmpkd.study.run import StudyRun
from mmpkd.study.sanity import forgetting
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


def with_checks(work: CellWork, **changed: float) -> CellWork:
    settings = work.study.evaluate.checks.model_copy(update=changed)
    evaluate = work.study.evaluate.model_copy(update={"checks": settings})
    return replace(work, study=work.study.model_copy(update={"evaluate": evaluate}))


def with_targets(work: CellWork, targets: list[Target]) -> CellWork:
    changed = replace(work)
    changed.__dict__["targets"] = targets
    return changed


def wide(work: CellWork) -> CellWork:
    """Say of every image that it was twice as wide as high: the middle two of four rows of tokens hold the picture."""
    sizes_px = np.tile([16, 32], (len(work.images), 1))
    return with_targets(replace(work, images=replace(work.images, sizes_px=sizes_px)), work.targets)


def checked_again(work: CellWork, cell: CellFolder, path: Path) -> pd.DataFrame:
    """Return the checks of a copy of the cell."""
    shutil.copytree(cell.path, path)
    CellFolder(path).checks.unlink()
    check_cell(work, CellFolder(path))
    return read_table(CellFolder(path).checks)


def of_target(table: pd.DataFrame, target: Target) -> pd.DataFrame:
    return table[(table["case"] == target.case) & (table["finding"] == target.finding)]


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
        check_cell(with_checks(work, rois=0), CellFolder(tmp_path))
        table = read_table(CellFolder(tmp_path).checks)
        assert table.empty
        assert list(table.columns) == COLUMNS
        assert table["value"].dtype == np.float64

    def test_a_study_is_compared_without_them(self, run: StudyRun, work: CellWork, tmp_path: Path) -> None:
        silent = with_checks(work, rois=0)
        silent = replace(silent, study=silent.study.model_copy(update={"seeds": (1,)}))
        folder, cells = RunFolder(tmp_path), [("hard", 1), ("mmpkd", 1)]
        shutil.copy(run.folder.baselines, folder.baselines)
        for arm, seed in cells:
            checked_again(silent, run.folder.cell(arm, seed), folder.cell(arm, seed).path)
        compare_study(silent, folder, cells)
        scores = read_table(folder.cell("mmpkd", 1).localisation)
        scores = scores[(scores["method"] == "legrad") & (scores["metric"] == "energy_enrichment")]
        wanted = {"kind": "arm", "arm": "mmpkd", "method": "legrad", "metric": "energy_enrichment", "finding": "macro"}
        row = find(read_table(folder.comparison), **wanted)
        assert row["estimate"] == pytest.approx(scores.groupby("finding")["value"].mean().mean(), abs=1e-9)
        assert set(read_table(folder.comparison)["method"]) == {"", "attention", "legrad"}
        assert not folder.sanity.is_file()

    @pytest.mark.parametrize(
        ("there_are", "drawn"),
        [
            ({"a": 20, "b": 2, "c": 9}, {"a": 5, "b": 2, "c": 5}),
            ({"a": 7, "b": 30}, {"a": 6, "b": 6}),
            ({"a": 40, "b": 1}, {"a": 11, "b": 1}),
        ],
    )
    def test_findings_take_turns_in_the_sample(
        self, work: CellWork, there_are: dict[str, int], drawn: dict[str, int]
    ) -> None:
        mask = np.ones((2, 2), bool)
        targets = [
            Target(n, f"{finding}{n}", str(n), finding, mask)
            for finding, count in there_are.items()
            for n in range(count)
        ]
        chosen = checked_targets(with_targets(work, targets))
        assert Counter(target.finding for target in chosen) == drawn
        places = [targets.index(target) for target in chosen]
        assert places == sorted(set(places))
        assert places != list(range(12))

    def test_the_roi_is_scored_for_true_positives_at_the_students_own_threshold(
        self, run: StudyRun, work: CellWork
    ) -> None:
        low = 0
        for arm, seed in run.cells:
            cell = run.folder.cell(arm, seed)
            predictions = read_table(cell.predictions).assign(arm=arm, seed=seed)
            positive = roi_slices(work, predictions)["true positives"]
            table = read_table(cell.checks)
            table = table[(table["method"] == ROI_METHOD) & (table["metric"] == "sufficiency")]
            scored = table.loc[table["value"].notna(), ["case", "finding"]]
            asked = table[["case", "finding"]].merge(positive)
            assert set(scored.itertuples(index=False, name=None)) == set(
                asked[["case", "finding"]].itertuples(index=False, name=None)
            )
            low += int((scored.merge(predictions)["probability"] < 0.5).sum())
        assert low > 0

    def test_batches_do_not_matter_and_are_small(
        self, run: StudyRun, work: CellWork, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        prepared, sizes = checks._prepared, []
        monkeypatch.setattr(checks, "_ROWS_AT_ONCE", 5)
        monkeypatch.setattr(checks, "_prepared", lambda *given: (sizes.append(len(given[2])), prepared(*given))[1])
        table = checked_again(work, run.folder.cell("hard", 3), tmp_path / "cell")
        expected = read_table(run.folder.cell("hard", 3).checks)
        assert sizes == [5, 5, 2]
        pd.testing.assert_frame_equal(table, expected, rtol=0, atol=1e-5)

    def test_without_a_shift_maps_stay_as_they_are(self, run: StudyRun, work: CellWork, tmp_path: Path) -> None:
        still = checked_again(with_checks(work, shift=0.0), run.folder.cell("mmpkd", 0), tmp_path / "still")
        assert still[still["metric"] == "shift_spearman"]["value"].to_numpy() == pytest.approx(1.0)
        least = checked_again(with_checks(work, shift=0.001), run.folder.cell("mmpkd", 0), tmp_path / "least")
        assert (least[least["metric"] == "shift_spearman"]["value"] < 0.999).any()

    def test_baselines_are_not_compared_in_what_they_were_never_given(self, run: StudyRun) -> None:
        table = read_table(run.folder.comparison)
        faithful = table[(table["kind"] == "difference") & (table["metric"] == "faithfulness_gain")]
        assert set(faithful["reference_arm"]) == {"hard"}
        assert find(faithful, method="legrad", finding="macro")["cases"] > 0


@pytest.fixture(scope="module")
def wide_checks(run: StudyRun, work: CellWork, tmp_path_factory: pytest.TempPathFactory) -> pd.DataFrame:
    """Checks of pictures twice as wide as high, whose shift is one whole token."""
    changed = with_targets(with_checks(wide(work), shift=0.25), work.targets)
    return checked_again(changed, TestBars.cell(run), tmp_path_factory.mktemp("wide") / "cell")


class TestBars:
    """Numbers on the token grid are of the picture's tokens: here rows 1 and 2 of four."""

    @staticmethod
    def cell(run: StudyRun) -> CellFolder:
        return run.folder.cell("mmpkd", 1)

    def test_stability(self, run: StudyRun, work: CellWork, wide_checks: pd.DataFrame) -> None:
        student = load_student(self.cell(run).student)
        for target in checked_targets(work)[:4]:
            images = student.prepare(torch.from_numpy(work.images.batch(np.array([target.position]))))
            before, after = (
                explain(student, pixels, "legrad", [target.finding], pixels=False)[0].double().numpy()
                for pixels in (images, Shift(8, 8).apply(images))
            )
            # the picture's rows 1 and 2 have gone to 2 and 3, columns 0 to 2 to 1 to 3
            expected = spearman(before[:, 1:3, 0:3], after[:, 2:4, 1:4])[0]
            found = find(of_target(wide_checks, target), method="legrad", metric="shift_spearman")["value"]
            assert found == pytest.approx(expected, abs=1e-6)

    def test_faithfulness_and_the_roi(self, run: StudyRun, work: CellWork, wide_checks: pd.DataFrame) -> None:
        cell, student = self.cell(run), load_student(self.cell(run).student)
        vit, stored = vit_of(student), read_maps(cell.maps("legrad"))
        among = torch.zeros(1, 4, 4, dtype=torch.bool)
        among[:, 1:3] = True
        shares, scored = patch_shares(vit, 4, patches=8), 0
        assert shares.tolist() == [0, 0.25, 0.5, 0.75, 1]
        for target in checked_targets(work):
            images = student.prepare(torch.from_numpy(work.images.batch(np.array([target.position]))))
            column = work.cohort.findings.index(target.finding)
            row = list(localised_positions(work.cohort)).index(target.position)
            heat = torch.from_numpy(stored.values[row, column].astype(np.float32))[None]
            options = {"output": "sigmoid", "among": among.flatten(1)}
            rise, fall = (
                perturbation_curves(vit, images, heat, [column], kind, steps=4, **options).double().numpy()
                for kind in ("insertion", "deletion")
            )
            mine = of_target(wide_checks, target)
            found = find(mine, method="legrad", metric="insertion_minus_deletion")["value"]
            assert found == pytest.approx(area(rise, shares)[0] - area(fall, shares)[0], abs=1e-5)
            covered = torch.from_numpy(roi_coverage(wide(work), target, (4, 4)))[None]
            answers = sufficiency(vit, images, covered.float(), [column], **options)
            found = find(mine, method=ROI_METHOD, metric="sufficiency")["value"]
            if not np.isnan(found):
                assert found == pytest.approx(float(answers["roi"] / answers["whole"]), abs=1e-5)
                scored += 1
        assert scored > 0

    def test_sanity(self, run: StudyRun, work: CellWork) -> None:
        table = forgetting(wide(work), self.cell(run))
        student, target = load_student(self.cell(run).student), checked_targets(work)[5]
        layer, forgetful = next(islice(cascade(student), 2, None))
        column = work.cohort.findings.index(target.finding)
        before, after = (
            token_maps(model, work.images, np.array([target.position]), "attention").values[:, column, 1:3]
            for model in (student, forgetful)
        )
        found = find(of_target(table, target), layer=layer, method="attention", metric="spearman")["value"]
        assert found == pytest.approx(spearman(before.astype(float), after.astype(float))[0], abs=1e-6)

    def test_each_pair_is_compared_on_its_own_rectangle_and_not_at_all_without_one(self) -> None:
        maps = np.array([[[5.0, 1, 2], [9, 3, 4]], [[1, 2, 3], [6, 5, 4]], [[1, 2, 3], [4, 5, 6]]])
        others = np.array([[[0.0, 4, 2], [0, 3, 9]], [[3, 1, 2], [0, 0, 0]], [[1, 2, 3], [4, 5, 6]]])
        pictures = np.zeros((3, 2, 3), bool)
        pictures[0, :, 1:] = True  # ranks 1 2 3 4 and 3 1 2 4: 1 - 6 (4 + 1 + 1) / (4 (16 - 1)) = 0.4
        pictures[1, 0] = True  # ranks 1 2 3 and 3 1 2: 1 - 6 (4 + 1 + 1) / (3 (9 - 1)) = -0.5
        found = picture_similarity(maps, others, pictures, MEASURES["spearman"])
        assert found == pytest.approx([0.4, -0.5, np.nan], nan_ok=True)


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


def test_a_student_forgets_with_the_threads_of_the_plan(
    run: StudyRun, work: CellWork, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, seen, before = roi_maps.token_maps, set(), torch.get_num_threads()

    def watched(*given: Any) -> Any:
        seen.add(torch.get_num_threads())
        return made(*given)

    monkeypatch.setattr(roi_maps, "token_maps", watched)
    forgetting(work, run.folder.cell("hard", 0), before + 1)
    assert seen == {before + 1}
    assert torch.get_num_threads() == before
