"""Random numbers of the phantom: one stream a patient, so that chunks of any size give the same cohort.

Every use of chance has a name and a fixed place in its patient's stream; nothing here knows what it is used for.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Shaped

_MOST_IMAGES = 3
_KINDS = ("chest", "breast")


@dataclass(frozen=True)
class Slots:
    """The names of the numbers drawn once a patient and once an image, and the blocks drawn once an image.

    Args:
        patient: Names of uniform numbers shared by all images of a patient.
        image: Names of uniform numbers drawn afresh for each image.
        wording: Rows and columns of the block of uniform numbers that words the report.
        grids: Side lengths of the square grids of normal numbers that textures are made of.
    """

    patient: tuple[str, ...]
    image: tuple[str, ...]
    wording: tuple[int, int]
    grids: tuple[int, ...]


@dataclass(frozen=True)
class Streams:
    """The random numbers of some images, in order of patient and image.

    Args:
        patient: Number of the patient of each image.
        image: Number of the image within its patient, from 0.
        named: Uniform numbers in [0, 1) by name.
        wording: Uniform numbers for the report.
        grids: Normal numbers for textures, one array a grid.
        noise: Standard normal pixel noise.
    """

    patient: Int[np.ndarray, " images"]
    image: Int[np.ndarray, " images"]
    named: dict[str, Float[np.ndarray, " images"]]
    wording: Float[np.ndarray, "images rows words"]
    grids: tuple[Float[np.ndarray, "images side side"], ...]
    noise: Float[np.ndarray, "images height width"]

    def __len__(self) -> int:
        return len(self.patient)

    def uniform(self, name: str, low: float = 0.0, high: float = 1.0) -> Float[np.ndarray, " images"]:
        """Return the named number of each image, spread evenly over [low, high)."""
        return low + (high - low) * self.named[name]

    def spread(self, name: str, low: float = 0.0, high: float = 1.0) -> Float[np.ndarray, "images 1 1"]:
        """Return the same shaped to broadcast over pixels."""
        return self.uniform(name, low, high)[:, None, None]


def draw_streams(
    seed: int, kind: str, patients: range, images_per_patient: tuple[int, int], size_px: int, slots: Slots
) -> Streams:
    """Draw all random numbers of the images of ``patients``.

    The uniform numbers come first in each stream, for the most images a patient can have, so that neither the image
    size nor the number of images changes them.
    """
    low, high = images_per_patient
    rows, words = slots.wording
    n_patient, n_image = len(slots.patient), len(slots.image)
    texture = sum(side * side for side in slots.grids)
    owner: list[int] = []
    number: list[int] = []
    uniforms: list[np.ndarray] = []
    wording: list[np.ndarray] = []
    normals: list[np.ndarray] = []
    noise: list[np.ndarray] = []
    for patient in patients:
        rng = np.random.Generator(np.random.SFC64(np.random.SeedSequence((seed, _KINDS.index(kind), patient))))
        count = low + int(rng.random() * (high - low + 1))
        shared = rng.random(n_patient, np.float32)
        own = rng.random((_MOST_IMAGES, n_image), np.float32)
        uniforms += [np.concatenate((shared, row)) for row in own[:count]]
        wording.append(rng.random((_MOST_IMAGES, rows, words), np.float32)[:count])
        normals.append(rng.standard_normal((_MOST_IMAGES, texture), np.float32)[:count])
        noise.append(rng.standard_normal((count, size_px, size_px), np.float32))
        owner += [patient] * count
        number += range(count)
    table = np.stack(uniforms, axis=1)
    names = (*slots.patient, *slots.image)
    return Streams(
        patient=np.array(owner),
        image=np.array(number),
        named={name: np.ascontiguousarray(table[column]) for column, name in enumerate(names)},
        wording=np.concatenate(wording),
        grids=_cut_grids(np.concatenate(normals), slots.grids),
        noise=np.concatenate(noise),
    )


def _cut_grids(
    normals: Float[np.ndarray, "images numbers"], sides: Sequence[int]
) -> tuple[Shaped[np.ndarray, "images side side"], ...]:
    ends = np.cumsum([side * side for side in sides])
    parts = np.split(normals, ends[:-1], axis=1)
    return tuple(part.reshape(-1, side, side) for part, side in zip(parts, sides, strict=True))
