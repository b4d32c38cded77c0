"""From a student and images to maps in the pixels of the original images, whatever the method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from PIL import Image

from mmpkd import registry
from mmpkd.attribute.contract import MapMethod
from mmpkd.cohort.geometry import Geometry
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

    The maps come as a list because original images differ in size. Arguments as in :func:`token_maps`.
    """
    maps = token_maps(student, images, positions, method, findings)
    where = np.arange(len(images)) if positions is None else positions
    return [
        to_original_pixels(values, images.geometry(int(position)))
        for values, position in zip(maps.values, where, strict=True)
    ]


def to_original_pixels(
    token_map: Float[np.ndarray, "*maps rows columns"], geometry: Geometry
) -> Float[np.ndarray, "*maps height width"]:
    """Upsample a token map bilinearly to the student's canvas, then undo crop, padding and resize.

    Token centres are kept in place (pixel-centre convention, edges clamped), values stay non-negative.
    """
    size = (geometry.size_px, geometry.size_px)
    flat = np.ascontiguousarray(token_map, np.float32).reshape(-1, *token_map.shape[-2:])
    canvas = np.stack(
        [np.asarray(Image.fromarray(one).resize(size, Image.Resampling.BILINEAR)) for one in flat]
    ).reshape(*token_map.shape[:-2], *size)
    return geometry.map_to_original(canvas)


def _finding_index(student: Student, finding: str) -> int:
    names = list(student.findings)
    if finding not in names:
        raise InputError(f"the student knows no finding {finding!r}{did_you_mean(finding, names)}")
    return names.index(finding)
