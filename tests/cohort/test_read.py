"""Reading a whole cohort: what it holds, and every bad input of its tables told, all at once."""

from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from mmpkd.cohort.read import ReadCohort, read_cohort
from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError

DESCRIPTION = {
    "table": "cases.csv",
    "case": "case",
    "image": "image",
    "patient": "patient",
    "labels": ["nodule"],
    "split": {"column": "split"},
}
HEADER = "case,image,patient,nodule,split,report,age"


def line(case: str, patient: str, nodule: str, split: str, report: str = "text", age: str = "50") -> str:
    return f"{case},{case}.png,{patient},{nodule},{split},{report},{age}"


GOOD = [
    line("c0", "p0", "1", "train"),
    line("c1", "p0", "0", "train"),
    line("c2", "p1", "", "train"),
    line("c3", "p2", "1", "val"),
    line("c4", "p3", "0", "val"),
    line("c5", "p4", "1", "test"),
    line("c6", "p5", "0", "test"),
]


def read(folder: Path, lines: list[str], images: bool = True, **more: object) -> ReadCohort:
    (folder / "cases.csv").write_text("\n".join([HEADER, *lines]) + "\n", encoding="utf-8")
    if images:
        for text in lines:
            (folder / text.split(",")[1]).touch()
    settings = CohortSettings.from_data({**DESCRIPTION, **more}, source="cohort.yaml")
    return read_cohort(settings, folder)


def refused(folder: Path, lines: list[str], **more: object) -> list[str]:
    with pytest.raises(InputError) as caught:
        read(folder, lines, **more)
    return list(caught.value.problems)


def test_a_cohort_holds_what_the_table_says(tmp_path: Path):
    read_back = read(tmp_path, GOOD, name="n", text="report", metadata={"age": "number"})
    cohort = read_back.cohort
    assert cohort.name == "n"
    assert cohort.findings == ("nodule",)
    assert cohort.cases.index.tolist() == [f"c{i}" for i in range(7)]
    assert cohort.cases["patient"].tolist() == ["p0", "p0", "p1", "p2", "p3", "p4", "p5"]
    assert cohort.cases["split"].tolist() == ["train"] * 3 + ["val"] * 2 + ["test"] * 2
    assert cohort.cases["image"].tolist()[0] == "c0.png"
    assert_array_equal(cohort.labels[:, 0], [1, 0, np.nan, 1, 0, 1, 0])
    assert cohort.text is not None
    assert cohort.text.index.equals(cohort.cases.index)
    assert cohort.metadata is not None
    assert cohort.metadata.index.equals(cohort.cases.index)
    assert cohort.reference is None
    assert read_back.warnings == ["cases.csv, column 'age': holds one value only; it teaches nothing but its blanks."]


def test_reference_labels_are_nan_for_findings_without_one(tmp_path: Path):
    lines = [f"{text},{i % 2}" for i, text in enumerate(GOOD)]
    (tmp_path / "cases.csv").write_text("\n".join([HEADER + ",truth", *lines]) + "\n")
    description = {**DESCRIPTION, "image": None, "labels": {"nodule": "nodule", "old": "age"}}
    description["labels"] = {"nodule": "nodule", "again": "nodule"}
    settings = CohortSettings.from_data({**description, "reference": {"nodule": "truth"}}, "cohort.yaml")
    cohort = read_cohort(settings, tmp_path).cohort
    assert cohort.reference is not None
    assert_array_equal(cohort.reference[:, 0], [0, 1, 0, 1, 0, 1, 0])
    assert np.isnan(cohort.reference[:, 1]).all()


def test_multi_class_labels_are_one_hot(tmp_path: Path):
    text = "case,d,split\n" + "".join(
        f"{i},{d},{split}\n"
        for i, (d, split) in enumerate((d, split) for split in ("train", "val", "test") for d in ("a", "b", ""))
    )
    (tmp_path / "t.csv").write_text(text)
    settings = CohortSettings.from_data(
        {
            "table": "t.csv",
            "task": "multi-class",
            "labels": {"column": "d", "classes": ["b", "a"]},
            "split": {"column": "split"},
        },
        "cohort.yaml",
    )
    cohort = read_cohort(settings, tmp_path).cohort
    assert cohort.task == "multi-class"
    assert_array_equal(cohort.labels[:3], [[0, 1], [1, 0], [np.nan, np.nan]])


