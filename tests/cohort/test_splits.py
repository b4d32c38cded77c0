"""Dividing cases: whole groups, shares of every label, the same whatever the rows' order."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from mmpkd.cohort.splits import assign_groups
from mmpkd.errors import InputError

THIRDS = (0.6, 0.2, 0.2)


def counts(parts: np.ndarray, chosen: np.ndarray, number: int) -> list[int]:
    return np.bincount(parts[chosen], minlength=number).tolist()


def random_cohort(seed: int, patients: int = 300) -> tuple[np.ndarray, np.ndarray]:
    """Return groups and labels: 1 to 4 cases a patient, prevalences of 3% to 50%, a third of the labels missing."""
    rng = np.random.default_rng(seed)
    groups = np.repeat([f"p{i}" for i in range(patients)], rng.integers(1, 5, patients))
    of_patient = rng.random((patients, 4)) < np.array([0.03, 0.1, 0.3, 0.5])
    labels = of_patient[np.unique(groups, return_inverse=True)[1]].astype(float)
    labels[rng.random(labels.shape) < 1 / 3] = np.nan
    return groups, labels


def test_shares_are_met_exactly_where_they_can_be():
    labels = np.repeat([[1.0], [0.0]], 5, axis=0)  # ten patients, half of them positive
    parts = assign_groups(np.arange(10), labels, THIRDS, seed=0)
    assert counts(parts, labels[:, 0] == 1, 3) == [3, 1, 1]
    assert counts(parts, labels[:, 0] == 0, 3) == [3, 1, 1]


@pytest.mark.parametrize("seed", range(5))
def test_no_group_is_divided(seed: int):
    groups, labels = random_cohort(seed)
    parts = assign_groups(groups, labels, THIRDS, seed)
    assert all(len(set(parts[groups == group])) == 1 for group in np.unique(groups))


@pytest.mark.parametrize("seed", range(5))
def test_every_label_and_the_cases_are_spread_by_the_fractions(seed: int):
    groups, labels = random_cohort(seed)
    parts = assign_groups(groups, labels, THIRDS, seed)
    strata = [labels[:, k] == value for k in range(4) for value in (0, 1)]
    for stratum in [*strata, np.ones(len(labels), bool)]:
        wanted = np.array(THIRDS) * stratum.sum()
        largest_group = 4
        assert np.abs(counts(parts, stratum, 3) - wanted).max() <= 1.5 * largest_group


def test_a_finding_with_as_many_groups_as_parts_reaches_every_part():
    labels = np.zeros((60, 1))
    labels[[7, 20, 33]] = 1
    parts = assign_groups(np.arange(60), labels, (0.7, 0.1, 0.2), seed=1)
    assert sorted(parts[[7, 20, 33]]) == [0, 1, 2]


def test_rare_labels_are_spread_where_most_are_missing():
    labels = np.full((100, 1), np.nan)
    labels[:5], labels[5:10] = 1, 0
    parts = assign_groups(np.arange(100), labels, (0.2,) * 5, seed=0)
    assert counts(parts, np.arange(100) < 5, 5) == [1] * 5
    assert counts(parts, (np.arange(100) >= 5) & (np.arange(100) < 10), 5) == [1] * 5
    assert counts(parts, np.ones(100, bool), 5) == [20] * 5


@settings(max_examples=25, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(0, 5))
def test_the_order_of_rows_changes_nothing(random, seed: int):
    groups, labels = random_cohort(0, patients=40)
    parts = assign_groups(groups, labels, THIRDS, seed)
    order = np.array(random.sample(range(len(groups)), len(groups)))
    assert_array_equal(assign_groups(groups[order], labels[order], THIRDS, seed), parts[order])


def test_the_seed_changes_the_draw_and_nothing_else_does():
    groups, labels = random_cohort(0)
    first = assign_groups(groups, labels, THIRDS, seed=0)
    assert_array_equal(assign_groups(groups, labels, THIRDS, seed=0), first)
    assert (assign_groups(groups, labels, THIRDS, seed=1) != first).mean() > 0.3


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 8), st.sampled_from([0.0, 1.0, np.nan])), min_size=1, max_size=30),
    st.sampled_from([(0.5, 0.5), (0.9, 0.1), (0.6, 0.15, 0.25), (0.2,) * 5]),
)
def test_no_part_is_ever_empty(rows: list[tuple[int, float]], fractions: tuple[float, ...]):
    groups = np.array([group for group, _ in rows])
    labels = np.array([[label] for _, label in rows])
    if len(set(groups.tolist())) < len(fractions):
        with pytest.raises(InputError, match="ask for fewer parts or add patients"):
            assign_groups(groups, labels, fractions, 0)
    else:
        assert set(assign_groups(groups, labels, fractions, 0)) == set(range(len(fractions)))


def test_fewer_patients_than_folds_is_told_with_both_numbers():
    with pytest.raises(InputError, match="3 patients cannot be divided into 5 parts"):
        assign_groups(np.array(["a", "b", "c", "c", "c"]), np.zeros((5, 1)), (0.2,) * 5, 0)
