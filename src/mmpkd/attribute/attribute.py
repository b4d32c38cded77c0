"""From a model and images to maps, whatever the method: any timm ViT in three lines, or a student over a cohort.

>>> import timm, torch
>>> from mmpkd.attribute import explain
>>> model = timm.create_model("vit_tiny_patch16_224", num_classes=14).eval()
>>> explain(model, torch.zeros(2, 3, 224, 224), "legrad", classes=[3, 7]).shape
torch.Size([2, 2, 224, 224])
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import nn
from torch.nn import functional

from mmpkd import registry
from mmpkd.attribute.contract import MapMethod
from mmpkd.attribute.smooth import NoiseAveraged, Smoothed
from mmpkd.attribute.vit import Vit, vit_of
from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.student import Student
from mmpkd.errors import InputError, did_you_mean

DEFAULT_METHOD = {"class-token": "attention", "mean": "attention", "patch": "patch"}
_OPTIONS: Mapping[str, Callable[[MapMethod, float], MapMethod]] = {
    "smooth": Smoothed,
    "noise": lambda method, share: NoiseAveraged(method, noise=share),
}


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


def map_method(name: str, vit: Vit) -> MapMethod:
    """Return the method by name; one that says nothing about this model is refused with a sentence.

    A method with an argument is written ``attention=max`` or ``attention=2`` (the head's number). Options follow, each
    applied to what stands before it: ``legrad+smooth=1`` smooths on the token grid (:class:`Smoothed`, sigma in
    tokens), ``legrad+noise=0.1`` averages over noisy copies (:class:`NoiseAveraged`, share of the image's range).
    """
    base, *options = name.split("+")
    method = _plain_method(base)
    for option in options:
        kind, _, value = option.partition("=")
        if kind not in _OPTIONS:
            raise InputError(f"the map {name!r} has an unknown option{did_you_mean(kind, _OPTIONS)}")
        try:
            number = float(value)
        except ValueError:
            raise InputError(f"the map {name!r}: the option {kind!r} needs a number, as {kind}=1.") from None
        method = _OPTIONS[kind](method, number)
    reason = method.refuse(vit)
    if reason is not None:
        raise InputError(reason)
    return method


def _plain_method(name: str) -> MapMethod:
    base, _, argument = name.partition("=")
    make = registry.load("maps", base)
    try:
        return cast(MapMethod, make(argument) if argument else make())
    except TypeError:
        raise InputError(f"the map {base!r} takes no argument; write it without {'=' + argument!r}.") from None


def explain(
    model: Student | nn.Module,
    images: Float[torch.Tensor, "batch channels height width"],
    method: str,
    classes: Sequence[int | str] | None = None,
    pixels: bool = True,
) -> Float[torch.Tensor, "batch chosen map_height map_width"]:
    """Return maps of any timm ViT, or of a student, for a batch of images as the model takes them.

    Args:
        model: Evaluated in evaluation mode; its mode is restored.
        images: Normalised as the model wants them (:meth:`Student.prepare` for a student).
        method: Registered name (``mmpkd.registry.names("maps")``), as ``legrad``, ``attention=max`` or
            ``legrad+smooth=1`` (:func:`map_method`).
        classes: Columns of the logits, by number or (for a student) by finding; all by default.
        pixels: Enlarge bilinearly from token centres to the images' size; else the token grid.

    Raises:
        InputError: Unknown method or class, or a model that the method says nothing about.
    """
    vit = vit_of(model)
    chosen = map_method(method, vit)
    columns = range(len(vit.classes)) if classes is None else [_column(vit, wanted) for wanted in classes]
    with _evaluating(model):
        maps = chosen(vit, images, list(columns))
    if not pixels:
        return maps
    return functional.interpolate(maps, size=tuple(images.shape[-2:]), mode="bilinear", align_corners=False)


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
    vit = vit_of(student)
    chosen = map_method(name, vit)
    wanted = tuple(findings) if findings is not None else tuple(student.findings)
    columns = [_column(vit, finding) for finding in wanted]
    where = np.arange(len(images)) if positions is None else positions
    device = next(student.parameters()).device
    values = np.empty((len(where), len(wanted), *student.grid), np.float16)
    with _evaluating(student):
        for start in range(0, len(where), batch_size):
            part = where[start : start + batch_size]
            pixels = torch.from_numpy(images.batch(part)).to(device)
            maps = chosen(vit, student.prepare(pixels), columns)
            values[start : start + len(part)] = _in_half(maps).cpu().numpy()
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


def _in_half(maps: torch.Tensor) -> torch.Tensor:
    """Scale each map to a maximum of 1, where half precision is at its best; scores do not depend on the scale.

    Maps that are probabilities or shares (at most 1, and not tiny) are left as they are.
    """
    top = maps.amax(dim=(-2, -1), keepdim=True)
    return torch.where(
        (top > 1) | ((top > 0) & (top < 2**-6)), maps / top.clamp(min=torch.finfo(maps.dtype).tiny), maps
    )


@contextlib.contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def _column(vit: Vit, wanted: int | str) -> int:
    if isinstance(wanted, str):
        if wanted not in vit.classes:
            raise InputError(f"the model knows no finding {wanted!r}{did_you_mean(wanted, vit.classes)}")
        return vit.classes.index(wanted)
    if not 0 <= wanted < len(vit.classes):
        raise InputError(f"there is no class {wanted}; the model has {len(vit.classes)}, numbered from 0.")
    return wanted
