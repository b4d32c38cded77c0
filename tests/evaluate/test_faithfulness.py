"""Areas under curves worked by hand, ends without an answer, and scores of probabilities only."""

from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid

from mmpkd.errors import InputError
from mmpkd.evaluate.faithfulness import (
    FAITHFULNESS_METRICS,
    SUFFICIENCY_METRICS,
    area,
    deletion,
    faithfulness_scores,
    insertion,
    normalised,
    sufficiency_scores,
)

NAN = np.nan
QUARTERS = np.linspace(0, 1, 5)


class TestArea:
    def test_trapezoids_over_uneven_shares(self) -> None:
        # .2 * (.9 + .5) / 2 + .8 * (.5 + .1) / 2 = .14 + .24
        assert area(np.array([0.9, 0.5, 0.1]), np.array([0.0, 0.2, 1.0])) == pytest.approx(0.38)

    def test_any_leading_axes(self) -> None:
        curves = np.random.default_rng(0).normal(size=(2, 3, 5))
        np.testing.assert_allclose(area(curves, QUARTERS), trapezoid(curves, QUARTERS, axis=-1), rtol=1e-12)

    def test_part_of_the_shares_gives_the_mean_height_over_it(self) -> None:
        # (.05 * (.8 + .4) / 2 + .15 * (.4 + .2) / 2) / .2 = (.03 + .045) / .2
        assert area(np.array([0.8, 0.4, 0.2]), np.array([0.1, 0.15, 0.3])) == pytest.approx(0.375)

    def test_a_start_or_end_without_an_answer_leaves_the_mean_height_of_the_rest(self) -> None:
        curves = np.array([[NAN, 0.2, 0.4, 0.8, 1.0], [0.9, 0.7, 0.1, NAN, NAN], [NAN, 0.3, 0.5, NAN, NAN]])
        # (.3 + .6 + .9) / 3, (.8 + .4) / 2, .4
        np.testing.assert_allclose(area(curves, QUARTERS), [0.6, 0.6, 0.4])

    def test_a_gap_and_fewer_than_two_points_have_no_area(self) -> None:
        curves = np.array([[0.2, NAN, 0.4, 0.8, 1.0], [NAN, NAN, 0.4, NAN, NAN], [NAN] * 5, [NAN, 0.1, NAN, 0.2, NAN]])
        assert np.isnan(area(curves, QUARTERS)).all()

    @given(st.lists(st.floats(0, 1), min_size=3, max_size=9), st.integers(0, 10**6))
    def test_of_a_straight_line_depends_on_its_ends_only(self, inner: list[float], seed: int) -> None:
        shares = np.unique(np.array([0.0, *inner, 1.0]).round(6))
        low, high = np.random.default_rng(seed).random(2)
        assert area(low + (high - low) * shares, shares) == pytest.approx((low + high) / 2, abs=1e-12)

    def test_no_curves_have_no_areas(self) -> None:
        assert area(np.zeros((0, 5)), QUARTERS).shape == (0,)

    @pytest.mark.parametrize(
        ("shares", "said"),
        [
            ([0.0, 0.5], "curves are \\(2, 3\\) and shares \\(2,\\)"),
            ([0.0, 0.5, 0.5], "must rise"),
            ([1.0, 0.5, 0.0], "must rise"),
            ([0.0, NAN, 1.0], "must rise"),
            ([0.0, 50.0, 100.0], "within 0 to 1"),
            ([-0.1, 0.5, 1.0], "within 0 to 1"),
        ],
    )
    def test_shares_that_do_not_rise_or_fit_are_refused(self, shares: list[float], said: str) -> None:
        with pytest.raises(InputError, match=said):
            area(np.full((2, 3), 0.5), np.array(shares))

    def test_one_point_and_infinite_values_are_refused(self) -> None:
        with pytest.raises(InputError, match="give two points or more"):
            area(np.full((2, 1), 0.5), np.array([0.0]))
        with pytest.raises(InputError, match="holds an infinite value"):
            area(np.array([0.1, -np.inf, 0.2]), np.array([0.0, 0.5, 1.0]))


