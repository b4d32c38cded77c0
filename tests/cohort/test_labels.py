"""Label columns: what counts as 1, 0 and missing, and where anything else is told."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mmpkd.cohort.labels import read_classes, read_findings
from mmpkd.cohort.problems import Problems
from mmpkd.cohort.settings import ClassColumn, LabelColumn
from mmpkd.cohort.table import Table

nan = np.nan
Reader = Callable[[str], Table]


def read(table: Table, **how: object) -> tuple[np.ndarray, Problems]:
    problems = Problems()
    column = LabelColumn.model_validate({"column": "x", **how})
    return read_findings(table, {"x": column}, ["x"], problems)[:, 0], problems


def column(*values: str) -> str:
    return "id,x\n" + "".join(f"{i},{value}\n" for i, value in enumerate(values))


@pytest.mark.parametrize(
    ("value", "label"),
    [
        *[(value, 1) for value in ("1", "1.0", " 1 ", "1e0", "TRUE", "Yes", "y", "t", "Positive", "present")],
        *[(value, 0) for value in ("0", "0.0", "-0", "False", "no", "N", "f", "negative", "absent")],
        *[(value, nan) for value in ("", "  ", "NaN", "na", "N/A", "null")],
    ],
)
def test_usual_spellings_are_read(table_of: Reader, value: str, label: float):
    labels, problems = read(table_of(column(value)))
    assert_array_equal(labels, [label])
    assert not problems.sentences


def test_label_2_is_told_by_file_row_column_value_and_remedy(table_of: Reader):
    _, problems = read(table_of(column("1", "2", "0")))
    assert problems.sentences == [
        "cases.csv, row 3, column 'x': '2' is no label; write 1, 0 or leave it blank, or list it under 'positive', "
        "'negative' or 'missing' of this label."
    ]


@pytest.mark.parametrize("value", ["-1", "0.5", "maybe", "11", "inf", "1_0"])
def test_no_other_value_passes_as_a_label(table_of: Reader, value: str):
    labels, problems = read(table_of(column("1", value)))
    assert_array_equal(labels, [1, nan])
    assert len(problems) == 1


def test_values_of_ones_own(table_of: Reader):
    table = table_of(column("MALIGNANT", "benign", "BENIGN_WITHOUT_CALLBACK", "", "-1.0"))
    labels, problems = read(table, positive="malignant", negative=["BENIGN", "BENIGN_WITHOUT_CALLBACK"], missing=[-1])
    assert_array_equal(labels, [1, 0, 0, nan, nan])
    assert not problems.sentences


def test_values_of_ones_own_replace_the_usual_ones_on_their_side_only(table_of: Reader):
    labels, problems = read(table_of(column("3", "0", "1")), positive=[3])
    assert_array_equal(labels, [1, 0, nan])
    assert len(problems) == 1


def test_yes_and_no_in_yaml_mean_the_words_not_booleans_only(table_of: Reader):
    labels, _ = read(table_of(column("yes", "Y", "no", "true")), positive=[True], negative=[False])
    assert_array_equal(labels, [1, 1, 0, 1])


def test_rest_makes_every_other_value_negative_but_missing_stays(table_of: Reader):
    labels, problems = read(
        table_of(column("COVID-19", "ARDS", "", "todo")), positive="COVID-19", negative="rest", missing="todo"
    )
    assert_array_equal(labels, [1, 0, nan, nan])
    assert not problems.sentences


def test_a_finding_without_a_column_is_missing_throughout(table_of: Reader):
    labels = read_findings(table_of(column("1", "0")), {"x": LabelColumn(column="x")}, ["w", "x"], Problems())
    assert_array_equal(labels, [[nan, 1], [nan, 0]])


def test_classes_are_one_hot_and_a_missing_class_is_a_row_of_nan(table_of: Reader):
    setting = ClassColumn.model_validate({"column": "x", "classes": {"calm": ["A", "b"], "storm": ["c"]}})
    problems = Problems()
    labels = read_classes(table_of(column("a", "B", "c", "")), setting, problems)
    assert_array_equal(labels, [[1, 0], [1, 0], [0, 1], [nan, nan]])
    assert not problems.sentences


def test_an_unknown_class_is_told(table_of: Reader):
    setting = ClassColumn.model_validate({"column": "x", "classes": ["calm", "storm"]})
    problems = Problems()
    read_classes(table_of(column("calm", "strom")), setting, problems)
    assert problems.sentences == [
        "cases.csv, row 3, column 'x': 'strom' is no label; write one of calm, storm or leave it blank."
    ]
