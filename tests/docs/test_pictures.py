"""The pictures of the map methods' pages: which cases are drawn, and that a tile shows the map it is named after."""

from __future__ import annotations

import importlib.util
import shutil
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFont

from mmpkd.attribute.attribute import TokenMaps
from mmpkd.cohort.phantom import PhantomSettings, write_phantom
from mmpkd.errors import InputError
from mmpkd.study.inputs import localised_positions
from mmpkd.study.load import load_study
from mmpkd.study.localise import Target
from mmpkd.study.map_file import write_maps
from mmpkd.study.run import StudyRun

SCRIPT = Path(__file__).parents[2] / "docs" / "pictures.py"
METHODS = ["attention", "legrad", "legrad+smooth=1"]
STUDY = {
    "cohort": "cohort/cohort.yaml",
    "student": {"image_size_px": 32, "patch_px": 8, "width": 32, "depth": 2, "heads": 2},
    "arms": {"hard": {}},
    "evaluate": {"maps": METHODS},
    "seeds": [3, 1],
}
TILE, GAP, LABEL = 200, 4, 18


def script() -> ModuleType:
    specification = importlib.util.spec_from_file_location("pictures", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    sys.modules["pictures"] = module
    specification.loader.exec_module(module)
    return module


pictures = script()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """A run whose first student's maps are high in one place each: left, right, and nowhere more than elsewhere."""
    folder = tmp_path_factory.mktemp("study")
    write_phantom(PhantomSettings(patients=30, size_px=32, seed=1), folder / "cohort")
    (folder / "study.yaml").write_text(yaml.safe_dump(STUDY))
    run = StudyRun(*load_study(folder / "study.yaml"), folder / "run")
    with run.claimed():
        run.cohort()
    count = len(localised_positions(run.work.cohort))
    values = np.zeros((3, count, len(run.work.cohort.findings), 4, 4), np.float16)
    values[0, ..., 0], values[1, ..., 3], values[2] = 1, 1, 0.5
    for method, of_method in zip(METHODS, values, strict=True):
        maps = TokenMaps(of_method, tuple(run.work.cohort.findings), method, class_specific=True)
        write_maps(run.folder.cell("hard", 3).maps(method), maps, {})
    return run


@pytest.fixture(scope="module")
def out(run: StudyRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    pictures.write_pictures([run.folder.path], folder)
    return folder


def colour(picture: np.ndarray) -> np.ndarray:
    """Distance of each pixel from grey; an image and an ROI's outline have none, up to its bluish halo."""
    return np.ptp(picture.astype(int), axis=-1)


def test_there_is_a_picture_of_every_method_and_one_of_all(out: Path) -> None:
    assert {path.name for path in out.iterdir()} == {"overview.png", *(f"{method}.png" for method in METHODS)}


def test_a_pair_is_the_grey_image_and_the_methods_map_over_it(out: Path) -> None:
    for method, coloured in (("attention", "left"), ("legrad", "right"), ("legrad+smooth=1", None)):
        picture = np.asarray(Image.open(out / f"{method}.png"))[20:]
        side = picture.shape[0]
        for x in range(0, picture.shape[1], 2 * side + GAP + 22):
            image, shown = picture[:, x : x + side], picture[:, x + side + GAP : x + 2 * side + GAP]
            assert colour(image).max() < 15
            edges = {"left": colour(shown[:, :20]), "right": colour(shown[:, -20:])}
            for where, there in edges.items():
                assert (np.median(there) > 60) == (where == coloured)


def test_the_overview_has_a_column_a_method_and_a_row_a_case(out: Path) -> None:
    picture = np.asarray(Image.open(out / "overview.png"))
    top = picture.shape[0] - 3 * TILE - 2 * GAP
    assert picture.shape[1] == LABEL + 4 * TILE + 3 * GAP
    assert 15 < top < 60
    for row in range(3):
        for column, coloured in enumerate([None, "left", "right", None]):
            y, x = top + row * (TILE + GAP), LABEL + column * (TILE + GAP)
            tile = colour(picture[y : y + TILE, x : x + TILE])
            found = [
                where for where, part in (("left", tile[:, :20]), ("right", tile[:, -20:])) if np.median(part) > 60
            ]
            assert found == ([] if coloured is None else [coloured])


def test_the_drawn_cases_do_not_depend_on_the_maps(run: StudyRun) -> None:
    examples = pictures.read_examples(run)
    assert len({example.finding for example in examples}) == 3
    drawn = pictures.draw_cases(run.work.targets)
    assert [target.finding for target in drawn] == [example.finding for example in examples]
    assert all((example.roi == target.mask).all() for example, target in zip(examples, drawn, strict=True))


def target(patient: str, finding: str) -> Target:
    return Target(0, f"case of {patient}", patient, finding, np.ones((1, 1), bool))


def test_a_finding_comes_again_only_where_there_are_too_few() -> None:
    few = [target(patient, finding) for patient, finding in zip("abcdef", "xxxxxy", strict=True)]
    assert sorted(one.finding for one in pictures.draw_cases(few)) == ["x", "x", "y"]


@given(st.lists(st.tuples(st.sampled_from("abcde"), st.sampled_from("xyz")), max_size=12))
def test_drawn_cases_are_of_different_patients_and_always_the_same(pairs: list[tuple[str, str]]) -> None:
    targets = [target(*pair) for pair in pairs]
    drawn = pictures.draw_cases(targets)
    patients = {patient for patient, _ in pairs}
    assert len({one.patient for one in drawn}) == len(drawn) == min(3, len(patients))
    assert [id(one) for one in drawn] == [id(one) for one in pictures.draw_cases(targets)]


def test_titles_of_fourteen_narrow_columns_fit_and_lose_no_letter() -> None:
    names = ["integrated-gradients", "libra-fullgrad", "legrad+smooth=1", "attention"]
    titles, font, height = pictures._titles(names, 80)
    assert [title.replace("\n", "") for title in titles] == names
    assert titles[0] == "integrated-\ngradients"
    measured = ImageFont.truetype(font.path, font.size)  # of the picture before it is reduced by two
    assert all(measured.getlength(line) <= 2 * 80 for title in titles for line in title.split("\n"))
    assert height >= 2 * (font.size / 2)  # two lines


def test_fourteen_methods_stay_within_1200_px() -> None:
    tile = np.zeros((64, 64), np.uint8)
    names = [f"method-{number}" for number in range(14)]
    example = pictures.Example("case", "nodule", tile, tile > 0, dict.fromkeys(names, tile.astype(np.float32)))
    assert 1150 < pictures.draw_overview([example], names).width <= 1200


def example(case: str, **heats: float) -> pictures.Example:
    tile = np.zeros((2, 2), np.uint8)
    return pictures.Example(
        case, "nodule", tile, tile > 0, {name: np.full((2, 2), heat) for name, heat in heats.items()}
    )


def test_a_method_is_taken_from_the_first_run_that_has_it() -> None:
    first, second = [example("a", legrad=1, rollout=2)], [example("a", patch=3, legrad=4)]
    (merged,) = pictures.merge([first, second])
    assert {name: heat[0, 0] for name, heat in merged.maps.items()} == {"legrad": 1, "rollout": 2, "patch": 3}
    assert list(merged.maps) == ["legrad", "rollout", "patch"]
    assert list(first[0].maps) == ["legrad", "rollout"]


@pytest.mark.parametrize("others", [["b"], ["a", "b"], []])
def test_runs_of_other_test_rois_are_not_mixed(others: list[str]) -> None:
    with pytest.raises(InputError, match="give runs of one cohort and one split"):
        pictures.merge([[example("a", legrad=1)], [example(case, patch=1) for case in others]])


class TestBadInput:
    def test_a_folder_without_a_run(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no run of mmpkd is here"):
            pictures.write_pictures([tmp_path], tmp_path / "out")

    def test_another_cohort(self, run: StudyRun, tmp_path: Path) -> None:
        write_phantom(PhantomSettings(patients=30, size_px=32, seed=2), tmp_path / "cohort")
        with pytest.raises(InputError, match="is the run of another cohort than"):
            pictures.write_pictures([run.folder.path], tmp_path / "out", tmp_path / "cohort")
        assert not (tmp_path / "out").exists()

    def test_a_cohort_without_rois(self, run: StudyRun, tmp_path: Path) -> None:
        cohort = yaml.safe_load((run.root / "cohort.yaml").read_text())
        del cohort["rois"]
        (tmp_path / "study.yaml").write_text(yaml.safe_dump({**STUDY, "cohort": cohort}))
        bare = StudyRun(*load_study(tmp_path / "study.yaml", run.root), tmp_path / "run")
        with bare.claimed(), pytest.raises(InputError, match="no test case has an ROI"):
            pictures.write_pictures([bare.folder.path], tmp_path / "out", run.root)

    def test_maps_that_are_missing(self, run: StudyRun, tmp_path: Path) -> None:
        copied = tmp_path / "run"
        shutil.copytree(run.folder.path, copied)
        (copied / "cells" / "hard" / "seed-3" / "maps-legrad.safetensors").unlink()
        with pytest.raises(InputError, match=r"maps-legrad\.safetensors: the maps are missing; run `mmpkd attribute`"):
            pictures.write_pictures([copied], tmp_path / "out", run.root)

    def test_the_command_ends_with_2_and_one_sentence(self, tmp_path, monkeypatch, capsys) -> None:
        monkeypatch.setattr(sys, "argv", ["pictures.py", str(tmp_path), str(tmp_path / "out")])
        with pytest.raises(SystemExit) as left:
            pictures.main()
        assert left.value.code == 2
        assert capsys.readouterr().err == f"pictures.py: {tmp_path}: no run of mmpkd is here; run `mmpkd run` first.\n"
