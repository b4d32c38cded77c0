"""Sorted maps: ties are groups, areas need not be whole."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpkd.evaluate.ranking import rank, ranked_pieces
from mmpkd.evaluate.threshold import top_pixels


def test_ties_form_one_group_each() -> None:
    ranked = rank(np.array([[2.0, 5, 2, 1], [3, 3, 3, 3]]), np.array([[1.0, 0, 0, 1], [0.5, 0, 0, 0]]))
    assert ranked.values.tolist() == [[5, 2, 2, 1], [3, 3, 3, 3]]
    assert ranked.ends.tolist() == [1, 3, 4, 8]
    assert ranked.covered_px.tolist() == [0, 1, 2, 0.5]
    assert ranked.ranked_px.tolist() == [1, 3, 4, 4]
    assert ranked.roi_px.tolist() == [2, 0.5]
    assert ranked.first_groups.tolist() == [0, 3]


def test_the_roi_expected_in_an_area_shares_out_the_tie_at_its_edge() -> None:
    ranked = rank(np.array([[2.0, 5, 2, 1, 2]]), np.array([[1.0, 0, 0, 1, 0]]))
    # The 5, then half a pixel of three 2s of which one is inside.
    assert ranked.inside_px(np.array([1.5])) == pytest.approx([0.5 / 3])
    assert [ranked.inside_px(np.array([area]))[0] for area in (0.0, 1.0, 4.0, 5.0)] == [0, 0, 1, 2]


@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_the_roi_in_an_area_is_that_of_the_members(seed: int, share: float) -> None:
    rng = np.random.default_rng(seed)
    maps, masks = rng.integers(0, 5, (3, 20)).astype(float), rng.random((3, 20))
    area = np.full(3, 20 * share)
    expected = (top_pixels(maps, area) * masks).sum(axis=1)
    assert rank(maps, masks).inside_px(area) == pytest.approx(expected, abs=1e-12)


def test_pieces_are_bounded_and_keep_the_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mmpkd.evaluate.ranking.CHUNK_PIXELS", 12)
    maps = np.arange(30.0).reshape(5, 2, 3)
    pieces = list(ranked_pieces(maps, np.ones((5, 2, 3), bool)))
    assert [len(piece.values) for piece in pieces] == [2, 2, 1]
    assert [value for piece in pieces for value in piece.values[:, 0]] == [5, 11, 17, 23, 29]
