"""Reading a run folder, and what is withheld."""

from __future__ import annotations

import math

import numpy as np
import pytest

from mmpkd.folder import RunFolder
from mmpkd.report.data import WITHHELD, read_report_data, withhold_paths


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        ("/data/hospital/cases.csv", WITHHELD),
        ("read from /data/hospital today", f"read from {WITHHELD} today"),
        ("C:\\Users\\me\\x.csv: bad", f"{WITHHELD} bad"),
        ("~/cohort/images", WITHHELD),
        ("../shared/images", WITHHELD),
        ("row 3 of images/p17.dcm is broken", f"row 3 of {WITHHELD} is broken"),
        ("file:///srv/x/y", WITHHELD),
        ("microsoft/BiomedNLP-PubMedBERT", "microsoft/BiomedNLP-PubMedBERT"),
        ("vit_tiny_patch16_224.augreg_in21k", "vit_tiny_patch16_224.augreg_in21k"),
        ("text and/or tables; 3/4 of 0.5", "text and/or tables; 3/4 of 0.5"),
        ("TP / (TP + FP)", "TP / (TP + FP)"),
    ],
)
def test_paths_are_withheld_and_other_words_kept(told: str, shown: str) -> None:
    assert withhold_paths(told) == shown


def test_settings_that_are_paths_by_name_are_withheld_whatever_they_look_like() -> None:
    given = {"root": ".", "rois": {"table": "rois"}, "seeds": [0, 1], "text": "report", "cache": None}
    kept = {"root": WITHHELD, "rois": {"table": WITHHELD}, "seeds": [0, 1], "text": "report", "cache": None}
    assert withhold_paths(given) == kept


def test_a_whole_folder_is_read(run_folder: RunFolder) -> None:
    data = read_report_data(run_folder)
    assert data.arms == ("hard", "mmpkd")
    cells = [(history.arm, history.seed) for history in data.histories]
    assert cells == [("hard", 0), ("hard", 1), ("hard", 2), ("mmpkd", 0), ("mmpkd", 1), ("mmpkd", 2)]
    assert set(data.histories[0].series) == {"train_loss", "train_hard", "train_soft", "val_auroc"}
    primary = data.select(role="primary")
    assert [(row.arm, row.reference_arm, row.finding, row.seeds) for row in primary] == [("mmpkd", "hard", "macro", 3)]
    assert math.isclose(primary[0].estimate.value, 0.051)


def test_the_gallery_is_read_with_its_shapes(run_folder: RunFolder) -> None:
    case = read_report_data(run_folder).gallery[0]
    assert case.finding == "nodule"
    assert case.image.dtype == np.uint8
    assert set(case.maps) == {"hard", "mmpkd"}
    assert case.roi is not None
    assert case.image.shape == case.roi.shape == case.maps["hard"].shape == (128, 128)


def test_no_case_id_survives_reading(run_folder: RunFolder, hidden: tuple[str, ...]) -> None:
    told = repr(read_report_data(run_folder))
    assert [secret for secret in hidden if secret in told] == []
