"""Threshold policies: their names, and how ties are shared out."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpkd.errors import InputError
from mmpkd.evaluate.ranking import rank
from mmpkd.evaluate.threshold import MatchedArea, MaxFraction, Otsu, TopArea, parse_policy, top_pixels

NAMES = ["top-area=0.1", "top-area=0.025", "top-area=1", "matched-area", "otsu", "max-fraction=0.5"]


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_name_reads_back_as_the_same_policy(name: str) -> None:
    assert parse_policy(name).name == name


def test_names_become_policies() -> None:
    assert parse_policy("top-area=0.2") == TopArea(0.2)
    assert parse_policy("matched-area") == MatchedArea()
    assert parse_policy("otsu") == Otsu()
    assert parse_policy("max-fraction=0.25") == MaxFraction(0.25)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("otsu=3", "takes no value"),
        ("median", "no threshold policy 'median'"),
        ("top-aera=0.1", "did you mean 'top-area'"),
        ("top-area", "needs a share"),
        ("top-area=ten", "needs a share"),
        ("top-area=0", "needs a share"),
        ("top-area=1.5", "needs a share"),
        ("top-area=nan", "needs a share"),
        ("matched-area=0.1", "takes no value"),
        ("max-fraction", "needs a share"),
        ("max-fraction=0", "max-fraction=SHARE, for example"),
        ("max-fraction=1.5", "needs a share"),
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


def area(policy: str, *maps: list[float]) -> list[float]:
    heat = np.array(maps, dtype=float)
    return parse_policy(policy).area_px(rank(heat, np.zeros(heat.shape))).tolist()


def test_otsu_by_hand() -> None:
    # Splits of 9, 8, 3, 2, 1: w0 w1 (m0 - m1)^2 x 25 is 4 x 5.5^2 = 121, 6 x 6.5^2 = 253.5, 160.2, 81.
    assert area("otsu", [1, 9, 3, 8, 2]) == [2]


def test_otsu_is_exact_where_256_bins_see_one_value() -> None:
    # An outlier apart from two clusters that a histogram from 0 to 1 would put in the same bin.
    low, high = [0.001] * 40, [0.002] * 9
    assert area("otsu", [*low, *high, 0.0021]) == [10]


@given(seed=st.integers(0, 10_000), levels=st.sampled_from([3, 1000]))
def test_otsu_is_the_best_split_of_all(seed: int, levels: int) -> None:
    heat = np.random.default_rng(seed).integers(0, levels, 12).astype(float)
    heat[:2] = 0, 1
    splits = {
        int((heat >= t).sum()): (heat >= t).mean()
        * (heat < t).mean()
        * (heat[heat >= t].mean() - heat[heat < t].mean()) ** 2
        for t in np.unique(heat)[1:]
    }
    chosen = area("otsu", heat.tolist())[0]
    assert splits[int(chosen)] == pytest.approx(max(splits.values()))


def test_of_equally_good_splits_otsu_takes_the_highest() -> None:
    assert area("otsu", [1, 2, 3], [0.3, 0.2, 0.1]) == [1, 1]


def test_constant_maps_are_attended_whole_and_zero_maps_nowhere() -> None:
    for policy in ("otsu", "max-fraction=0.5", "max-fraction=1"):
        assert area(policy, [0.7] * 3, [0.0] * 3) == [3, 0]


def test_a_fraction_of_the_maximum_takes_the_pixels_that_reach_it() -> None:
    assert area("max-fraction=0.5", [4, 2, 1.9, 0], [1, 1, 0.5, 0.5]) == [2, 4]
    assert area("max-fraction=1", [4, 4, 1.9, 0]) == [2]


@pytest.mark.parametrize("name", NAMES)
def test_members_sum_to_the_policys_area(name: str) -> None:
    rng = np.random.default_rng(0)
    maps, masks = rng.integers(0, 4, (6, 30)).astype(float), rng.random((6, 30)) < 0.3
    policy = parse_policy(name)
    expected = policy.area_px(rank(maps, masks.astype(float)))
    assert policy.attended(maps, masks.astype(float)).sum(axis=1) == pytest.approx(expected)
