"""From a student and images to maps in the pixels of the original images, whatever the method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float

from mmpkd import registry
from mmpkd.attribute.contract import MapMethod
from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.student import Student
from mmpkd.errors import InputError, did_you_mean

DEFAULT_METHOD = {"class-token": "attention", "mean": "attention", "patch": "patch"}


@dataclass(frozen=True)
class TokenMaps:
    """Maps on the token grid, in half precision: 512 times smaller than pixels at 224 px.

    Args:
        values: (cases, findings, rows, columns), float16, non-negative.
        findings: Name of each map's finding.
        method: Registered name of the method.
        class_specific: Whether the map differs between findings.
    """

    values: Float[np.ndarray, "cases findings rows columns"]
    findings: tuple[str, ...]
    method: str
    class_specific: bool


def map_method(name: str, student: Student) -> MapMethod:
    """Return the method by name; one that says nothing about this student is refused with a sentence."""
    method = cast(MapMethod, registry.load("maps", name)())
    reason = method.refuse(student)
    if reason is not None:
        raise InputError(reason)
    return method


def token_maps(
    student: Student,
    images: ImageSet,
    positions: np.ndarray | None = None,
    method: str | None = None,
    findings: Sequence[str] | None = None,
    batch_size: int = 256,
) -> TokenMaps:
    """Return the student's maps of the cases at ``positions`` (all by default) on its token grid.

    Args:
        student: A trained student; its mode is restored afterwards.
        images: Cached images at the student's size.
        positions: Integer positions into ``images``.
        method: Registered name; by default the map that belongs to the student's head.
        findings: Names of the findings wanted (all by default).
        batch_size: Images at a time; results do not depend on it.

    Raises:
        InputError: Unknown method or finding, or a method that the student does not support.
    """
    name = method or DEFAULT_METHOD[student.settings.head]
    chosen = map_method(name, student)
    wanted = tuple(findings) if findings is not None else tuple(student.findings)
    columns = [_finding_index(student, finding) for finding in wanted]
    where = np.arange(len(images)) if positions is None else positions
    device = next(student.parameters()).device
    values = np.empty((len(where), len(wanted), *student.grid), np.float16)
    training = student.training
    student.eval()
    try:
        for start in range(0, len(where), batch_size):
            part = where[start : start + batch_size]
            pixels = torch.from_numpy(images.batch(part)).to(device)
            maps = chosen(student, student.prepare(pixels))
            values[start : start + len(part)] = maps[:, columns].cpu().numpy()
    finally:
        student.train(training)
    return TokenMaps(values, wanted, name, chosen.class_specific)


def attribute(
    student: Student,
    images: ImageSet,
    positions: np.ndarray | None = None,
    method: str | None = None,
    findings: Sequence[str] | None = None,
) -> list[Float[np.ndarray, "findings height width"]]:
    """Return each case's maps in the pixels of its original image (crop, padding and resize undone).

    Token maps are interpolated bilinearly between token centres (:meth:`Geometry.map_to_original`). They come as a
    list because original images differ in size. Arguments as in :func:`token_maps`.
    """
    maps = token_maps(student, images, positions, method, findings)
    where = np.arange(len(images)) if positions is None else positions
    return [
        images.geometry(int(position)).map_to_original(values.astype(np.float32))
        for values, position in zip(maps.values, where, strict=True)
    ]


def _finding_index(student: Student, finding: str) -> int:
    names = list(student.findings)
    if finding not in names:
        raise InputError(f"the student knows no finding {finding!r}{did_you_mean(finding, names)}")
    return names.index(finding)
