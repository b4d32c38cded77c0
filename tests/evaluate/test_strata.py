"""Slices of localisation scores: ROI sizes, true positives, and the three means."""

import numpy as np
import pytest

from mmpkd.errors import InputError
from mmpkd.evaluate.strata import roi_size_strata, slice_means, stratum_names, true_positives


def test_an_roi_on_an_edge_belongs_to_the_stratum_above() -> None:
    areas = np.array([0.0099, 0.01, 0.049, 0.05, 0.2, 1.0, 0.0, np.nan])
    assert roi_size_strata(areas).tolist() == [
        "under 1%",
        "1% to 5%",
        "1% to 5%",
        "5% to 20%",
        "20% and over",
        "20% and over",
        "no ROI",
        "no ROI",
    ]


def test_edges_may_be_named() -> None:
    assert stratum_names((0.025,)) == ("under 2.5%", "2.5% and over")
    assert roi_size_strata(np.array([0.02, 0.3]), (0.025,)).tolist() == ["under 2.5%", "2.5% and over"]


@pytest.mark.parametrize("edges", [(), (0.2, 0.1), (0.1, 0.1), (0.0, 0.5), (0.5, 1.0)])
def test_edges_that_do_not_part_are_refused(edges: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="edges of the strata"):
        stratum_names(edges)


def test_an_area_in_pixels_is_refused() -> None:
    with pytest.raises(InputError, match="area is 412"):
        roi_size_strata(np.array([0.1, 412.0]))


def test_a_true_positive_has_a_positive_label_and_is_called() -> None:
    labels = np.array([1, 1, 0, np.nan, 1])
    probabilities = np.array([0.5, 0.49, 0.9, 0.9, np.nan])
    assert true_positives(labels, probabilities).tolist() == [True, False, False, False, False]
    assert true_positives(labels, probabilities, np.full(5, 0.4)).tolist() == [True, True, False, False, False]


def test_findings_macro_and_pool_with_what_is_undefined_counted() -> None:
    values = np.array([0.2, 0.4, 0.9, np.nan, np.nan])
    findings = np.array(["mass", "mass", "nodule", "nodule", "effusion"])
    called = np.array([True, False, True, True, False])
    table = slice_means(values, findings, slices={"true positives": called})
    assert table.columns.tolist() == ["slice", "finding", "mean", "defined", "undefined", "findings"]
    rows = {
        (row.slice, row.finding): (row.mean, row.defined, row.undefined, row.findings) for row in table.itertuples()
    }
    assert rows == {
        ("all", "mass"): (pytest.approx(0.3), 2, 0, 1),
        ("all", "nodule"): (0.9, 1, 1, 1),
        ("all", "effusion"): (pytest.approx(np.nan, nan_ok=True), 0, 1, 0),
        ("all", "macro"): (pytest.approx(0.6), 3, 2, 2),
        ("all", "pooled"): (pytest.approx(0.5), 3, 2, 2),
        ("true positives", "mass"): (pytest.approx(0.2), 1, 0, 1),
        ("true positives", "nodule"): (0.9, 1, 1, 1),
        ("true positives", "macro"): (pytest.approx(0.55), 2, 1, 2),
        ("true positives", "pooled"): (pytest.approx(0.55), 2, 1, 2),
    }


def test_columns_are_kept_apart() -> None:
    metric = np.array(["iou", "pointing", "iou", "pointing"])
    stratum = roi_size_strata(np.array([0.02, 0.02, 0.3, 0.3]))
    table = slice_means(np.array([0.1, 1.0, 0.3, 0.0]), np.array(["mass"] * 4), by={"metric": metric, "size": stratum})
    assert table[["metric", "size", "finding", "mean"]].to_numpy().tolist() == [
        [metric, size, finding, value]
        for metric, size, value in (
            ("iou", "1% to 5%", 0.1),
            ("pointing", "1% to 5%", 1.0),
            ("iou", "20% and over", 0.3),
            ("pointing", "20% and over", 0.0),
        )
        for finding in ("mass", "macro", "pooled")
    ]


def test_a_slice_without_rows_and_a_table_without_rows_have_none() -> None:
    table = slice_means(np.ones(2), np.array(["a", "b"]), slices={"none": np.zeros(2, bool)})
    assert set(table["slice"]) == {"all"}
    assert len(slice_means(np.zeros(0), np.zeros(0, dtype=object), by={"metric": np.zeros(0, dtype=object)})) == 0


def test_columns_that_do_not_fit_are_refused() -> None:
    with pytest.raises(InputError, match="there are 2 scores and 3 entries of 'metric'"):
        slice_means(np.ones(2), np.array(["a", "b"]), by={"metric": np.array(["x", "y", "z"])})
    with pytest.raises(InputError, match="1 scores have no finding"):
        slice_means(np.ones(2), np.array(["a", None], dtype=object))
    with pytest.raises(InputError, match="called 'slice'"):
        slice_means(np.ones(1), np.array(["a"]), by={"slice": np.array(["x"])})
