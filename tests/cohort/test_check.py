"""The summary of a cohort: counts worked by hand, plain data, lines for a terminal."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from mmpkd.cohort.check import format_summary, summarise
from mmpkd.cohort.cohort import Cohort

nan = np.nan


def cohort(**more: object) -> Cohort:
    cases = pd.DataFrame(
        {
            "patient": ["p0", "p0", "p1", "p2", "p3"],
            "split": ["train", "train", "train", "val", "test"],
            "image": [None] * 5,
        },
        index=pd.Index([f"c{i}" for i in range(5)], name="case"),
    )
    labels = np.array([[1, 0], [0, nan], [0, nan], [nan, nan], [1, 1]], float)
    return Cohort(
        name="five", task="multi-label", findings=("nodule", "mass"), cases=cases, labels=labels, root=Path(), **more
    )


def full() -> Cohort:
    index = cohort().cases.index
    return cohort(
        reference=np.array([[1, nan], [1, nan], [nan, nan], [1, nan], [1, nan]], float),
        text=pd.Series(["one two", "one two three four", None, "one", None], index=index, dtype=object),
        metadata=pd.DataFrame(
            {"age": [50.0, nan, nan, 60.0, 50.0], "sex": pd.Categorical(["M", "F", None, "M", "M"])}, index=index
        ),
        rois=pd.DataFrame({"case": ["c0", "c0", "c4"], "finding": ["nodule", "nodule", "mass"]}),
    )


def test_counts_of_cases_patients_and_labels():
    summary = summarise(cohort())
    assert (summary["cases"], summary["patients"]) == (5, 4)
    assert summary["splits"] == {
        "train": {"cases": 3, "patients": 2},
        "val": {"cases": 1, "patients": 1},
        "test": {"cases": 1, "patients": 1},
    }
    nodule = summary["findings"]["nodule"]
    assert {key: nodule[key] for key in ("positive", "negative", "missing", "prevalence")} == {
        "positive": 2,
        "negative": 2,
        "missing": 1,
        "prevalence": 0.5,
    }
    assert nodule["splits"]["train"] == {"positive": 1, "negative": 2, "missing": 0, "prevalence": 1 / 3}
    assert nodule["splits"]["val"] == {"positive": 0, "negative": 0, "missing": 1, "prevalence": None}


def test_coverage_of_text_metadata_rois_and_reference():
    summary = summarise(full())
    assert summary["text"] == {"cases": 3, "coverage": 0.6, "median_words": 2.0}
    assert summary["metadata"] == {
        "age": {"type": "number", "values": 2, "missing": 2, "missing_share": 0.4},
        "sex": {"type": "category", "values": 2, "missing": 1, "missing_share": 0.2},
    }
    assert summary["rois"] == {"nodule": 1, "mass": 1}
    assert summary["reference"]["nodule"] == {
        "positive": 4,
        "negative": 0,
        "missing": 1,
        "prevalence": 1.0,
        "agreement": 2 / 3,
    }
    assert summary["reference"]["mass"]["agreement"] is None


def test_what_a_cohort_has_not_is_none():
    summary = summarise(cohort())
    assert [summary[key] for key in ("text", "metadata", "rois", "reference")] == [None] * 4


def test_the_summary_is_plain_data_without_ids():
    text = json.dumps(summarise(full()), allow_nan=False)
    assert "c0" not in text
    assert "p0" not in text
    assert "one two" not in text


def test_the_lines_align_and_hold_the_numbers():
    lines = format_summary(summarise(full())).splitlines()
    assert lines[0] == "five: 5 cases of 4 patients, multi-label"
    header = next(line for line in lines if line.startswith("  finding"))
    row = next(line for line in lines if line.startswith("  nodule"))
    columns = "finding positive negative missing prevalence in train in val in test agreement ROIs"
    assert " ".join(header.split()) == columns
    assert row.split() == ["nodule", "2", "2", "1", "50.0%", "33.3%", "-", "100.0%", "66.7%", "1"]
    assert len(header) == len(row)
    assert "  text: 3 cases (60%), median 2 words" in lines
    assert lines[-1] == "0 warnings."


def test_lines_without_extras_and_with_warnings():
    steps = {"rescale, window": 1200, "stretch, inverted": 3}
    text = format_summary({**summarise(cohort()), "warnings": ["Mind this."], "image_steps": steps})
    assert "  DICOM, rescale, window: 1,200" in text
    assert "  text: none\n  metadata: none\n  ROIs: none" in text
    assert text.endswith("1 warning:\n  - Mind this.")
