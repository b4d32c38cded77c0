"""Settings of the student, of its training and of the objective: data only, no torch.

The defaults are the project's; the paper (arXiv 2508.06558) names a ViT-Tiny and no training recipe.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from jaxtyping import Float
from pydantic import Discriminator, Field, Tag, model_validator

from mmpkd.errors import InputError, did_you_mean
from mmpkd.settings import Settings

HeadName = Literal["class-token", "mean", "patch"]
PoolName = Literal["log-sum-exp", "noisy-or", "top-k", "attention"]
PrecisionName = Literal["auto", "fp32", "bf16"]
PresetName = Literal["paper", "hinton", "lopez-paz"]
Weight = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]
Temperature = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0.0, allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0.0, allow_inf_nan=False)]


class StudentSettings(Settings):
    """An image-only vision transformer: any timm ViT by name, with overrides, and a head.

    Args:
        backbone: A timm model name that yields tokens (ViT, DeiT, EVA, BEiT; not CNNs, not Swin).
        image_size_px: Side of the square input.
        patch_px: Side of a patch; the backbone's own when not given. So for the next three.
        width: Token dimension.
        depth: Number of blocks.
        heads: Number of attention heads.
        channels: 1 for grey, 3 for colour.
        pretrained: Start from timm's published weights (needs the network or a filled cache).
        weights: Start from a local safetensors file of backbone weights instead.
        head: ``class-token`` (the paper's), ``mean`` of the patch tokens, or ``patch`` (a logit per token and
            finding, pooled to the image).
        patch_pooling: The ``patch`` head's rule (:mod:`mmpkd.distil.pooling`).
        patch_temperature: τ of ``log-sum-exp``: near 0 the maximum, for large τ the mean.
        patch_top: Share of the patches that ``top-k`` reads, at least one.
        drop_path: Largest stochastic-depth rate, reached linearly in the last block.
    """

    backbone: str = "vit_tiny_patch16_224"
    image_size_px: int = Field(default=224, ge=8, le=4096)
    patch_px: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=8)
    depth: int | None = Field(default=None, ge=1)
    heads: int | None = Field(default=None, ge=1)
    channels: Literal[1, 3] = 1
    pretrained: bool = False
    weights: Path | None = None
    head: HeadName = "class-token"
    patch_pooling: PoolName = "log-sum-exp"
    patch_temperature: Positive = 1.0
    patch_top: Annotated[float, Field(gt=0.0, le=1.0)] = 0.1
    drop_path: float = Field(default=0.0, ge=0.0, lt=1.0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.pretrained and self.weights is not None:
            raise ValueError("'pretrained' and 'weights' are both given; keep one of them.")
        if self.patch_px is not None and self.image_size_px % self.patch_px:
            raise ValueError(
                f"an image of {self.image_size_px} px does not divide into patches of {self.patch_px} px; "
                "change 'image_size_px' or 'patch_px'."
            )
        if self.width is not None and self.heads is not None and self.width % self.heads:
            raise ValueError(
                f"a width of {self.width} does not divide into {self.heads} heads; change 'width' or 'heads'."
            )
        return self


class AugmentSettings(Settings):
    """Random changes of each training image, drawn anew in each epoch; zero everywhere turns them off.

    Args:
        shift: Largest shift, as a share of the side, in each direction.
        scale: Largest change of size: factors are drawn from [1 - scale, 1 + scale].
        rotate_deg: Largest rotation, either way.
        brightness: Largest change added to grey values in [0, 1].
        contrast: Largest change of contrast about each image's mean: factors in [1 - contrast, 1 + contrast].
        flip: Mirror half of the images. Off, because the patient's right must stay the image's left.
    """

    shift: float = Field(default=0.05, ge=0.0, lt=1.0)
    scale: float = Field(default=0.1, ge=0.0, lt=1.0)
    rotate_deg: float = Field(default=10.0, ge=0.0, le=180.0)
    brightness: float = Field(default=0.1, ge=0.0, le=1.0)
    contrast: float = Field(default=0.1, ge=0.0, lt=1.0)
    flip: bool = False

    @classmethod
    def off(cls) -> Self:
        """Return settings that change nothing."""
        return cls(shift=0.0, scale=0.0, rotate_deg=0.0, brightness=0.0, contrast=0.0)


class TrainingSettings(Settings):
    """How a student is trained: AdamW, warm-up and cosine decay, best epoch by a validation metric.

    Args:
        epochs: Passes over the training cases.
        batch_size: Images a step, over all processes together.
        learning_rate: Peak of the schedule.
        weight_decay: Decoupled decay; never applied to biases, norms, position embeddings and tokens.
        warmup_epochs: Length of the linear warm-up, fractions allowed.
        clip_norm: Largest norm of the gradient; ``None`` leaves it as it is.
        precision: ``auto`` asks the machine what it has units for and never times anything.
        augment: Random changes of the training images.
        patience: Stop after so many epochs without a better ``metric``; ``None`` trains them all.
        metric: What chooses the best epoch, on validation cases.
        log_every: Steps between looks at the device: loss parts and the check for non-finite losses.
        checkpoint_every_s: Least seconds between two checkpoints, which are written at ends of epochs.
        compile: Compile student and loss with torch.compile (pays on long GPU runs).
    """

    epochs: int = Field(default=30, ge=1)
    batch_size: int = Field(default=128, ge=1)
    learning_rate: Positive = 1e-3
    weight_decay: NotNegative = 0.05
    warmup_epochs: NotNegative = 1.0
    clip_norm: Positive | None = 1.0
    precision: PrecisionName = "auto"
    augment: AugmentSettings = AugmentSettings()
    patience: int | None = Field(default=None, ge=1)
    metric: Literal["val_auroc"] = "val_auroc"
    log_every: int = Field(default=20, ge=1)
    checkpoint_every_s: NotNegative = 15.0
    compile: bool = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.warmup_epochs > self.epochs:
            raise ValueError(f"'warmup_epochs' ({self.warmup_epochs:g}) exceeds 'epochs' ({self.epochs}); shorten it.")
        return self


class LambdaSchedule(Settings):
    """λ over the epochs: from ``start`` in the first to ``end`` in the last."""

    kind: Literal["constant", "linear", "cosine"]
    start: Weight
    end: Weight | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.kind != "constant" and self.end is None:
            raise ValueError(f"a {self.kind} schedule of lambda needs 'end'.")
        return self

    def at(self, epoch: int, epochs: int) -> float:
        """Return λ in epoch ``epoch`` (from 0) of ``epochs``."""
        if self.kind == "constant" or self.end is None or epochs == 1:
            return self.start
        share = epoch / (epochs - 1)
        if self.kind == "cosine":
            share = 0.5 - 0.5 * float(np.cos(np.pi * share))
        return self.start + (self.end - self.start) * share


def _form(value: object) -> str:
    """Tell the forms of a value apart, so that an error is told for the form that was meant."""
    if isinstance(value, LambdaSchedule) or (isinstance(value, Mapping) and "kind" in value):
        return "schedule"
    return "by finding" if isinstance(value, Mapping) else "number"


Lambda = Annotated[
    Annotated[Weight, Tag("number")]
    | Annotated[LambdaSchedule, Tag("schedule")]
    | Annotated[dict[str, Weight], Tag("by finding")],
    Discriminator(_form),
]
Temperatures = Annotated[
    Annotated[Temperature, Tag("number")] | Annotated[dict[str, Temperature], Tag("by finding")],
    Discriminator(_form),
]


class AttentionTerms(Settings):
    """Weights of the terms on the student's own map; 0 leaves a term out, and all of them 0 cost nothing.

    Formulas and scales stand in :mod:`mmpkd.distil.attention_terms`, what the map is in :mod:`mmpkd.distil.own_map`.

    Args:
        entropy: For narrower maps: their entropy, as a share of a uniform map's.
        total_variation: For smoother maps: the differences between neighbouring patches.
        consistency: For maps that follow the picture: one minus the cosine similarity of the maps of two
            augmented views. It costs a second forward and backward pass, so nearly twice the time and memory.
        roi: For maps inside the ROIs of the training cases. An upper bound, not a fair arm: it is shown what
            localisation is scored by.
        zones: For evidence where the privileged information says that a finding is (:mod:`mmpkd.distil.zone_terms`).
            It needs the ``patch`` head and located soft labels.
    """

    entropy: NotNegative = 0.0
    total_variation: NotNegative = 0.0
    consistency: NotNegative = 0.0
    roi: NotNegative = 0.0
    zones: NotNegative = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """The terms that are on, in the order above."""
        return tuple(name for name, weight in self if weight)


class EmbeddingTerms(Settings):
    """Weights of the terms that arrange images as embeddings of privileged information lie; 0 leaves a term out.

    Formulas and sources stand in :mod:`mmpkd.distil.embedding_terms`; the embeddings are made by ``teach.embedding``.

    Args:
        feature: One minus the linear CKA of the student's features and the embeddings.
        relational: Distances and angles between cases.
        contrastive: Each case's similarities to the other cases of the batch.
        temperature: Of these similarities.
    """

    feature: NotNegative = 0.0
    relational: NotNegative = 0.0
    contrastive: NotNegative = 0.0
    temperature: Annotated[float, Field(gt=0.0, le=10.0)] = 0.1

    @property
    def names(self) -> tuple[str, ...]:
        """The terms that are on, in the order above."""
        return tuple(name for name in ("feature", "relational", "contrastive") if getattr(self, name))


class ObjectiveSettings(Settings):
    """The distillation objective; see :mod:`mmpkd.distil.objective` for the formulas.

    Args:
        lambda_: ``lambda`` in YAML. Weight of the soft term, in [0, 1]: a number, one per finding by name,
            or a schedule over the epochs.
        temperature: T > 0: a number, or one per finding by name.
        preset: Which of three published conventions: ``paper``, ``hinton`` or ``lopez-paz``.
        attention: Weights of further terms, on the student's own map.
    """

    lambda_: Lambda = Field(default=0.5, alias="lambda")
    temperature: Temperatures = 1.0
    preset: PresetName = "paper"
    attention: AttentionTerms = AttentionTerms()
    embedding: EmbeddingTerms = EmbeddingTerms()

    def weights(self, findings: Sequence[str], epoch: int, epochs: int) -> Float[np.ndarray, " findings"]:
        """Return λ of each finding in epoch ``epoch`` (from 0) of ``epochs``."""
        if isinstance(self.lambda_, LambdaSchedule):
            return np.full(len(findings), self.lambda_.at(epoch, epochs))
        return _per_finding("lambda", self.lambda_, findings)

    def temperatures(self, findings: Sequence[str]) -> Float[np.ndarray, " findings"]:
        """Return T of each finding."""
        return _per_finding("temperature", self.temperature, findings)

    @property
    def changes_over_epochs(self) -> bool:
        """Whether the targets must be mixed anew in each epoch."""
        return isinstance(self.lambda_, LambdaSchedule) and self.lambda_.kind != "constant"


def _per_finding(
    name: str, value: float | Mapping[str, float], findings: Sequence[str]
) -> Float[np.ndarray, " findings"]:
    if not isinstance(value, Mapping):
        return np.full(len(findings), float(value))
    problems = [
        f"objective.{name}: there is no finding {key!r}{did_you_mean(key, findings)}"
        for key in value
        if key not in findings
    ]
    problems += [
        f"objective.{name}: the finding {finding!r} has no value; give one for each, or one number for all."
        for finding in findings
        if finding not in value
    ]
    if problems:
        raise InputError(problems)
    return np.array([float(value[finding]) for finding in findings])
