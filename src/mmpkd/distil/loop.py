"""The training loop, whole: read it from :func:`train` down. Devices and processes are accelerate's.

The teacher is not here: its soft labels are in the targets. Order, augmentation and dropout of an epoch
depend on (seed, epoch) only, so that a killed training goes on from its last checkpoint and ends with the
same bytes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from jaxtyping import Float, Int
from torch import Tensor, nn

from mmpkd.cohort.cohort import Task
from mmpkd.distil import augment, checkpoint
from mmpkd.distil.arms import NO_EMBEDDINGS, Targets
from mmpkd.distil.attention_criterion import AttentionCriterion, check_attention
from mmpkd.distil.batches import BatchFeeder, draw_views, dropout_seed, epoch_batches, student_seed
from mmpkd.distil.criterion import Criterion, build_criterion
from mmpkd.distil.embedding_criterion import EmbeddingCriterion
from mmpkd.distil.further_terms import FurtherTerms
from mmpkd.distil.identity import training_fingerprint
from mmpkd.distil.optimizer import build_optimizer
from mmpkd.distil.own_map import MappedStudent
from mmpkd.distil.pooling import Pooling
from mmpkd.distil.precision import Precision, choose_precision
from mmpkd.distil.predict import check_images
from mmpkd.distil.roi_coverage import RoiCoverage, RoiSource
from mmpkd.distil.schedule import learning_rate
from mmpkd.distil.settings import StudentSettings, TrainingSettings
from mmpkd.distil.student import Student, build_student, explicit_attention
from mmpkd.distil.trained import Shelf, TrainedStudent, shelf_key
from mmpkd.distil.validation import macro_auroc
from mmpkd.distil.zone_criterion import ZoneCriterion
from mmpkd.errors import InputError
from mmpkd.folder import CellFolder
from mmpkd.progress import SILENT, Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mmpkd.cohort.image_set import ImageSet

_ROWS_SHOWN = 8
_REMEDY = "lower training.learning_rate, set training.clip_norm, or set training.precision to fp32."


def train(
    student_settings: StudentSettings,
    training: TrainingSettings,
    targets: Targets,
    images: ImageSet,
    train_positions: Int[np.ndarray, " train"],
    val_positions: Int[np.ndarray, " val"],
    val_labels: Float[np.ndarray, "val findings"],
    findings: Sequence[str],
    seed: int,
    folder: CellFolder | None = None,
    progress: Progress = SILENT,
    task: Task = "multi-label",
    rois: RoiSource | None = None,
    shelf: Shelf | None = None,
    cpu: bool = False,
) -> TrainedStudent:
    """Train one student, or go on with a killed training of the same.

    Args:
        student_settings: The student to build.
        training: The recipe.
        targets: What the arm teaches, one row a case of ``images``; only training rows are read.
        images: The cohort's images, at the student's size and channels.
        train_positions: Cases that train.
        val_positions: Cases that choose the best epoch.
        val_labels: Their labels, NaN where missing.
        findings: Names of the labels, in order.
        seed: One replicate: initial weights, order, augmentation and dropout. Arms of one seed share them.
        folder: Where checkpoints go; ``None`` writes none. Remove them with
            :func:`mmpkd.distil.checkpoint.discard_state` once the student is saved.
        progress: Advances once an epoch.
        task: ``multi-label`` or ``multi-class``.
        rois: Gives the training cases' ROIs; called only if the objective's ``attention.roi`` is on.
        shelf: Where to look for this training before it is done, and to keep its student after.
        cpu: Train on the CPU even where there is a GPU; it holds for the whole process.

    Raises:
        InputError: Settings that do not fit images, findings or each other, no labelled training case, a checkpoint
            of another training, or a loss that became non-finite (the sentence names the batch's cases).
    """
    if len(targets) != len(images):
        raise ValueError(f"targets have {len(targets)} rows but there are {len(images)} cases")
    taught, attention = targets.take(train_positions), targets.objective.attention
    check_attention(attention, training, student_settings.head, rois is not None, taught.zones is not None)
    if taught.objective.embedding.names and taught.embeddings is None:
        raise InputError(NO_EMBEDDINGS)
    if np.isnan(taught.hard).all() and np.isnan(taught.soft_logits).all():
        raise InputError("no training case has a label or a soft label; check the split and the label columns.")
    # autocast is our own: accelerate's is set once per process
    accelerator = Accelerator(mixed_precision="no", cpu=cpu)
    with torch.random.fork_rng(devices=[accelerator.device] if accelerator.device.type == "cuda" else []):
        torch.manual_seed(student_seed(seed))
        student = build_student(student_settings, findings, task, images.fit)
        check_images(student, images)
        coverage = rois(train_positions, student.grid) if rois is not None and attention.roi else None
        run = _Run(accelerator, student, training, taught, coverage, images, train_positions, seed)
        fingerprint = training_fingerprint(
            student_settings,
            training,
            taught,
            coverage,
            train_positions,
            val_positions,
            val_labels,
            findings,
            task,
            seed,
        )
        key = ""
        if shelf is not None:
            seen = np.concatenate([train_positions, val_positions])
            key = shelf_key(fingerprint, student, images, seen, accelerator.device)
            if (found := shelf.find(key)) is not None:
                found.student.to(accelerator.device)
                return found
        with explicit_attention(student, run.precision.explicit_attention):
            state = _train_epochs(run, val_positions, val_labels, fingerprint, folder, progress)
    student.load_state_dict(state.best)
    history = pd.DataFrame(state.history).astype({"epoch": "int64"})
    trained = TrainedStudent(student.eval(), history, state.best_epoch)
    if shelf is not None and accelerator.is_main_process:
        shelf.keep(key, trained)
    return trained


def _train_epochs(
    run: _Run,
    val_positions: Int[np.ndarray, " val"],
    val_labels: Float[np.ndarray, "val findings"],
    fingerprint: str,
    folder: CellFolder | None,
    progress: Progress,
) -> checkpoint.TrainingState:
    """Train epoch after epoch from the last checkpoint on, keeping the best weights."""
    state = checkpoint.TrainingState(0, 0, {}, [])
    if folder is not None:
        state = checkpoint.load_state(folder.checkpoint, fingerprint, run.student, run.optimizer) or state
    saved_at, epochs = time.monotonic(), run.training.epochs
    with progress.bar("training", epochs) as advance:
        advance(state.epoch)
        while not state.is_done(epochs, run.training.patience):
            row = run.train_epoch(state.epoch)
            row["val_auroc"] = macro_auroc(val_labels, run.predict(val_positions))
            weights = run.student.state_dict()
            state = state.after(row, run.training.metric, weights, run.targets.keep_last_epoch)
            advance(1)
            due = time.monotonic() - saved_at >= run.training.checkpoint_every_s
            due = due or state.is_done(epochs, run.training.patience)
            if folder is not None and due and run.accelerator.is_main_process:
                moments = run.optimizer.state_dict()["state"]
                checkpoint.save_state(folder.checkpoint, fingerprint, state, weights, moments)
                saved_at = time.monotonic()
    return state


class _Run:
    """One training's student, optimiser and data; :meth:`train_epoch` is the loop itself."""

    def __init__(
        self,
        accelerator: Accelerator,
        student: Student,
        training: TrainingSettings,
        targets: Targets,
        rois: RoiCoverage | None,
        images: ImageSet,
        positions: Int[np.ndarray, " train"],
        seed: int,
    ) -> None:
        self.accelerator, self.student, self.training = accelerator, student, training
        self.targets, self.positions, self.seed = targets, positions, seed
        self.device: torch.device = accelerator.device
        self.processes, self.process = int(accelerator.num_processes), int(accelerator.process_index)
        if training.batch_size % self.processes or len(positions) < self.processes:
            raise InputError(
                f"training.batch_size: {training.batch_size} images (of {len(positions)} training cases) do "
                f"not share out over {self.processes} processes; make it a multiple of {self.processes}."
            )
        self.precision: Precision = choose_precision(training.precision, self.device)
        terms = targets.objective.attention
        zones = None
        if targets.zones is not None and terms.zones:
            zones = ZoneCriterion(targets.zones, Pooling.of(student.settings), self.device)
        attention = AttentionCriterion(terms, targets.hard, rois, self.device, self.processes, zones)
        embedding = EmbeddingCriterion(targets.objective.embedding, targets.embeddings, self.device)
        self.further = FurtherTerms(attention, embedding)
        wrapped = MappedStudent(student, self.further.of_maps) if self.further.names else student
        self.model: nn.Module = accelerator.prepare(wrapped)
        self.optimizer = build_optimizer(student, training)
        self.feed = BatchFeeder(images, self.device, training.batch_size, resident=True)
        self.criterion = self._build_criterion(0)
        self.step_loss: Callable[..., tuple[Tensor, Tensor, Tensor]] = self._step_loss
        if training.compile:
            self.step_loss = torch.compile(self._step_loss)

    def train_epoch(self, epoch: int) -> dict[str, float]:
        """Train one epoch (from 0) and return its row of the history."""
        training = self.training
        batches = epoch_batches(len(self.positions), training.batch_size, self.seed, epoch, self.processes)
        steps = len(batches)
        if self.targets.objective.changes_over_epochs:
            self.criterion = self._build_criterion(epoch)
        torch.manual_seed(dropout_seed(self.seed, epoch, self.process))
        self.model.train()
        # kept on the device: looking at a number waits for the step that makes it
        total, first_bad = torch.zeros((), device=self.device), torch.full((), steps, device=self.device)
        parts: list[Tensor] = []
        rate = 0.0
        for step, (images, moves, own, batch) in enumerate(self._load(epoch, batches)):
            rate = self._set_learning_rate(epoch * steps + step, steps)
            loss, logits, terms = self.step_loss(images, moves, own, batch)
            self.accelerator.backward(loss)
            if training.clip_norm is not None:
                self.accelerator.clip_grad_norm_(self.model.parameters(), training.clip_norm)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
            with torch.no_grad():
                total += loss
                first_bad = torch.where(loss.isfinite(), first_bad, first_bad.clamp(max=step))
                if step % training.log_every == 0 or step == steps - 1:
                    parts.append(torch.cat([self.criterion.parts(logits, own), self.further.told(terms, batch)]))
                    self._check_finite(first_bad, epoch, batches)
        means = torch.cat([(total / steps).reshape(1), torch.stack(parts).nanmean(0)])
        names = ("loss", "hard", "soft", *self.further.names)
        told = zip(names, self.accelerator.reduce(means, "mean").tolist(), strict=True)
        return {"epoch": epoch + 1, **{f"train_{name}": value for name, value in told}, "learning_rate": rate}

    def _step_loss(
        self, images: Tensor, moves: Tensor | None, own: Tensor, batch: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the loss, the logits of the first views, and all further terms, none in the ordinary case."""
        with self.precision.autocast(self.device):
            output = self.model(images)
        if not self.further.names:
            return self.criterion.loss(output, own, batch), output.detach(), self.further.weights
        logits, terms = output.logits[: len(own)], self.further(output, moves, own, batch)
        loss = self.criterion.loss(logits, own, batch) + (self.further.weights * terms).sum()
        return loss, logits.detach(), terms.detach()

    def _load(
        self, epoch: int, batches: Int[np.ndarray, "steps batch"]
    ) -> Iterator[tuple[Tensor, Tensor | None, Tensor, Tensor]]:
        """Yield this process's normalised images, their augmentation, their rows, and those of the whole batch.

        Where a term needs two views of each image, all first views come before all second ones.
        """
        share = batches.shape[1] // self.processes
        own = slice(self.process * share, (self.process + 1) * share)
        drawn = draw_views(self.training.augment, batches.shape, self.seed, epoch, self.further.views)
        on_device = None if drawn is None else torch.from_numpy(drawn[:, :, own]).to(self.device)
        rows = torch.from_numpy(batches).to(self.device)
        for step, batch in enumerate(batches):
            images = self.feed(self.positions[batch[own]]).float().div_(255.0)
            moves = None if on_device is None else on_device[step]
            if moves is not None:
                images = augment.apply_views(images, moves)
            yield self.student.normalise(images), moves, rows[step, own], rows[step]

    def _set_learning_rate(self, step: int, steps_an_epoch: int) -> float:
        warmup = round(self.training.warmup_epochs * steps_an_epoch)
        total = self.training.epochs * steps_an_epoch
        rate = learning_rate(step, total, warmup, self.training.learning_rate)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        return rate

    def _build_criterion(self, epoch: int) -> Criterion:
        names, task, epochs = self.student.findings, self.student.task, self.training.epochs
        return build_criterion(self.targets, names, task, epoch, epochs, self.device, self.processes)

    def _check_finite(self, first_bad: Tensor, epoch: int, batches: Int[np.ndarray, "steps batch"]) -> None:
        step = int(self.accelerator.gather(first_bad.reshape(1)).min())
        if step < len(batches):
            cases = np.sort(self.positions[batches[step]])
            more = f" and {len(cases) - _ROWS_SHOWN} more" if len(cases) > _ROWS_SHOWN else ""
            raise InputError(
                f"the loss became non-finite in epoch {epoch + 1}, step {step + 1} (cases at table positions "
                f"{', '.join(str(case) for case in cases[:_ROWS_SHOWN])}{more}); {_REMEDY}"
            )

    def predict(self, positions: Int[np.ndarray, " n"]) -> Float[np.ndarray, "n findings"]:
        """Return scores of cases in the training's precision, each process computing its share."""
        count, size = len(positions), self.training.batch_size
        share = -(-count // self.processes)
        padded = np.resize(positions, share * self.processes) if count else positions
        own = padded[self.process * share : (self.process + 1) * share]
        self.model.eval()
        scores = [torch.empty((0, len(self.student.findings)), device=self.device)]
        with torch.inference_mode(), self.precision.autocast(self.device):
            for start in range(0, len(own), size):
                logits = self.student(self.student.prepare(self.feed(own[start : start + size])))
                scores.append(logits.softmax(1) if self.student.task == "multi-class" else logits)
        gathered = np.asarray(self.accelerator.gather(torch.cat(scores))[:count].cpu().numpy())
        if not np.isfinite(gathered).all():
            raise InputError(f"the student's outputs on validation cases became non-finite; {_REMEDY}")
        return gathered
