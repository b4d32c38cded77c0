"""What a model answers with patches taken away or given: along a map from its highest down, and by the ROI.

A map that lies in the right place may still not be what the model used. Here the model is asked again with part of
the image (:mod:`mmpkd.attribute.withheld` says in which two ways); :mod:`mmpkd.evaluate.faithfulness` makes numbers of
the answers. A row is one (case, class) pair.

Bars beside a picture are no evidence, and a map that is merely 0 on them would beat a random order. ``among`` names the
patches of each row that may be taken away, given or drawn; all others stay in place, whatever is asked.

What is drawn at random depends on the seed and on the row's own image alone, not on its place or company in a batch.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mmpkd.attribute.contract import Images
from mmpkd.attribute.vit import Vit
from mmpkd.attribute.withheld import evaluating, question, require_way
from mmpkd.errors import InputError, did_you_mean

KINDS = ("deletion", "insertion")
OUTPUTS: dict[str, Callable[[Tensor], Tensor]] = {
    "logit": lambda logits: logits,
    "sigmoid": torch.sigmoid,
    "softmax": lambda logits: logits.softmax(dim=-1),
}
_ROWS_AT_ONCE = 256
_HALF_COVERED = 0.5 - 1e-6  # a half that rounding made smaller is a half

TokenGrids = Float[Tensor, "maps grid_rows grid_columns"]
Patches = Bool[Tensor, "rows patches"]
Orders = Int[Tensor, "rows patches"]


@torch.no_grad()
def perturbation_curves(
    vit: Vit,
    images: Images,
    maps: TokenGrids,
    columns: Sequence[int],
    kind: str = "deletion",
    by: str = "tokens",
    steps: int = 16,
    seed: int = 0,
    output: str = "logit",
    sigma_px: float | None = None,
    among: Patches | None = None,
) -> Float[Tensor, "rows points"]:
    """Follow one class's answer while the highest patches of its map are taken away, or given, first.

    At point i the ``n_i = round(i N / steps)`` highest of N patches are taken away (``deletion``) or are all that is
    given (``insertion``); :func:`patch_shares` are the shares ``n_i / N``. N counts the row's patches ``among``, so
    that every row goes from 0 to 1 in equally many steps; rows of different N differ by the rounding to whole patches.
    Equal values of a map follow each other in random order, never in raster order: a constant map takes the order of
    :func:`random_maps`.

    Args:
        vit: From :func:`mmpkd.attribute.vit.vit_of`; asked in evaluation mode, and left as it was.
        images: One prepared (normalised) image a row.
        maps: One map a row on the token grid; only the order of its values matters.
        columns: One column of the logits a row.
        kind: ``deletion`` or ``insertion``.
        by: ``tokens`` (patches leave the sequence) or ``blur`` (they are replaced by those of the blurred image).
        steps: From 1 to the number of patches, of the row that has the fewest.
        seed: Of the random order.
        output: ``logit``; ``sigmoid`` or ``softmax`` for the probability that deletion and insertion areas are taken
            over (the former for a multi-label model, the latter for a multi-class model).
        sigma_px: Standard deviation of the blur; 0.05 of the images' shorter side by default.
        among: The patches that may be moved, in row-major order; all by default. The others always stay, and what a
            map says of them is not read.

    Returns:
        (rows, steps + 1). By ``tokens``, the point without any patch is NaN for heads that read patches only.

    Raises:
        InputError: Shapes that do not fit, a map with NaN or infinite values, a column that is not there, an unknown
            name, a row with nothing to move, or a backbone whose tokens cannot be left out.

    Cost: ``steps + 1`` forward passes a row, in batches of up to 256 rows; by ``tokens`` on sequences that are half as
    long on average, one batch for the rows of equally many patches ``among``. Rows that share image and map repeat the
    passes.

    Source: Petsiuk et al. 2018 (RISE, arXiv 1806.07421). There pixels turn grey in deletion and come out of a blur in
    insertion; here patches go, the same way for both kinds.
    """
    _require(vit, images, columns, output)
    require_way(vit, by, sigma_px)
    if kind not in KINDS:
        raise InputError(f"there is no kind of curve {kind!r}{did_you_mean(kind, KINDS)}")
    movable = _movable(vit, len(images), among)
    counts = _patch_counts(movable.sum(dim=1), steps)
    values = _checked(vit, maps, len(images), "maps").masked_fill(~movable, -torch.inf)
    place = _falling(values, _random_orders(vit, images, seed)).argsort(dim=1)
    wanted = torch.as_tensor(list(columns), dtype=torch.long)
    in_turn = counts[:, -1].argsort(stable=True)
    curves = []
    with evaluating(vit.backbone):
        for rows in in_turn.split(_ROWS_AT_ONCE):
            ask = question(vit, images[rows.to(images.device)], by, sigma_px)
            points = []
            for count in counts[rows].split(1, dim=1):
                highest = place[rows] < count
                logits = ask(highest | ~movable[rows] if kind == "insertion" else ~highest)
                points.append(_of_columns(logits, wanted[rows], output))
            curves.append(torch.stack(points, dim=1))
    return torch.cat(curves)[in_turn.argsort().to(curves[0].device)]


@torch.no_grad()
def sufficiency(
    vit: Vit,
    images: Images,
    coverage: TokenGrids,
    columns: Sequence[int],
    by: str = "tokens",
    seed: int = 0,
    output: str = "logit",
    sigma_px: float | None = None,
    among: Patches | None = None,
) -> dict[str, Float[Tensor, " rows"]]:
    """Ask with the ROI's patches alone, and without them; with as many random others alone, and without those.

    The ROI's patches are those that it covers by half or more; of a smaller ROI the one that it covers most.

    Args:
        vit: As in :func:`perturbation_curves`, with all that is not described here.
        images: One prepared (normalised) image a row.
        coverage: One ROI a row on the token grid, as each patch's covered share (``cohort.rois.token_coverage``).
        columns: One column of the logits a row.
        by: How patches are withheld.
        seed: Of the random others.
        output: ``logit``, ``sigmoid`` or ``softmax``.
        sigma_px: Of the blur.
        among: The patches that may be the ROI's or be drawn; all by default. The others stay under every question.

    Returns:
        Five answers a row: ``whole`` (all patches), ``roi`` (the ROI's n alone), ``random`` (n random patches outside
        the ROI alone), ``without_roi`` (all but the ROI's) and ``without_random`` (all but those random ones). All but
        ``whole`` are NaN where the ROI is empty or fills what is ``among``; the random ones also where it has more than
        half of that, so that there are not as many others.

    Raises:
        InputError: As in :func:`perturbation_curves`; coverage outside 0 to 1.

    Cost: five forward passes a row; by ``tokens``, rows of equally large ROIs make one batch.

    Source: after sufficiency and comprehensiveness of DeYoung et al. 2020 (ERASER, arXiv 1911.03429), with an ROI for
    the rationale and a random one beside it.
    """
    _require(vit, images, columns, output)
    require_way(vit, by, sigma_px)
    covered = _checked(vit, coverage, len(images), "coverage")
    if not ((covered >= 0) & (covered <= 1)).all():
        raise InputError("coverage holds a value outside 0 to 1; give the share of each patch that the ROI covers.")
    order, movable = _random_orders(vit, images, seed), _movable(vit, len(images), among)
    inside = _roi_patches(covered * movable, order)
    random, size, patches = _random_others(inside, movable, order), inside.sum(dim=1), movable.sum(dim=1)
    defined = (size > 0) & (size < patches)
    enough = defined & (2 * size <= patches)
    questions = {
        "whole": (torch.ones_like(inside), torch.ones_like(defined)),
        "roi": (inside | ~movable, defined),
        "random": (random | ~movable, enough),
        "without_roi": (~inside, defined),
        "without_random": (~random, enough),
    }
    wanted = torch.as_tensor(list(columns), dtype=torch.long)
    answers = {name: images.new_full((len(images),), torch.nan) for name in questions}
    with evaluating(vit.backbone):
        for rows in (patches * (inside.shape[1] + 1) + size).argsort(stable=True).split(_ROWS_AT_ONCE):
            where = rows.to(images.device)
            ask = question(vit, images[where], by, sigma_px)
            for name, (keep, has_meaning) in questions.items():
                found = _of_columns(ask(keep[rows]), wanted[rows], output)
                found = found.where(has_meaning[rows].to(found.device), torch.nan)
                answers[name][where] = found.to(images.dtype)
    return answers


def random_maps(vit: Vit, images: Images, seed: int = 0, among: Patches | None = None) -> TokenGrids:
    """Return a map of random order a row, no two values equal: the baseline that a map's curves must beat.

    The order is that of a constant map under the same seed. Average over several seeds. Patches that are not ``among``
    those that may be moved are 0, below all others.
    """
    movable = _movable(vit, len(images), among)
    order = _random_orders(vit, images, seed)
    place = _falling(movable.double(), order).argsort(dim=1)
    return ((1 - place / place.shape[1]) * movable).unflatten(1, vit.grid).to(images.device)


def patch_shares(vit: Vit, steps: int = 16, patches: int | None = None) -> Float[np.ndarray, " points"]:
    """Return the shares of patches that a curve's points take away or give: 0 to 1, as whole patches allow.

    Args:
        vit: The model that was asked.
        steps: Of the curve.
        patches: How many may be moved (the row's count of ``among``); all of the grid by default.
    """
    counts = _patch_counts(torch.tensor([vit.grid[0] * vit.grid[1] if patches is None else patches]), steps)[0]
    return counts.numpy() / counts[-1].item()


def _patch_counts(patches: Int[Tensor, " rows"], steps: int) -> Int[Tensor, "rows points"]:
    """Return how many patches each row has moved at each point; ``steps`` alone decides on the points."""
    fewest = int(patches.min()) if len(patches) else max(steps, 1)
    if not 1 <= steps <= fewest:
        raise InputError(f"{fewest} patches cannot be moved in {steps} steps; choose from 1 to {fewest} steps.")
    return (2 * torch.arange(steps + 1) * patches[:, None] + steps) // (2 * steps)


def _movable(vit: Vit, rows: int, among: Patches | None) -> Patches:
    shape = (rows, vit.grid[0] * vit.grid[1])
    if among is None:
        return torch.ones(shape, dtype=torch.bool)
    if tuple(among.shape) != shape:
        raise InputError(
            f"among is {tuple(among.shape)} for {rows} images of {shape[1]} patches; give one row each, as {shape}."
        )
    among = among.cpu()
    if not among.any(dim=1).all():
        raise InputError(f"row {int((~among.any(dim=1)).int().argmax())} of among names no patch; name at least one.")
    return among


def _roi_patches(covered: Float[Tensor, "rows patches"], order: Orders) -> Patches:
    inside = covered >= _HALF_COVERED
    small = (covered.amax(dim=1) > 0) & ~inside.any(dim=1)
    most = _falling(covered, order)[:, :1]
    return inside.scatter(1, most, inside.gather(1, most) | small[:, None])


def _random_others(inside: Patches, movable: Patches, order: Orders) -> Patches:
    """Return as many patches outside as there are inside, the first in the random order; all where too few."""
    outside = (movable & ~inside).gather(1, order)
    chosen = outside & (outside.cumsum(dim=1) <= inside.sum(dim=1, keepdim=True))
    return torch.zeros_like(inside).scatter(1, order, chosen)


def _falling(values: Float[Tensor, "rows patches"], random: Orders) -> Orders:
    """Return each row's patches from the highest value down, equal values in the random order."""
    return random.gather(1, values.gather(1, random).argsort(dim=1, descending=True, stable=True))


def _random_orders(vit: Vit, images: Images, seed: int) -> Orders:
    """Return a permutation of the patches a row, drawn from the seed and the image's own bytes."""
    # One order for all rows would look at the same places of every case; a row's number would tie it to its batch.
    patches = vit.grid[0] * vit.grid[1]
    orders = torch.empty(len(images), patches, dtype=torch.long)
    for row, image in enumerate(images.detach().float().cpu().contiguous().numpy()):
        orders[row] = torch.from_numpy(np.random.default_rng([seed, zlib.crc32(image)]).permutation(patches))
    return orders


def _of_columns(
    logits: Float[Tensor, "rows classes"], columns: Int[Tensor, " rows"], output: str
) -> Float[Tensor, " rows"]:
    return OUTPUTS[output](logits).gather(1, columns.to(logits.device)[:, None])[:, 0]


def _require(vit: Vit, images: Images, columns: Sequence[int], output: str) -> None:
    if output not in OUTPUTS:
        raise InputError(f"there is no output {output!r}{did_you_mean(output, OUTPUTS)}")
    patch_px = tuple(vit.backbone.patch_embed.patch_size)
    if tuple(side // px for side, px in zip(images.shape[-2:], patch_px, strict=True)) != vit.grid:
        raise InputError(
            f"images of {images.shape[-2]} x {images.shape[-1]} px do not fill the model's grid of {vit.grid[0]} x "
            f"{vit.grid[1]} patches of {patch_px[0]} x {patch_px[1]} px; prepare them at the model's size."
        )
    if len(columns) != len(images):
        raise InputError(f"there are {len(images)} images and {len(columns)} columns; give one of each a row.")
    for column in columns:
        if not 0 <= column < len(vit.classes):
            raise InputError(f"there is no class {column}; the model has {len(vit.classes)}, numbered from 0.")


def _checked(vit: Vit, values: TokenGrids, rows: int, name: str) -> Float[Tensor, "rows patches"]:
    """Return values in double precision on the CPU, where they fall into the same order for every device."""
    if tuple(values.shape) != (rows, *vit.grid):
        raise InputError(
            f"{name} are {tuple(values.shape)} for {rows} images on a grid of {vit.grid[0]} x {vit.grid[1]} patches; "
            f"give one a row, as {(rows, *vit.grid)}."
        )
    broken = ~values.flatten(1).isfinite().all(dim=1)
    if broken.any():
        raise InputError(f"row {int(broken.int().argmax())} of {name} holds NaN or infinite values; mend its cause.")
    return values.detach().cpu().double().flatten(1)
