"""Do maps stay the same under changes of the image that should not matter? Maps before and after, place by place.

Changes act on prepared (normalised) images. How alike the two maps of a pair are is
:mod:`mmpkd.evaluate.similarity`'s matter.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, final, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmpkd.attribute.attribute import DEFAULT_METHOD, explain
from mmpkd.attribute.contract import Images, Maps
from mmpkd.attribute.smooth import noisy
from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.student import Student
from mmpkd.errors import InputError

Common = Float[Tensor, "batch chosen common_rows common_columns"]


class MapPair(NamedTuple):
    """Maps of the same places of the picture.

    Args:
        reference: Of the images as they are.
        changed: Of the changed images, moved back.
    """

    reference: Float[np.ndarray, "batch chosen common_rows common_columns"]
    changed: Float[np.ndarray, "batch chosen common_rows common_columns"]


@runtime_checkable
class Change(Protocol):
    """One change of the image, and how maps of the changed image go back to the places of the unchanged one."""

    @property
    def name(self) -> str:
        """Its name in tables."""
        ...

    def apply(self, images: Images) -> Images:
        """Return the changed images; the given ones stay."""
        ...

    def compare(self, reference: Maps, changed: Maps, size_px: tuple[int, int]) -> tuple[Common, Common]:
        """Return both maps where both saw the picture, given the images' height and width."""
        ...


@final
@dataclass(frozen=True)
class Shift:
    r"""Move the picture by whole pixels, its border replicated into the gap.

    Maps of the shifted image are read, bilinearly between token centres, where the picture has gone:

    .. math:: a'_{r,c} = \tilde a(r + d_y / p_y, \; c + d_x / p_x)

    with :math:`p` the patch's sides in pixels. Tokens that hold any of the replicated border, and those whose picture
    has left the image, are cropped from both maps. A shift by whole patches needs no interpolation; any other
    smooths the moved map a little and puts patch borders elsewhere in the picture, which is part of the question.

    Args:
        dx_px: To the right.
        dy_px: Down.
    """

    dx_px: int = 0
    dy_px: int = 0

    @property
    def name(self) -> str:
        """Such as ``shift=4,0``."""
        return f"shift={self.dx_px},{self.dy_px}"

    def apply(self, images: Images) -> Images:
        """Return the moved images."""
        height, width = images.shape[-2:]
        rows = (torch.arange(height, device=images.device) - self.dy_px).clamp(0, height - 1)
        columns = (torch.arange(width, device=images.device) - self.dx_px).clamp(0, width - 1)
        return images[:, :, rows[:, None], columns]

    def compare(self, reference: Maps, changed: Maps, size_px: tuple[int, int]) -> tuple[Common, Common]:
        """Return the common part of the reference, and of the changed maps moved back.

        Raises:
            InputError: Nothing is left that both saw.
        """
        for dim, shift_px in ((-2, self.dy_px), (-1, self.dx_px)):
            reference, changed = _move_back(reference, changed, dim, shift_px, size_px[dim])
        return reference, changed


