"""Threshold policies: their names, and how ties are shared out."""

import numpy as np
import pytest

from mmpkd.errors import InputError
from mmpkd.evaluate.threshold import MatchedArea, TopArea, parse_policy, top_pixels


@pytest.mark.parametrize("name", ["top-area=0.1", "top-area=0.025", "top-area=1", "matched-area"])
def test_a_recorded_name_reads_back_as_the_same_policy(name: str) -> None:
    assert parse_policy(name).name == name


def test_names_become_policies() -> None:
    assert parse_policy("top-area=0.2") == TopArea(0.2)
    assert parse_policy("matched-area") == MatchedArea()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("otsu", "no threshold policy 'otsu'"),
        ("top-aera=0.1", "did you mean 'top-area'"),
        ("top-area", "needs a share"),
        ("top-area=ten", "needs a share"),
        ("top-area=0", "needs a share"),
        ("top-area=1.5", "needs a share"),
        ("top-area=nan", "needs a share"),
        ("matched-area=0.1", "takes no value"),
    ],
)
def test_a_wrong_name_is_refused_in_words(name: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        parse_policy(name)


def test_pixels_tied_at_the_threshold_share_what_is_left() -> None:
    # Area 3: the 5 is in, the three 2s share the two places that remain.
    members = top_pixels(np.array([[2.0, 5.0, 2.0, 1.0, 2.0]]), np.array([3.0]))
    assert members == pytest.approx(np.array([[2 / 3, 1, 2 / 3, 0, 2 / 3]]))


def test_an_area_that_is_not_whole_takes_part_of_the_next_pixel() -> None:
    assert top_pixels(np.array([[3.0, 2.0, 1.0]]), np.array([1.25])) == pytest.approx(np.array([[1, 0.25, 0]]))


def test_each_map_has_its_own_area() -> None:
    maps = np.array([[3.0, 2.0, 1.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    members = top_pixels(maps, np.array([1.0, 2.0, 0.0]))
    assert members.tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 0]]
