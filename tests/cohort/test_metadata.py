"""Metadata columns: numbers and categories by inference and by order, and columns that say nothing."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_array_equal

from mmpkd.cohort.metadata import read_metadata
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.settings import MetadataType
from mmpkd.cohort.table import Table

Reader = Callable[[str], Table]


def read(table: Table, kind: MetadataType = "auto") -> tuple[pd.Series, Problems]:
    problems = Problems()
    frame = read_metadata(table, {"x": kind}, pd.Index([f"c{i}" for i in range(len(table))]), problems)
    assert frame is not None
    assert frame.index[0] == "c0"
    return frame["x"], problems


def column(values: list[str]) -> str:
    return "id,x\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values))


def test_many_whole_numbers_are_a_number_and_blanks_are_nan(table_of: Reader):
    values, _ = read(table_of(column([*map(str, range(30, 39)), "", "NA"])))
    assert_array_equal(values, [*range(30, 39), np.nan, np.nan])
    assert values.dtype == np.float64


def test_few_whole_numbers_are_grades_and_fractions_are_a_number(table_of: Reader):
    grades, _ = read(table_of(column(["1", "5", "3", "1"])))
    assert list(grades.cat.categories) == ["1", "3", "5"]
    fractions, _ = read(table_of(column(["0.5", "2", "0.5"])))
    assert_array_equal(fractions, [0.5, 2.0, 0.5])


def test_words_are_categories_sorted_with_blanks_missing(table_of: Reader):
    values, problems = read(table_of(column(["M", "F", "", "M "])))
    assert list(values.cat.categories) == ["F", "M"]
    assert values.isna().tolist() == [False, False, True, False]
    assert not problems.sentences
    assert not problems.warnings


def test_a_type_that_is_given_wins(table_of: Reader):
    number, _ = read(table_of(column(["1", "5", "3"])), "number")
    assert_array_equal(number, [1.0, 5.0, 3.0])
    category, _ = read(table_of(column(["0.5", "1.5", "2.5"])), "category")
    assert list(category.cat.categories) == ["0.5", "1.5", "2.5"]


@pytest.mark.parametrize("value", ["old", "inf", "1O"])
def test_what_is_no_number_in_a_number_column_is_told(table_of: Reader, value: str):
    _, problems = read(table_of(column(["41", value])), "number")
    assert problems.sentences == [
        f"cases.csv, row 3, column 'x': {value!r} is no number; mend it, leave it blank, or set "
        "'metadata: {x: category}'."
    ]


def test_a_column_of_numbers_with_a_few_that_are_none_is_warned_about(table_of: Reader):
    values, problems = read(table_of(column([*map(str, range(20, 60)), "90+"])))
    assert isinstance(values.dtype, pd.CategoricalDtype)
    assert problems.warnings[0].startswith("cases.csv, row 42, column 'x': 1 of 41 values are no numbers")


def test_columns_that_say_nothing_are_warned_about(table_of: Reader):
    _, same = read(table_of(column(["M", "M"])))
    assert "holds one value only" in same.warnings[0]
    _, identifier = read(table_of(column([f"name{i}" for i in range(25)])))
    assert "25 categories in 25 cases; it looks like an identifier" in identifier.warnings[0]


def test_metadata_blank_throughout_is_a_problem_and_one_blank_column_a_warning(table_of: Reader):
    table = table_of("id,x,y\n1,,a\n2,,b\n")
    problems = Problems()
    read_metadata(table, {"x": "auto", "y": "auto"}, pd.Index(["1", "2"]), problems)
    assert not problems.sentences
    assert "column 'x': blank in every row" in problems.warnings[0]
    read_metadata(table, {"x": "auto"}, pd.Index(["1", "2"]), problems)
    assert problems.sentences == [
        "cases.csv: every metadata column is blank in every row; leave out 'metadata' or fill it."
    ]


def test_no_columns_mean_no_metadata(table_of: Reader):
    assert read_metadata(table_of("id\n1\n"), {}, pd.Index(["1"]), Problems()) is None
