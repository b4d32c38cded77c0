"""The knobs of the phantom. Each changes one thing and leaves every other draw of the cohort as it was."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field, model_validator

from mmpkd.errors import did_you_mean
from mmpkd.settings import Settings

Kind = Literal["chest", "breast"]
FINDINGS: dict[str, tuple[str, ...]] = {
    "chest": ("nodule", "consolidation", "effusion", "pneumothorax", "cardiomegaly"),
    "breast": ("mass", "calcification"),
}


class PhantomSettings(Settings):
    """What a phantom cohort looks like.

    Args:
        kind: ``chest`` (frontal radiographs) or ``breast`` (mammograms).
        patients: Number of patients.
        images_per_patient: Fewest and most images of a patient; the number is drawn evenly between them.
        size_px: Height and width of every image.
        seed: Everything random follows from it and the patient's number.
        prevalence: Probability of a finding in an image: one number, or one for each finding.
        label_noise: Share of all labels that are wrong, as a report labeler gets them wrong: two thirds are missed
            positives (subtle ones more often; at most half of all positives), the rest false positives (hedged
            sentences more often).
        label_missing: Share of the labels that are missing, at random.
        text_detail: How much of the finding information the report gives, from 0 (nothing) to 1 (all).
        text_spatial: Whether the report says where: side, zone, quadrant, depth. What it says else is the same.
        metadata_strength: How much the metadata tell about the findings, from 0 (nothing) to 1.
        marker: Finding that a bright marker at the image's edge goes along with; ``None`` for no marker.
        marker_correlation: P(marker | finding) − P(marker | no finding), from 0 to 1; the marker is in half of the
            images of a balanced finding.
        pixel_noise: Standard deviation of the pixel noise, as a share of full white.
        contrast: How conspicuous the findings are; 1 is the normal phantom.
    """

    kind: Kind = "chest"
    patients: int = Field(default=850, ge=1, le=10_000_000)
    images_per_patient: tuple[int, int] = (1, 3)
    size_px: int = Field(default=64, ge=32, le=2048)
    seed: int = Field(default=0, ge=0)
    prevalence: float | dict[str, float] = 0.25
    label_noise: float = Field(default=0.15, ge=0.0, le=0.4)
    label_missing: float = Field(default=0.0, ge=0.0, lt=1.0)
    text_detail: float = Field(default=1.0, ge=0.0, le=1.0)
    text_spatial: bool = True
    metadata_strength: float = Field(default=0.5, ge=0.0, le=1.0)
    marker: str | None = None
    marker_correlation: float = Field(default=0.8, ge=0.0, le=1.0)
    pixel_noise: float = Field(default=0.03, ge=0.0, le=0.5)
    contrast: float = Field(default=1.0, gt=0.0, le=2.0)

    @model_validator(mode="after")
    def _check(self) -> Self:
        low, high = self.images_per_patient
        if not 1 <= low <= high <= 3:
            raise ValueError(f"images_per_patient is [{low}, {high}]; give two numbers from 1 to 3, the smaller first")
        given = self.prevalence if isinstance(self.prevalence, Mapping) else {}
        for name in (*given, *([] if self.marker is None else [self.marker])):
            if name not in self.findings:
                raise ValueError(f"the {self.kind} phantom has no finding {name!r}{did_you_mean(name, self.findings)}")
        for name, value in zip(self.findings, self.prevalences, strict=True):
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"the prevalence of {name} is {value}; give a number from 0 to 1")
        return self

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the findings, in the order of every array."""
        return FINDINGS[self.kind]

    @property
    def prevalences(self) -> tuple[float, ...]:
        """Prevalence of each finding (those not given have 0.25)."""
        if isinstance(self.prevalence, Mapping):
            return tuple(self.prevalence.get(name, 0.25) for name in self.findings)
        return (self.prevalence,) * len(self.findings)
