"""Do maps depend on what the model has learned? Its weights randomised from the head down, and the maps at each depth.

A method whose maps stay the same while the model forgets draws the image, not the model. How alike two maps are is
:mod:`mmpkd.evaluate.similarity`'s matter.

Source: Adebayo et al. 2018, "Sanity checks for saliency maps" (arXiv 1810.03292).
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mmpkd.attribute.attribute import explain
from mmpkd.attribute.contract import Images
from mmpkd.attribute.vit import vit_of
from mmpkd.distil.student import Student, build_student
from mmpkd.errors import InputError, did_you_mean

UNCHANGED, EMBEDDING = "unchanged", "embedding"
RANDOMISATIONS = ("shuffle", "reinitialise")

_ABOVE_BLOCKS = {"head": "head", "head_dist": "head", "attn_pool": "attn_pool", "fc_norm": "norm", "norm": "norm"}

Model = TypeVar("Model", bound=nn.Module)


def depths(model: nn.Module) -> dict[str, tuple[str, ...]]:
    """Return the names of the weights at each depth, from the head down.

    ``head`` (with ``head_dist``), ``attn_pool`` where there is one, ``norm`` (the last norm, before or after pooling),
    ``blocks.11`` ... ``blocks.0``, and ``embedding``: all that tokens are made of (patch and position embedding, class
    and register tokens). A depth without weights is left out.

    Raises:
        InputError: No view of this model exists (:func:`mmpkd.attribute.vit.vit_of`).
    """
    blocks = len(vit_of(model).blocks)
    order = [*dict.fromkeys(_ABOVE_BLOCKS.values()), *(f"blocks.{block}" for block in reversed(range(blocks)))]
    found: dict[str, list[str]] = {depth: [] for depth in [*order, EMBEDDING]}
    for name, _ in model.named_parameters():
        found[_depth_of(name)].append(name)
    return {depth: tuple(names) for depth, names in found.items() if names}


def fresh_weights(model: nn.Module, by: str | nn.Module = "shuffle", seed: int = 0) -> dict[str, Tensor]:
    """Return weights that have learned nothing, for every name in ``model.named_parameters()``.

    Args:
        model: Left as it is.
        by: ``shuffle`` permutes the entries within each tensor: their distribution stays, so that activations keep
            about their size (a tensor of equal entries stays as it is). ``reinitialise`` draws a student's weights as
            :func:`mmpkd.distil.student.build_student` does, pretrained ones left out; timm's own initial weights are so
            small that maps become nearly flat. For any other model give a second one, freshly built with the same
            options, whose weights are taken.
        seed: Of what is drawn; torch's random state is left as it is. No training starts from the weights that
            ``reinitialise`` draws, whatever its seed.

    Raises:
        InputError: An unknown way, ``reinitialise`` for what is no student, or a second model of other shapes.
    """
    if by == "shuffle":
        return _shuffled(model, seed)
    if by == "reinitialise":
        by = _rebuilt(model, seed)
    if not isinstance(by, nn.Module):
        raise InputError(f"weights are not randomised by {by!r}{did_you_mean(by, RANDOMISATIONS)}")
    fresh = {name: weight.detach() for name, weight in by.named_parameters()}
    for name, weight in model.named_parameters():
        if name not in fresh or fresh[name].shape != weight.shape:
            has = f"there with shape {tuple(fresh[name].shape)}" if name in fresh else "not there"
            raise InputError(
                f"the fresh model does not match: {name!r} has shape {tuple(weight.shape)} and is {has}; "
                "build it with the model's own name and options."
            )
    return fresh


def randomised(model: Model, by: str | nn.Module = "shuffle", seed: int = 0) -> Model:
    """Return a copy of the model, in evaluation mode, with all weights from :func:`fresh_weights`."""
    fresh = fresh_weights(model, by, seed)
    changed = copy.deepcopy(model).eval()
    _put(changed, fresh, fresh)
    return changed


def cascade(
    model: Model, by: str | nn.Module = "shuffle", seed: int = 0, independent: bool = False
) -> Iterator[tuple[str, Model]]:
    """Yield (name of the depth, the model with everything from the head down to there randomised).

    The model itself is never touched: *one* copy, in evaluation mode, is changed further with each step, so use it
    before you go on. It is a student if the model is one, ready for :func:`mmpkd.attribute.token_maps`.

    Args:
        model: A student or any timm ViT that maps can be made of.
        by: See :func:`fresh_weights`.
        seed: See :func:`fresh_weights`. A depth gets the same weights in both cascades.
        independent: Randomise one depth at a time, the others as in the model: the paper's second cascade.

    Raises:
        InputError: See :func:`fresh_weights` and :func:`depths`; before anything is yielded.
    """
    return _steps(model, depths(model), fresh_weights(model, by, seed), independent)


def cascade_maps(
    model: Student | nn.Module,
    images: Images,
    method: str,
    classes: Sequence[int | str] | None = None,
    by: str | nn.Module = "shuffle",
    seed: int = 0,
    independent: bool = False,
) -> tuple[tuple[str, ...], Float[np.ndarray, "depths batch chosen rows columns"]]:
    """Return the names of the depths, ``unchanged`` first, and the maps on the token grid at each.

    A depth above what a method reads cannot change its maps (``attention`` and ``rollout`` read neither head nor norm):
    look at the last depth too before you find fault with a method. For the cases of a cohort, call
    :func:`mmpkd.attribute.token_maps` on each model of :func:`cascade`.

    Args:
        model: See :func:`cascade`; its mode is restored.
        images: As the model takes them (:meth:`Student.prepare` for a student).
        method: Registered name, as in :func:`mmpkd.attribute.explain`.
        classes: Columns of the logits, by number or (for a student) by finding; all by default.
        by: See :func:`fresh_weights`.
        seed: See :func:`fresh_weights`.
        independent: See :func:`cascade`.

    Raises:
        InputError: What :func:`mmpkd.attribute.explain` and :func:`cascade` refuse.

    The mean similarity to the unchanged model's maps, depth by depth:

    >>> import timm
    >>> from mmpkd.evaluate.similarity import spearman
    >>> vit = timm.create_model("vit_tiny_patch16_224", img_size=64, depth=2, num_classes=3).eval()
    >>> names, maps = cascade_maps(vit, torch.rand(4, 3, 64, 64), "legrad", classes=[1])
    >>> names
    ('unchanged', 'head', 'norm', 'blocks.1', 'blocks.0', 'embedding')
    >>> flat = maps.reshape(len(names), -1, *maps.shape[-2:])
    >>> alike = {name: np.nanmean(spearman(flat[0], changed)) for name, changed in zip(names, flat)}
    """
    names, found = [UNCHANGED], [explain(model, images, method, classes, pixels=False)]
    for depth, changed in cascade(model, by, seed, independent):
        names.append(depth)
        found.append(explain(changed, images, method, classes, pixels=False))
    return tuple(names), np.stack([maps.cpu().numpy() for maps in found])


def _depth_of(name: str) -> str:
    top, _, rest = name.removeprefix("backbone.").partition(".")
    return f"blocks.{rest.partition('.')[0]}" if top == "blocks" else _ABOVE_BLOCKS.get(top, EMBEDDING)


def _shuffled(model: nn.Module, seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shuffled = {}
    for name, weight in model.named_parameters():
        order = torch.randperm(weight.numel(), generator=generator).to(weight.device)
        shuffled[name] = weight.detach().flatten()[order].view(weight.shape)
    return shuffled


def _rebuilt(model: nn.Module, seed: int) -> nn.Module:
    if not isinstance(model, Student):
        raise InputError(
            f"'reinitialise' rebuilds students only, and this is a {type(model).__name__}; give a second model, "
            "freshly built with the same options, in its place."
        )
    settings = model.settings.model_copy(update={"pretrained": False, "weights": None})
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the accelerators for good
        return build_student(settings, model.findings, model.task, model.fit)


def _steps(
    model: Model, layers: Mapping[str, tuple[str, ...]], fresh: Mapping[str, Tensor], independent: bool
) -> Iterator[tuple[str, Model]]:
    changed = copy.deepcopy(model).eval()
    own = dict(model.named_parameters())
    for depth, names in layers.items():
        _put(changed, fresh, names)
        yield depth, changed
        if independent:
            _put(changed, own, names)


@torch.no_grad()
def _put(model: nn.Module, weights: Mapping[str, Tensor], names: Sequence[str] | Mapping[str, Tensor]) -> None:
    """Write the named weights into the model."""
    for name, weight in model.named_parameters():
        if name in names:
            weight.copy_(weights[name])