class TestNormalised:
    def test_one_is_the_whole_image_and_zero_none_of_it(self) -> None:
        curves = np.array([[0.9, 0.5, 0.1], [0.35, 0.2, 0.25]])
        found = normalised(curves, np.array([0.9, 0.35]), np.array([0.1, 0.25]))
        np.testing.assert_allclose(found, [[1.0, 0.5, 0.0], [1.0, -0.5, 0.0]], atol=1e-12)

    def test_next_to_nothing_to_explain_is_undefined(self) -> None:
        curves = np.array([[0.505, 0.6, 0.5], [0.3, 0.4, 0.5], [0.5, 0.4, 0.5], [0.5, 0.4, NAN]])
        assert np.isnan(normalised(curves, curves[:, 0], curves[:, 2])).all()
        closer = normalised(curves, curves[:, 0], curves[:, 2], least_fall=0.004)
        np.testing.assert_allclose(closer[0], [1.0, 20.0, 0.0], atol=1e-9)


class TestFaithfulnessScores:
    fall = np.array([[0.8, 0.3, 0.2, 0.2, 0.2]])
    rise = np.array([[0.1, 0.7, 0.8, 0.9, 0.8]])

    def test_by_hand(self) -> None:
        scores = faithfulness_scores(self.fall, self.rise, QUARTERS)
        assert tuple(scores) == FAITHFULNESS_METRICS
        expected = {
            "deletion": 0.25 * (0.4 + 0.3 + 0.2 + 0.2 + 0.1),  # half of the ends: .3
            "insertion": 0.25 * (0.05 + 0.7 + 0.8 + 0.9 + 0.4),  # .7125
            "insertion_minus_deletion": 0.4125,
            "normalised_deletion": 0.25 * (0.5 + 1 / 6),  # (.3 - .2) / .6 at one quarter
            "normalised_insertion": 0.25 * (6 / 7 + 1 + 8 / 7 + 0.5),  # of .7
            "normalised_insertion_minus_deletion": 0.25 * (3.5 - 2 / 3),
        }
        assert {name: values.item() for name, values in scores.items()} == pytest.approx(expected)

    def test_each_is_the_function_of_its_name(self) -> None:
        curves = np.random.default_rng(1).random((2, 7, 3, 5))
        fall, rise = curves
        rise[..., -1] = fall[..., 0]
        scores = faithfulness_scores(fall, rise, QUARTERS)
        np.testing.assert_array_equal(scores["deletion"], deletion(fall, QUARTERS))
        np.testing.assert_array_equal(scores["insertion"], insertion(rise, QUARTERS))
        np.testing.assert_allclose(deletion(fall, QUARTERS), trapezoid(fall, QUARTERS, axis=-1), rtol=1e-12)
        assert scores["normalised_deletion"].shape == (7, 3)

    def test_normalised_scores_do_not_depend_on_how_sure_the_model_is(self) -> None:
        sure, unsure = (faithfulness_scores(0.1 + s * self.fall, 0.1 + s * self.rise, QUARTERS) for s in (1.0, 0.3))
        for name in FAITHFULNESS_METRICS[3:]:
            np.testing.assert_allclose(sure[name], unsure[name], rtol=1e-9)
        assert abs(sure["deletion"] - unsure["deletion"]) > 0.1

    def test_without_an_answer_to_the_empty_image_areas_are_of_the_rest_and_normalised_ones_undefined(self) -> None:
        fall, rise = self.fall.copy(), self.rise.copy()
        fall[0, -1] = rise[0, 0] = NAN
        scores = faithfulness_scores(fall, rise, QUARTERS)
        assert scores["deletion"].item() == pytest.approx((0.4 + 0.3 + 0.2 + 0.1) / 3)
        assert scores["insertion"].item() == pytest.approx((0.35 + 0.8 + 0.9 + 0.4) / 3)
        assert all(np.isnan(scores[name]).all() for name in FAITHFULNESS_METRICS[3:])

    def test_a_map_and_its_reverse_mirror_each_other_where_patches_add_up(self) -> None:
        """With p = .1 + the sum of what is kept, given the highest first mirrors taking the lowest away first."""
        worth = np.array([0.4, 0.2, 0.15, 0.05])
        given_first = 0.1 + np.concatenate([[0.0], worth.cumsum()])[None]
        taken_first = 0.9 - np.concatenate([[0.0], worth.cumsum()])[None]
        scores = faithfulness_scores(taken_first, given_first, QUARTERS)
        reverse = faithfulness_scores(given_first[:, ::-1], taken_first[:, ::-1], QUARTERS)
        np.testing.assert_allclose(scores["insertion_minus_deletion"], -reverse["insertion_minus_deletion"], rtol=1e-12)
        assert scores["normalised_insertion"].item() == pytest.approx(1 - scores["normalised_deletion"].item())

    def test_logits_are_refused_with_the_remedy(self) -> None:
        with pytest.raises(InputError, match=r"deletion curve holds 3\.2, .* take the sigmoid or softmax"):
            faithfulness_scores(self.fall * 4, self.rise, QUARTERS)
        with pytest.raises(InputError, match=r"insertion curve holds -0\.4, "):
            insertion(-0.5 * self.fall, QUARTERS)

    def test_swapped_curves_and_shapes_and_shares_that_do_not_span_are_refused(self) -> None:
        with pytest.raises(InputError, match=r"starts at 0\.1 and insertion curve 0 ends at 0\.2.*swapped"):
            faithfulness_scores(self.rise, self.fall, QUARTERS)
        with pytest.raises(InputError, match=r"curves are \(1, 5\) and insertion curves \(5,\)"):
            faithfulness_scores(self.fall, self.rise[0], QUARTERS)
        with pytest.raises(InputError, match=r"run from 0 to 0\.5"):
            faithfulness_scores(self.fall, self.rise, QUARTERS / 2)
        with pytest.raises(InputError, match="must rise"):
            faithfulness_scores(self.fall, self.rise, QUARTERS[::-1])


