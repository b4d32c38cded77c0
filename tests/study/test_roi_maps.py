"""Maps of scored pairs alone: the same numbers as maps of everything, without paying for everything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from mmpkd.attribute.attribute import TokenMaps, token_maps
from mmpkd.cohort.image_set import ImageSet
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import Student, build_student
from mmpkd.study import roi_maps as module
from mmpkd.study.localise import Target
from mmpkd.study.roi_maps import roi_maps

FINDINGS = ("nodule", "effusion", "cardiomegaly")
MASK = np.ones((32, 32), bool)
PAIRS = [(4, "effusion"), (2, "nodule"), (2, "cardiomegaly"), (5, "effusion"), (0, "cardiomegaly"), (0, "nodule")]
TARGETS = [Target(position, str(position), str(position), finding, MASK) for position, finding in PAIRS]
POSITIONS = np.array([0, 2, 3, 4, 5])


@pytest.fixture
def student() -> Student:
    torch.manual_seed(0)
    settings = StudentSettings(image_size_px=32, patch_px=8, width=32, depth=2, heads=2)
    student = build_student(settings, FINDINGS, "multi-label", "pad").eval()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return student


@pytest.fixture
def images() -> ImageSet:
    pixels = np.random.default_rng(0).integers(0, 256, (6, 1, 32, 32), np.uint8)
    return ImageSet(pixels, np.arange(6), np.full((6, 2), 32), "pad")


@pytest.mark.parametrize("method", ["attention", "legrad", "occlusion"])
def test_maps_of_scored_pairs_are_those_of_all_pairs_and_the_rest_is_zero(
    student: Student, images: ImageSet, method: str
) -> None:
    found = roi_maps(student, images, TARGETS, POSITIONS, method)
    whole = token_maps(student, images, POSITIONS, method)
    scored = np.zeros((5, 3), bool)
    for position, finding in PAIRS:
        scored[list(POSITIONS).index(position), FINDINGS.index(finding)] = True
    np.testing.assert_allclose(found.values[scored], whole.values[scored], atol=1e-3)
    assert (found.values[scored].max(axis=(-2, -1)) > 0).all()
    assert (found.values[~scored] == 0).all()
    assert (found.findings, found.method, found.class_specific) == (whole.findings, method, whole.class_specific)


def test_only_scored_pairs_are_computed(student: Student, images: ImageSet, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def watched(
        student: Student, images: ImageSet, positions: np.ndarray, method: str, findings: Sequence[str]
    ) -> TokenMaps:
        asked.append((sorted(int(position) for position in positions), tuple(findings)))
        return token_maps(student, images, positions, method, findings)

    monkeypatch.setattr(module, "token_maps", watched)
    roi_maps(student, images, TARGETS, POSITIONS, "legrad")
    assert sorted(asked) == [([0, 2], ("nodule", "cardiomegaly")), ([4, 5], ("effusion",))]


def test_a_student_without_targets_has_empty_maps(student: Student, images: ImageSet) -> None:
    assert not roi_maps(student, images, [], POSITIONS, "legrad").values.any()
