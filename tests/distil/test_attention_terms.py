import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mmpkd.distil.attention_terms import (
    entropy,
    inconsistency,
    mass_cross_entropy,
    patch_cross_entropy,
    total_variation,
)


def _map(rows):
    return torch.tensor(rows, dtype=torch.float64)


def _random_maps(*shape, seed=0):
    maps = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return maps / maps.sum((-2, -1), keepdim=True)


@st.composite
def drawn_maps(draw):
    rows, columns = draw(st.integers(1, 5)), draw(st.integers(2, 5))
    cells = draw(st.lists(st.floats(0, 1), min_size=rows * columns, max_size=rows * columns))
    grid = torch.tensor(cells, dtype=torch.float64).reshape(rows, columns) + 1e-9
    return grid / grid.sum()


class TestEntropy:
    def test_by_hand(self):
        assert entropy(_map([[0.25, 0.25], [0.25, 0.25]])).item() == pytest.approx(1.0)
        assert entropy(_map([[0.0, 1.0], [0.0, 0.0]])).item() == pytest.approx(0.0, abs=1e-9)
        assert entropy(_map([[0.5, 0.0], [0.0, 0.5]])).item() == pytest.approx(0.5)  # log 2 / log 4
        # -(1/2 log 1/2 + 1/4 log 1/4 + 2 · 1/8 log 1/8) / log 4 = 1.75 log 2 / 2 log 2
        assert entropy(_map([[0.5, 0.25], [0.125, 0.125]])).item() == pytest.approx(0.875)

    def test_of_many_maps_is_that_of_each(self):
        maps = _random_maps(2, 3, 4, 5)
        expected = [
            [-sum(a * math.log(a) for a in one.flatten().tolist()) / math.log(20) for one in case] for case in maps
        ]
        np.testing.assert_allclose(entropy(maps).numpy(), expected, rtol=1e-12)

    def test_the_gradient_is_finite_where_a_share_is_zero(self):
        maps = _map([[0.0, 1.0], [0.0, 0.0]]).requires_grad_()
        entropy(maps).backward()
        assert maps.grad.isfinite().all()

    def test_a_single_patch_is_refused(self):
        with pytest.raises(ValueError, match="one patch"):
            entropy(torch.ones(2, 1, 1, 1))

    @settings(deadline=None)
    @given(drawn_maps(), st.randoms(use_true_random=False))
    def test_it_lies_between_0_and_1_and_knows_no_place(self, drawn, random):
        cells = drawn.flatten().tolist()
        random.shuffle(cells)
        shuffled = torch.tensor(cells, dtype=torch.float64).reshape(drawn.shape)
        assert -1e-9 <= entropy(drawn).item() <= 1 + 1e-9
        assert entropy(shuffled).item() == pytest.approx(entropy(drawn).item(), abs=1e-9)


class TestTotalVariation:
    def test_of_a_checkerboard_by_hand(self):
        board = (torch.arange(4)[:, None] + torch.arange(4)) % 2
        # 12 + 12 pairs of neighbours, each of which differs by 1/8
        assert total_variation(board.double() / 8).item() == pytest.approx(3.0)

    @pytest.mark.parametrize(("side", "expected"), [(1, 4.0), (2, 2.0), (3, 4 / 3)])
    def test_of_a_square_is_four_over_its_side(self, side, expected):
        maps = torch.zeros(6, 7, dtype=torch.float64)
        maps[1 : 1 + side, 2 : 2 + side] = 1 / side**2
        assert total_variation(maps).item() == pytest.approx(expected)

    def test_of_a_corner_patch_and_of_a_uniform_map(self):
        corner = torch.zeros(3, 3)
        corner[0, 0] = 1.0
        assert total_variation(corner).item() == pytest.approx(2.0)
        assert total_variation(torch.full((3, 5), 1 / 15)).item() == pytest.approx(0.0, abs=1e-6)

    def test_of_many_maps_is_that_of_each(self):
        maps = _random_maps(2, 3, 4, 5)
        expected = np.zeros((2, 3))
        for case, finding in np.ndindex(2, 3):
            one = maps[case, finding].tolist()
            for row, column in np.ndindex(4, 5):
                if row:
                    expected[case, finding] += abs(one[row][column] - one[row - 1][column])
                if column:
                    expected[case, finding] += abs(one[row][column] - one[row][column - 1])
        np.testing.assert_allclose(total_variation(maps).numpy(), expected, rtol=1e-12)

    @settings(deadline=None)
    @given(drawn_maps())
    def test_it_lies_between_0_and_4_whichever_way_the_map_is_turned(self, drawn):
        value = total_variation(drawn).item()
        assert -1e-9 <= value <= 4 + 1e-9
        for turned in (drawn.T, drawn.flip(0), drawn.flip(1)):
            assert total_variation(turned).item() == pytest.approx(value, abs=1e-9)


def _seen(*rows):
    return torch.tensor(rows).view(1, 1, len(rows), -1)


