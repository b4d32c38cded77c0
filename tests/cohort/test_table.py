"""Reading tables: same strings from every format, rows as a person counts them, damage told in a sentence."""

import gzip
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmpkd.cohort.problems import Problems
from mmpkd.cohort.table import check_columns, is_missing, read_table_file, stack
from mmpkd.errors import InputError


def written(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    if name.endswith(".gz"):
        path.write_bytes(gzip.compress(text.encode()))
    else:
        path.write_text(text, encoding="utf-8")
    return path


def refusal(path: Path) -> str:
    with pytest.raises(InputError) as caught:
        read_table_file(path, path.name)
    (problem,) = caught.value.problems
    assert problem.startswith(path.name)
    assert problem.endswith(".")
    return problem


RECORDS = [{"id": "007", "note": "a, b"}, {"id": "NA", "note": ""}]
CSV = 'id,note\n007,"a, b"\nNA,\n'


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", CSV),
        ("t.csv.gz", CSV),
        ("t.CSV", "\ufeff" + CSV),
        ("t.csv", CSV.replace("\n", "\r\n")),
        ("t.tsv", "id\tnote\n007\ta, b\nNA\t\n"),
        ("t.tsv.gz", "id\tnote\n007\ta, b\nNA\t\n"),
        ("t.jsonl", "\n".join(map(json.dumps, RECORDS))),
        ("t.jsonl.gz", "\n\n".join(map(json.dumps, RECORDS)) + "\n"),
    ],
)
def test_every_text_format_gives_the_same_strings(tmp_path: Path, name: str, text: str):
    table = read_table_file(written(tmp_path, name, text), name)
    assert table.cells.to_dict("records") == RECORDS


def test_parquet_numbers_become_the_strings_a_person_would_write(tmp_path: Path):
    path = tmp_path / "t.parquet"
    frame = pd.DataFrame(
        {
            "whole": pd.array([1, None], "Int64"),
            "real": [0.1, np.nan],
            "flag": [True, False],
            "text": ["x", None],
            "kind": pd.Categorical(["u", "v"]),
            "list": [[1], [2]],
        }
    )
    frame.to_parquet(path)
    table = read_table_file(path, "t.parquet")
    assert table.cells.to_dict("list") == {
        "whole": ["1", ""],
        "real": ["0.1", ""],
        "flag": ["true", "false"],
        "text": ["x", ""],
        "kind": ["u", "v"],
    }
    assert table.row(1) == 2


def test_json_numbers_keep_their_spelling_whatever_other_records_lack(tmp_path: Path):
    path = written(tmp_path, "t.jsonl", '{"a": 1, "b": true}\n{"b": "x"}\n{"a": 0.5, "b": null}\n')
    assert read_table_file(path, "t").cells.to_dict("list") == {"a": ["1", "", "0.5"], "b": ["true", "x", ""]}


def test_rows_are_lines_of_the_file_over_blank_lines_and_quoted_breaks(tmp_path: Path):
    text = 'id,note\na,"one\ntwo\nthree"\n\nb,x\n,\nc,y\n'
    table = read_table_file(written(tmp_path, "t.csv", text), "t.csv")
    assert table.cells["id"].tolist() == ["a", "b", "c"]
    assert [table.row(i) for i in range(3)] == [2, 6, 8]
    assert table.place(2, "note") == "t.csv, row 8, column 'note'"


def test_rows_stay_right_where_a_field_is_longer_than_the_csv_module_allows(tmp_path: Path):
    table = read_table_file(written(tmp_path, "t.csv", f"id,note\na,{'x' * 200_000}\nb,y\n"), "t.csv")
    assert table.row(1) == 3


def test_json_rows_are_lines_too(tmp_path: Path):
    table = read_table_file(written(tmp_path, "t.jsonl", '{"a": 1}\n\n{"a": 2}\n'), "t.jsonl")
    assert [table.row(i) for i in range(2)] == [1, 3]


