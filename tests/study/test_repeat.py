"""Which tokens and which partners similarities of maps are of: wide and tall pictures among bars, maps by hand."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
import yaml

from mmpkd.attribute.attribute import TokenMaps
from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.evaluate.similarity import ensemble, spearman
from mmpkd.folder import RunFolder
from mmpkd.study.cell import CellWork
from mmpkd.study.inputs import localised_positions, read_inputs, without_privileged
from mmpkd.study.load import load_study
from mmpkd.study.map_file import write_maps
from mmpkd.study.repeat import PictureWindow, map_similarities, picture_windows

METHODS = ("attention", "legrad")
ROWS, COLUMNS = np.s_[1:3, :], np.s_[:, 1:3]  # of four by four tokens: where a wide and a tall picture lie
STUDY = {
    "cohort": "cohort/cohort.yaml",
    "student": {"image_size_px": 32, "patch_px": 8, "width": 16, "depth": 1, "heads": 2},
    "evaluate": {"maps": list(METHODS)},
    "arms": ["hard", "mmpkd"],
    "seeds": 4,
}


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> CellWork:
    """Every other picture is twice as wide as high, the others twice as high as wide."""
    folder = tmp_path_factory.mktemp("study")
    write_phantom(PhantomSettings(patients=40, size_px=32, seed=1), folder / "cohort")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    study, root = load_study(folder / "study.yaml")
    inputs = read_inputs(study, root, folder / "cache")
    work = CellWork(study, without_privileged(inputs.cohort), inputs.images, None, {})
    sizes_px = np.where(np.arange(len(inputs.images))[:, None] % 2, [32, 16], [16, 32])
    barred = replace(work, images=replace(work.images, sizes_px=sizes_px))
    barred.__dict__["targets"] = work.targets
    return barred


@pytest.fixture(scope="module")
def maps(work: CellWork) -> dict[tuple[str, str], np.ndarray]:
    """Noise on the picture and 0 on the bars, (seeds, targets, 4, 4) of each arm and method."""
    rng = np.random.default_rng(0)
    shape = (4, len(work.targets), 4, 4)
    found = {(arm, method): rng.random(shape).astype(np.float16) for arm in STUDY["arms"] for method in METHODS}
    for place in range(len(work.targets)):
        inside = np.zeros((4, 4), bool)
        inside[picture(work, place)] = True
        for values in found.values():
            values[:, place] *= inside
    return found


@pytest.fixture(scope="module")
def tables(work: CellWork, maps: dict[tuple[str, str], np.ndarray], tmp_path_factory: pytest.TempPathFactory):
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    positions = list(localised_positions(work.cohort))
    findings = work.cohort.findings
    for (arm, method), values in maps.items():
        for seed, of_seed in enumerate(values):
            stored = np.zeros((len(positions), len(findings), 4, 4), np.float16)
            for target, token_map in zip(work.targets, of_seed, strict=True):
                stored[positions.index(target.position), findings.index(target.finding)] = token_map
            path = folder.cell(arm, seed).maps(method)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_maps(path, TokenMaps(stored, findings, method, True), {})
    return list(map_similarities(work, folder))


def picture(work: CellWork, place: int) -> tuple[slice, slice]:
    return COLUMNS if work.targets[place].position % 2 else ROWS


def window_of(work: CellWork, place: int) -> tuple[PictureWindow, int]:
    """Return the window of a target and the target's place in it."""
    for window in picture_windows(work, (4, 4)):
        if place in window.targets:
            return window, list(window.targets).index(place)
    raise AssertionError(f"target {place} has no window")


def values_of(table: pd.DataFrame, work: CellWork, **wanted: object) -> np.ndarray:
    """Return one pair's values in the order of the targets, looked up by case and finding."""
    for column, value in wanted.items():
        table = table[table[column] == value]
    found = table.set_index(["case", "finding"])["value"]
    return np.array([found[target.case, target.finding] for target in work.targets])


def alike(work: CellWork, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the rank correlation of (targets, 4, 4) maps on each picture."""
    on = [(place, *picture(work, place)) for place in range(len(work.targets))]
    return np.array([spearman(first[at][None].astype(float), second[at][None].astype(float))[0] for at in on])


def test_a_method_and_a_measure_come_at_a_time(tables):
    seen = [tuple(table[["method", "metric"]].drop_duplicates().itertuples(index=False, name=None)) for table in tables]
    measures = ("ssim", "spearman", "top_overlap")
    assert seen == [((method, measure),) for method in METHODS for measure in measures]


def test_maps_are_compared_where_the_picture_is(work, maps, tables):
    hard, mmpkd = maps["hard", "legrad"], maps["mmpkd", "legrad"]
    found = values_of(tables[4], work, kind="seeds", arm="mmpkd", seed=1, other_seed=3)
    np.testing.assert_allclose(found, alike(work, mmpkd[1], mmpkd[3]), atol=1e-12)
    found = values_of(tables[4], work, kind="arms", arm="mmpkd", reference_arm="hard", seed=2, other_seed=2)
    np.testing.assert_allclose(found, alike(work, mmpkd[2], hard[2]), atol=1e-12)
    with_bars = spearman(mmpkd[1].astype(float), mmpkd[3].astype(float))
    assert with_bars.mean() > 0.6
    assert abs(tables[4].query("kind == 'seeds'")["value"].mean()) < 0.1


def test_unrelated_pictures_lie_on_the_same_tokens(work, maps, tables):
    hard = maps["hard", "attention"].astype(float)
    found = values_of(tables[1], work, kind="unrelated", arm="hard", seed=0, other_seed=2)
    for place, target in enumerate(work.targets):
        window, row = window_of(work, place)
        partners = window.targets[window.partners[row][window.partners[row] >= 0]]
        at = picture(work, place)
        for partner in partners:
            other = work.targets[partner]
            assert (other.finding, picture(work, partner)) == (target.finding, at)
            assert other.patient != target.patient
        scores = [spearman(hard[0, place][at][None], hard[2, partner][at][None])[0] for partner in partners]
        assert found[place] == pytest.approx(np.mean(scores) if scores else np.nan, nan_ok=True)
    assert np.isfinite(found).sum() > len(found) / 2


def test_windows_hold_every_target_once(work):
    windows = picture_windows(work, (4, 4))
    assert sorted(np.concatenate([window.targets for window in windows])) == list(range(len(work.targets)))
    assert len(windows) == 2
    for window in windows:
        inside = np.zeros((4, 4), bool)
        inside[window.tokens] = True
        assert inside[picture(work, window.targets[0])].all()
        assert inside.sum() == 8


def test_half_ensembles_are_handed_on_as_the_mean_of_their_splits(work, maps, tables):
    hard = maps["hard", "attention"]

    def mean(half: tuple[int, ...]) -> np.ndarray:
        return ensemble(hard[list(half)])

    splits = [(one, tuple({0, 1, 2, 3} - set(one))) for one in combinations(range(4), 2) if 0 in one]
    expected = np.mean([alike(work, mean(one), mean(other)) for one, other in splits], axis=0)
    found = values_of(tables[1], work, kind="ensembles", arm="hard")
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_the_only_picture_of_a_finding_on_its_tokens_has_no_partner(work):
    alone = replace(work)
    place = next(place for place in range(len(work.targets)) if picture(work, place) == COLUMNS)
    finding = work.targets[place].finding
    alone.__dict__["targets"] = [
        target
        for number, target in enumerate(work.targets)
        if number == place or target.finding != finding or picture(work, number) == ROWS
    ]
    place = alone.targets.index(work.targets[place])
    window, row = window_of(alone, place)
    assert (window.partners[row] == -1).all()