class TestInconsistency:
    def test_by_hand(self):
        first, second = _map([[[[3.0, 4.0]]]]), _map([[[[4.0, 3.0]]]])
        # cosine 24 / 25
        assert inconsistency(first, second, _seen([True, True])).tolist() == [[pytest.approx(0.04)]]
        assert inconsistency(first, first, _seen([True, True])).item() == pytest.approx(0.0, abs=1e-12)

    def test_only_what_both_see_counts(self):
        first, second = _map([[[[3.0, 4.0, 9.0]]]]), _map([[[[4.0, 3.0, 0.0]]]])
        assert inconsistency(first, second, _seen([True, True, False])).item() == pytest.approx(0.04)
        assert inconsistency(first, second, _seen([False, False, False])).item() == 0.0

    def test_the_scale_of_a_map_does_not_matter(self):
        first, second = _random_maps(1, 2, 3, 3), _random_maps(1, 2, 3, 3, seed=1)
        seen = torch.ones(1, 1, 3, 3, dtype=torch.bool)
        torch.testing.assert_close(inconsistency(first, 0.01 * second, seen), inconsistency(first, second, seen))

    def test_of_many_maps_is_that_of_each(self):
        first, second = _random_maps(2, 3, 4, 5), _random_maps(2, 3, 4, 5, seed=1)
        seen = torch.rand(2, 1, 4, 5, generator=torch.Generator().manual_seed(2)) > 0.4
        expected = np.zeros((2, 3))
        for case, finding in np.ndindex(2, 3):
            product = squares = others = 0.0
            for row, column in np.ndindex(4, 5):
                if seen[case, 0, row, column]:
                    a, b = first[case, finding, row, column].item(), second[case, finding, row, column].item()
                    product, squares, others = product + a * b, squares + a * a, others + b * b
            expected[case, finding] = 1 - product / math.sqrt(squares * others)
        np.testing.assert_allclose(inconsistency(first, second, seen).numpy(), expected, atol=1e-12)


class TestPatchCrossEntropy:
    def test_by_hand(self):
        # inside: one patch at log 3, log(1 + 1/3), and half of one at 0, log 2; outside: that half, two at -log 3
        logits = _map([[[[math.log(3), 0.0], [-math.log(3), -math.log(3)]]]])
        coverage = _map([[[[1.0, 0.5], [0.0, 0.0]]]])
        inside, outside = patch_cross_entropy(logits, coverage)
        quarter = math.log(4 / 3)
        assert inside.item() == pytest.approx((quarter + 0.5 * math.log(2)) / 1.5)
        assert outside.item() == pytest.approx((2 * quarter + 0.5 * math.log(2)) / 2.5)

    def test_without_an_roi_every_patch_is_outside_and_under_a_full_one_none(self):
        logits = torch.zeros(1, 2, 2, 2)
        coverage = torch.stack([torch.zeros(2, 2), torch.ones(2, 2)])[None]
        inside, outside = patch_cross_entropy(logits, coverage)
        assert inside.tolist() == [[0.0, pytest.approx(math.log(2))]]
        assert outside.tolist() == [[pytest.approx(math.log(2)), 0.0]]

    def test_a_small_roi_counts_as_much_as_a_large_one(self):
        logits = torch.full((1, 2, 4, 4), -1.0)
        coverage = torch.zeros(1, 2, 4, 4)
        coverage[0, 0, 0, 0], coverage[0, 1, :3] = 0.1, 1.0
        inside, _ = patch_cross_entropy(logits, coverage)
        assert inside[0, 0].item() == pytest.approx(inside[0, 1].item())

    def test_great_logits_do_not_overflow(self):
        logits = torch.tensor([[[[300.0, -300.0]]]], requires_grad=True)
        inside, outside = patch_cross_entropy(logits, torch.tensor([[[[0.0, 1.0]]]]))
        (inside + outside).sum().backward()
        assert (inside.item(), outside.item()) == (300.0, 300.0)
        assert logits.grad.flatten().tolist() == [1.0, -1.0]

    def test_of_many_pairs_is_that_of_each(self):
        generator = torch.Generator().manual_seed(0)
        logits = torch.randn(2, 3, 4, 5, generator=generator, dtype=torch.float64)
        coverage = torch.rand(2, 3, 4, 5, generator=generator, dtype=torch.float64)
        inside, outside = patch_cross_entropy(logits, coverage)
        for case, finding in np.ndindex(2, 3):
            z, c = logits[case, finding].flatten().tolist(), coverage[case, finding].flatten().tolist()
            positive = [-math.log(1 / (1 + math.exp(-value))) for value in z]
            negative = [-math.log(1 - 1 / (1 + math.exp(-value))) for value in z]
            expected = sum(w * v for w, v in zip(c, positive, strict=True)) / sum(c)
            assert inside[case, finding].item() == pytest.approx(expected)
            expected = sum((1 - w) * v for w, v in zip(c, negative, strict=True)) / sum(1 - w for w in c)
            assert outside[case, finding].item() == pytest.approx(expected)


class TestMassCrossEntropy:
    def test_by_hand(self):
        uniform = torch.full((1, 1, 2, 2), 0.25)
        coverage = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[0.5, 0.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, 1.0]]])[None]
        expected = [math.log(4), math.log(8), 0.0]
        assert mass_cross_entropy(uniform, coverage)[0].tolist() == pytest.approx(expected, abs=1e-6)

    def test_one_map_answers_for_every_finding_and_an_absent_roi_says_nothing(self):
        maps = _random_maps(2, 1, 3, 3)
        coverage = torch.zeros(2, 2, 3, 3, dtype=torch.float64)
        coverage[0, 1, 1:, 1:] = 1.0
        expected = -math.log(maps[0, 0, 1:, 1:].sum().item())
        assert mass_cross_entropy(maps, coverage).tolist() == [[0.0, pytest.approx(expected)], [0.0, 0.0]]

    def test_no_mass_inside_is_a_finite_loss(self):
        maps = torch.tensor([[[[0.0, 1.0]]]], requires_grad=True)
        value = mass_cross_entropy(maps, torch.tensor([[[[1.0, 0.0]]]]))
        value.sum().backward()
        assert value.item() == pytest.approx(-math.log(1e-12), rel=1e-5)
        assert maps.grad.isfinite().all()
