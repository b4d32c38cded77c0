"""Published results of privileged learning, reproduced with mmpkd's objective and linear students.

    python studies/known_results.py [--figure docs/images/known-results.png]

Prints both tables of docs/known-results.md, with 95% intervals over repetitions, and draws its figure. Two minutes.

Every repetition is one finding of a multi-label problem with its own inputs: the objective is that of the students of
images, :mod:`mmpkd.distil.objective`, with nothing of its own here.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy.stats import t as student_t
from torch import Tensor

from mmpkd.distil import objective
from mmpkd.files import written_whole

TRAIN_CASES = 200
SATURATED = 0.0
OVERLAPS = range(11)
AUTHORS_RUNS = (10, 60)
AUTHORS = {  # shared features: mean gain and its standard deviation over AUTHORS_RUNS, in percentage points
    0: ((-0.71, 1.00), (-1.32, 1.09)),
    2: ((-0.45, 0.86), (-0.74, 0.90)),
    4: ((-0.34, 1.21), (-0.02, 1.22)),
    6: ((+0.24, 1.47), (+0.57, 1.17)),
    8: ((+1.53, 1.14), (+1.46, 1.05)),
    10: ((+2.50, 1.49), (+2.26, 0.94)),
}
"""The published curve, Figure 2: recomputed with the settings and random draws of the authors' script for it
(``exp1`` in ``gauss/main.py`` of github.com/zihuixue/MFH), 10 runs from seed 0 as published, and 60. Standard
deviations are over the runs, divisor their number. torch 2.15 on a CPU."""


class Accuracies(NamedTuple):
    """Accuracy on test cases of each repetition, (repetitions,)."""

    privileged: np.ndarray
    regular: np.ndarray
    distilled: np.ndarray

    @property
    def gain(self) -> np.ndarray:
        """What distilling changed."""
        return self.distilled - self.regular


class Linear(NamedTuple):
    """One linear model a repetition: weights (repetitions, features) and bias (repetitions,)."""

    weights: Tensor
    bias: Tensor

    def logits(self, inputs: Tensor) -> Tensor:
        """Return (cases, repetitions) of inputs (repetitions, cases, features)."""
        return torch.einsum("rnd,rd->nr", inputs, self.weights) + self.bias


Fit = Callable[[Callable[[], Tensor], list[Tensor]], None]


def lopez_paz(
    case: int,
    teacher_ridge: float,
    student_ridge: float,
    repetitions: int = 50,
    test_cases: int = 10_000,
    seed: int = 0,
) -> Accuracies:
    """Run case 1 (the label before noise is privileged) or 3 (the relevant 3 of 50 features are).

    Logistic regression with ``ridge / 2 |w|^2`` beside the mean loss; λ = T = 1.

    Source: Lopez-Paz et al. 2016, arXiv 1511.03643, Section 4.
    """
    rng = torch.Generator().manual_seed(seed)
    cases = TRAIN_CASES + test_cases
    inputs = torch.randn(repetitions, cases, 50, generator=rng, dtype=torch.float64)
    truth = torch.randn(repetitions, 50, generator=rng, dtype=torch.float64)
    if case == 1:
        clean = torch.einsum("rnd,rd->rn", inputs, truth)
        noisy = clean + torch.randn(repetitions, cases, generator=rng, dtype=torch.float64)
        privileged, labels = clean[..., None], (noisy > 0).double()
    else:
        relevant = torch.stack([torch.randperm(50, generator=rng)[:3] for _ in range(repetitions)])
        privileged = inputs.gather(2, relevant[:, None].expand(-1, cases, -1))
        labels = (torch.einsum("rnk,rk->rn", privileged, truth.gather(1, relevant)) > 0).double()
    student = _newton_like(student_ridge)
    return _compare(privileged, inputs, labels.T, _newton_like(teacher_ridge), student, 1.0, student)


def modality_focusing(
    shared: int,
    repetitions: int = 240,
    test_cases: int = 1000,
    lambda_: float = 1 / 3,
    rate: float = 0.2,
    seed: int = 0,
) -> Accuracies:
    """Run the Gaussian toy with ``shared`` of each modality's ten decisive features in common.

    The label is the sign of a random weighing of 20 features, 20 - ``shared`` of which are seen: ten by the student
    among its 50, ten by the teacher among its 25. What neither sees is noise of the labels. Both are linear and take
    1,000 full-batch steps.

    Args:
        shared: 0 to 10.
        repetitions: Independent weighings and data.
        test_cases: Per repetition.
        lambda_: The authors' loss is the hard term and half of the soft one, their KL divergence being a mean over
            two classes: a third of the whole. Since it sums to 1.5, the distilled student's steps are 1.5 as long.
        rate: Theirs is 0.1 for each of two logits, so that their difference moves by 0.2.
        seed: Of all draws.

    Source: Xue et al. 2023, arXiv 2206.06487, Section 4, and the settings of the authors' published script.
    """
    rng = torch.Generator().manual_seed(seed)
    cases = TRAIN_CASES + test_cases
    drawn = torch.randn(repetitions, cases, 20 + 40 + 15, generator=rng, dtype=torch.float64)
    features, of_student, of_teacher = drawn.split([20, 40, 15], dim=2)
    truth = torch.randn(repetitions, 20, generator=rng, dtype=torch.float64)
    labels = (torch.einsum("rnk,rk->rn", features, truth) > 0).double()
    seen = torch.cat([features[..., :10], of_student], dim=2)
    privileged = torch.cat([features[..., 10 - shared : 20 - shared], of_teacher], dim=2)
    alone, distilled = _descend(rate), _descend(rate / (1 - lambda_))
    return _compare(privileged, seen, labels.T, alone, alone, lambda_, distilled)


def authors_gain(shared: int, runs: int) -> tuple[float, float, float]:
    """Return the authors' gain with ``shared`` features in common and its 95% t interval over ``runs`` of them."""
    mean, spread = (value / 100 for value in AUTHORS[shared][AUTHORS_RUNS.index(runs)])
    width = float(student_t.ppf(0.975, runs - 1)) * spread / np.sqrt(runs - 1)
    return mean, mean - width, mean + width


