"""Artefacts are whole or not there, and say what made them."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pandas as pd
import pytest

from mmpkd.errors import InputError
from mmpkd.files import fingerprint, read_provenance, read_table, write_json, write_table, written_whole


def write_and_fail(path: Path, error: Exception) -> None:
    with written_whole(path) as temporary:
        temporary.write_text("half of the n")
        raise error


@pytest.mark.parametrize(
    ("code", "sentence"),
    [
        (errno.ENOSPC, "the disk is full; free some space and run the same command again"),
        (errno.EDQUOT, "the disk is full"),
        (errno.EROFS, r"cannot be written \(read-only\); choose another folder with --out"),
        (errno.EACCES, r"cannot be written \(read-only\)"),
    ],
)
def test_a_disk_that_refuses_is_one_sentence_and_the_old_file_stays(tmp_path, code, sentence):
    path = tmp_path / "scores.json"
    path.write_text("old")
    with pytest.raises(InputError, match=sentence):
        write_and_fail(path, OSError(code, os.strerror(code)))
    assert path.read_text() == "old"
    assert [file.name for file in tmp_path.iterdir()] == ["scores.json"]


def test_a_failure_of_the_writer_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError):
        write_and_fail(tmp_path / "deep" / "table", ZeroDivisionError())
    assert list((tmp_path / "deep").iterdir()) == []


def test_nan_is_no_json(tmp_path):
    with pytest.raises(ValueError, match="Out of range"):
        write_json(tmp_path / "a.json", {"auroc": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_a_table_carries_what_made_it_and_the_same_content_is_the_same_bytes(tmp_path):
    table = pd.DataFrame({"case": ["a", "b"], "value": [1.0, float("nan")]})
    for name in ("one", "two"):
        write_table(tmp_path / name, table, {"seed": 3, "mmpkd": "1"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert read_provenance(tmp_path / "one") == {"seed": 3, "mmpkd": "1"}
    pd.testing.assert_frame_equal(read_table(tmp_path / "one"), table, check_dtype=False)


def test_fingerprints_know_content_and_not_order():
    assert fingerprint({"a": 1, "b": 2}) == fingerprint({"b": 2, "a": 1})
    assert fingerprint({"a": 1}) != fingerprint({"a": 2})
