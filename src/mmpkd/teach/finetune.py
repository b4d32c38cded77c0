"""A text encoder with a linear head: batches by length, embeddings, and one fine-tuning loop to read in a sitting.

Loaded only when an encoder is used (it imports torch). Knows nothing of cohorts, folds or calibration.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from mmpkd.cohort.cohort import Task
from mmpkd.errors import InputError
from mmpkd.teach.tokens import Windows

Pooling = Literal["cls", "mean"]

_BUCKET_BATCHES = 32  # batches among which texts are sorted by length: little padding, still shuffled


@dataclass(frozen=True)
class Recipe:
    """How to fine-tune; the fields are those of ``EncoderTeacher``."""

    epochs: int
    batch_size: int
    learning_rate: float
    weight_decay: float
    warmup_share: float
    dropout: float
    seed: int


class TextClassifier(nn.Module):
    """An encoder, its pooling and a linear head.

    Args:
        encoder: A Hugging Face encoder.
        outputs: Findings.
        pooling: ``cls`` (first token) or ``mean`` (over tokens) of the last layer.
        padding: Token id to pad with.
        dropout: Before the head.
    """

    def __init__(self, encoder: Any, outputs: int, pooling: Pooling, padding: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.pooling = pooling
        self.padding = padding
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(encoder.config.hidden_size, outputs)
        nn.init.normal_(self.head.weight, std=0.02)
        nn.init.zeros_(self.head.bias)

    def embed(self, texts: list[list[list[int]]]) -> Float[Tensor, "texts width"]:
        """Return one embedding a text: the mean over its windows."""
        device = self.head.weight.device
        windows = [window for text in texts for window in text]
        owner = torch.tensor([index for index, text in enumerate(texts) for _ in text], device=device)
        longest = max(map(len, windows))
        ids = torch.full((len(windows), longest), self.padding)
        mask = torch.zeros((len(windows), longest), dtype=torch.long)
        for row, window in enumerate(windows):
            ids[row, : len(window)] = torch.tensor(window)
            mask[row, : len(window)] = 1
        ids, mask = ids.to(device), mask.to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            hidden = self.encoder(input_ids=ids, attention_mask=mask).last_hidden_state.float()  # (windows, L, width)
        if self.pooling == "cls":
            pooled = hidden[:, 0]
        else:
            pooled = (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)
        total = torch.zeros((len(texts), pooled.shape[1]), device=device).index_add(0, owner, pooled)
        return total / torch.bincount(owner, minlength=len(texts))[:, None]

    def forward(self, texts: list[list[list[int]]]) -> Float[Tensor, "texts findings"]:
        """Return one logit a text and finding, in float32."""
        logits: Tensor = self.head(self.dropout(self.embed(texts)))
        return logits


def pick_device(name: str) -> torch.device:
    """Return the device called ``name``; ``auto`` is CUDA, else Apple's, else the CPU."""
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", torch.cuda.current_device())
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, ValueError):
        raise InputError(f"teacher.device: there is no device {name!r} here; use auto, cpu or cuda.") from None
    return device


def fine_tune(
    model: TextClassifier, windows: Windows, labels: Float[np.ndarray, "texts findings"], task: Task, recipe: Recipe
) -> None:
    """Train the whole model on the observed labels, in place.

    AdamW (no decay on biases and norms), linear warm-up and decay, gradients clipped to norm 1. The same seed gives
    the same weights on a CPU; call it with torch's own generator seeded, for dropout.
    """
    device = model.head.weight.device
    targets = torch.tensor(labels, dtype=torch.float32, device=device)
    steps = -(-len(windows) // recipe.batch_size) * recipe.epochs
    warmup = max(1, round(recipe.warmup_share * steps))
    optimizer = torch.optim.AdamW(_parameter_groups(model, recipe.weight_decay), lr=recipe.learning_rate)
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: min((step + 1) / warmup, (steps - step) / max(1, steps - warmup))
    )
    shuffle = np.random.default_rng(recipe.seed)
    model.train()
    for epoch in range(recipe.epochs):
        total = torch.zeros((), device=device)
        for batch in batches_by_length(windows.lengths, recipe.batch_size, shuffle):
            logits = model([windows.ids[index] for index in batch])
            loss = _observed_loss(logits, targets[torch.as_tensor(batch, device=device)], task)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()
            total += loss.detach()
        if not torch.isfinite(total):  # looked at once an epoch: a look is a wait for the device
            raise InputError(
                f"teacher: the loss is not finite in epoch {epoch + 1}; lower teacher.learning_rate "
                f"(it is {recipe.learning_rate:g})."
            )
    model.eval()


@torch.no_grad()
def run_over(
    model: TextClassifier, windows: Windows, batch_size: int, head: bool
) -> Float[np.ndarray, "texts outputs"]:
    """Return logits (``head``) or embeddings of all texts, in evaluation mode, longest texts first."""
    model.eval()
    out: np.ndarray | None = None
    order = np.argsort(-windows.lengths, kind="stable")  # memory runs out at once or never
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        texts = [windows.ids[index] for index in batch]
        values = (model(texts) if head else model.embed(texts)).double().cpu().numpy()
        out = np.empty((len(windows), values.shape[1])) if out is None else out
        out[batch] = values
    width = model.head.out_features if head else model.head.in_features
    return np.empty((0, width)) if out is None else out


def batches_by_length(lengths: np.ndarray, batch_size: int, shuffle: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield every position once, in random batches of texts of similar length."""
    order = shuffle.permutation(len(lengths))
    bucket = batch_size * _BUCKET_BATCHES
    batches: list[np.ndarray] = []
    for start in range(0, len(order), bucket):
        part = order[start : start + bucket]
        part = part[np.argsort(lengths[part], kind="stable")]
        batches += [part[at : at + batch_size] for at in range(0, len(part), batch_size)]
    for index in shuffle.permutation(len(batches)):
        yield batches[index]


def _observed_loss(logits: Tensor, targets: Tensor, task: Task) -> Tensor:
    """Return the mean cross-entropy over observed labels; 0 where a batch has none."""
    observed = ~targets.isnan()
    if task == "multi-class":
        rows = observed.all(dim=1)
        losses = functional.cross_entropy(logits, targets.nan_to_num().argmax(dim=1), reduction="none")
        return (losses * rows).sum() / rows.sum().clamp(min=1)
    losses = functional.binary_cross_entropy_with_logits(logits, targets.nan_to_num(), reduction="none")
    return (losses * observed).sum() / observed.sum().clamp(min=1)


def _parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return [
        {"params": [one for one in trained if one.ndim >= 2], "weight_decay": weight_decay},
        {"params": [one for one in trained if one.ndim < 2], "weight_decay": 0.0},
    ]
