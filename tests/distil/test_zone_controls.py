import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmpkd.distil.zone_controls import mirror_of, mirrored, prior, shuffled, side_errors, unsaid
from mmpkd.errors import InputError

NAN = math.nan
LABELS = np.array([[1.0], [1.0], [1.0], [0.0], [NAN]])
LOCATED = np.array([[[4.0, -4.0]], [[-4.0, 4.0]], [[NAN, NAN]], [[-4.0, -4.0]], [[1.0, NAN]]])


@given(st.integers(0, 1000))
def test_shuffling_keeps_each_labels_own_places(seed):
    rng = np.random.default_rng(seed)
    labels = rng.choice([0.0, 1.0, NAN], (30, 3))
    located = np.where(rng.random((30, 3, 4)) < 0.3, NAN, rng.normal(size=(30, 3, 4)))
    moved = shuffled(located, labels, rng)
    for finding in range(3):
        for same in (labels[:, finding] == 0, labels[:, finding] == 1, np.isnan(labels[:, finding])):
            before, after = (sorted(map(repr, each[same, finding].tolist())) for each in (located, moved))
            assert before == after
    silent = np.isnan(located).all(axis=2)
    np.testing.assert_array_equal(np.isnan(moved).all(axis=2), silent)


def test_shuffling_moves_places_between_cases():
    labels, located = np.ones((50, 1)), np.arange(100.0).reshape(50, 1, 2)
    moved = shuffled(located, labels, np.random.default_rng(0))
    assert (moved != located).mean() > 0.9


def test_the_prior_is_the_mean_place_of_cases_with_the_same_label():
    found = prior(LOCATED, LABELS)
    mean = (1 / (1 + math.exp(-4)) + 1 / (1 + math.exp(4))) / 2
    np.testing.assert_allclose(1 / (1 + np.exp(-found[:2, 0])), [[mean, mean], [mean, mean]])
    assert np.isnan(found[2]).all()
    np.testing.assert_allclose(found[3, 0], [-4.0, -4.0])
    np.testing.assert_allclose(found[4, 0, 0], 1.0)
    assert np.isnan(found[4, 0, 1])


def test_mirroring_exchanges_sides_and_keeps_what_has_none():
    mirror = mirror_of(["left upper", "right upper", "heart"])
    assert mirror.tolist() == [1, 0, 2]
    located = np.array([[[1.0, NAN, 3.0]]])
    np.testing.assert_array_equal(mirrored(located, mirror), [[[NAN, 1.0, 3.0]]])


def test_a_zone_without_a_counterpart_is_refused():
    with pytest.raises(InputError, match="'left upper' has no counterpart 'right upper'"):
        mirror_of(["left upper", "right lower"])


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_shares_of_errors_are_those_asked_for(share):
    located = np.tile([1.0, 2.0], (4000, 1, 1))
    rng = np.random.default_rng(0)
    wrong = side_errors(located, np.array([1, 0]), share, rng)[:, 0, 0] == 2.0
    silent = np.isnan(unsaid(located, share, rng)).all(axis=(1, 2))
    assert wrong.mean() == pytest.approx(share, abs=0.02)
    assert silent.mean() == pytest.approx(share, abs=0.02)