def sign_change(curve: dict[float, Accuracies], resamples: int = 2000) -> tuple[float, float, float]:
    """Return the share at which the mean gain crosses 0, with its 95% bootstrap interval over repetitions."""
    gammas, gains = np.array(list(curve)), np.stack([accuracies.gain for accuracies in curve.values()])
    repetitions = gains.shape[1]
    weights = (
        np.random.default_rng(0).multinomial(repetitions, [1 / repetitions] * repetitions, resamples) / repetitions
    )
    crossings = [_crossing(gammas, mean) for mean in (gains.mean(axis=1), *(weights @ gains.T))]
    low, high = np.nanpercentile(crossings[1:], [2.5, 97.5])
    return crossings[0], float(low), float(high)


def _crossing(gammas: np.ndarray, gains: np.ndarray) -> float:
    """Return where the curve last rises through 0, between the two points it lies between; NaN if nowhere."""
    below = np.flatnonzero((gains[:-1] < 0) & (gains[1:] >= 0))
    return float(np.interp(0, gains[below[-1] :][:2], gammas[below[-1] :][:2])) if len(below) else float("nan")


def interval(values: np.ndarray) -> tuple[float, float, float]:
    """Return the mean over repetitions with its 95% t interval."""
    mean, error = float(values.mean()), float(values.std(ddof=1) / np.sqrt(len(values)))
    width = float(student_t.ppf(0.975, len(values) - 1)) * error
    return mean, mean - width, mean + width


def _compare(
    privileged: Tensor,
    inputs: Tensor,
    labels: Tensor,
    fit_teacher: Fit,
    fit_regular: Fit,
    lambda_: float,
    fit_distilled: Fit,
) -> Accuracies:
    train, test = slice(0, TRAIN_CASES), slice(TRAIN_CASES, None)
    teacher = _train(privileged[:, train], labels[train], None, 0.0, fit_teacher)
    soft = teacher.logits(privileged[:, train])
    regular = _train(inputs[:, train], labels[train], None, 0.0, fit_regular)
    distilled = _train(inputs[:, train], labels[train], soft, lambda_, fit_distilled)

    def accuracy(model: Linear, seen: Tensor) -> np.ndarray:
        right: Tensor = (model.logits(seen[:, test]) > 0) == (labels[test] > 0)
        return right.double().mean(dim=0).numpy()

    return Accuracies(accuracy(teacher, privileged), accuracy(regular, inputs), accuracy(distilled, inputs))


def _train(inputs: Tensor, labels: Tensor, soft: Tensor | None, lambda_: float, fit: Fit) -> Linear:
    repetitions = len(inputs)
    model = Linear(torch.zeros_like(inputs[:, 0]).requires_grad_(), labels.new_zeros(repetitions).requires_grad_())
    terms = objective.weigh(
        labels,
        torch.full_like(labels, torch.nan) if soft is None else soft,
        labels.new_full((repetitions,), lambda_),
        labels.new_ones(repetitions),
        "paper",
        "multi-label",
    )
    fit(lambda: repetitions * objective.loss(model.logits(inputs), terms), list(model))
    return Linear(model.weights.detach(), model.bias.detach())


