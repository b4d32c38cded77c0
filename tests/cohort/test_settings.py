"""The cohort's description: shorthands, resolved YAML, and refusals that name the setting."""

from pathlib import Path

import pytest
import yaml

from mmpkd.cohort.settings import ClassColumn, CohortSettings, GivenSplit, MadeSplit, TableFile
from mmpkd.errors import InputError

LEAST = {"table": "cases.csv", "labels": ["nodule"]}


def settings(**more: object) -> CohortSettings:
    return CohortSettings.from_data({**LEAST, **more}, source="cohort.yaml")


def refusal(**more: object) -> str:
    with pytest.raises(InputError) as caught:
        settings(**more)
    return "\n".join(caught.value.problems)


def test_shorthands_mean_their_long_forms():
    short = settings(labels=["a", "b"], text="report", metadata=["age"], where={"view": "PA"})
    long = settings(
        table=[{"path": "cases.csv"}],
        labels={"a": {"column": "a"}, "b": {"column": "b"}},
        text={"columns": ["report"]},
        metadata={"age": "auto"},
        where={"view": ["PA"]},
    )
    assert short == long


def test_the_whole_description_survives_its_own_yaml():
    text = """
name: phantom-chest
root: .
table: [{path: a.csv, split: train, rename: {x: y}}, {path: b.csv, split: test}]
case: case
image: image
patient: patient
labels: {nodule: {column: n, positive: [yes, 2], negative: rest, missing: [-1]}, mass: mass}
reference: {nodule: truth}
text: {columns: [a, b], sections: [findings, impression]}
metadata: {age: number, sex: category}
rois: {table: r.csv, boxes: [a, b, c, d], box_format: xywh, mask: m, mask_value: v, findings: {lung: all, n: nodule}}
split: {val_fraction: 0.2, seed: 3, crossing: drop}
where: {view: [PA, AP]}
"""
    given = CohortSettings.from_data(yaml.safe_load(text), "cohort.yaml")
    again = CohortSettings.from_data(yaml.safe_load(given.to_yaml()), "cohort.yaml")
    assert again == given
    assert isinstance(given.split, GivenSplit)
    assert given.rois is not None
    assert given.rois.findings == {"lung": "all", "n": ("nodule",)}
    assert given.labels["nodule"].positive == (True, 2)


def test_without_a_split_one_is_made():
    assert settings().split == MadeSplit(fractions={"train": 0.6, "val": 0.15, "test": 0.25}, seed=0)


def test_tables_that_state_their_split_make_it_a_given_one():
    tables = [{"path": "a.csv", "split": "train"}, {"path": "b.csv", "split": "test"}]
    assert settings(table=tables).split == GivenSplit(column=None)


def test_findings_are_the_labels_names_or_the_classes():
    assert settings(labels={"b": "x", "a": "y"}).findings == ("b", "a")
    classes = settings(task="multi-class", labels={"column": "d", "classes": ["z", "k"]})
    assert classes.findings == ("z", "k")
    assert classes.labels == ClassColumn(column="d", classes={"z": ("z",), "k": ("k",)})


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"lables": {}}, "unknown setting 'lables'; did you mean 'labels'?"),
        ({"labels": {}}, "there is no finding; name at least one"),
        ({"labels": ["a", "a"]}, "a column is listed twice"),
        ({"labels": {"a": {"column": "a", "positve": [1]}}}, "did you mean 'positive'?"),
        (
            {"labels": {"a": {"column": "a", "positive": [1, 2], "negative": [2]}}},
            "the value 2 is listed as both positive and negative",
        ),
        ({"task": "multi-class"}, "needs {column: ..., classes: [...]}"),
        ({"labels": {"column": "d", "classes": ["x", "y"]}}, "set 'task: multi-class'"),
        ({"reference": {"nodul": "truth"}}, "there is no finding 'nodul'; did you mean 'nodule'?"),
        ({"metadata": ["nodule"]}, "the column 'nodule' is a label itself"),
        ({"metadata": {"age": "integer"}}, "metadata.age"),
        ({"text": {"columns": []}}, "text.columns"),
        ({"rois": {"table": "r.csv", "boxes": ["a", "b", "c", "d"]}}, "the cohort needs 'case'"),
        ({"case": "case", "rois": {"table": "r.csv"}}, "neither 'boxes' nor 'mask' nor 'rle' is given"),
        ({"case": "case", "rois": {"table": "r.csv", "boxes": ["a", "b", "c"]}}, "rois.boxes"),
        (
            {"case": "case", "rois": {"table": "r.csv", "mask": "m", "findings": {"lung": ["nodul"]}}},
            "there is no finding 'nodul'; did you mean 'nodule'?",
        ),
        ({"split": {"fractions": {"train": 0.6, "val": 0.2, "test": 0.3}}}, "sum to 1.1; make it 1"),
        ({"split": {"fractions": {"train": 0.6, "test": 0.4}}}, "fractions"),
        ({"split": {"seeds": 1}}, "did you mean 'seed'?"),
        ({"split": {"train": "tr"}}, "name the 'column' that holds the split"),
        ({"table": []}, "table"),
        ({"table": [{"path": "a.csv", "split": "train"}, "b.csv"]}, "state it for each"),
        (
            {"table": [{"path": "a.csv", "split": "train"}], "split": {"column": "split"}},
            "the tables state their split already",
        ),
        ({"max_broken_share": 1.5}, "max_broken_share"),
    ],
)
def test_a_wrong_description_is_refused_by_setting(more: dict[str, object], said: str):
    message = refusal(**more)
    assert said in message
    assert message.startswith("cohort.yaml: ")


def test_classes_of_the_reference_must_be_those_of_the_labels():
    labels = {"column": "d", "classes": ["x", "y"]}
    message = refusal(task="multi-class", labels=labels, reference={"column": "t", "classes": ["y", "x"]})
    assert "the same classes as 'labels'" in message


def test_the_root_is_beside_the_yaml_unless_overridden(tmp_path: Path):
    (tmp_path / "data").mkdir()
    given = settings(root="data")
    assert given.root_folder(tmp_path) == (tmp_path / "data").resolve()
    assert given.root_folder(tmp_path / "nowhere", override=tmp_path) == tmp_path.resolve()
    with pytest.raises(InputError, match="there is no such folder"):
        given.root_folder(tmp_path / "data")


def test_a_table_may_be_given_by_path_alone():
    assert settings(table="x.tsv").table == (TableFile(path="x.tsv"),)
