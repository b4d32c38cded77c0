"""Pairs of seeds, unrelated pairs, arms and half ensembles: which maps meet, and what a known answer scores."""

from __future__ import annotations

import numpy as np
import pytest

from mmpkd.errors import InputError
from mmpkd.evaluate.repeatability import (
    between_arms,
    between_ensembles,
    between_seeds,
    half_splits,
    seed_pairs,
    unrelated,
    unrelated_partners,
)
from mmpkd.evaluate.similarity import Spearman, TopOverlap, ensemble, spearman


def noisy_truth(seeds: int, maps: int, noise: float, side: int = 6) -> np.ndarray:
    rng = np.random.default_rng(0)
    truth = rng.random((1, maps, side, side))
    return truth + noise * rng.random((seeds, maps, side, side))


def test_each_pair_of_seeds_is_compared_image_by_image():
    maps = noisy_truth(3, 4, 1.0)
    found = between_seeds(maps, Spearman())
    assert found.shape == (3, 4)
    for row, (s, t) in enumerate(seed_pairs(3)):
        np.testing.assert_allclose(found[row], spearman(maps[s], maps[t]))


def test_an_unrelated_map_is_compared_with_each_partner_in_the_other_seed():
    maps = noisy_truth(2, 4, 0.5)
    partners = np.array([[1, 2], [0, -1], [3, 0], [-1, -1]])
    found = unrelated(maps, partners, Spearman())
    first, second = spearman(maps[0][:3], maps[1][[1, 0, 3]]), spearman(maps[0][:3], maps[1][[2, 0, 0]])
    np.testing.assert_allclose(found[0, :3], [(first[0] + second[0]) / 2, first[1], (first[2] + second[2]) / 2])
    assert np.isnan(found[0, 3])


def test_a_partner_whose_map_is_constant_does_not_count():
    maps = noisy_truth(2, 3, 0.5)
    maps[1, 2] = 0.5
    found = unrelated(maps, np.array([[1, 2], [0, 2], [0, 1]]), Spearman())
    np.testing.assert_allclose(found[0, :2], spearman(maps[0][:2], maps[1][[1, 0]]))
    assert np.isfinite(found[0, 2])


def test_maps_that_follow_the_image_repeat_and_unrelated_ones_do_not():
    maps = noisy_truth(4, 30, 0.1)
    partners = np.roll(np.arange(30), 1)[:, None]
    assert between_seeds(maps, Spearman()).mean() > 0.95
    assert abs(unrelated(maps, partners, Spearman()).mean()) < 0.1


def test_maps_that_ignore_the_image_are_as_alike_on_unrelated_images():
    habit = np.broadcast_to(np.random.default_rng(1).random((3, 1, 6, 6)), (3, 5, 6, 6))
    measure = TopOverlap(0.2)
    related = between_seeds(habit, measure)
    np.testing.assert_allclose(unrelated(habit, np.roll(np.arange(5), 1)[:, None], measure), related)


def test_arms_are_compared_seed_by_seed():
    maps, others = noisy_truth(3, 4, 0.2), noisy_truth(3, 4, 0.9)
    found = between_arms(maps, others, Spearman())
    np.testing.assert_allclose(found[2], spearman(maps[2], others[2]))
    with pytest.raises(InputError, match="same seeds and images"):
        between_arms(maps, others[:2], Spearman())


def test_half_ensembles_are_disjoint_and_of_equal_size():
    maps = noisy_truth(5, 2, 1.0)
    found = between_ensembles(maps, Spearman())
    assert found.shape == (15, 2)  # 10 pairs of seeds, 3 disjoint partners each, counted once
    first = spearman(ensemble(maps[[0, 1]]), ensemble(maps[[2, 3]]))
    np.testing.assert_allclose(found[0], first)
    assert between_ensembles(noisy_truth(4, 2, 1.0), Spearman()).shape == (3, 2)


def test_of_many_splits_twenty_different_ones_are_drawn():
    splits = half_splits(9, seed=3)  # of 9! / (4! 4! 1! 2) = 315
    assert len(set(splits)) == 20
    assert splits == half_splits(9, seed=3) != half_splits(9, seed=4)
    for one, other in splits:
        assert len(one) == len(other) == 4 == len(set(one) - set(other))
        assert one < other
    assert len(half_splits(40)) == 20  # 6.9e10 halves are not walked
    assert len(half_splits(6)) == 10


def test_ensembling_makes_maps_repeat_better():
    maps = noisy_truth(6, 20, 2.0)
    assert between_ensembles(maps, Spearman()).mean() > between_seeds(maps, Spearman()).mean() + 0.1


def test_partners_share_the_finding_and_not_the_patient():
    rng = np.random.default_rng(3)
    patients = rng.integers(0, 12, 60).astype(str)
    findings = rng.choice(["nodule", "effusion"], 60).astype(object)
    partners = unrelated_partners(patients, findings, seed=4)
    assert partners.shape == (60, 8)
    assert (partners >= 0).all()
    assert (findings[partners] == findings[:, None]).all()
    assert (patients[partners] != patients[:, None]).all()
    assert all(len(set(of_map)) == 8 for of_map in partners.tolist())
    np.testing.assert_array_equal(partners, unrelated_partners(patients, findings, seed=4))


def test_a_finding_of_few_patients_has_fewer_partners_or_none():
    partners = unrelated_partners(np.array(["a", "a", "b", "c"]), np.array(["x", "x", "x", "y"]))
    assert partners[0].tolist() == partners[1].tolist() == [2] + [-1] * 7
    assert sorted(partners[2, :2].tolist()) == [0, 1]
    assert (partners[2, 2:] == -1).all()
    assert (partners[3] == -1).all()


def test_too_few_seeds_are_refused_with_a_sentence():
    with pytest.raises(InputError, match="maps of 1 seed"):
        between_seeds(noisy_truth(1, 2, 0.1), Spearman())
    with pytest.raises(InputError, match="at least four"):
        between_ensembles(noisy_truth(3, 2, 0.1), Spearman())