def _newton_like(ridge: float) -> Fit:
    def fit(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
        optimiser = torch.optim.LBFGS(parameters, max_iter=600, tolerance_grad=1e-9, line_search_fn="strong_wolfe")

        def closure() -> Tensor:
            optimiser.zero_grad()
            total = loss() + 0.5 * ridge * (parameters[0] ** 2).sum()
            total.backward()
            return total

        optimiser.step(closure)

    return fit


def _descend(rate: float) -> Fit:
    def fit(loss: Callable[[], Tensor], parameters: list[Tensor]) -> None:
        optimiser = torch.optim.SGD(parameters, lr=rate)
        for _ in range(1000):
            optimiser.zero_grad()
            loss().backward()
            optimiser.step()

    return fit


_LOPEZ_PAZ = (
    ("case 1, regularised", 1, 1e-3, 1e-4, (0.96, 0.88, 0.95)),
    ("case 3, regularised", 3, 1e-3, 1e-3, (0.98, 0.89, 0.97)),
    ("case 3, saturated teacher", 3, SATURATED, 1e-3, (None, None, None)),
)


def main() -> None:
    """Run both and print their tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--figure", type=Path, help="draw the figure here")
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # products this small only wait for a second one
    cases = {name: lopez_paz(case, *ridges) for name, case, *ridges, _ in _LOPEZ_PAZ}
    print("| | privileged | regular | distilled |\n|---|---|---|---|")
    for name, accuracies in cases.items():
        print(f"| {name} | {' | '.join('{:.3f} ({:.3f} to {:.3f})'.format(*interval(v)) for v in accuracies)} |")
    curve = {shared / (20 - shared): modality_focusing(shared) for shared in OVERLAPS}
    print("\n| γ | privileged | regular | distilled | gain | published | the same, 60 runs |")
    print("|---" * 7 + "|")
    for shared, (gamma, accuracies) in zip(OVERLAPS, curve.items(), strict=True):
        means = " | ".join(f"{values.mean():.3f}" for values in accuracies)
        theirs = [authors_gain(shared, runs) for runs in AUTHORS_RUNS] if shared in AUTHORS else []
        gains = ["{:+.3f} ({:+.3f} to {:+.3f})".format(*gain) for gain in (interval(accuracies.gain), *theirs)]
        print(f"| {gamma:.2f} | {means} | {' | '.join(gains + [''] * (3 - len(gains)))} |")
    print("\nThe gain changes its sign at γ = {:.2f} ({:.2f} to {:.2f})".format(*sign_change(curve)))
    if arguments.figure:
        draw(cases, curve, arguments.figure)


def draw(cases: dict[str, Accuracies], curve: dict[float, Accuracies], path: Path) -> None:
    """Draw both results beside the published figures."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    bars, line = figure.subplots(1, 2)
    for place, (name, accuracies) in enumerate(cases.items()):
        published = next(row[-1] for row in _LOPEZ_PAZ if row[0] == name)
        for shift, (kind, values, known) in enumerate(zip(Accuracies._fields, accuracies, published, strict=True)):
            mean, low, _ = interval(values)
            at = place + (shift - 1) * 0.25
            bars.bar(at, mean, 0.22, yerr=mean - low, color=f"C{shift}", label=kind if place == 0 else None)
            if known is not None:
                bars.plot([at - 0.11, at + 0.11], [known, known], color="black")
    bars.set_xticks(range(len(cases)), [name.replace(", ", ",\n") for name in cases])
    bars.set(
        ylim=(0.8, 1.06),
        yticks=[0.8, 0.85, 0.9, 0.95, 1.0],
        ylabel="accuracy on test cases",
        title="Lopez-Paz et al. 2016",
    )
    bars.plot([], [], color="black", label="published")
    bars.legend(fontsize=8, ncols=4, loc="upper center")
    gains = np.array([interval(accuracies.gain) for accuracies in curve.values()])
    gammas = np.array(list(curve))
    line.axhline(0, color="grey", linewidth=0.8)
    line.fill_between(gammas, gains[:, 1], gains[:, 2], alpha=0.3)
    line.plot(gammas, gains[:, 0], marker="o", markersize=4, label="mmpkd's objective, 240 runs")
    for runs, color, marker, shift in zip(AUTHORS_RUNS, ("black", "C1"), ("s", "D"), (-0.008, 0.008), strict=True):
        theirs = np.array([authors_gain(shared, runs) for shared in AUTHORS])
        at = np.array([shared / (20 - shared) for shared in AUTHORS]) + shift
        errors = np.abs(theirs[:, 1:] - theirs[:, :1]).T
        label = "published, 10 runs" if runs == AUTHORS_RUNS[0] else f"the authors' script, {runs} runs"
        line.errorbar(at, theirs[:, 0], errors, fmt=marker, color=color, markersize=4, capsize=2, label=label)
    line.legend(fontsize=8, loc="upper left")
    line.set(xlabel="γ, shared share of decisive features", ylabel="accuracy, distilled less regular")
    line.set_title("Modality focusing, Xue et al. 2023")
    with written_whole(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    main()
