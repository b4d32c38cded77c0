"""One training step of a stack: forward, losses, backward, clipping, AdamW; on a GPU it may be recorded and replayed.

A small student's step is some six hundred kernels of a few microseconds, and starting each takes Python longer than the
GPU takes to run it. A CUDA graph starts them all at once. Everything it touches stays at its place in memory: batches
are copied into fixed buffers, weights and moments change in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mmpkd.distil.precision import Precision
from mmpkd.distil.stacked_criterion import StackedTerms
from mmpkd.distil.stacked_weights import StackedWeights
from mmpkd.distil.student import Student

_EAGER_STEPS = 3  # before recording: libraries allocate what they need in their first calls


class StackedStep:
    """Trains the models of a stack by one step at each call.

    Args:
        stacked: Modules with a model axis, in training mode.
        weights: Their weights; no model may leave while this step is in use.
        terms: What the models are taught, all cases.
        norms: Largest norm of each model's gradient, infinite where it is not clipped.
        precision: Of the matrix products.
        compiled: Compile forward pass and losses with torch.compile; nothing is recorded then.
        recorded: Record the step as a CUDA graph, on a GPU.
    """

    def __init__(
        self,
        stacked: Student,
        weights: StackedWeights,
        terms: StackedTerms,
        norms: Float[Tensor, " models"],
        precision: Precision,
        compiled: bool = False,
        recorded: bool = False,
    ) -> None:
        self._stacked, self._weights, self.terms, self._precision = stacked, weights, terms, precision
        self._norms = norms if bool(norms.isfinite().any()) else None
        self._device = norms.device
        self._losses: Callable[..., tuple[Tensor, Tensor]] = torch.compile(self._forward) if compiled else self._forward
        self._records = recorded and self._device.type == "cuda" and not compiled
        self._stream: Any = torch.cuda.Stream() if self._records else None
        self._eager_left = _EAGER_STEPS
        self._graph: Any = None
        self._inputs: tuple[Tensor, ...] = ()
        self._outputs: tuple[Tensor, Tensor] = (norms, norms)

    def __call__(
        self,
        images: Float[Tensor, "models_batch channels size size"],
        rows: Int[Tensor, "models batch"],
        planned: Float[Tensor, "3 models"],
    ) -> tuple[Float[Tensor, " models"], Float[Tensor, "models batch findings"]]:
        """Take the step and return each model's loss and logits before it; they are overwritten by the next call.

        Args:
            images: Normalised, model by model.
            rows: The cases they show.
            planned: Of this step, from :meth:`StackedWeights.plan`.
        """
        if self._graph is not None:
            for fixed, given in zip(self._inputs, (images, rows, planned), strict=True):
                fixed.copy_(given)
            self._graph.replay()
            return self._outputs
        if not self._records:
            return self._step(images, rows, planned)
        if self._eager_left:
            self._eager_left -= 1
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                outputs = self._step(images, rows, planned)
            torch.cuda.current_stream().wait_stream(self._stream)
            return outputs
        graph = self._record(images, rows, planned)
        if graph is None:
            return self._step(images, rows, planned)
        graph.replay()  # recording ran nothing
        return self._outputs

    def _record(self, *inputs: Tensor) -> Any:
        """Record a step and return its graph; ``None``, to go on without, where CUDA refuses."""
        self._inputs = tuple(given.clone() for given in inputs)
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph):
                self._outputs = self._step(*self._inputs)
        except RuntimeError:
            self._records = False
            self._weights.flat.grad = None
            return None
        self._graph = graph
        return graph

    def _step(self, images: Tensor, rows: Tensor, planned: Tensor) -> tuple[Tensor, Tensor]:
        losses, logits = self._losses(images, self.terms.take(rows))
        losses.sum().backward()
        if self._norms is not None:
            self._weights.clip(self._norms)
        self._weights.step(planned)
        return losses.detach(), logits

    def _forward(self, images: Tensor, terms: StackedTerms) -> tuple[Tensor, Tensor]:
        with self._precision.autocast(self._device):
            logits = torch.func.functional_call(self._stacked, self._weights.named(), (images,))
        logits = logits.unflatten(0, (len(self._weights), -1))
        return terms.losses(logits), logits.detach()
