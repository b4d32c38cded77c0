import pytest

from mmpkd.distil.schedule import learning_rate


def test_warm_up_is_linear_and_decay_is_half_a_cosine():
    # 2 steps of warm-up, then 4 steps: cos(0), cos(π/4), cos(π/2), cos(3π/4)
    rates = [learning_rate(step, 6, 2, 0.1) for step in range(6)]
    assert rates == pytest.approx([0.05, 0.1, 0.1, 0.0853553, 0.05, 0.0146447], abs=1e-7)


def test_without_warm_up_it_starts_at_the_peak():
    assert learning_rate(0, 4, 0, 0.2) == 0.2


def test_warm_up_as_long_as_the_training_only_rises():
    assert [learning_rate(step, 3, 3, 0.3) for step in range(3)] == pytest.approx([0.1, 0.2, 0.3])