def test_without_a_case_column_records_are_numbered_and_without_patients_each_case_is_one(tmp_path: Path):
    read_back = read(tmp_path, GOOD, case=None, patient=None)
    assert read_back.cohort.cases.index.tolist() == ["1", "2", "3", "4", "5", "6", "7"]
    assert read_back.cohort.cases["patient"].tolist() == ["1", "2", "3", "4", "5", "6", "7"]
    assert "every case counts as a patient of its own" in read_back.warnings[0]


def test_stacked_tables_state_their_split_and_val_is_drawn_from_train(tmp_path: Path):
    rows = [f"p{i},{i % 2}" for i in range(40)]
    (tmp_path / "train.csv").write_text("\n".join(["patient,y", *rows[:30]]) + "\n")
    (tmp_path / "test.csv").write_text("\n".join(["who,y", *rows[30:]]) + "\n")
    settings = CohortSettings.from_data(
        {
            "table": [
                {"path": "train.csv", "split": "train"},
                {"path": "test.csv", "split": "test", "rename": {"who": "patient"}},
            ],
            "patient": "patient",
            "labels": ["y"],
            "split": {"val_fraction": 0.2},
        },
        "cohort.yaml",
    )
    read_back = read_cohort(settings, tmp_path)
    cases = read_back.cohort.cases
    assert cases["split"].value_counts().to_dict() == {"train": 24, "test": 10, "val": 6}
    assert cases.index.tolist()[0] == "1-1"
    assert cases.index[cases["split"] == "test"].tolist() == [f"2-{i}" for i in range(1, 11)]
    assert_array_equal(read_back.cohort.labels[read_back.cohort.in_split("val")].sum(), 3)
    assert any("6 training cases of 6 patients were drawn as val" in warning for warning in read_back.warnings)


def test_where_keeps_rows_and_counts_them(tmp_path: Path):
    lines = [*GOOD, line("c7", "p6", "2", "nowhere", age="90")]
    read_back = read(tmp_path, lines, where={"age": [50, 51]})
    assert len(read_back.cohort) == 7
    assert read_back.warnings == ["cases.csv: 'where' keeps 7 of 8 rows."]


def test_where_that_keeps_nothing_is_a_problem(tmp_path: Path):
    assert "no row has the values that 'where' asks for" in refused(tmp_path, GOOD, where={"age": "99"})[0]


def test_a_few_missing_images_are_left_out_with_their_rois_and_listed(tmp_path: Path):
    (tmp_path / "rois.csv").write_text("case,finding,a,b,c,d\nc0,nodule,0,0,1,1\nc5,nodule,0,0,1,1\n")
    rois = {"table": "rois.csv", "boxes": ["a", "b", "c", "d"]}
    gone = line("c7", "p6", "0", "train")
    for text in GOOD:
        (tmp_path / text.split(",")[1]).touch()
    (tmp_path / "c0.png").unlink()
    lines = [*GOOD, gone, line("c8", "p6", "1", "train")]
    (tmp_path / "c8.png").touch()
    read_back = read(tmp_path, lines, images=False, max_broken_share=0.25, rois=rois)
    assert read_back.cohort.cases.index.tolist() == ["c1", "c2", "c3", "c4", "c5", "c6", "c8"]
    assert read_back.cohort.rois is not None
    assert read_back.cohort.rois["case"].tolist() == ["c5"]
    assert read_back.warnings[0] == "cases.csv: 2 of 9 images are missing; their cases are left out."
    assert read_back.warnings[1] == "cases.csv, row 2, column 'image': the image file does not exist."


def test_too_many_missing_images_are_a_problem(tmp_path: Path):
    problems = refused(tmp_path, GOOD, images=False)
    assert problems[0].startswith("cases.csv: 7 of 7 images are missing, more than max_broken_share = 0.01")


