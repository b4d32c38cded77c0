"""The frame of every conversion: whole or not at all, roots searched by name, ids made pseudonyms, a NOTICE of all."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from mmpkd import registry
from mmpkd.cli import app
from mmpkd.cohort.converters.contract import Converter, ConverterOptions
from mmpkd.cohort.converters.convert import convert_archive
from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CohortWriter
from mmpkd.errors import InputError
from mmpkd.files import read_json


def write_little(roots: Roots, options: Any, writer: CohortWriter) -> Mapping[str, Any]:
    table = pd.read_csv(roots.need("little.csv"))
    writer.ledger.version("little.csv", "1.0")
    writer.ledger.drop("no side stated", int(table["side"].isna().sum()))
    table = table.dropna(subset=["side"])
    table["case"] = writer.pseudonyms("case", table["case"])
    writer.write_cases([table.iloc[:1], table.iloc[1:]])
    writer.write_rois(pd.DataFrame({"case": table["case"].iloc[:1], "x": 1.5}))
    writer.ledger.note("Sides are those of the patient.")
    return {"table": "cases.parquet", "case": "case", "labels": ["nodule"]}


LITTLE = Converter("a little archive", "Terms: none.", ConverterOptions, write_little, skip=("images",))


@pytest.fixture(autouse=True)
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    load = registry.load
    monkeypatch.setattr(registry, "load", lambda kind, name: LITTLE if name == "little" else load(kind, name))


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    folder = tmp_path / "archive" / "1.0"
    folder.mkdir(parents=True)
    (folder / "little.csv").write_text("case,side,nodule,age\nP1,left,1.0,60\nP2,right,0.0,\nP3,,1.0,50\n")
    return folder.parent


def test_a_cohort_is_written_with_what_was_left_out(archive: Path, tmp_path: Path) -> None:
    described = convert_archive("little", [archive], tmp_path / "out", {"identifiers": "kept"})
    cases = pd.read_parquet(described.parent / "cases.parquet")
    assert cases["case"].tolist() == ["P1", "P2"]
    assert cases["nodule"].tolist() == ["1", "0"]  # whole numbers are written as such
    assert cases["age"].isna().tolist() == [False, True]
    record = read_json(described.parent / "conversion.json")
    assert record["counts"] == {"cases in the cohort": 2, "ROIs in the cohort": 1}
    assert record["left_out"] == {"no side stated": 1}
    notice = (described.parent / "NOTICE").read_text()
    assert "a little archive" in notice
    assert "no side stated: 1" in notice
    assert "Sides are those of the patient." in notice


def test_ids_are_hashed_with_a_salt_that_only_the_owner_can_read(archive: Path, tmp_path: Path) -> None:
    first, second = (convert_archive("little", [archive], tmp_path / name).parent for name in ("a", "b"))
    ids = [pd.read_parquet(folder / "cases.parquet")["case"].tolist() for folder in (first, second)]
    assert not {*ids[0], *ids[1]} & {"P1", "P2"}
    assert ids[0] != ids[1]  # two salts
    assert stat.S_IMODE((first / "salt.txt").stat().st_mode) == 0o600
    salt = (first / "salt.txt").read_text().strip()
    again = convert_archive("little", [archive], tmp_path / "c", {"salt": salt}).parent
    assert pd.read_parquet(again / "cases.parquet")["case"].tolist() == ids[0]
    assert salt not in (again / "conversion.json").read_text()


def test_an_id_has_one_pseudonym_a_kind(tmp_path: Path) -> None:
    writer = CohortWriter(tmp_path, salt="s")
    cases, patients = (writer.pseudonyms(kind, ["7", "8", "7"]) for kind in ("case", "patient"))
    assert cases[0] == cases[2] != cases[1]
    assert not np.isin(cases, patients).any()


def test_nothing_is_written_where_a_conversion_fails(archive: Path, tmp_path: Path) -> None:
    (archive / "1.0" / "little.csv").write_text("case,side,nodule\nP1,,1\n")
    with pytest.raises(InputError, match="no case is left"):
        convert_archive("little", [archive], tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["archive"]


@pytest.mark.parametrize("inside", ["archive/p10000032/s50414267.txt", None])
def test_a_file_of_the_archive_that_fails_is_not_named(
    archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str | None
) -> None:
    def fail(*_: object) -> np.ndarray:
        raise OSError(errno.EIO, "Input/output error", None if inside is None else str(tmp_path / inside))

    monkeypatch.setattr(CohortWriter, "pseudonyms", fail)
    with pytest.raises(InputError) as caught:
        convert_archive("little", [archive], tmp_path / "out")
    (sentence,) = caught.value.problems
    assert sentence == "a file of the archive cannot be read (Input/output error); mend that and convert again."
    assert [entry.name for entry in tmp_path.iterdir()] == ["archive"]


def test_a_full_disk_names_the_cohorts_folder(archive: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(writer: CohortWriter, *_: object) -> np.ndarray:
        raise OSError(errno.ENOSPC, "No space left on device", str(writer.folder / "cases.parquet"))

    monkeypatch.setattr(CohortWriter, "write_cases", fail)
    with pytest.raises(InputError, match=r"out: cannot be written \(No space left on device\)"):
        convert_archive("little", [archive], tmp_path / "out")
    assert [entry.name for entry in tmp_path.iterdir()] == ["archive"]


def test_a_folder_that_holds_something_is_left_alone(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.doc").touch()
    with pytest.raises(InputError, match="is not empty"):
        convert_archive("little", [archive], tmp_path / "out")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["thesis.doc"]


def test_an_empty_folder_is_filled(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    assert convert_archive("little", [archive], tmp_path / "out").is_file()


@pytest.mark.parametrize(
    ("options", "said"),
    [({"identifers": "kept"}, "did you mean 'identifiers'"), ({"identifiers": "some"}, "'identifiers'")],
)
def test_unknown_options_are_told(archive: Path, tmp_path: Path, options: dict[str, str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        convert_archive("little", [archive], tmp_path / "out", options)


class TestRoots:
    def test_a_file_is_found_by_name_below_any_root(self, tmp_path: Path) -> None:
        for name in ("a/1.0/table-1.0.csv", "b/deep/down/table-2.0.csv", "a/1.0/table-1.1.csv"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).touch()
        roots = Roots([tmp_path / "a", tmp_path / "b"])
        assert roots.need("other.csv", "table-*.csv") == tmp_path / "a/1.0/table-1.1.csv"  # the nearest, the newest
        assert roots.find("deep/*/table-*.csv") == tmp_path / "b/deep/down/table-2.0.csv"
        assert roots.find("other.csv") is None
        assert roots.common() == tmp_path

    def test_folders_of_images_are_not_searched(self, tmp_path: Path) -> None:
        (tmp_path / "files" / "p10").mkdir(parents=True)
        (tmp_path / "files" / "p10" / "table.csv").touch()
        roots = Roots([tmp_path], skip=("files",))
        assert roots.find("table.csv") is None
        assert roots.find("files") == tmp_path / "files"

    def test_what_is_missing_is_told_with_where_it_was_looked_for(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"holds no split\.csv or split\.csv\.gz"):
            Roots([tmp_path]).need("split.csv", "split.csv.gz")

    def test_a_folder_that_cannot_be_read_is_not_named(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "Mass-Training_P_00001_LEFT_CC").mkdir()
        listed = os.scandir

        def refuse(folder: Path) -> object:
            if folder != tmp_path:
                raise PermissionError(errno.EACCES, "Permission denied", str(folder))
            return listed(folder)

        monkeypatch.setattr(os, "scandir", refuse)
        with pytest.raises(InputError, match="a folder in it cannot be read") as caught:
            Roots([tmp_path]).find("table.csv")
        assert "P_00001" not in caught.value.problems[0]

    def test_a_root_must_be_a_folder(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="no such folder"):
            Roots([tmp_path / "nowhere"])
        with pytest.raises(InputError, match="no folder"):
            Roots([])


def test_a_ledger_tells_found_counted_left_out_and_rules_in_order() -> None:
    ledger = Ledger()
    ledger.count("images", 1234567)
    ledger.drop("lateral views", 0)
    assert ledger.lines() == ["", "Counts", "  images: 1,234,567", "", "Left out", "  lateral views: 0"]


class TestCommand:
    def test_it_prints_the_notice_and_where_the_cohort_is(self, archive: Path, tmp_path: Path) -> None:
        result = CliRunner().invoke(app, ["convert", "little", str(archive), "--out", str(tmp_path / "out"), "-q"])
        assert result.exit_code == 0
        assert "no side stated: 1" in result.stdout
        assert f"cohort: {tmp_path / 'out' / 'cohort.yaml'}" in result.stdout

    def test_archives_are_listed(self) -> None:
        result = CliRunner().invoke(app, ["convert", "list"])
        assert result.exit_code == 0
        assert {line.split()[0] for line in result.stdout.splitlines()} == set(registry.names("converters"))

    @pytest.mark.parametrize(
        ("given", "said"),
        [
            (["little"], "give the archive's folders"),
            (["mimic", "x", "--out", "y"], "there is no 'mimic'"),
        ],
    )
    def test_wrong_use_is_one_sentence(self, given: list[str], said: str) -> None:
        result = CliRunner().invoke(app, ["convert", *given])
        assert result.exit_code == 2
        assert said in result.stderr
        assert len(result.stderr.splitlines()) == 1
