"""Is the map what the model used? Numbers from what a model answered with patches taken away or given.

Curves come from :mod:`mmpkd.attribute.perturb` or any other tool: one row a map, one point a share of the image taken
away (deletion) or given (insertion), highest of the map first. A faithful map makes the probability fall fast and rise
fast. What random orders score is the level to beat: score their curves by the same functions.

Scores are of *probabilities*; :func:`area` alone takes logits too.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Real

from mmpkd.errors import InputError

FAITHFULNESS_METRICS = (
    "deletion",
    "insertion",
    "insertion_minus_deletion",
    "normalised_deletion",
    "normalised_insertion",
    "normalised_insertion_minus_deletion",
)
SUFFICIENCY_METRICS = (
    "sufficiency",
    "random_sufficiency",
    "sufficiency_gain",
    "comprehensiveness",
    "random_comprehensiveness",
    "comprehensiveness_gain",
)
SUFFICIENCY_ANSWERS = ("whole", "roi", "random", "without_roi", "without_random")
LEAST_FALL = 0.01
_SAME_WHOLE = 0.02  # half precision and another batch size move a probability by less


def area(curves: Real[np.ndarray, "*maps points"], shares: Real[np.ndarray, " shares"]) -> Float[np.ndarray, "*maps"]:
    """Area under each curve by trapezoids, over the width of the shares it covers: its mean height.

    ``sum_i (s_(i+1) - s_i) (p_i + p_(i+1)) / 2 / (s_last - s_first)``, for shares from 0 to 1 the area itself.

    Args:
        curves: (..., points), probabilities or logits. NaN where the model has no answer.
        shares: (points,), rising.

    Returns:
        One value a curve. A curve that starts or ends with NaN is averaged over the stretch that is defined; NaN
        where that has fewer than two points, or has a gap.

    Raises:
        InputError: Numbers of points that differ, infinite values, shares that do not rise from 0 towards 1.

    >>> area(np.array([[0.8, 0.4, 0.2], [np.nan, 0.4, 0.2]]), np.array([0.0, 0.5, 1.0])).round(2).tolist()
    [0.45, 0.3]
    """
    curves, shares = _require_curves(curves, shares)
    known = ~np.isnan(curves)
    first, last = known.argmax(axis=-1), known.shape[-1] - 1 - known[..., ::-1].argmax(axis=-1)
    unbroken = (known.sum(axis=-1) == last - first + 1) & (last > first)
    heights = 0.5 * (curves[..., 1:] + curves[..., :-1])
    total = np.where(np.isnan(heights), 0.0, heights) @ np.diff(shares)
    width = np.where(unbroken, shares[last] - shares[first], np.nan)
    return np.asarray(total / width)


def deletion(
    curves: Real[np.ndarray, "*maps points"], shares: Real[np.ndarray, " shares"]
) -> Float[np.ndarray, "*maps"]:
    """Deletion: :func:`area` under the probability while the highest is taken away first; lower is more faithful.

    Petsiuk et al. 2018 (RISE, arXiv 1806.07421). A model that gives up at any gap scores low whatever the map.

    Raises:
        InputError: As in :func:`area`; values that are no probabilities.
    """
    _require_probabilities(curves, "deletion curve")
    return area(curves, shares)


def insertion(
    curves: Real[np.ndarray, "*maps points"], shares: Real[np.ndarray, " shares"]
) -> Float[np.ndarray, "*maps"]:
    """Insertion: :func:`area` under the probability while the highest is given first; higher is more faithful.

    Petsiuk et al. 2018 (RISE, arXiv 1806.07421).

    Raises:
        InputError: As in :func:`area`; values that are no probabilities.
    """
    _require_probabilities(curves, "insertion curve")
    return area(curves, shares)


def normalised(
    curves: Real[np.ndarray, "*maps points"],
    whole: Real[np.ndarray, "*maps"],
    empty: Real[np.ndarray, "*maps"],
    least_fall: float = LEAST_FALL,
) -> Float[np.ndarray, "*maps points"]:
    """Return ``(p - p_empty) / (p_whole - p_empty)``: 1 is the whole image and 0 none of it, for every case.

    Cases differ in how sure the model is; without this, areas mostly tell the sure cases from the others. NaN where
    ``p_whole - p_empty`` is under ``least_fall`` (or NaN): there is next to nothing to be explained.
    """
    fall = np.asarray(whole, np.float64) - empty
    fall = np.where(fall >= least_fall, fall, np.nan)
    return (curves - np.asarray(empty, np.float64)[..., None]) / fall[..., None]


def faithfulness_scores(
    deletion_curves: Real[np.ndarray, "*maps points"],
    insertion_curves: Real[np.ndarray, "*others other_points"],
    shares: Real[np.ndarray, " shares"],
    least_fall: float = LEAST_FALL,
) -> dict[str, np.ndarray]:
    """Return ``FAITHFULNESS_METRICS`` as ``{metric: one value a map}``.

    ``deletion`` (lower is better), ``insertion`` and ``insertion_minus_deletion`` (higher is better); and the same of
    curves :func:`normalised` by their own start and end. Normalised scores are NaN where the model has no answer to an
    empty image (a curve that starts or ends with NaN), since the first patch is then not worth anything known.

    Args:
        deletion_curves: (..., points), probabilities from the whole image (share 0) to nothing (share 1).
        insertion_curves: (..., points), probabilities from nothing to the whole image, of the same maps.
        shares: (points,), rising from 0 to 1.
        least_fall: See :func:`normalised`.

    Raises:
        InputError: Shapes that differ, values that are no probabilities, shares that do not rise from 0 to 1, or
            curves that disagree by more than 0.02 about the whole image (swapped, or of other models).

    >>> fall, rise = np.array([[0.9, 0.1, 0.1]]), np.array([[0.1, 0.9, 0.9]])
    >>> scores = faithfulness_scores(fall, rise, np.array([0.0, 0.5, 1.0]))
    >>> [scores[name].round(2).tolist() for name in ("deletion", "insertion", "normalised_insertion_minus_deletion")]
    [[0.3], [0.7], [0.5]]
    """
    if deletion_curves.shape != insertion_curves.shape:
        raise InputError(
            f"deletion curves are {deletion_curves.shape} and insertion curves {insertion_curves.shape}; give one of "
            "each a map, over the same shares."
        )
    areas = {"deletion": deletion(deletion_curves, shares), "insertion": insertion(insertion_curves, shares)}
    if shares[0] != 0 or shares[-1] != 1:
        raise InputError(f"shares run from {shares[0]:g} to {shares[-1]:g}; scores need curves from 0 to 1.")
    whole = deletion_curves[..., 0]
    apart = np.abs(whole - insertion_curves[..., -1]).ravel() > _SAME_WHOLE
    if apart.any():
        row = int(np.argmax(apart))
        raise InputError(
            f"deletion curve {row} starts at {whole.ravel()[row]:.3g} and insertion curve {row} ends at "
            f"{insertion_curves[..., -1].ravel()[row]:.3g}, but both are of the whole image; are they swapped?"
        )
    relative = {
        "deletion": normalised(deletion_curves, whole, deletion_curves[..., -1], least_fall),
        "insertion": normalised(insertion_curves, insertion_curves[..., -1], insertion_curves[..., 0], least_fall),
    }
    areas |= {f"normalised_{name}": area(curves, shares) for name, curves in relative.items()}
    for prefix in ("", "normalised_"):
        areas[f"{prefix}insertion_minus_deletion"] = areas[f"{prefix}insertion"] - areas[f"{prefix}deletion"]
    return {name: areas[name] for name in FAITHFULNESS_METRICS}


def sufficiency_scores(answers: Mapping[str, Real[np.ndarray, " ..."]]) -> dict[str, np.ndarray]:
    """Return ``SUFFICIENCY_METRICS`` as ``{metric: one value a row}``: does the ROI carry the answer?

    With the probability p of the whole image, of the ROI alone, of the rest alone, and the same for as many random
    patches outside the ROI:

    - ``sufficiency`` = p_roi / p_whole, and ``random_sufficiency`` = p_random / p_whole;
    - ``comprehensiveness`` = 1 - p_without_roi / p_whole, and ``random_comprehensiveness`` of the random patches;
    - ``sufficiency_gain`` and ``comprehensiveness_gain``: the ROI's value less the random one; chance is 0.

    Args:
        answers: Probabilities by the names of ``SUFFICIENCY_ANSWERS``, as of
            :func:`mmpkd.attribute.perturb.sufficiency`.

    Returns:
        NaN where an answer is NaN or ``whole`` is 0. Of a small ``whole`` the ratios say little: look at true
        positives.

    Raises:
        InputError: An answer that is missing, shapes that differ, values that are no probabilities.

    Source: after DeYoung et al. 2020 (ERASER, arXiv 1911.03429), who take differences to the whole; ratios compare
    cases of unlike probability.
    """
    for name in SUFFICIENCY_ANSWERS:
        if name not in answers:
            raise InputError(f"the answer {name!r} is missing; give {', '.join(SUFFICIENCY_ANSWERS)}.")
        if answers[name].shape != answers["whole"].shape:
            raise InputError(f"{name!r} is {answers[name].shape} and 'whole' {answers['whole'].shape}; give one a row.")
        _require_probabilities(answers[name], f"answer {name!r}")
    whole = answers["whole"].astype(np.float64)
    parts = {name: answers[name] / np.where(whole > 0, whole, np.nan) for name in SUFFICIENCY_ANSWERS}
    scores = {
        "sufficiency": parts["roi"],
        "random_sufficiency": parts["random"],
        "comprehensiveness": 1.0 - parts["without_roi"],
        "random_comprehensiveness": 1.0 - parts["without_random"],
    }
    for name in ("sufficiency", "comprehensiveness"):
        scores[f"{name}_gain"] = scores[name] - scores[f"random_{name}"]
    return {name: scores[name] for name in SUFFICIENCY_METRICS}


def _require_curves(curves: np.ndarray, shares: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if curves.shape[-1] != len(shares) or len(shares) < 2:
        raise InputError(f"curves are {curves.shape} and shares {shares.shape}; give two points or more, one a share.")
    if not (np.diff(shares) > 0).all() or not (shares[0] >= 0 and shares[-1] <= 1):
        raise InputError(f"the shares are {shares.tolist()}; they must rise, within 0 to 1.")
    if np.isinf(curves).any():
        raise InputError("a curve holds an infinite value; look for the cause, or give probabilities.")
    return curves.astype(np.float64), shares.astype(np.float64)


def _require_probabilities(values: np.ndarray, name: str) -> None:
    wrong = (values < 0) | (values > 1)
    if wrong.any():
        raise InputError(
            f"{name} holds {values[wrong].flat[0]:.4g}, which is no probability; take the sigmoid or softmax of logits."
        )
