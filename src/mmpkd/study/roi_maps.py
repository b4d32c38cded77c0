"""Maps of the pairs (case, finding) that are scored, and of no others: a map may cost many passes a finding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mmpkd.attribute.attribute import TokenMaps, token_maps
from mmpkd.cohort.image_set import ImageSet
from mmpkd.study.localise import Target

if TYPE_CHECKING:
    from mmpkd.distil.student import Student


def roi_maps(
    student: Student, images: ImageSet, targets: Sequence[Target], positions: np.ndarray, method: str
) -> TokenMaps:
    """Return the token maps of the targets, in the shape of :func:`token_maps` over ``positions``; zero elsewhere.

    Cases that have ROIs of the same findings go through the method together, so that it shares the forward pass
    among them. Integrated gradients of one finding in fourteen then cost a fourteenth.

    Args:
        student: A trained student.
        images: Cached images at the student's size.
        targets: The pairs wanted.
        positions: Cases of the result, integer positions into ``images``; the targets' are among them.
        method: Registered name.
    """
    row_of = {int(position): row for row, position in enumerate(positions)}
    findings_of: dict[int, set[str]] = {}
    for target in targets:
        findings_of.setdefault(row_of[target.position], set()).add(target.finding)
    alike: dict[tuple[str, ...], list[int]] = {}
    for row, wanted in findings_of.items():
        alike.setdefault(tuple(finding for finding in student.findings if finding in wanted), []).append(row)
    values = np.zeros((len(positions), len(student.findings), *student.grid), np.float16)
    class_specific = True
    for findings, rows in alike.items():
        found = token_maps(student, images, positions[rows], method, findings)
        columns = [student.findings.index(finding) for finding in findings]
        values[np.ix_(rows, columns)] = found.values
        class_specific = found.class_specific
    return TokenMaps(values, tuple(student.findings), method, class_specific)