class TestSufficiencyScores:
    answers: ClassVar = {
        "whole": np.array([0.8, 0.5, 0.0]),
        "roi": np.array([0.6, 0.6, 0.1]),
        "random": np.array([0.2, 0.25, 0.1]),
        "without_roi": np.array([0.1, 0.5, 0.1]),
        "without_random": np.array([0.7, NAN, 0.1]),
    }

    def test_by_hand(self) -> None:
        scores = sufficiency_scores(self.answers)
        assert tuple(scores) == SUFFICIENCY_METRICS
        expected = {
            "sufficiency": [0.75, 1.2, NAN],
            "random_sufficiency": [0.25, 0.5, NAN],
            "sufficiency_gain": [0.5, 0.7, NAN],
            "comprehensiveness": [0.875, 0.0, NAN],
            "random_comprehensiveness": [0.125, NAN, NAN],
            "comprehensiveness_gain": [0.75, NAN, NAN],
        }
        for name, values in expected.items():
            np.testing.assert_allclose(scores[name], values, atol=1e-12, err_msg=name)

    def test_what_is_missing_or_does_not_fit_is_refused(self) -> None:
        with pytest.raises(InputError, match="'random' is missing"):
            sufficiency_scores({name: values for name, values in self.answers.items() if name != "random"})
        with pytest.raises(InputError, match=r"'roi' is \(2,\) and 'whole' \(3,\)"):
            sufficiency_scores({**self.answers, "roi": np.array([0.1, 0.2])})
        with pytest.raises(InputError, match="answer 'roi' holds -2, which is no probability"):
            sufficiency_scores({**self.answers, "roi": np.array([0.1, -2.0, 0.2])})
