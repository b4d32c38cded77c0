"""Holm against published numbers and the step-down procedure itself."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpkd.compare.multiplicity import holm
from mmpkd.errors import InputError

NAN = float("nan")


def test_five_p_values_of_the_references() -> None:
    assert holm(np.array([0.01, 0.02, 0.03, 0.04, 0.05])) == pytest.approx([0.05, 0.08, 0.09, 0.09, 0.09], abs=1e-12)


def test_order_does_not_matter_and_nothing_passes_1() -> None:
    assert holm(np.array([0.9, 0.004, 0.6, 0.03])) == pytest.approx([1.0, 0.016, 1.0, 0.09], abs=1e-15)


def test_an_undefined_test_is_no_hypothesis() -> None:
    found = holm(np.array([[0.02, NAN, 0.03], [NAN, NAN, 0.4], [NAN, NAN, NAN]]))
    assert found[0, [0, 2]] == pytest.approx([0.04, 0.04])
    assert found[1, 2] == 0.4
    assert np.isnan(found[[0, 1, 1, 2, 2, 2], [1, 0, 1, 0, 1, 2]]).all()
    assert holm(np.array([])).shape == (0,)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8), st.floats(0.01, 0.5))
def test_adjusted_values_reject_what_stepping_down_rejects(p: list[float], alpha: float) -> None:
    order = np.argsort(p, kind="stable")
    stepped = np.zeros(len(p), bool)
    for step, hypothesis in enumerate(order):
        if (len(p) - step) * p[hypothesis] > alpha:
            break
        stepped[hypothesis] = True
    assert (holm(np.array(p)) <= alpha).tolist() == stepped.tolist()


def test_what_is_no_p_value_is_refused() -> None:
    with pytest.raises(InputError, match=r"1\.2"):
        holm(np.array([0.1, 1.2]))
