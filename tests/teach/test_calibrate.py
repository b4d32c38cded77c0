import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from mmpkd.teach.calibrate import Scaling, calibrate, fit_platt, fit_temperature


def test_platt_on_two_logits_is_the_line_through_two_mean_targets():
    # 4 cases each at t = -1 (1 positive) and t = 1 (3 positive); targets (4+1)/(4+2) = 5/6 and 1/6, so the mean target
    # at t = 1 is (3 * 5/6 + 1/6) / 4 = 2/3 and at t = -1 is 1/3: slope log 2, intercept 0.
    logits = np.array([-1.0] * 4 + [1.0] * 4)
    labels = np.array([1.0, 0, 0, 0, 1, 1, 1, 0])
    found = fit_platt(logits, labels)
    assert found.slope == pytest.approx(np.log(2), abs=1e-6)
    assert found.intercept == pytest.approx(0, abs=1e-6)


def test_platt_agrees_with_scikit_learn_on_weighted_targets():
    random = np.random.default_rng(0)
    logits = random.normal(1, 3, 200)
    labels = (random.random(200) < expit(0.4 * logits - 1)).astype(float)
    positives = labels.sum()
    high, low = (positives + 1) / (positives + 2), 1 / (200 - positives + 2)
    targets = np.where(labels == 1, high, low)
    twice = np.concatenate([logits, logits])[:, None]
    oracle = LogisticRegression(C=1e12, tol=1e-10, max_iter=10_000).fit(
        twice, np.repeat([1, 0], 200), sample_weight=np.concatenate([targets, 1 - targets])
    )
    found = fit_platt(logits, labels)
    assert found.slope == pytest.approx(oracle.coef_[0, 0], rel=1e-4)
    assert found.intercept == pytest.approx(oracle.intercept_[0], rel=1e-4)


def test_an_anti_informative_teacher_is_silenced_not_inverted():
    logits = np.array([2.0] * 4 + [-2.0] * 4)
    labels = np.array([0.0] * 4 + [1.0] * 4)
    assert fit_platt(logits, labels) == Scaling(0.0, 0.0)


def test_platt_is_finite_on_separable_and_on_constant_logits():
    separable = fit_platt(np.array([-5.0, -4, 4, 5]), np.array([0.0, 0, 1, 1]))
    assert 0 < separable.slope < 1
    constant = fit_platt(np.full(4, 3.0), np.array([0.0, 0, 0, 1]))
    # the mean target is (2/3 + 3 * 1/5) / 4
    assert constant == Scaling(0.0, pytest.approx(logit((2 / 3 + 3 / 5) / 4)))


def test_temperature_of_one_repeated_logit_matches_the_share_of_correct_classes():
    # softmax(slope * [2, 0]) puts 3/4 on the first class when slope * 2 = log 3
    logits = np.tile([2.0, 0.0], (4, 1))
    labels = np.array([[1.0, 0], [1, 0], [1, 0], [0, 1]])
    assert fit_temperature(logits, labels).slope == pytest.approx(np.log(3) / 2, abs=1e-6)


def overconfident(cases=400, seed=0):
    random = np.random.default_rng(seed)
    true = random.normal(0, 1.5, (cases, 2))
    labels = (random.random((cases, 2)) < expit(true)).astype(float)
    return 4 * true, labels, np.arange(cases) % 4


def test_overconfident_logits_are_shrunk_to_their_true_scale():
    logits, labels, fold = overconfident(4000)
    found = calibrate(logits, labels, fold, "multi-label", ["a", "b"])
    assert [scaling.slope for scaling in found.scalings] == pytest.approx([0.25, 0.25], abs=0.03)
    assert not found.skipped


def test_pooled_order_survives_folds_of_unequal_share_of_positives():
    # all positives of the first fold score above its negatives, and likewise in the second; thresholds are the same
    logits = np.concatenate([np.linspace(-3, 3, 60), np.linspace(-3, 3, 60)])
    labels = (logits > 0).astype(float)[:, None]
    labels[:15] = np.nan  # the first fold keeps 15 negatives and 30 positives
    fold = np.repeat([0, 1], 60)
    found = calibrate(logits[:, None], labels, fold, "multi-label", ["a"])
    assert (np.diff(found.logits[np.argsort(logits), 0]) >= 0).all()
    np.testing.assert_array_equal(found.logits[fold == 0], found.logits[fold == 1])


def test_cases_outside_the_folds_are_scaled_by_all_of_them_and_lend_no_label():
    logits, labels, fold = overconfident()
    outside = fold == 3
    fold = np.where(outside, -1, fold)
    found = calibrate(logits, labels, fold, "multi-label", ["a", "b"])
    expected = found.scalings[0].slope * logits[outside, 0] + found.scalings[0].intercept
    np.testing.assert_allclose(found.logits[outside, 0], expected.clip(-10, 10))
    labels[outside] = np.nan
    np.testing.assert_array_equal(calibrate(logits, labels, fold, "multi-label", ["a", "b"]).logits, found.logits)


def test_a_finding_with_too_few_of_one_class_is_left_as_it_is_and_named():
    logits, labels, fold = overconfident()
    labels[:, 1] = 0
    labels[:9, 1] = 1
    found = calibrate(logits, labels, fold, "multi-label", ["a", "b"])
    assert found.skipped == ("b",)
    np.testing.assert_array_equal(found.logits[:, 1], logits[:, 1].clip(-10, 10))
    assert found.scalings[1] == Scaling()


def test_unknown_logits_and_missing_labels_are_passed_over():
    logits, labels, fold = overconfident()
    logits[::7, 0] = np.nan
    labels[::5, 0] = np.nan
    found = calibrate(logits, labels, fold, "multi-label", ["a", "b"])
    np.testing.assert_array_equal(np.isnan(found.logits), np.isnan(logits))


def test_classes_share_one_temperature_and_stay_distributions():
    random = np.random.default_rng(1)
    true = random.normal(0, 1, (2000, 3))
    share = np.exp(true) / np.exp(true).sum(1, keepdims=True)
    classes = (share.cumsum(1) < random.random((2000, 1))).sum(1)
    labels = np.eye(3)[classes]
    found = calibrate(3 * true, labels, np.arange(2000) % 5, "multi-class", ["a", "b", "c"])
    assert found.scalings[0].slope == pytest.approx(1 / 3, abs=0.03)
    assert len({scaling.slope for scaling in found.scalings}) == 1
    np.testing.assert_allclose(np.exp(found.logits).sum(1), 1)
