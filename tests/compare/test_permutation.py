"""Sign flips against scipy's permutation test, by hand, and the error rate that they promise."""

from itertools import product

import numpy as np
import pytest
from scipy.stats import permutation_test

from mmpkd.compare.permutation import sign_flip
from mmpkd.errors import InputError

NAN = float("nan")


def test_few_patients_are_enumerated_as_scipy_does() -> None:
    values = np.random.default_rng(0).normal(0.4, 1, 11)
    expected = permutation_test((values,), np.mean, permutation_type="samples", n_resamples=np.inf)
    found = sign_flip(values)
    assert found.exact
    assert found.p.item() == pytest.approx(expected.pvalue, abs=1e-12)
    assert found.estimate.item() == pytest.approx(values.mean(), abs=1e-15)
    assert found.smallest_p == 2 / 2**11


def test_the_cases_of_a_patient_flip_together() -> None:
    values = np.array([0.5, -0.1, 0.3, 0.2, -0.6, 0.4, NAN])
    patients = np.array(["a", "a", "b", "b", "c", "d", "d"])
    sums = [0.4, 0.5, -0.6, 0.4]
    as_extreme = sum(abs(np.dot(signs, sums)) >= 0.7 - 1e-9 for signs in product([1, -1], repeat=4))
    found = sign_flip(values, patients)
    assert found.p.item() == pytest.approx(as_extreme / 16)
    assert found.estimate.item() == pytest.approx(0.7 / 6)


def test_ties_that_differ_by_rounding_count_as_ties() -> None:
    # 0.1 + 0.2 + 0.3 against 0.6 in another order; |sum| 0 and 1.2 are the possible ones of two equal patients.
    values = np.array([0.1, 0.2, 0.3, 0.6])
    assert sign_flip(values, np.array([0, 0, 0, 1])).p.item() == 0.5


def test_random_signs_agree_with_all_of_them() -> None:
    values = np.random.default_rng(1).normal(0.35, 1, (14, 3))
    exact, drawn = sign_flip(values), sign_flip(values, exact_limit=100, draws=20_000)
    assert exact.exact
    assert not drawn.exact
    assert drawn.p == pytest.approx(exact.p, abs=4 * np.sqrt(0.25 / 20_000))
    assert drawn.smallest_p == 1 / 20_001
    assert (sign_flip(values, exact_limit=100).p == sign_flip(values, exact_limit=100).p).all()


def test_random_signs_never_prove_more_than_their_number() -> None:
    assert sign_flip(np.ones(40), draws=99).p.item() == 0.01


def test_columns_are_tested_as_each_alone() -> None:
    values = np.random.default_rng(2).normal(size=(9, 2))
    values[3, 1] = NAN
    both = sign_flip(values)
    assert both.p == pytest.approx([sign_flip(values[:, k]).p.item() for k in range(2)], abs=1e-12)


def test_nothing_defined_is_nan_and_no_difference_is_1() -> None:
    found = sign_flip(np.array([[NAN, 0.0], [NAN, 0.0]]))
    assert np.isnan([found.p[0], found.estimate[0]]).all()
    assert found.p[1] == 1.0
    assert np.isnan(sign_flip(np.zeros(0)).p)


def test_under_the_null_clustered_patients_are_rejected_at_5_percent() -> None:
    rng = np.random.default_rng(3)
    patients = np.repeat(np.arange(25), 4)
    values = rng.standard_t(4, size=(25, 2000))[patients] + 0.5 * rng.normal(size=(100, 2000))
    assert (sign_flip(values, patients, draws=999).p <= 0.05).mean() == pytest.approx(0.05, abs=0.015)
    assert (sign_flip(values[:, :500], draws=999).p <= 0.05).mean() > 0.2


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(InputError, match="one patient a case"):
        sign_flip(np.zeros(3), np.zeros(2))
    with pytest.raises(InputError, match="at least 1, not 0"):
        sign_flip(np.zeros(3), draws=0)
