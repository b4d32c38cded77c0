"""What holds for every converter, on a generated tree of each archive."""

from __future__ import annotations

import logging
import re
import warnings
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from mmpkd import registry
from mmpkd.cohort.converters.contract import Converter
from mmpkd.cohort.converters.convert import convert_archive
from mmpkd.cohort.images import read_size
from mmpkd.cohort.read import ReadCohort, read_cohort
from mmpkd.cohort.rois import check_rois
from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError
from mmpkd.files import read_json

SALTED = {"salt": "a salt of the tests"}


def converted(tree: object, out: Path, **options: object) -> Path:
    return convert_archive(tree.archive, tree.roots, out, {**tree.options, **SALTED, **options}).parent  # type: ignore[attr-defined]


def read(folder: Path) -> ReadCohort:
    return read_cohort(CohortSettings.from_yaml(folder / "cohort.yaml"), folder)


def test_every_registered_archive_has_a_tree(tree_archives: set[str]) -> None:
    assert tree_archives == set(registry.BUILT_IN["converters"])


def test_an_archive_becomes_a_cohort_of_the_counted_size(tree, tmp_path: Path) -> None:
    folder = converted(tree, tmp_path / "out")
    cases = pd.read_parquet(folder / "cases.parquet")
    assert len(cases) == tree.cases > 0
    assert cases[read_settings(folder)["case"]].is_unique
    record = read_json(folder / "conversion.json")
    assert record["counts"]["cases in the cohort"] == tree.cases
    assert record["counts"].get("ROIs in the cohort", 0) == tree.rois
    assert (len(pd.read_parquet(folder / "rois.parquet")) if tree.rois else 0) == tree.rois
    assert record["versions"]
    assert record["left_out"]


def read_settings(folder: Path) -> dict[str, object]:
    return dict(yaml.safe_load((folder / "cohort.yaml").read_text()))


def test_the_cohort_reads_without_a_problem_and_keeps_patients_apart(tree, tmp_path: Path) -> None:
    cohort = read(converted(tree, tmp_path / "out")).cohort
    assert len(cohort) == tree.cases
    assert len(cohort.cases[["patient", "split"]].drop_duplicates()) == cohort.cases["patient"].nunique()
    assert {"train", "test"} <= set(cohort.cases["split"])


def test_rois_lie_in_their_images(tree, tmp_path: Path) -> None:
    cohort = read(converted(tree, tmp_path / "out")).cohort
    assert (cohort.rois is None) == (tree.rois == 0)
    if cohort.rois is None:
        return
    wanted = cohort.cases.loc[cohort.rois["case"].unique(), "image"]
    sizes = {case: read_size(cohort.files / image) for case, image in wanted.items()}
    assert check_rois(cohort.rois, sizes, cohort.files) == []


def test_patients_with_rois_are_not_trained_on(tree, tmp_path: Path) -> None:
    cohort = read(converted(tree, tmp_path / "out")).cohort
    if cohort.rois is None:
        return
    boxed = cohort.cases.loc[cohort.rois["case"].unique(), "patient"]
    trained = (cohort.cases["split"].eq("train") & cohort.cases["patient"].isin(boxed)).any()
    assert trained == (tree.archive in TRAINS_BESIDE_ROIS)


TRAINS_BESIDE_ROIS = {"cbis-ddsm", "mini-mias", "coco"}
"""Archives whose ROIs cover training cases by their official or made split; only those of test cases are scored."""


def test_two_conversions_are_the_same_bytes(tree, tmp_path: Path) -> None:
    first, second = converted(tree, tmp_path / "a"), converted(tree, tmp_path / "b")
    names = sorted(path.name for path in first.iterdir())
    assert names == sorted(path.name for path in second.iterdir())
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)


def test_nothing_private_is_told(
    tree,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert tree.canaries
    caplog.set_level(logging.DEBUG)
    folder = converted(tree, tmp_path / "out")
    said = capfd.readouterr()
    told = [(folder / name).read_text() for name in ("NOTICE", "conversion.json", "cohort.yaml")]
    for canary in tree.canaries:
        for text in (*told, caplog.text, said.out, said.err):
            assert canary not in text, canary


def test_ids_are_pseudonyms_unless_they_are_kept(tree, tmp_path: Path) -> None:
    hashed = pd.read_parquet(converted(tree, tmp_path / "a") / "cases.parquet")
    kept = pd.read_parquet(converted(tree, tmp_path / "b", identifiers="kept") / "cases.parquet")
    for column in ("case", "patient"):
        assert hashed[column].str.fullmatch(re.compile("[0-9a-f]{16}")).all()
        assert not set(hashed[column]) & set(kept[column])
        # the same rows are the same patients, whatever they are called
        assert (hashed[column].factorize()[0] == kept[column].factorize()[0]).all()


def test_a_root_without_the_archive_is_one_sentence(tree, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no") as caught:
        convert_archive(tree.archive, [tmp_path / "empty"], tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert len(caught.value.problems) == 1


def test_no_table_may_be_cut_off(tree, write_tree: Callable[..., object], tmp_path: Path) -> None:
    """Cut every table of the archive in half, one at a time: a sentence or a smaller cohort, never another error."""
    for root in tree.roots:
        for path in sorted(root.rglob("*")):
            if path.suffix not in (".csv", ".json", ".gz", ".txt", ".zip") or not path.is_file():
                continue
            whole = path.read_bytes()
            path.write_bytes(whole[: len(whole) // 2])
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("error")
                    converted(tree, tmp_path / f"cut {path.name} {path.parent.name}")
            except InputError as error:
                assert error.problems  # noqa: PT017
                for canary in tree.canaries:
                    assert canary not in "\n".join(error.problems), (path.name, canary)  # noqa: PT017
            finally:
                path.write_bytes(whole)


def test_converters_say_what_they_read_and_under_which_terms(tree) -> None:
    converter = registry.load("converters", tree.archive)
    assert isinstance(converter, Converter)
    assert len(converter.title) > len(tree.archive)
    assert converter.terms.endswith(".")
