"""Probabilities of a trained student for images of a cohort, batch by batch in constant memory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int

from mmpkd.distil.batches import BatchFeeder
from mmpkd.distil.precision import choose_precision
from mmpkd.distil.settings import PrecisionName
from mmpkd.distil.student import Student, explicit_attention
from mmpkd.errors import InputError

if TYPE_CHECKING:
    from mmpkd.cohort.image_set import ImageSet


def predict_probabilities(
    student: Student,
    images: ImageSet,
    positions: Int[np.ndarray, " n"],
    batch_size: int = 256,
    precision: PrecisionName = "fp32",
) -> Float[np.ndarray, "n findings"]:
    """Return a probability per case and finding: a sigmoid each, or a softmax over classes.

    Args:
        student: Any student; its mode (training or not) is left as it was.
        images: The cohort's images, of the student's size and channels.
        positions: Which cases, in the order of the answer.
        batch_size: Images at a time.
        precision: Single precision by default, so that the numbers do not depend on what the machine has.

    Raises:
        InputError: The images are not of the student's size or channels.
    """
    check_images(student, images)
    device = next(student.parameters()).device
    how = choose_precision(precision, device)
    feeder = BatchFeeder(images, device, min(batch_size, max(1, len(positions))))
    rows = [np.empty((0, len(student.findings)), np.float32)]
    was_training = student.training
    student.eval()
    with torch.inference_mode(), how.autocast(device), explicit_attention(student, how.explicit_attention):
        for start in range(0, len(positions), batch_size):
            logits = student(student.prepare(feeder(positions[start : start + batch_size])))
            softened = logits.softmax(1) if student.task == "multi-class" else logits.sigmoid()
            rows.append(softened.cpu().numpy())
    student.train(was_training)
    return np.concatenate(rows)


def check_images(student: Student, images: ImageSet) -> None:
    """Refuse images that the student cannot take."""
    wanted, given = (
        (student.settings.image_size_px, student.settings.channels),
        (images.size_px, images.channels),
    )
    if wanted != given:
        raise InputError(
            f"the images are {given[0]} px with {given[1]} channel(s) but the student takes {wanted[0]} px "
            f"with {wanted[1]}; read the images at the student's size and channels."
        )
