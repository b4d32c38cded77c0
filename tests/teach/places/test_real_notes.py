"""The rules on real notes: statements labelled by hand, in notes that were not read when the rules were written."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pandas as pd
import pytest

SCRIPT = Path(__file__).parents[3] / "benchmarks" / "place_rules.py"
FLOORS = {  # precision, recall: below what was measured, so that a change for the worse is seen
    "all mentions": (0.90, 0.95),
    "present": (0.95, 0.95),
    "denied": (0.80, 0.75),
    "zones": (0.88, 0.80),
    "any place": (0.95, 0.90),
    "zones, all of a statement right": (0.70, 0.70),
}


@pytest.fixture(scope="module")
def place_rules() -> ModuleType:
    spec = importlib.util.spec_from_file_location("place_rules", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["place_rules"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_labels_hold_no_text_and_enough_statements(place_rules: ModuleType) -> None:
    labels = place_rules.read_labels()
    assert len(labels) >= 150
    assert set(labels["status"]) == {"present", "denied", "doubted"}
    zones = {zone for said in labels["zones"] for zone in said.split()}
    assert zones == {side + level for side in "LR" for level in "UML"}
    assert not labels.duplicated(["case", "start", "end"]).any()
    assert {"sentence", "text", "report"}.isdisjoint(labels.columns)


def test_the_rules_read_real_notes_as_well_as_was_measured(place_rules: ModuleType, real_data: Path) -> None:
    rates = place_rules.score(place_rules.read_labels(), place_rules.read_notes(real_data / "chest_xray_notes"))
    for name, (precision, recall) in FLOORS.items():
        assert rates[name].precision >= precision, name
        assert rates[name].recall >= recall, name


def test_what_is_read_and_not_there_counts_against_precision(place_rules: ModuleType) -> None:
    text = "Left basal effusion. Nodule at the right apex and no pneumothorax."
    rows = [("a", 0, 20, 11, 19, "effusion", "LL", "present"), ("a", 21, 65, 53, 65, "pneumothorax", "", "denied")]
    names = ["case", "sentence_start", "sentence_end", "start", "end", "finding", "zones", "status"]
    rates = place_rules.score(pd.DataFrame(rows, columns=names), pd.Series({"a": text}))
    assert rates["all mentions"] == (2, 3, 2)  # the nodule has no label here
    assert rates["zones"] == (1, 1, 1)
    assert rates["denied"] == (1, 1, 1)