def test_stacked_tables_keep_their_places_and_lend_blanks(tmp_path: Path):
    first = read_table_file(written(tmp_path, "1.csv", "a,b\n1,2\n3,4\n"), "1.csv")
    second = read_table_file(written(tmp_path, "2.csv", "b,c\n5,6\n"), "2.csv")
    both = stack([first, second])
    assert both.cells.to_dict("list") == {"a": ["1", "3", ""], "b": ["2", "4", "5"], "c": ["", "", "6"]}
    assert both.place(2) == "2.csv, row 2"
    assert both.take(np.array([False, True, True])).place(0) == "1.csv, row 3"
    assert both.take(np.array([2, 0])).cells["b"].tolist() == ["5", "2"]
    assert both.shown == "1.csv and 2.csv"
    assert stack([both, second]).shown == "1.csv and 2 more"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("t.xlsx", "x", "format is not known by its name; use .csv"),
        ("t.csv", "", "row 1: the header is empty"),
        ("t.csv", "a,b\n", "the table has no rows"),
        ("t.csv", "a,b\n\n,\n", "the table has no rows"),
        ("t.csv", "a,b,a\n1,2,3\n", "row 1: the column 'a' is named twice"),
        ("t.csv", "a;b\n1;2\n", "row 1: the fields are parted by ';'; part them by a comma"),
        ("t.csv", "a,b\n1,2\n1,2,3\n", "row 3: has 3 fields where the header has 2"),
        ("t.csv", "a,b\n1,2,3\n1,2,3\n", "the rows have more fields than the header has names"),
        ("t.csv", 'a,b\n1,2\n1,"2\n', "row 3: a quoted field is never closed"),
        ("t.jsonl", '{"a": 1}\n{"a": \n', "row 2: is not a JSON object"),
        ("t.jsonl", "[1]\n", "row 1: is not a JSON object"),
        ("t.jsonl", "\n", "the table has no rows"),
        ("t.parquet", "PAR1", "is not a Parquet file"),
    ],
)
def test_a_damaged_table_is_one_sentence(tmp_path: Path, name: str, text: str, said: str):
    assert said in refusal(written(tmp_path, name, text))


def test_what_is_no_utf8_no_gzip_or_not_there_is_told(tmp_path: Path):
    latin = tmp_path / "latin.csv"
    latin.write_bytes("a,b\nGrün,1\n".encode("latin-1"))
    assert "is not UTF-8 text" in refusal(latin)
    torn = tmp_path / "torn.csv.gz"
    torn.write_bytes(gzip.compress(b"a,b\n" + bytes(range(48, 58)) * 500)[:-20])
    assert "cannot be read" in refusal(torn)
    plain = tmp_path / "plain.csv.gz"
    plain.write_bytes(b"a,b\n1,2\n")
    assert "cannot be read" in refusal(plain)
    assert "no such file" in refusal(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    assert "is a directory" in refusal(tmp_path / "folder.csv")


def test_missing_is_blank_or_one_of_five_words_in_any_case():
    values = pd.Series(["", "NA", "n/a", "NaN", "Null", "<NA>", "none", "0", "N"])
    assert is_missing(values).tolist() == [True] * 6 + [False] * 3


def test_every_column_that_lacks_is_told_with_the_setting_and_a_near_name(tmp_path: Path):
    table = read_table_file(written(tmp_path, "t.csv", "patient_id,age\n1,2\n"), "t.csv")
    problems = Problems()
    check_columns([table], {"patient-id": "patient", "age": "metadata", "zzz": "text"}, problems)
    assert problems.sentences == [
        "t.csv: there is no column 'patient-id' (setting 'patient'); did you mean 'patient_id'?",
        "t.csv: there is no column 'zzz' (setting 'text'); known are age, patient_id",
    ]


def test_problems_of_a_kind_are_capped_and_counted():
    problems = Problems()
    problems.add_rows(np.arange(322), lambda i: f"row {i} is bad.")
    assert problems.sentences[0] == "row 0 is bad."
    assert len(problems) == 11
    assert problems.sentences[-1] == "... and 312 more like it."
    with pytest.raises(InputError, match="row 9 is bad"):
        problems.raise_any()
