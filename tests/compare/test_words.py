"""Words for one difference: never more than the interval allows, and never a 0 that is none."""

import numpy as np
import pytest

from mmpkd.compare.intervals import Interval
from mmpkd.compare.words import Change, better_direction, counted, figures, listed, metric_words, with_interval

NAN = float("nan")


def said(estimate: float, low: float, high: float, direction: int = 1) -> str:
    return Change(Interval(estimate, low, high), 0.95).sentence("AUROC", "mmpkd", "hard", direction)


def test_an_interval_above_0_is_higher() -> None:
    assert said(0.05, 0.02, 0.08) == (
        "AUROC is higher with 'mmpkd' than with 'hard' by 0.050 (95% interval 0.020 to 0.080)"
    )


def test_an_interval_below_0_is_lower_with_sizes_as_positive_numbers() -> None:
    assert said(-0.05, -0.08, -0.02) == (
        "AUROC is lower with 'mmpkd' than with 'hard' by 0.050 (95% interval 0.020 to 0.080)"
    )


def test_a_metric_that_should_be_low_says_so() -> None:
    assert said(-0.05, -0.08, -0.02, -1).endswith("(95% interval 0.020 to 0.080; lower is better)")


def test_an_interval_around_0_shows_no_difference_and_says_what_it_leaves_open() -> None:
    assert said(0.01, -0.02, 0.04) == (
        "no difference shown in AUROC between 'mmpkd' and 'hard': the estimate is 0.010 (95% interval −0.020 to "
        "0.040), which does not exclude a decrease of up to 0.020 or an increase of up to 0.040"
    )


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.04), (-0.04, 0.0)])
def test_an_interval_that_ends_at_0_does_not_exclude_it(low: float, high: float) -> None:
    assert Change(Interval((low + high) / 2, low, high), 0.95).outcome == "open"


def test_equal_arms_are_said_to_be_equal_in_the_replicates_only() -> None:
    assert said(0.0, 0.0, 0.0).endswith("both score the same in every bootstrap replicate")


def test_an_undefined_difference_is_said_to_be_undefined() -> None:
    assert said(NAN, NAN, NAN) == "nothing can be said of AUROC: it is undefined on these cases"


def test_without_an_interval_nothing_is_concluded() -> None:
    words = said(0.2, NAN, NAN)
    assert words.startswith("nothing can be concluded on AUROC: 'mmpkd' and 'hard' differ by 0.200, but there are")
    assert "higher" not in words


def test_an_estimate_outside_its_interval_is_no_finding() -> None:
    words = said(-0.01, 0.01, 0.05)
    assert "does not hold the estimate" in words
    assert "higher" not in words


def test_a_limit_next_to_0_never_reads_as_0() -> None:
    assert "0.0004 to 0.0500" in said(0.02, 0.0004, 0.05)
    assert figures(0.12345, -0.5, 0.0) == ["0.123", "−0.500", "0.000"]
    assert figures(1e-12) == ["0.000000000"]


def test_an_interval_of_another_level_is_named_by_it() -> None:
    assert Change(Interval(0.1, 0.05, 0.2), 0.9).limits == "90% interval 0.050 to 0.200"


def test_small_words() -> None:
    assert with_interval(Interval(0.8, 0.75, 0.85)) == "0.800 (0.750 to 0.850)"
    assert with_interval(Interval(0.8, np.nan, np.nan)) == "0.800"
    assert with_interval(Interval(NAN, NAN, NAN)) == "undefined"
    assert listed(["a", "b", "c"]) == "'a', 'b' and 'c'"
    assert [counted(1, "seed"), counted(3, "seed")] == ["1 seed", "3 seeds"]
    assert metric_words("iou", "mass", "matched-area", "attention") == (
        "IoU of attended area and ROI (attention, matched-area, finding 'mass')"
    )
    assert metric_words("own_metric", "macro") == "own_metric (mean over findings)"


def test_checks_of_maps_and_pooled_means_have_words_and_a_direction():
    words = metric_words("deletion", "pooled", method="legrad")
    assert words == "deletion area (legrad, all ROIs pooled)"
    assert (better_direction("deletion"), better_direction("faithfulness_gain")) == (-1, 1)
    assert metric_words("shift_spearman", "macro").startswith("rank correlation of maps under a small shift")
