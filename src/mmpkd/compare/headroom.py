r"""How much of what could be gained an arm gains: between a picture-blind prior and students that were shown boxes.

.. math:: H = \frac{m_{arm} - m_{prior}}{m_{upper} - m_{prior}}

0 is a map that knows no more than where ROIs usually sit, 1 one that is as good as having been shown them. A weak upper
bound flatters, so it is named wherever H is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from mmpkd.compare.statistics import Draws, Statistics

Entry = tuple[str, str, str, Statistics, int]


def headroom_entries(
    arms: Mapping[str, Statistics], prior: Statistics, upper: str, seeds: Mapping[str, int]
) -> Iterator[Entry]:
    """Yield ``headroom`` of every arm but ``upper``, of each finding and of the macro mean, draw by draw.

    A draw in which the upper bound is not above the prior has no headroom and is undefined there. The macro mean's is
    the share of mean scores, not the mean of shares, which findings with next to no room would rule.
    """
    if upper not in arms:
        return
    for arm, statistics in arms.items():
        if arm == upper:
            continue
        shares = {
            score: _share(mine, prior[score], arms[upper][score])
            for score, mine in statistics.items()
            if score in prior and score in arms[upper]
        }
        if shares:
            yield "headroom", arm, upper, shares, min(seeds[arm], seeds[upper])


def _share(arm: Draws, prior: Draws, upper: Draws) -> Draws:
    room = upper.draws - prior.draws
    share = np.divide(arm.draws - prior.draws, room, out=np.full(room.shape, np.nan), where=room > 0)
    return Draws(share, arm.cases, arm.patients)


def worth_boxes(value: float, by_boxes: Mapping[int, float]) -> tuple[int, int | None]:
    """Return between how many boxes an arm is worth: the most that it reaches, and the fewest that it does not.

    Args:
        value: The arm's score.
        by_boxes: Score of the arms that were shown so many boxes.

    Returns:
        (0, the fewest) where it reaches none, (the most, None) where it reaches all. Where more boxes were no better,
        the first number that it does not reach counts.
    """
    reached = 0
    for boxes in sorted(by_boxes):
        if value < by_boxes[boxes]:
            return reached, boxes
        reached = boxes
    return reached, None
