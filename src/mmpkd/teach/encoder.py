"""The paper's text teacher: a pretrained encoder (PubMedBERT by name), fine-tuned, or frozen under a linear head."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

import numpy as np
from jaxtyping import Bool, Float
from pydantic import Field, PrivateAttr

from mmpkd.cohort.cohort import Privileged, Task
from mmpkd.errors import InputError
from mmpkd.teach.base import Teacher, TokenCount, spread
from mmpkd.teach.hub import load_encoder
from mmpkd.teach.logits import to_probabilities
from mmpkd.teach.per_finding import FindingModels
from mmpkd.teach.text import texts_at
from mmpkd.teach.tokens import Long, Windows, cut_into_windows, longest_input

if TYPE_CHECKING:
    from mmpkd.teach.finetune import TextClassifier

_MIN_TOKENS = 16


class EncoderTeacher(Teacher):
    """A Hugging Face encoder and a linear head.

    Args:
        model: ``pubmedbert`` (microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract-fulltext), any name on the hub, or
            a folder that ``save_pretrained`` wrote (relative to the cohort's root).
        revision: Branch, tag or commit on the hub.
        mode: ``fine-tune`` trains encoder and head; ``frozen`` fits logistic regression on standardised embeddings.
        pooling: ``cls``, the first token of the last layer, or ``mean`` over its tokens.
        long: What becomes of a text longer than the encoder: ``head-tail``, ``windows`` or ``head``.
        max_tokens: Tokens of a window, special ones included; no more than the encoder takes.
        max_windows: Windows of a text at most (``long: windows``).
        epochs: Of fine-tuning.
        batch_size: Texts a step.
        learning_rate: Peak, after warm-up.
        weight_decay: On weight matrices.
        warmup_share: Share of the steps in which the learning rate rises.
        dropout: Before the head.
        C: Inverse L2 strength of the frozen encoder's logistic regression.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1``, ``mps``. On CUDA the encoder runs in bfloat16.
    """

    needs: ClassVar[str] = "text"

    model: str = Field(default="pubmedbert", min_length=1)
    revision: str | None = None
    mode: Literal["fine-tune", "frozen"] = "fine-tune"
    pooling: Literal["cls", "mean"] = "cls"
    long: Long = "head-tail"
    max_tokens: int = Field(default=512, ge=_MIN_TOKENS)
    max_windows: int = Field(default=8, ge=1)
    epochs: int = Field(default=4, ge=1)
    batch_size: int = Field(default=16, ge=1)
    learning_rate: float = Field(default=3e-5, gt=0)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup_share: float = Field(default=0.1, ge=0, lt=1)
    dropout: float = Field(default=0.1, ge=0, lt=1)
    C: float = Field(default=0.1, gt=0)
    device: str = "auto"

    _tokeniser: Any = PrivateAttr(default=None)
    _classifier: TextClassifier | None = PrivateAttr(default=None)
    _models: FindingModels | None = PrivateAttr(default=None)
    _task: Task = PrivateAttr(default="multi-label")
    _count: TokenCount | None = PrivateAttr(default=None)
    _unlearned: np.ndarray = PrivateAttr(default_factory=lambda: np.zeros(0, bool))
    # A frozen encoder gives a text the same embedding in every fold; keyed by digest, so no text is held here.
    _embeddings: dict[bytes, np.ndarray] = PrivateAttr(default_factory=dict)

    def fit(
        self,
        privileged: Privileged,
        labels: Float[np.ndarray, "cases findings"],
        task: Task,
        findings: Sequence[str],
        seed: int = 0,
    ) -> Self:
        """Fine-tune, or embed and fit; see :meth:`Teacher.fit`."""
        rows = self._rows_to_learn_from(privileged, labels)
        self._task, self._models, self._warnings = task, None, []
        self._unlearned = np.isnan(labels[rows]).all(axis=0)
        texts = texts_at(privileged, rows)
        if self.mode == "frozen":
            if self._classifier is None:
                self._load(len(findings), seed)
            self._models = FindingModels(task, findings, self._linear).fit(self._embed(texts), labels[rows])
            self._warnings = self._models.warnings
            return self
        from mmpkd.teach.finetune import Recipe, fine_tune

        recipe = Recipe(
            self.epochs,
            self.batch_size,
            self.learning_rate,
            self.weight_decay,
            self.warmup_share,
            self.dropout,
            seed,
        )
        classifier = self._load(len(findings), seed)
        with self._seeded(seed), _memory():
            fine_tune(classifier, self._windows(texts), labels[rows], task, recipe)
        self._warnings = [
            f"'{findings[column]}' has no label to learn from, so the teacher says nothing of it"
            for column in np.flatnonzero(self._unlearned).tolist()
        ]
        return self

    def predict_proba(self, privileged: Privileged) -> Float[np.ndarray, "cases findings"]:
        """Return probabilities; see :meth:`Teacher.predict_proba`."""
        if self._classifier is None or (self.mode == "frozen" and self._models is None):
            raise RuntimeError("call fit before predict_proba")
        known = self.informed(privileged)
        texts = texts_at(privileged, np.flatnonzero(known)) if known.any() else []
        if self._models is not None:
            embeddings = self._embed(texts)
            found = self._models.predict_proba(embeddings) if len(texts) else np.empty((0, len(self._unlearned)))
            return spread(known, found)
        from mmpkd.teach.finetune import run_over

        with _memory():
            logits = run_over(self._classifier, self._windows(texts), 4 * self.batch_size, head=True)
        probabilities = to_probabilities(logits, self._task)
        if self._task == "multi-label":
            probabilities[:, self._unlearned] = np.nan
        return spread(known, probabilities)

    def informed(self, privileged: Privileged) -> Bool[np.ndarray, " cases"]:
        """Say which cases have a text."""
        return np.asarray(privileged.has_text, dtype=bool)

    @property
    def tokens(self) -> TokenCount | None:
        """Tokens seen and cut in the last `fit` or `predict_proba`."""
        return self._count

    @property
    def tokens_cut_share(self) -> float | None:
        """Share of tokens that did not fit, in the last `fit` or `predict_proba`."""
        return None if self._count is None else self._count.cut_share

    def embed(self, texts: list[str], seed: int = 0) -> Float[np.ndarray, "texts width"]:
        """Return the frozen encoder's embedding of each text; no label is needed."""
        if self._classifier is None:
            self._load(1, seed)
        return self._embed(texts)

    def _load(self, outputs: int, seed: int) -> TextClassifier:
        from mmpkd.teach.finetune import TextClassifier, pick_device

        device = pick_device(self.device)
        self._classifier = None  # so that a second fit does not hold two encoders
        with self._seeded(seed):  # whatever a checkpoint lacks is initialised at random
            self._tokeniser, encoder = load_encoder(self.model, self._root, self.revision)
            padding = self._tokeniser.pad_token_id or 0
            classifier = TextClassifier(encoder, outputs, self.pooling, padding, self.dropout)
        self._classifier = classifier.to(device)
        return self._classifier

    def _windows(self, texts: list[str]) -> Windows:
        if self._classifier is None:
            raise RuntimeError("the encoder is not loaded")
        room = min(self.max_tokens, longest_input(self._tokeniser, self._classifier.encoder))
        windows = cut_into_windows(self._tokeniser, texts, self.long, room, self.max_windows)
        self._count = windows.count
        return windows

    def _embed(self, texts: list[str]) -> Float[np.ndarray, "texts width"]:
        from mmpkd.teach.finetune import run_over

        windows = self._windows(texts)
        keys = [hashlib.blake2b(text.encode(), digest_size=16).digest() for text in texts]
        new = {key: index for index, key in enumerate(keys) if key not in self._embeddings}
        if new and self._classifier is not None:
            part = Windows([windows.ids[index] for index in new.values()], windows.count)
            with _memory():
                values = run_over(self._classifier, part, 4 * self.batch_size, head=False)
            self._embeddings.update(zip(new, values.astype(np.float32), strict=True))
        return np.array([self._embeddings[key] for key in keys], dtype=np.float64)

    def _linear(self) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        return make_pipeline(StandardScaler(), LogisticRegression(C=self.C, max_iter=2000))

    @contextlib.contextmanager
    def _seeded(self, seed: int) -> Iterator[None]:
        """Seed torch's generators inside the block only."""
        import torch

        from mmpkd.teach.finetune import pick_device

        device = pick_device(self.device)
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(seed)
            yield


@contextlib.contextmanager
def _memory() -> Iterator[None]:
    """Turn running out of device memory into a sentence with the remedy."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise InputError(
            "teacher: the encoder ran out of device memory; lower teacher.batch_size or teacher.max_tokens."
        ) from None