@final
@dataclass(frozen=True)
class Noise:
    """Add Gaussian noise (:func:`mmpkd.attribute.smooth.noisy`), the same for every case.

    Args:
        share: Standard deviation, as a share of each image's own range of values.
        seed: Of the noise.

    Raises:
        InputError: A negative or infinite share.
    """

    share: float
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no share."""
        if not (math.isfinite(self.share) and self.share >= 0):
            raise InputError(f"noise is a share of the image's range, at least 0, not {self.share:g}; try 0.05.")

    @property
    def name(self) -> str:
        """Such as ``noise=0.05``."""
        return f"noise={self.share:g}"

    def apply(self, images: Images) -> Images:
        """Return the noisy images; values are not clipped."""
        return noisy(images, self.share, torch.Generator().manual_seed(self.seed))

    def compare(self, reference: Maps, changed: Maps, size_px: tuple[int, int]) -> tuple[Common, Common]:
        """Return both as they are: noise moves nothing."""
        return reference, changed


def changed_maps(
    model: Student | nn.Module,
    images: Images,
    changes: Sequence[Change],
    method: str,
    classes: Sequence[int | str] | None = None,
) -> list[MapPair]:
    """Return, for each change, maps of the images as they are and of the changed ones, on the common token grid.

    Args:
        model: A student or any timm ViT that maps can be made of; its mode is restored.
        images: As the model takes them (:meth:`Student.prepare` for a student).
        changes: Such as ``[Shift(16, 0), Noise(0.05)]``.
        method: Registered name, as in :func:`mmpkd.attribute.explain`.
        classes: Columns of the logits, by number or (for a student) by finding; all by default.

    Raises:
        InputError: What :func:`mmpkd.attribute.explain` refuses, or a shift that leaves nothing in common.

    >>> import timm
    >>> from mmpkd.evaluate.similarity import ssim
    >>> vit = timm.create_model("vit_tiny_patch16_224", depth=2, num_classes=3).eval()
    >>> (pair,) = changed_maps(vit, torch.rand(4, 3, 224, 224), [Shift(dx_px=16, dy_px=-32)], "legrad", [1])
    >>> [maps.shape for maps in pair]
    [(4, 1, 12, 13), (4, 1, 12, 13)]
    >>> ssim(pair.reference[:, 0], pair.changed[:, 0]).shape
    (4,)
    """
    size_px = (int(images.shape[-2]), int(images.shape[-1]))
    reference = explain(model, images, method, classes, pixels=False)
    pairs = []
    for change in changes:
        changed = explain(model, change.apply(images), method, classes, pixels=False)
        before, after = change.compare(reference, changed, size_px)
        pairs.append(MapPair(before.cpu().numpy(), after.cpu().numpy()))
    return pairs


def changed_token_maps(
    student: Student,
    images: ImageSet,
    changes: Sequence[Change],
    positions: np.ndarray | None = None,
    method: str | None = None,
    findings: Sequence[str] | None = None,
    batch_size: int = 256,
) -> list[MapPair]:
    """Return :func:`changed_maps` of a student for the cases at ``positions`` (all by default).

    Args:
        student: A trained student; its mode is restored afterwards.
        images: Cached images at the student's size.
        changes: In canvas pixels, one pair each.
        positions: Integer positions into ``images``.
        method: Registered name; by default the map that belongs to the student's head.
        findings: Names of the findings wanted (all by default).
        batch_size: Images at a time; results do not depend on it.

    Raises:
        InputError: No cases, or what :func:`changed_maps` refuses.
    """
    where = np.arange(len(images)) if positions is None else positions
    if not len(where):
        raise InputError("there is no case whose maps could be compared; give at least one position.")
    name = method or DEFAULT_METHOD[student.settings.head]
    device = next(student.parameters()).device
    batches = []
    for start in range(0, len(where), batch_size):
        pixels = torch.from_numpy(images.batch(where[start : start + batch_size])).to(device)
        batches.append(changed_maps(student, student.prepare(pixels), changes, name, findings))
    return [
        MapPair(np.concatenate([part.reference for part in parts]), np.concatenate([part.changed for part in parts]))
        for parts in zip(*batches, strict=True)
    ]


def _move_back(reference: Tensor, changed: Tensor, dim: int, shift_px: int, side_px: int) -> tuple[Tensor, Tensor]:
    """Undo the shift along one axis: token i of the reference lies at i + shift / patch in the changed map."""
    tokens = reference.shape[dim]
    whole, rest = divmod(shift_px * tokens, side_px)
    between = int(rest > 0)
    start = between if shift_px > 0 else -whole
    count = tokens - between - max(whole, 0) - start
    if count < 1:
        raise InputError(
            f"a shift of {shift_px} px leaves no token that both images show, on {tokens} tokens over {side_px} px; "
            "shift by less."
        )
    moved = changed.narrow(dim, start + whole, count)
    if between:
        moved = moved.lerp(changed.narrow(dim, start + whole + 1, count), rest / side_px)
    return reference.narrow(dim, start, count), moved
