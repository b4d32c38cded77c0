"""The example cases: image with ROI, and every arm's map over the image."""

from __future__ import annotations

from dataclasses import dataclass

from mmpkd.report import overlays
from mmpkd.report.data import GalleryCase, ReportData
from mmpkd.report.glossary import plain
from mmpkd.report.tables import compared_arms
from mmpkd.report.words import decimal

_SIDE_PX = 288


@dataclass(frozen=True)
class CasePicture:
    """One picture of an example case and what stands below it."""

    uri: str
    caption: str
    probability: str
    alternative: str


@dataclass(frozen=True)
class ExampleCase:
    """One example case."""

    finding: str
    label: str
    pictures: tuple[CasePicture, ...]


def example_cases(data: ReportData) -> tuple[ExampleCase, ...]:
    """Return the example cases in the gallery's order, each as image with ROI and one overlay an arm."""
    arms = compared_arms(data)
    return tuple(_example(case, arms) for case in data.gallery)


def _example(case: GalleryCase, arms: tuple[str, ...]) -> ExampleCase:
    finding, has_roi = plain(case.finding), case.roi is not None and bool(case.roi.any())
    pictures = [
        CasePicture(
            uri=overlays.png_data_uri(overlays.image_with_roi(case.image, case.roi, _SIDE_PX)),
            caption="image and ROI" if has_roi else "image, no ROI",
            probability="",
            alternative=f"Example image, {finding}",
        )
    ]
    for arm in sorted(case.maps, key=lambda arm: arms.index(arm) if arm in arms else len(arms)):
        overlay = overlays.map_overlay(case.image, case.maps[arm], case.roi, _SIDE_PX)
        probability = decimal(case.probabilities[arm], 2) if arm in case.probabilities else ""
        pictures.append(CasePicture(overlays.png_data_uri(overlay), arm, probability, f"Map of {arm} for {finding}"))
    label = "label missing" if case.label is None else ("present" if case.label else "absent")
    return ExampleCase(finding, label, tuple(pictures))


def colour_bar_uri() -> str:
    """Return the maps' colour scale as a data URI."""
    return overlays.png_data_uri(overlays.colour_bar())
