"""The weights of several models of one shape as one matrix, and AdamW on it with a learning rate for each.

One row a model, one column a number: clipping is a norm of rows, AdamW a dozen operations in all, a finished model
leaves by its row. The columns are in the order of the plain optimiser's parameters, so a row and its moments make the
same checkpoint as a model that trained alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmpkd.distil.optimizer import build_optimizer
from mmpkd.distil.settings import TrainingSettings
from mmpkd.distil.student import Student


class StackedWeights:
    """Weights and AdamW moments of several models.

    Args:
        students: One of each model, whose values are taken; all of one shape.
        training: Gives the weight decay.
        device: Where the matrix lies.

    Attributes:
        flat: (models, numbers), the one leaf of the graph.
    """

    def __init__(self, students: Sequence[Student], training: TrainingSettings, device: torch.device) -> None:
        optimizer = build_optimizer(students[0], training)
        names = {parameter: name for name, parameter in students[0].named_parameters()}
        ordered = [
            (parameter, group["weight_decay"]) for group in optimizer.param_groups for parameter in group["params"]
        ]
        self._names = [names[parameter] for parameter, _ in ordered]
        self._shapes = [parameter.shape for parameter, _ in ordered]
        self._sizes = [parameter.numel() for parameter, _ in ordered]
        decay = [torch.full((parameter.numel(),), rate, device=device) for parameter, rate in ordered]
        self._decay = torch.cat(decay)
        defaults = optimizer.defaults
        (self._beta1, self._beta2), self._eps = defaults["betas"], defaults["eps"]
        rows = [self._pack(dict(student.named_parameters())) for student in students]
        self.flat = nn.Parameter(torch.stack(rows).to(device))
        self._mean, self._square = torch.zeros_like(self.flat.data), torch.zeros_like(self.flat.data)
        self._steps = np.zeros(len(students))

    def __len__(self) -> int:
        return len(self.flat)

    def named(self) -> dict[str, Float[Tensor, "models ..."]]:
        """Return every parameter by name with a leading model axis, part of the graph of ``flat``."""
        pieces = self.flat.split(self._sizes, dim=1)
        return {
            name: piece.view(len(self), *shape)
            for name, shape, piece in zip(self._names, self._shapes, pieces, strict=True)
        }

    def clip(self, norms: Float[Tensor, " models"]) -> None:
        """Scale each model's gradient down to a norm of at most its own, as ``clip_grad_norm_`` does."""
        gradient = self._gradient()
        factor = (norms / (gradient.norm(dim=1) + 1e-6)).clamp(max=1.0)
        gradient.mul_(factor.unsqueeze(1))

    def plan(self, rates: Float[np.ndarray, "steps models"]) -> Float[Tensor, "steps 3 models"]:
        """Return what :meth:`step` needs in each of the next steps, on the device: η, 1 - β₁ᵗ and sqrt(1 - β₂ᵗ)."""
        t = self._steps + np.arange(1, len(rates) + 1)[:, None]
        self._steps = self._steps + len(rates)
        planned = np.stack([rates, 1.0 - self._beta1**t, np.sqrt(1.0 - self._beta2**t)], axis=1)
        return torch.from_numpy(planned).to(self.flat.device, self.flat.dtype)

    def step(self, planned: Float[Tensor, "3 models"]) -> None:
        """Take one step of AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101), and forget the gradient.

        With gradient g, ``m = β₁ m + (1 - β₁) g`` and ``v = β₂ v + (1 - β₂) g²``, a model with rate η in its t-th step
        moves by ``w = (1 - η decay) w - η (m / (1 - β₁ᵗ)) / (sqrt(v / (1 - β₂ᵗ)) + eps)``.

        Args:
            planned: Of this step, from :meth:`plan`.
        """
        gradient, weights = self._gradient(), self.flat.data
        rate, first, second = planned.unsqueeze(2)
        self._mean.lerp_(gradient, 1.0 - self._beta1)
        self._square.mul_(self._beta2).addcmul_(gradient, gradient, value=1.0 - self._beta2)
        weights.mul_(1.0 - rate * self._decay)
        weights.sub_(rate / first * self._mean / (self._square.sqrt() / second + self._eps))
        self.flat.grad = None

    def _gradient(self) -> Tensor:
        if self.flat.grad is None:
            raise ValueError("there is no gradient; call backward first")
        return self.flat.grad

    def keep(self, rows: Sequence[int]) -> None:
        """Leave all other models out from here on."""
        index = list(rows)
        self.flat = nn.Parameter(self.flat.data[index])
        self._mean, self._square, self._steps = self._mean[index], self._square[index], self._steps[index]

    def weights(self, row: int) -> dict[str, Tensor]:
        """Return one model's parameters by name, as views."""
        return dict(zip(self._names, self._unpack(self.flat.data[row]), strict=True))

    def moments(self, row: int) -> dict[int, dict[str, Tensor]]:
        """Return one model's part of the optimiser's state, as the plain optimiser would give it."""
        means, squares = self._unpack(self._mean[row]), self._unpack(self._square[row])
        step = float(self._steps[row])
        return {
            index: {"step": torch.tensor(step), "exp_avg": mean, "exp_avg_sq": square}
            for index, (mean, square) in enumerate(zip(means, squares, strict=True))
        }

    def load(self, row: int, weights: Mapping[str, Tensor], moments: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Put what :meth:`weights` and :meth:`moments` returned back in its row."""
        self.flat.data[row] = self._pack(weights).to(self.flat.device)
        for held, name in ((self._mean, "exp_avg"), (self._square, "exp_avg_sq")):
            values = [moments[index][name].flatten() for index in range(len(self._names))]
            held[row] = torch.cat(values).to(held.device)
        self._steps[row] = float(moments[0]["step"])

    def _pack(self, weights: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([weights[name].detach().flatten() for name in self._names])

    def _unpack(self, row: Tensor) -> list[Tensor]:
        return [piece.view(shape) for piece, shape in zip(row.split(self._sizes), self._shapes, strict=True)]
