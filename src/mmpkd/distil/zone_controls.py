"""What may be wrong about located labels, on purpose: controls and doses of the arms that are taught by zones.

Each takes located logits (cases, findings, zones), NaN where nothing is said, and returns others of the same shape. A
gain that a control shares does not come from where this case's report puts its finding.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, logit

from mmpkd.errors import InputError

Located = Float[np.ndarray, "cases findings zones"]


def shuffled(located: Located, labels: Float[np.ndarray, "cases findings"], rng: np.random.Generator) -> Located:
    """Return located labels of another case with the same label of the same finding, finding by finding.

    How often each zone is named stays, and so does everything the image-level labels know; where it lies in *this* case
    does not.
    """
    out = located.copy()
    for finding in range(located.shape[1]):
        said = ~np.isnan(located[:, finding]).all(axis=1)
        for value in (0.0, 1.0):
            rows = np.flatnonzero(said & (labels[:, finding] == value))
            out[rows, finding] = located[rng.permutation(rows), finding]
        rows = np.flatnonzero(said & np.isnan(labels[:, finding]))
        out[rows, finding] = located[rng.permutation(rows), finding]
    return out


def prior(located: Located, labels: Float[np.ndarray, "cases findings"]) -> Located:
    """Return the mean located label of each finding and zone, over the cases with the same label, in every such case.

    What is left is only where a finding sits as a rule. Cases that said nothing of a finding still say nothing.
    """
    out = located.copy()
    probabilities = expit(located)
    for finding in range(located.shape[1]):
        said = ~np.isnan(located[:, finding]).all(axis=1)
        for same in (labels[:, finding] == 0, labels[:, finding] == 1, np.isnan(labels[:, finding])):
            rows = said & same
            if rows.any():
                known = ~np.isnan(probabilities[rows, finding])
                total = np.where(known, probabilities[rows, finding], 0.0).sum(axis=0)
                with np.errstate(invalid="ignore"):
                    out[rows, finding] = logit(total / known.sum(axis=0))
    return out


def mirrored(located: Located, mirror: Int[np.ndarray, " zones"]) -> Located:
    """Return located labels with left and right exchanged.

    Args:
        located: As above.
        mirror: Of each zone, the one on the other side.
    """
    return np.asarray(located[:, :, mirror])


def side_errors(located: Located, mirror: Int[np.ndarray, " zones"], share: float, rng: np.random.Generator) -> Located:
    """Return located labels of which a share of the pairs (case, finding) has left and right exchanged."""
    wrong = rng.random(located.shape[:2]) < share
    return np.where(wrong[:, :, None], located[:, :, mirror], located)


def unsaid(located: Located, share: float, rng: np.random.Generator) -> Located:
    """Return located labels of which a share of the pairs (case, finding) says nothing."""
    silent = rng.random(located.shape[:2]) < share
    return np.where(silent[:, :, None], np.nan, located)


def mirror_of(zones: Sequence[str]) -> Int[np.ndarray, " zones"]:
    """Return, of each zone, the place of its mirror image: ``left upper`` of ``right upper``; itself without a side.

    Raises:
        InputError: A zone of one side has no counterpart.
    """
    places = {zone: place for place, zone in enumerate(zones)}
    mirror = []
    for zone in zones:
        words = [{"left": "right", "right": "left"}.get(word, word) for word in zone.split(" ")]
        other = " ".join(words)
        if other not in places:
            raise InputError(f"the zone {zone!r} has no counterpart {other!r}; mirrored controls need both sides.")
        mirror.append(places[other])
    return np.array(mirror)