def test_all_problems_of_a_table_are_told_at_once(tmp_path: Path):
    lines = [
        line("c0", "p0", "1", "train"),
        line("c0", "", "2", "train"),
        "c2,../c2.png,p1,1,trian,text,fifty",
        line("", "nan", "0", "val"),
    ]
    (tmp_path / "rois.csv").write_text("case,finding,a,b,c,d\nc0,nodul,5,0,1,1\n")
    problems = refused(
        tmp_path,
        lines,
        images=False,
        max_broken_share=1.0,
        text="report",
        metadata={"age": "number"},
        rois={"table": "rois.csv", "boxes": ["a", "b", "c", "d"]},
    )
    for said in (
        "row 5, column 'case': the case has no id",
        "row 3, column 'case': the same id stands in cases.csv, row 2",
        "row 3, column 'patient': the patient is missing",
        "row 5, column 'patient': the patient is missing",
        "row 4, column 'image': the path leaves the cohort's root",
        "row 3, column 'nodule': '2' is no label",
        "row 4, column 'age': 'fifty' is no number",
        "rois.csv, row 2, column 'finding': 'nodul' is no finding",
        "rois.csv, row 2, column 'c': the box ends at 1, not after its start at 5",
    ):
        assert sum(said in problem for problem in problems) == 1, said


def test_missing_columns_are_told_all_at_once_with_near_names(tmp_path: Path):
    problems = refused(tmp_path, GOOD, patient="patients", labels={"nodule": "nodul"}, text="reports", metadata=["sex"])
    assert problems == [
        "cases.csv: there is no column 'patients' (setting 'patient'); did you mean 'patient'?",
        "cases.csv: there is no column 'nodul' (setting 'labels.nodule'); did you mean 'nodule'?",
        "cases.csv: there is no column 'sex' (setting 'metadata'); known are age, case, image, nodule, patient, "
        "report, split",
        "cases.csv: there is no column 'reports' (setting 'text'); did you mean 'report'?",
    ]


def test_a_value_that_means_no_split_is_told(tmp_path: Path):
    problems = refused(tmp_path, [*GOOD, line("c7", "p6", "0", "trian")])
    assert problems[0].startswith("cases.csv, row 9, column 'split': 'trian' is no split; write it as train")


def test_split_values_may_be_ones_own(tmp_path: Path):
    own = {"train": "a", "val": "b", "test": "c"}
    lines = [text.replace(",train,", ",a,").replace(",val,", ",b,").replace(",test,", ",c,") for text in GOOD]
    split = {"column": "split", "train": ["a", "A+"], "val": "b", "test": "c"}
    cases = read(tmp_path, lines, split=split).cohort.cases
    assert cases["split"].map(own).tolist() == ["a"] * 3 + ["b"] * 2 + ["c"] * 2


CROSSING = [*GOOD, line("c7", "p4", "1", "train"), line("c8", "p2", "1", "train")]


def test_a_patient_in_two_splits_is_refused_without_naming_the_patient(tmp_path: Path):
    (problem,) = refused(tmp_path, CROSSING)
    assert problem.startswith(
        "cases.csv: 2 patients are in more than one split (for one, val in cases.csv, row 5 and train in cases.csv, "
        "row 10)"
    )
    assert "p2" not in problem
    assert "crossing: drop" in problem


def test_crossing_patients_keep_the_later_split_where_that_is_asked_for(tmp_path: Path):
    read_back = read(tmp_path, CROSSING, split={"column": "split", "crossing": "drop"})
    assert read_back.cohort.cases.index.tolist() == [f"c{i}" for i in range(7)]
    assert "2 cases are left out" in read_back.warnings[0]


def test_an_empty_split_is_told(tmp_path: Path):
    assert refused(tmp_path, GOOD[:5]) == ["cases.csv: the split 'test' is empty; give it cases or change 'split'."]


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (["1", "1", "", "1", "0", "1", "0"], "the finding 'nodule' has no negative in train"),
        (["0", "", "0", "1", "0", "1", "0"], "the finding 'nodule' has no positive in train"),
        (["", "", "", "1", "0", "1", "0"], "the finding 'nodule' has no labelled case in train"),
    ],
)
def test_one_class_only_in_train_is_told_by_finding(tmp_path: Path, labels: list[str], said: str):
    lines = [text.split(",") for text in GOOD]
    for fields, label in zip(lines, labels, strict=True):
        fields[3] = label
    (problem,) = refused(tmp_path, [",".join(fields) for fields in lines])
    assert said in problem


