from math import log

import numpy as np
import pytest
import torch
from torch.nn import functional

from mmpkd.distil.objective import count_cells, cross_entropy, loss, mixed_target, parts, weigh

NAN = float("nan")
# With σ(z) = 2/3: ℓ(1, z) = -ln(2/3) = 0.405465 and ℓ(3/4, z) = -3/4 ln(2/3) - 1/4 ln(1/3) = 0.578752.
Z = log(2)
HARD, SOFT = 0.405465, 0.578752


def _terms(labels, soft_logits, weight=0.5, temperature=1.0, preset="paper", task="multi-label"):
    labels = torch.tensor(labels, dtype=torch.float64)
    findings = labels.shape[1]
    return weigh(
        labels,
        torch.tensor(soft_logits, dtype=torch.float64),
        torch.full((findings,), weight, dtype=torch.float64),
        torch.full((findings,), temperature, dtype=torch.float64),
        preset,
        task,
    )


def _logits(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_paper_preset_on_one_cell_worked_by_hand():
    assert loss(_logits([Z]), _terms([[1.0]], [[log(3)]], 0.25)).item() == pytest.approx(
        0.75 * HARD + 0.25 * SOFT, abs=1e-6
    )


def test_paper_preset_tempers_the_teacher_only():
    # t / T = ln 3, and the student's logit stays ln 2 without any factor of T²
    terms = _terms([[1.0]], [[2 * log(3)]], 0.25, temperature=2.0)
    assert loss(_logits([Z]), terms).item() == pytest.approx(0.75 * HARD + 0.25 * SOFT, abs=1e-6)


def test_hinton_preset_tempers_the_student_and_scales_by_t_squared():
    # z = 2 ln 2, so z / T = ln 2 in the soft term and σ(z) = 4/5 in the hard one: -ln(4/5) = 0.223144
    terms = _terms([[1.0]], [[2 * log(3)]], 0.25, temperature=2.0, preset="hinton")
    assert loss(_logits([2 * Z]), terms).item() == pytest.approx(0.75 * 0.223144 + 0.25 * 4 * SOFT, abs=1e-6)


def test_lopez_paz_preset_scales_by_t_squared_without_tempering_the_student():
    terms = _terms([[1.0]], [[2 * log(3)]], 0.25, temperature=2.0, preset="lopez-paz")
    assert loss(_logits([Z]), terms).item() == pytest.approx(0.75 * HARD + 0.25 * 4 * SOFT, abs=1e-6)


def test_presets_agree_at_temperature_one():
    values = {
        preset: loss(_logits([Z, -1.0]), _terms([[1.0, 0.0]], [[0.3, -2.0]], 0.4, preset=preset)).item()
        for preset in ("paper", "hinton", "lopez-paz")
    }
    assert len({round(value, 12) for value in values.values()}) == 1


def test_missing_label_keeps_the_soft_term_with_its_weight():
    assert loss(_logits([Z]), _terms([[NAN]], [[log(3)]], 0.25)).item() == pytest.approx(0.25 * SOFT, abs=1e-6)


def test_missing_soft_label_gives_the_hard_term_full_weight():
    assert loss(_logits([Z]), _terms([[1.0]], [[NAN]], 0.25)).item() == pytest.approx(HARD, abs=1e-6)


def test_cells_without_either_do_not_enter_the_mean():
    terms = _terms([[1.0, NAN], [NAN, NAN]], [[NAN, NAN], [NAN, NAN]])
    assert loss(_logits([Z, 5.0], [-3.0, 7.0]), terms).item() == pytest.approx(HARD, abs=1e-6)


def test_mean_runs_over_all_cells_with_weight():
    # one cell with both terms, one with the hard label only, one with the soft label only, one with nothing
    terms = _terms([[1.0, 1.0], [NAN, NAN]], [[log(3), NAN], [log(3), NAN]], 0.5)
    expected = (0.5 * HARD + 0.5 * SOFT + HARD + 0.5 * SOFT) / 3
    assert loss(_logits([Z, Z], [Z, Z]), terms).item() == pytest.approx(expected, abs=1e-6)


def test_lambda_zero_is_plain_binary_cross_entropy():
    rng = np.random.default_rng(1)
    labels, logits = rng.integers(0, 2, (9, 3)).astype(float), torch.tensor(rng.normal(size=(9, 3)))
    oracle = functional.binary_cross_entropy_with_logits(logits, torch.tensor(labels))
    assert loss(logits, _terms(labels, rng.normal(size=(9, 3)), 0.0)).item() == pytest.approx(oracle.item(), abs=1e-12)


def test_lambda_zero_with_no_label_teaches_nothing():
    terms = _terms([[NAN]], [[1.0]], 0.0)
    assert loss(_logits([Z]), terms).item() == 0.0


def _random(task, seed=2, cases=60, findings=4):
    rng = np.random.default_rng(seed)
    soft = rng.normal(0, 3, (cases, findings))
    if task == "multi-class":
        labels = np.eye(findings)[rng.integers(0, findings, cases)]
        labels[rng.random(cases) < 0.3] = np.nan
        soft[rng.random(cases) < 0.3] = np.nan
    else:
        labels = rng.integers(0, 2, (cases, findings)).astype(float)
        labels[rng.random(labels.shape) < 0.3] = np.nan
        soft[rng.random(soft.shape) < 0.3] = np.nan
    return labels, soft, torch.tensor(rng.normal(0, 4, (cases, findings)), requires_grad=True)


@pytest.mark.parametrize("task", ["multi-label", "multi-class"])
@pytest.mark.parametrize(("preset", "temperature"), [("paper", 3.0), ("lopez-paz", 3.0), ("hinton", 1.0)])
def test_one_cross_entropy_on_the_mixed_target_equals_the_two_terms(task, preset, temperature):
    labels, soft, logits = _random(task)
    terms = _terms(labels, soft, 0.3, temperature, preset, task)
    target, weight = mixed_target(terms)
    mixed = cross_entropy(logits, target, weight, task) / count_cells(weight, task)
    separate = loss(logits, terms)
    assert mixed.item() == pytest.approx(separate.item(), abs=1e-6)
    (of_mixed,) = torch.autograd.grad(mixed, logits)
    (of_separate,) = torch.autograd.grad(separate, logits)
    torch.testing.assert_close(of_mixed, of_separate, atol=1e-9, rtol=0)


def test_per_finding_weights_and_temperatures_reach_their_own_column():
    labels, soft = (
        torch.ones(1, 2, dtype=torch.float64),
        torch.tensor([[log(3), 2 * log(3)]], dtype=torch.float64),
    )
    terms = weigh(labels, soft, torch.tensor([0.0, 1.0]).double(), torch.tensor([1.0, 2.0]).double())
    assert loss(_logits([Z, Z]), terms).item() == pytest.approx((HARD + SOFT) / 2, abs=1e-6)


def test_a_tempered_student_cannot_be_mixed():
    with pytest.raises(ValueError, match="two different logits"):
        mixed_target(_terms([[1.0]], [[1.0]], 0.5, 2.0, "hinton"))


def test_multi_class_agrees_with_torch_cross_entropy_on_probabilities():
    labels, soft, logits = _random("multi-class")
    labels = np.nan_to_num(labels, nan=0.0)
    labels[labels.sum(1) == 0, 0] = 1.0
    soft = np.nan_to_num(soft)
    terms = _terms(labels, soft, 0.3, 2.0, "paper", "multi-class")
    hard = functional.cross_entropy(logits, torch.tensor(labels))
    taught = functional.cross_entropy(logits, (torch.tensor(soft) / 2).softmax(1))
    assert loss(logits, terms).item() == pytest.approx((0.7 * hard + 0.3 * taught).item(), abs=1e-10)


def test_multi_class_refuses_different_weights_by_class():
    labels = torch.eye(2)
    with pytest.raises(ValueError, match="one lambda"):
        weigh(labels, labels, torch.tensor([0.1, 0.2]), torch.ones(2), "paper", "multi-class")


def test_loss_is_in_single_precision_under_autocast():
    terms = weigh(torch.ones(2, 1), torch.ones(2, 1), torch.tensor([0.5]), torch.ones(1))
    logits = torch.tensor([[20.0], [-20.0]], dtype=torch.bfloat16, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        value = loss(logits, terms)
    assert value.dtype == torch.float32
    assert value.isfinite()


def test_parts_are_unweighted_means_over_the_cells_that_have_them():
    terms = _terms([[1.0, NAN]], [[log(3), log(3)]], 0.25)
    named = parts(_logits([Z, Z]), terms)
    assert set(named) == {"loss", "hard", "soft"}
    assert named["hard"].item() == pytest.approx(HARD, abs=1e-6)
    assert named["soft"].item() == pytest.approx(SOFT, abs=1e-6)
    assert named["loss"].item() == pytest.approx((0.75 * HARD + 0.5 * SOFT) / 2, abs=1e-6)


def test_parts_that_nothing_has_are_nan():
    named = parts(_logits([Z]), _terms([[1.0]], [[NAN]]))
    assert named["soft"].isnan()
    assert named["hard"].item() == pytest.approx(HARD, abs=1e-6)
