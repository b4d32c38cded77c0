"""The script behind the docs' tables, on rows made by hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from mmpkd.files import write_table
from mmpkd.folder import RunFolder

SCRIPT = Path(__file__).parents[2] / "docs" / "tables.py"
COLUMNS = ["kind", "arm", "reference_arm", "metric", "policy", "method", "finding", "estimate", "low", "high"]

specification = importlib.util.spec_from_file_location("tables", SCRIPT)
tables = importlib.util.module_from_spec(specification)
specification.loader.exec_module(tables)


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    iou = ("iou", "matched-area", "legrad", "macro")
    comparison = [
        ("arm", "hard", "", *iou, 0.25, 0.2, 0.3),
        ("arm", "steady", "", *iou, 0.35, 0.3, 0.4),
        ("difference", "steady", "hard", *iou, 0.1, 0.05, 0.15),
        ("difference", "hard", "mean-roi-prior", *iou, -0.04, -0.09, 0.01),
        ("baseline", "chance", "", *iou, 0.03, 0.03, 0.03),
        ("baseline", "randomised", "", *iou, 0.02, 0.01, 0.03),
        ("arm", "hard", "", "iou", "matched-area", "legrad", "nodule", 0.125, 0.1, 0.15),
        ("arm", "hard", "", "faithfulness_gain", "", "legrad", "macro", 0.5, 0.4, 0.6),
        ("arm", "hard", "", "faithfulness_gain", "", "roi", "macro", 0.9, 0.8, 1.0),
        ("arm", "hard", "", "auroc", "", "", "macro", 0.95, 0.9, 0.99),
        ("difference", "steady", "hard", "auroc", "", "", "macro", 0.01, -0.02, 0.03),
    ]
    spearman = ("spearman", "", "legrad", "macro")
    repeated = [
        ("seeds", "hard", "", *spearman, 0.6, 0.5, 0.7),
        ("excess", "hard", "hard", *spearman, 0.4, 0.3, 0.5),
        ("change", "steady", "hard", *spearman, 0.2, 0.1, 0.3),
    ]
    run = RunFolder(tmp_path)
    write_table(run.comparison, pd.DataFrame(comparison, columns=COLUMNS))
    write_table(run.repeatability, pd.DataFrame(repeated, columns=COLUMNS))
    gained = [("ensemble-gain", "hard", "hard", *iou, 0.05, 0.02, 0.08)]
    write_table(run.ensembles, pd.DataFrame(gained, columns=COLUMNS))
    sanity = [("randomised", "hard", "", *spearman, value, value - 0.1, value + 0.1) for value in (0.9, 0.1)]
    write_table(run.sanity, pd.DataFrame(sanity, columns=COLUMNS).assign(depth=[1, 5], layer=["head", "embedding"]))
    return run


def test_methods_stand_beside_priors_and_unlearned_students(folder: RunFolder) -> None:
    lines = tables.methods_table(folder)
    assert lines[0] == "**iou at matched-area**"
    assert "| *chance* | 0.030 (0.030 to 0.030) |  |  |  |" in lines
    assert "| legrad | 0.250 (0.200 to 0.300) | -0.040 (-0.090 to 0.010) | – | 0.020 (0.010 to 0.030) |" in lines


def test_findings_have_a_column_each(folder: RunFolder) -> None:
    lines = tables.findings_table(folder)
    assert lines[2] == "|  | macro | nodule |"
    assert "| legrad | 0.250 (0.200 to 0.300) | 0.125 (0.100 to 0.150) |" in lines


def test_trust_reads_the_last_depth_and_leaves_the_roi_itself_out(folder: RunFolder) -> None:
    lines = tables.trust_table(folder)
    assert lines[2:] == ["| legrad | – | – | 0.500 (0.400 to 0.600) | – | – | 0.100 (0.000 to 0.200) |"]


def test_repeatability_stands_beside_what_ensembling_gains(folder: RunFolder) -> None:
    lines = tables.repeat_table(folder)
    assert lines[0] == "**hard**"
    assert lines[4].endswith("| – | – | – | **+0.050** (0.020 to 0.080) | – |")
    assert "**+0.400** (0.300 to 0.500)" in lines[4]


def test_arms_show_the_reference_and_what_others_change(folder: RunFolder) -> None:
    lines = tables.arms_table(folder)
    assert lines[0] == "|  | hard | steady - hard |"
    assert "| AUROC | 0.950 (0.900 to 0.990) | +0.010 (-0.020 to 0.030) |" in lines
    assert "| legrad: iou | 0.250 (0.200 to 0.300) | **+0.100** (0.050 to 0.150) |" in lines
    assert "| legrad: two seeds | 0.600 (0.500 to 0.700) | **+0.200** (0.100 to 0.300) |" in lines


def test_a_wrong_call_says_how_to_call(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"python docs/tables\.py methods RUN_FOLDER"):
        tables.main(["nothing"])