def test_one_class_only_in_test_is_a_warning(tmp_path: Path):
    read_back = read(tmp_path, [*GOOD[:6], line("c6", "p5", "1", "test")])
    assert read_back.warnings == ["cases.csv: the finding 'nodule' has no negative in test, so it has no AUROC there."]


def test_fewer_patients_than_parts_is_told(tmp_path: Path):
    lines = [line(f"c{i}", f"p{i % 2}", str(i % 2), "train") for i in range(6)]
    (problem,) = refused(tmp_path, lines, split={"seed": 0})
    assert "2 patients cannot be divided into 3 parts" in problem


def test_a_made_split_keeps_patients_together_and_follows_the_seed(tmp_path: Path):
    lines = [line(f"c{i}", f"p{i // 2}", str(i // 2 % 2), "train") for i in range(80)]
    first = read(tmp_path, lines, split={"seed": 0}).cohort.cases
    again = read(tmp_path, lines[::-1], split={"seed": 0}).cohort.cases
    other = read(tmp_path, lines, split={"seed": 1}).cohort.cases
    assert (first.groupby("patient")["split"].nunique() == 1).all()
    assert first["split"].value_counts().to_dict() == {"train": 48, "test": 20, "val": 12}
    assert first["split"].to_dict() == again["split"].to_dict()
    assert (first["split"] != other["split"]).any()


def test_text_missing_throughout_is_told(tmp_path: Path):
    lines = [text.replace(",text,", ",,") for text in GOOD]
    assert "no case has a text" in refused(tmp_path, lines, text="report")[0]


def test_a_table_outside_the_root_is_refused(tmp_path: Path):
    (tmp_path / "outside.csv").write_text(HEADER + "\n")
    (tmp_path / "root").mkdir()
    settings = CohortSettings.from_data({**DESCRIPTION, "table": "../outside.csv"}, "cohort.yaml")
    with pytest.raises(InputError, match="the table lies outside the cohort's root"):
        read_cohort(settings, tmp_path / "root")


def test_all_tables_that_cannot_be_read_are_told(tmp_path: Path):
    settings = CohortSettings.from_data({**DESCRIPTION, "table": ["a.csv", "b.xls"]}, "cohort.yaml")
    with pytest.raises(InputError) as caught:
        read_cohort(settings, tmp_path)
    assert [problem.split(":")[0] for problem in caught.value.problems] == ["a.csv", "b.xls"]


def test_a_rename_must_find_its_column_and_hit_no_other(tmp_path: Path):
    table = {"path": "cases.csv", "rename": {"nodul": "x", "age": "report"}}
    problems = refused(tmp_path, GOOD, table=[table])
    assert "no column 'nodul' (setting 'table.rename'); did you mean 'nodule'?" in problems[0]
    assert "a column 'report' is there already" in problems[1]


def test_metadata_that_one_of_two_tables_lacks_is_blank_there(tmp_path: Path):
    (tmp_path / "a.csv").write_text("y,kind\n" + "1,u\n0,v\n" * 10)
    (tmp_path / "b.csv").write_text("y\n" + "1\n0\n" * 10)
    settings = CohortSettings.from_data(
        {"table": ["a.csv", "b.csv"], "labels": ["y"], "metadata": ["kind"]}, "cohort.yaml"
    )
    read_back = read_cohort(settings, tmp_path)
    assert read_back.cohort.metadata is not None
    assert int(read_back.cohort.metadata["kind"].isna().sum()) == 20
    assert "b.csv: has no column 'kind'; it counts as blank there." in read_back.warnings


def test_neither_text_nor_patients_nor_image_paths_are_quoted(tmp_path: Path):
    lines = [
        *GOOD,
        "c7,../../SECRET-PATH.png,SECRET-PATIENT,2,train,SECRET-TEXT,1",
        "c7,SECRET-PATH.png,SECRET-PATIENT,2,test,SECRET-TEXT,1",
    ]
    problems = refused(tmp_path, lines, images=False, text="report")
    assert len(problems) > 3
    assert "SECRET" not in "\n".join(problems)
