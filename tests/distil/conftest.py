"""A cohort of bright squares that a very small student learns in seconds."""

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.settings import AugmentSettings, StudentSettings, TrainingSettings


@dataclass(frozen=True)
class Squares:
    """Images of 16 px with a square at the left (finding ``left``), below (``below``), both or none."""

    images: ImageSet
    labels: np.ndarray
    soft_logits: np.ndarray
    train: np.ndarray
    val: np.ndarray
    findings: tuple[str, ...] = ("left", "below")


@pytest.fixture(scope="session")
def squares() -> Squares:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (120, 2)).astype(float)
    pixels = rng.integers(0, 60, (120, 1, 16, 16)).astype(np.uint8)
    pixels[labels[:, 0] == 1, :, 2:6, 1:5] = 220
    pixels[labels[:, 1] == 1, :, 11:15, 8:12] = 220
    images = ImageSet(pixels, np.arange(120), np.full((120, 2), 16))
    soft_logits = (2 * labels - 1) * 2.0 + rng.normal(0, 0.5, labels.shape)
    return Squares(images, labels, soft_logits, np.arange(80), np.arange(80, 120))


@pytest.fixture(scope="session")
def small() -> StudentSettings:
    return StudentSettings(image_size_px=16, patch_px=4, width=16, depth=1, heads=2)


@pytest.fixture(scope="session")
def brief() -> TrainingSettings:
    return TrainingSettings(
        epochs=4,
        batch_size=16,
        learning_rate=3e-3,
        precision="fp32",
        augment=AugmentSettings.off(),
        log_every=2,
    )


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
