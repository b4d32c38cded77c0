"""The training loop for several students at once: :mod:`mmpkd.distil.loop` with a model axis.

A micro student leaves a GPU waiting for the next kernel; a dozen of them cost about the same. Each model keeps its own
targets, λ, T, seed, data order, augmentation, learning rate, clipping, best epoch and early stopping, and ends where it
would have ended alone, up to the rounding of floats. Its checkpoints are those of a training alone, so that either kind
goes on from the other's.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor

from mmpkd.cohort.cohort import Task
from mmpkd.distil import augment, checkpoint
from mmpkd.distil.arms import Targets
from mmpkd.distil.batches import BatchFeeder, draw_views, epoch_batches, student_seed
from mmpkd.distil.criterion import epoch_terms
from mmpkd.distil.identity import training_fingerprint
from mmpkd.distil.precision import choose_precision
from mmpkd.distil.predict import check_images
from mmpkd.distil.schedule import learning_rate
from mmpkd.distil.settings import StudentSettings, TrainingSettings
from mmpkd.distil.stacked_criterion import StackedTerms
from mmpkd.distil.stacked_modules import stack_modules
from mmpkd.distil.stacked_step import StackedStep
from mmpkd.distil.stacked_weights import StackedWeights
from mmpkd.distil.student import Student, build_student, explicit_attention
from mmpkd.distil.trained import TrainedStudent
from mmpkd.distil.validation import macro_auroc
from mmpkd.folder import CellFolder
from mmpkd.progress import SILENT, Progress

if TYPE_CHECKING:
    from mmpkd.cohort.image_set import ImageSet

_OWN_SETTINGS = {"epochs", "learning_rate", "warmup_epochs", "patience", "clip_norm", "checkpoint_every_s"}


@dataclass(frozen=True)
class Member:
    """One model of a stack; the arguments of :func:`mmpkd.distil.loop.train` that are its own.

    Args:
        training: The recipe. Members of a stack may differ in epochs, warm-up, learning rate, patience and clipping.
        targets: What it is taught, one row a case of the images. It may have no terms beside hard and soft labels.
        train_positions: Cases that train.
        seed: Initial weights, order, augmentation.
        folder: Where its checkpoints go.
    """

    training: TrainingSettings
    targets: Targets
    train_positions: Int[np.ndarray, " train"]
    seed: int
    folder: CellFolder | None = None

    @property
    def shape(self) -> tuple[object, ...]:
        """What all members of a stack share: the recipe but for what each may have of its own, and steps an epoch."""
        shared = {key: value for key, value in self.training.to_data().items() if key not in _OWN_SETTINGS}
        size = min(self.training.batch_size, len(self.train_positions))
        return repr(shared), size, len(self.train_positions) // size

    def batches(self, epoch: int) -> Int[np.ndarray, "steps batch"]:
        """Return the cases of each batch of an epoch (from 0)."""
        cases = self.train_positions
        return cases[epoch_batches(len(cases), self.training.batch_size, self.seed, epoch)]

    def rate(self, step: int, steps_an_epoch: int) -> float:
        """Return the learning rate of a step (from 0)."""
        warmup = round(self.training.warmup_epochs * steps_an_epoch)
        return learning_rate(step, self.training.epochs * steps_an_epoch, warmup, self.training.learning_rate)


def train_stacked(
    student_settings: StudentSettings,
    members: Sequence[Member],
    images: ImageSet,
    val_positions: Int[np.ndarray, " val"],
    val_labels: Float[np.ndarray, "val findings"],
    findings: Sequence[str],
    progress: Progress = SILENT,
    task: Task = "multi-label",
    recorded: bool = False,
) -> list[TrainedStudent | None]:
    """Train all members in one process, on one device, and return them in their order.

    A member whose loss or validation scores become non-finite is left out and has ``None``; the others go on. Train it
    alone to be told where it happened.

    Args:
        student_settings: The student to build; :func:`mmpkd.distil.stacked_modules.can_stack` must hold for it.
        members: All of one :attr:`Member.shape`.
        images: The cohort's images.
        val_positions: Cases that choose the best epoch of each.
        val_labels: Their labels, NaN where missing.
        findings: Names of the labels, in order.
        progress: Advances once an epoch and member.
        task: ``multi-label`` or ``multi-class``.
        recorded: Replay each step as a CUDA graph. About twice as fast on a GPU; off, since its students have not been
            held against those of the plain loop on one yet.

    Raises:
        InputError: Images that are not the student's, or a checkpoint of another training.
    """
    if len({member.shape for member in members}) != 1:
        raise ValueError("the members of a stack differ in their recipe or in their steps an epoch")
    objectives = [member.targets.objective for member in members]
    if any(objective.attention.names or objective.embedding.names for objective in objectives):
        raise ValueError("a member with terms on its map or features cannot be stacked")
    run = _Stack(student_settings, members, images, val_positions, val_labels, tuple(findings), task, recorded)
    with explicit_attention(run.stacked, run.precision.explicit_attention):
        run.train(progress)
    return [run.trained(member) for member in range(len(members))]


class _Stack:
    """The members' students, optimiser and data. ``active`` are the members whose training is not over."""

    def __init__(
        self,
        student_settings: StudentSettings,
        members: Sequence[Member],
        images: ImageSet,
        val_positions: Int[np.ndarray, " val"],
        val_labels: Float[np.ndarray, "val findings"],
        findings: tuple[str, ...],
        task: Task,
        recorded: bool,
    ) -> None:
        self.recorded = recorded
        self.settings, self.members, self.findings, self.task = student_settings, members, findings, task
        self.val_positions, self.val_labels = val_positions, val_labels
        self.recipe = members[0].training
        self.device: torch.device = Accelerator(mixed_precision="no").device
        self.precision = choose_precision(self.recipe.precision, self.device)
        self.fit = images.fit
        with torch.random.fork_rng(devices=[]):
            students = []
            for member in members:
                torch.manual_seed(student_seed(member.seed))
                students.append(self._build())
        check_images(students[0], images)
        self.weights = StackedWeights(students, self.recipe, self.device)
        self.single = students[0].to(self.device)
        self.stacked = stack_modules(self.single).train()
        self.fingerprints = [self._fingerprint(member) for member in members]
        self.states = [self._resume(row) for row in range(len(members))]
        self.active = list(range(len(members)))
        self.failed: set[int] = set()
        self.feed = BatchFeeder(images, self.device, self.recipe.batch_size * len(members), resident=True)
        self.step: StackedStep | None = None

    def _build(self) -> Student:
        return build_student(self.settings, self.findings, self.task, self.fit)

    def _fingerprint(self, member: Member) -> str:
        taught = member.targets.take(member.train_positions)
        cases = (member.train_positions, self.val_positions, self.val_labels, self.findings)
        return training_fingerprint(self.settings, member.training, taught, None, *cases, self.task, member.seed)

    def _resume(self, row: int) -> checkpoint.TrainingState:
        folder = self.members[row].folder
        saved = None if folder is None else checkpoint.read_state(folder.checkpoint, self.fingerprints[row])
        if saved is None:
            return checkpoint.TrainingState(0, 0, {}, [])
        state, weights, moments = saved
        self.weights.load(row, weights, moments)
        return state

    def train(self, progress: Progress) -> None:
        """Train epoch after epoch; whoever is done leaves the stack."""
        saved_at = time.monotonic()
        with progress.bar("training", sum(member.training.epochs for member in self.members)) as advance:
            advance(sum(state.epoch for state in self.states))
            self._drop([row for row in self.active if self._is_done(row)])
            while self.active:
                rows = self._train_epoch()
                scores = self._predict()
                for place, member in enumerate(self.active):
                    self._end_epoch(member, rows[place], scores[place], self.weights.weights(place))
                advance(len(self.active))
                done = [row for row in self.active if self._is_done(row)]
                if done or time.monotonic() - saved_at >= self.recipe.checkpoint_every_s:
                    self._save()
                    saved_at = time.monotonic()
                self._drop(done)

    def _end_epoch(
        self, member: int, row: dict[str, float], scores: Float[np.ndarray, "val findings"], weights: dict[str, Tensor]
    ) -> None:
        if not (np.isfinite(row["train_loss"]) and np.isfinite(scores).all()):
            self.failed.add(member)
            return
        row["val_auroc"] = macro_auroc(self.val_labels, scores)
        keep_last = self.members[member].targets.keep_last_epoch
        self.states[member] = self.states[member].after(row, self.recipe.metric, weights, keep_last)

    def _is_done(self, member: int) -> bool:
        training = self.members[member].training
        return member in self.failed or self.states[member].is_done(training.epochs, training.patience)

    def _drop(self, done: Sequence[int]) -> None:
        if done:
            left = [place for place, member in enumerate(self.active) if member not in done]
            self.active = [self.active[place] for place in left]
            self.weights.keep(left)
            self.step = None

    def _save(self) -> None:
        for place, member in enumerate(self.active):
            folder = self.members[member].folder
            if folder is not None and member not in self.failed:
                weights, moments = self.weights.weights(place), self.weights.moments(place)
                state, mark = self.states[member], self.fingerprints[member]
                checkpoint.save_state(folder.checkpoint, mark, state, weights, moments)

    def trained(self, member: int) -> TrainedStudent | None:
        """Return a member with the weights of its best epoch."""
        if member in self.failed:
            return None
        student, state = self._build(), self.states[member]
        student.load_state_dict(state.best)
        return TrainedStudent(student.eval(), pd.DataFrame(state.history).astype({"epoch": "int64"}), state.best_epoch)

    def _train_epoch(self) -> list[dict[str, float]]:
        """Train one epoch of each active member and return their rows of the history."""
        active = [self.members[member] for member in self.active]
        epochs = [self.states[member].epoch for member in self.active]
        batches = [member.batches(epoch) for member, epoch in zip(active, epochs, strict=True)]
        steps = len(batches[0])
        each = list(zip(active, epochs, strict=True))
        rates = np.array(
            [[member.rate(epoch * steps + step, steps) for member, epoch in each] for step in range(steps)]
        )
        planned = self.weights.plan(rates)
        train_step = self._prepared(active, epochs)
        total = torch.zeros(len(active), device=self.device)
        parts: list[Tensor] = []
        for step, (images, rows) in enumerate(self._load(active, epochs, batches)):
            losses, logits = train_step(images, rows, planned[step])
            total += losses
            if step % self.recipe.log_every == 0 or step == steps - 1:
                parts.append(train_step.terms.take(rows).parts(logits))
        means = torch.cat([(total / steps).unsqueeze(0), torch.stack(parts).nanmean(0).T]).T.tolist()
        names = ("train_loss", "train_hard", "train_soft")
        return [
            {"epoch": epoch + 1, **dict(zip(names, values, strict=True)), "learning_rate": rate}
            for epoch, values, rate in zip(epochs, means, rates[-1].tolist(), strict=True)
        ]

    def _load(
        self, active: Sequence[Member], epochs: Sequence[int], batches: Sequence[Int[np.ndarray, "steps batch"]]
    ) -> Iterator[tuple[Float[Tensor, "models_batch channels size size"], Int[Tensor, "models batch"]]]:
        """Yield the members' normalised images and their positions; members with one order share one stream."""
        seeds = [member.seed for member in active]
        orders = [(seed, epoch, own.tobytes()) for seed, epoch, own in zip(seeds, epochs, batches, strict=True)]
        streams = {order: place for place, order in reversed(list(enumerate(orders)))}
        firsts = sorted(streams.values())
        stream_of = torch.tensor([firsts.index(streams[order]) for order in orders], device=self.device)
        size = batches[0].shape[1]
        positions = np.stack([batches[place] for place in firsts], axis=1)
        drawn = [draw_views(self.recipe.augment, batches[place].shape, seeds[place], epochs[place]) for place in firsts]
        moves = None
        if drawn[0] is not None:
            moves = torch.from_numpy(np.stack([own[:, 0] for own in drawn if own is not None], axis=1)).to(self.device)
        rows = torch.from_numpy(np.stack(batches, axis=1)).to(self.device)
        for step in range(len(positions)):
            images = self.feed(positions[step].ravel()).float().div_(255.0)
            if moves is not None:
                images = augment.apply(images, moves[step].flatten(0, 1))
            images = self.single.normalise(images).unflatten(0, (len(firsts), size))
            yield images[stream_of].flatten(0, 1), rows[step]

    def _prepared(self, active: Sequence[Member], epochs: Sequence[int]) -> StackedStep:
        """Return the step of the active members, with the targets of these epochs."""
        if self.step is None:
            norms = torch.tensor([member.training.clip_norm or torch.inf for member in active], device=self.device)
            terms = self._terms(active, epochs)
            how = (self.precision, self.recipe.compile, self.recorded)
            self.step = StackedStep(self.stacked, self.weights, terms, norms, *how)
        elif any(member.targets.objective.changes_over_epochs for member in active):
            self.step.terms.replace(self._terms(active, epochs))
        return self.step

    def _terms(self, active: Sequence[Member], epochs: Sequence[int]) -> StackedTerms:
        exact = [
            epoch_terms(member.targets, self.findings, self.task, epoch, member.training.epochs)
            for member, epoch in zip(active, epochs, strict=True)
        ]
        return StackedTerms.of([terms.to(self.device, torch.float32) for terms in exact])

    def _predict(self) -> Float[np.ndarray, "models val findings"]:
        """Return the active members' scores of the validation cases, in the training's precision."""
        models, size = len(self.active), self.recipe.batch_size
        scores = [torch.empty((models, 0, len(self.findings)), device=self.device)]
        self.stacked.eval()
        with torch.inference_mode(), self.precision.autocast(self.device):
            for start in range(0, len(self.val_positions), size):
                images = self.single.prepare(self.feed(self.val_positions[start : start + size]))
                folded = images.expand(models, *images.shape).flatten(0, 1)
                logits = torch.func.functional_call(self.stacked, self.weights.named(), (folded,))
                logits = logits.unflatten(0, (models, -1))
                scores.append(logits.softmax(2) if self.task == "multi-class" else logits)
        self.stacked.train()
        return np.asarray(torch.cat(scores, 1).cpu().numpy())
