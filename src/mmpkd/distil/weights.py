"""Local backbone weights: safetensors only, fitted to the student's channels and grid, mismatches told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from timm.layers import resample_abs_pos_embed
from timm.models import adapt_input_conv
from torch import Tensor

from mmpkd.errors import InputError
from mmpkd.files import read_json

DOCUMENT = "student.json"
"""What lies beside the weights of a student of ours, and says how to use them."""

_CLASSIFIERS = ("head.", "head_dist.")
_SHOWN = 3


def load_backbone_weights(backbone: Any, path: Path) -> None:
    """Load a timm state dict, or a student's own ``weights.safetensors``, into a backbone.

    Classifier weights are left out, colour patch embeddings are summed over channels for grey input, and
    position embeddings are resampled to the student's grid; everything else must match exactly.

    Raises:
        InputError: The file cannot be read, or its tensors are not this backbone's; the sentence names them.
    """
    state = _fit(_backbone_part(_read(path)), backbone)
    wanted = backbone.state_dict()
    missing = [name for name in wanted if name not in state]
    unknown = [name for name in state if name not in wanted]
    shapes = [
        f"{name} {tuple(state[name].shape)} instead of {tuple(tensor.shape)}"
        for name, tensor in wanted.items()
        if name in state and state[name].shape != tensor.shape
    ]
    complaints = [
        f"{what}: {_first(names)}"
        for what, names in (("it lacks", missing), ("it has unknown", unknown), ("shapes differ", shapes))
        if names
    ]
    if complaints:
        raise InputError(
            f"student.weights: {path} does not fit the student ({'; '.join(complaints)}); give the weights "
            "of the same backbone, with the same width, depth and patch."
        )
    backbone.load_state_dict(state)


def own_normalisation(weights: Path, channels: int) -> tuple[list[float], list[float]] | None:
    """Return mean and deviation a channel of the student whose weights these are; ``None`` if they are not one's."""
    document = weights.parent / DOCUMENT
    if not document.is_file():
        return None
    image = read_json(document).get("image", {})
    mean, deviation = list(image.get("mean", ())), list(image.get("std", ()))
    return (mean, deviation) if len(mean) == len(deviation) == channels else None


def _first(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _read(path: Path) -> dict[str, Tensor]:
    try:
        state: dict[str, Tensor] = load_file(path)
    except FileNotFoundError:
        raise InputError(
            f"student.weights: there is no file {path} (a relative path starts in the working folder); if another "
            "study or variant writes it, run that first."
        ) from None
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"student.weights: {path} cannot be read as safetensors ({type(error).__name__}); pickled files "
            "(.pth, .bin) are never opened, convert them first."
        ) from None
    return state


def _backbone_part(state: dict[str, Tensor]) -> dict[str, Tensor]:
    own = {name.removeprefix("backbone."): value for name, value in state.items() if name.startswith("backbone.")}
    return own or {name: value for name, value in state.items() if not name.startswith(_CLASSIFIERS)}


def _fit(state: dict[str, Tensor], backbone: Any) -> dict[str, Tensor]:
    wanted = backbone.state_dict()
    for name in ("patch_embed.proj.weight", "patch_embed.backbone.stem.conv.weight"):
        if name in state and name in wanted and state[name].shape[1] == 3 and wanted[name].shape[1] == 1:
            state[name] = adapt_input_conv(1, state[name])
    position = state.get("pos_embed")
    target = wanted.get("pos_embed")
    if position is not None and target is not None and position.shape != target.shape:
        grid = backbone.patch_embed.grid_size
        prefix = target.shape[1] - grid[0] * grid[1]
        old_side = round((position.shape[1] - prefix) ** 0.5)
        if position.shape[2] == target.shape[2] and old_side**2 == position.shape[1] - prefix:
            with torch.no_grad():
                state["pos_embed"] = resample_abs_pos_embed(position, list(grid), num_prefix_tokens=prefix)
    return state
