"""From the image cache to the device: which cases make up each batch, and shipping their bytes.

Order depends on (seed, epoch) only, so that a resumed training sees what an uninterrupted one would.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor

from mmpkd.distil import augment
from mmpkd.distil.settings import AugmentSettings

if TYPE_CHECKING:
    from mmpkd.cohort.image_set import ImageSet

_RESIDENT_SHARE = 0.25
_ROWS_A_PIECE = 4096
_ORDER, _AUGMENT, _TORCH, _STUDENT, _SECOND_VIEW = range(5)  # one stream of random numbers each


def order_generator(seed: int, epoch: int) -> np.random.Generator:
    """Return the generator that orders the cases of one epoch."""
    return np.random.default_rng([seed, epoch, _ORDER])


def augment_generator(seed: int, epoch: int, view: int = 0) -> np.random.Generator:
    """Return the generator that draws the augmentation of one epoch; a second view of each image has its own."""
    return np.random.default_rng([seed, epoch, (_AUGMENT, _SECOND_VIEW)[view]])


def draw_views(
    settings: AugmentSettings, shape: tuple[int, int], seed: int, epoch: int, views: int = 1
) -> Float[np.ndarray, "steps views batch 7"] | None:
    """Return the parameters of an epoch's augmentation (:func:`mmpkd.distil.augment.draw`), for each view of an image.

    The first view's do not depend on whether there is a second. ``None`` when the settings change nothing.
    """
    drawn = [augment.draw(settings, math.prod(shape), augment_generator(seed, epoch, view)) for view in range(views)]
    shaped = [parameters.reshape(*shape, -1) for parameters in drawn if parameters is not None]
    return np.stack(shaped, axis=1) if shaped else None


def dropout_seed(seed: int, epoch: int, process: int) -> int:
    """Return torch's seed for dropout and stochastic depth in one epoch."""
    return int(np.random.SeedSequence([seed, epoch, _TORCH, process]).generate_state(1)[0])


def student_seed(seed: int) -> int:
    """Return torch's seed for the student's initial weights: the same for every arm of a seed."""
    return int(np.random.SeedSequence([seed, _STUDENT]).generate_state(1)[0])


def epoch_batches(
    cases: int, batch_size: int, seed: int, epoch: int, processes: int = 1
) -> Int[np.ndarray, "steps batch"]:
    """Return the rows of each batch of an epoch, in random order.

    All batches have one size, so the last, incomplete one is left out: other cases in each epoch. With fewer
    cases than ``batch_size`` there is one batch of them all (less a remainder over processes).
    """
    size = min(batch_size, cases // processes * processes)
    steps = cases // size
    return order_generator(seed, epoch).permutation(cases)[: steps * size].reshape(steps, size)


def _upload(pixels: UInt8[np.ndarray, "rows channels size size"], device: torch.device) -> Tensor:
    """Return all pixels on a device, shipped piece by piece."""
    held = torch.empty(pixels.shape, dtype=torch.uint8, device=device)
    for start in range(0, len(pixels), _ROWS_A_PIECE):
        held[start : start + _ROWS_A_PIECE].copy_(torch.from_numpy(np.array(pixels[start : start + _ROWS_A_PIECE])))
    return held


class BatchFeeder:
    """Gathers uint8 batches into reused buffers and ships them to a device.

    Two buffers alternate, so that on a GPU one is filled while the other is still on its way. Where all images fit into
    a quarter of a GPU's free memory, a training may keep them there.

    Args:
        images: Where the pixels lie.
        device: Where they go.
        batch_size: Most images a batch.
        resident: Keep all images on the GPU if they fit; for whoever reads them many times.
    """

    def __init__(self, images: ImageSet, device: torch.device, batch_size: int, resident: bool = False) -> None:
        self._images, self._device = images, device
        self._resident: Tensor | None = None
        if resident and device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(device)
            if images.pixels.nbytes <= _RESIDENT_SHARE * free:
                self._resident = _upload(images.pixels, device)
        shape = (batch_size, images.channels, images.size_px, images.size_px)
        self._on_gpu = device.type == "cuda"
        self._buffers = [torch.empty(shape, dtype=torch.uint8, pin_memory=self._on_gpu) for _ in range(2)]
        self._arrays = [buffer.numpy() for buffer in self._buffers]
        event: Any = torch.cuda.Event
        self._shipped: list[Any] = [event() for _ in range(2)] if self._on_gpu else []
        self._next = 0

    def __call__(self, positions: Int[np.ndarray, " batch"]) -> UInt8[Tensor, "batch channels size size"]:
        """Return the images at ``positions``; on a CPU in a buffer that the next call but one fills anew."""
        if self._resident is not None:
            return self._resident[torch.from_numpy(self._images.rows[positions]).to(self._device, non_blocking=True)]
        turn, count = self._next, len(positions)
        self._next = 1 - turn
        if self._on_gpu:
            self._shipped[turn].synchronize()
        self._images.batch(positions, out=self._arrays[turn][:count])
        batch = self._buffers[turn][:count].to(self._device, non_blocking=True)
        if self._on_gpu:
            self._shipped[turn].record()
        return batch
