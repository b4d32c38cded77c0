"""Traps of mini-MIAS."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from mmpkd.cohort.converters.convert import convert_archive
from mmpkd.cohort.converters.mini_mias import read_info
from mmpkd.cohort.read import read_cohort
from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError
from mmpkd.files import read_json

KEPT = {"identifiers": "kept"}


@pytest.fixture
def convert(write_tree: Callable[..., Any], tmp_path: Path) -> Callable[..., Path]:
    """Write a tree, convert it, and return the cohort's folder."""

    def run(**how: Any) -> Path:
        tree = write_tree("mini_mias", **how)
        return convert_archive(tree.archive, tree.roots, tmp_path / "out", KEPT).parent

    return run


def boxes(folder: Path) -> dict[str, list[list[float]]]:
    rois = pd.read_parquet(folder / "rois.parquet")
    corners = rois[["x_min", "y_min", "x_max", "y_max"]].astype(float)
    return {case: corners.loc[rows.index].to_numpy().tolist() for case, rows in rois.groupby("case")}


def test_y_counts_from_the_bottom(convert: Callable[..., Path]) -> None:
    # a lesion near the bottom of the film: y = 100, so 924 from the top
    folder = convert(side_px=1024, lines=["mdb001 G CIRC B 500 100 50", "mdb002 G NORM"])
    assert boxes(folder) == {"mdb001": [[450, 874, 550, 974]]}


def test_circles_are_in_pixels_of_the_1024_film_and_follow_a_smaller_copy(convert: Callable[..., Path]) -> None:
    folder = convert(side_px=64, lines=["mdb001 G CIRC B 500 100 50", "mdb002 G NORM"])
    assert boxes(folder) == {"mdb001": [[28.125, 54.625, 34.375, 60.875]]}
    assert read_json(folder / "conversion.json")["counts"]["films of another size than 1024 x 1024"] == 2


def test_a_circle_that_leaves_the_film_is_cut_to_it(convert: Callable[..., Path]) -> None:
    folder = convert(side_px=1024, lines=["mdb001 D ASYM B 30 1000 64", "mdb002 D NORM"])
    assert boxes(folder) == {"mdb001": [[0, 0, 94, 88]]}
    assert read_json(folder / "conversion.json")["counts"]["boxes cut to the film"] == 1


def test_a_film_with_several_rows_is_one_case_and_malignant_if_any_is(convert: Callable[..., Path]) -> None:
    folder = convert()
    cases = pd.read_parquet(folder / "cases.parquet").set_index("case")
    assert cases.index.is_unique
    film = cases.loc["mdb003"]
    assert (film["abnormality"], film["abnormal"], film["malignant"]) == ("CIRC|SPIC", "1", "1")
    assert boxes(folder)["mdb003"] == [[21, 41.25, 29, 49.25], [34.5, 17.25, 40.5, 23.25]]
    cohort = read_cohort(CohortSettings.from_yaml(folder / "cohort.yaml"), folder).cohort
    of = cohort.rois[cohort.rois["case"] == "mdb003"].groupby("finding").size()
    assert of.to_dict() == {"abnormal": 2, "malignant": 1}  # the benign one is no place to look for malignancy


def test_an_abnormal_film_without_a_circle_keeps_its_labels_and_has_no_roi(convert: Callable[..., Path]) -> None:
    folder = convert()
    cases = pd.read_parquet(folder / "cases.parquet").set_index("case")
    assert cases.loc["mdb011", ["abnormal", "malignant"]].tolist() == ["1", "0"]
    assert cases.loc["mdb015", ["abnormal", "malignant"]].tolist() == ["1", "1"]
    assert not {"mdb011", "mdb015"} & set(boxes(folder))
    record = read_json(folder / "conversion.json")
    assert record["left_out"] == {
        "films without a file": 1,
        "films whose file cannot be read": 0,
        "abnormalities without a circle (their films stay)": 2,
        "circles outside the film": 0,
    }


def test_two_films_in_a_row_are_one_woman(convert: Callable[..., Path]) -> None:
    cases = pd.read_parquet(convert() / "cases.parquet").set_index("case")
    assert cases.loc[["mdb001", "mdb002", "mdb003"], "patient"].tolist() == ["1", "1", "2"]
    assert cases.loc[["mdb001", "mdb002"], "side"].tolist() == ["right", "left"]


def test_the_class_of_abnormality_is_no_metadata(convert: Callable[..., Path]) -> None:
    assert set(CohortSettings.from_yaml(convert() / "cohort.yaml").metadata) == {"tissue"}


def test_every_bad_row_is_told_with_its_place(tmp_path: Path) -> None:
    rows = [
        "prose, mdb of the society",
        "mdb001 X CIRC B 1 2 3",
        "mdb002 G LUMP B 1 2 3",
        "mdb003 G CIRC Q 1 2 3",
        "mdb004 G CIRC M 12 -5 3",
        "mdb005 G CIRC M 12 5",
        "mdb0",
        "mdb006 G NORM",
        "mdb006 G CIRC B 1 2 3",
    ]
    (tmp_path / "Info.txt").write_text("\n".join(rows))
    with pytest.raises(InputError) as caught:
        read_info(tmp_path / "Info.txt")
    circle = "are no circle; give x, y and radius in pixels, or leave all three out."
    assert caught.value.problems == (
        "Info.txt, row 2, column 2: 'X' is no tissue; it is one of F, G, D.",
        "Info.txt, row 3, column 3: 'LUMP' is no class; it is one of CALC, CIRC, SPIC, MISC, ARCH, ASYM, NORM.",
        "Info.txt, row 4, column 4: an abnormality has a severity, B or M.",
        f"Info.txt, row 5, columns 5 to 7: {circle}",
        f"Info.txt, row 6, columns 5 to 7: {circle}",
        "Info.txt, row 7: is cut off; a row gives film, tissue, class, severity, x, y and radius.",
        "Info.txt, row 9: contradicts an earlier row of the same film; keep one of them.",
    )
