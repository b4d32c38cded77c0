"""From settings to a phantom cohort in memory, chunk by chunk; a chunk's size never changes its content."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int, UInt8

from mmpkd.cohort.phantom import breast, breast_findings, chest, chest_findings
from mmpkd.cohort.phantom.metadata import draw_metadata, metadata_slots
from mmpkd.cohort.phantom.report import wording_block, write_reports
from mmpkd.cohort.phantom.settings import PhantomSettings
from mmpkd.cohort.phantom.streams import Slots, draw_streams
from mmpkd.cohort.phantom.truth import draw_labels, draw_marker, draw_truth, hedged

_CHUNK_PIXELS = 48 * 64 * 64  # a few images at a time stay in a core's own cache, where the arithmetic is fastest


@dataclass(frozen=True)
class Phantom:
    """A phantom cohort, one row an image, in order of patient and image.

    Args:
        images: 8-bit images.
        masks: Exact extent of each finding; empty where it is absent.
        findings: Names of the findings.
        cases: Columns ``case``, ``patient`` and ``marker`` (whether the image carries the marker).
        labels: What a report labeler wrote down: 1, 0, or NaN where missing.
        truth: 1 where the finding is in the image, else 0.
        text: Reports.
        zones: One row a zone of an image: ``case``, ``zone`` and its box, half-open, in pixels.
        metadata: Clinical columns, some values missing.
    """

    images: UInt8[np.ndarray, "images height width"]
    masks: Bool[np.ndarray, "images findings height width"]
    findings: tuple[str, ...]
    cases: pd.DataFrame
    labels: Float[np.ndarray, "images findings"]
    truth: Float[np.ndarray, "images findings"]
    text: list[str]
    metadata: pd.DataFrame
    zones: pd.DataFrame

    def __len__(self) -> int:
        return len(self.images)


def generate(settings: PhantomSettings) -> Phantom:
    """Return the whole phantom cohort in memory (``write_phantom`` needs only a chunk at a time).

    Example:
        >>> from mmpkd.cohort.phantom import PhantomSettings, generate
        >>> phantom = generate(PhantomSettings(patients=2, images_per_patient=(1, 1)))
        >>> phantom.images.shape, phantom.masks.shape
        ((2, 64, 64), (2, 5, 64, 64))
    """
    chunks = list(generate_chunks(settings))
    return Phantom(
        images=np.concatenate([chunk.images for chunk in chunks]),
        masks=np.concatenate([chunk.masks for chunk in chunks]),
        findings=settings.findings,
        cases=pd.concat([chunk.cases for chunk in chunks], ignore_index=True),
        labels=np.concatenate([chunk.labels for chunk in chunks]),
        truth=np.concatenate([chunk.truth for chunk in chunks]),
        text=[text for chunk in chunks for text in chunk.text],
        metadata=pd.concat([chunk.metadata for chunk in chunks], ignore_index=True),
        zones=pd.concat([chunk.zones for chunk in chunks], ignore_index=True),
    )


def generate_chunks(settings: PhantomSettings, patients_per_chunk: int | None = None) -> Iterator[Phantom]:
    """Yield the cohort some patients at a time, in constant memory; the chunk size changes nothing but speed."""
    step = patients_per_chunk or max(1, _CHUNK_PIXELS // (2 * settings.size_px**2))
    slots = _slots(settings)
    for first in range(0, settings.patients, step):
        yield _generate_patients(settings, range(first, min(first + step, settings.patients)), slots)


def _slots(settings: PhantomSettings) -> Slots:
    findings = settings.findings
    anatomy, lesions = (chest, chest_findings) if settings.kind == "chest" else (breast, breast_findings)
    return Slots(
        patient=(
            *anatomy.PATIENT_SLOTS,
            *lesions.PATIENT_SLOTS,
            *(f"{name}.present.patient" for name in findings),
        ),
        image=(
            *anatomy.IMAGE_SLOTS,
            *lesions.IMAGE_SLOTS,
            "persists",
            "marker",
            *(f"{name}.{part}" for name in findings for part in ("present.image", "severity", "hedge")),
            *(f"{name}.{part}" for name in findings for part in ("wrong", "missing")),
            *metadata_slots(settings.kind),
        ),
        wording=wording_block(findings),
        grids=anatomy.GRIDS,
    )


def _generate_patients(settings: PhantomSettings, patients: range, slots: Slots) -> Phantom:
    streams = draw_streams(settings.seed, settings.kind, patients, settings.images_per_patient, settings.size_px, slots)
    truth = draw_truth(streams, settings)
    marker = draw_marker(streams, truth, settings)
    render = chest_findings.render if settings.kind == "chest" else breast_findings.render
    scene = render(streams, truth, settings.size_px, settings.contrast, settings.pixel_noise)
    _stamp(scene.images, marker)
    hedge = hedged(streams, truth, settings.findings)
    pairs = list(zip(streams.patient.tolist(), streams.image.tolist(), strict=True))
    cases = [f"p{patient:06d}-{image}" for patient, image in pairs]
    return Phantom(
        images=scene.images,
        masks=scene.masks,
        findings=settings.findings,
        cases=pd.DataFrame(
            {
                "case": cases,
                "patient": [f"p{patient:06d}" for patient, _ in pairs],
                "marker": marker,
            }
        ),
        labels=draw_labels(streams, truth, settings),
        truth=truth.astype(np.float64),
        text=write_reports(streams, truth, hedge, scene, settings),
        metadata=draw_metadata(streams, truth, scene, settings),
        zones=_zone_table(cases, scene.zones),
    )


def _zone_table(cases: list[str], zones: Mapping[str, Int[np.ndarray, "images 4"]]) -> pd.DataFrame:
    """Return one row a zone that the image shows, image by image."""
    corners = ["x_min", "y_min", "x_max", "y_max"]
    tables = [pd.DataFrame(boxes, columns=corners).assign(case=cases, zone=zone) for zone, boxes in zones.items()]
    table = pd.concat(tables)[["case", "zone", *corners]].sort_index(kind="stable").reset_index(drop=True)
    return table[(table["x_max"] > table["x_min"]) & (table["y_max"] > table["y_min"])]


def _stamp(images: UInt8[np.ndarray, "images height width"], marker: Bool[np.ndarray, " images"]) -> None:
    """Stamp a bright letter L beside the upper right corner, in place."""
    unit = max(1, images.shape[-1] // 64)
    glyph = np.repeat(np.repeat(np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 1]], bool), unit, 0), unit, 1)
    top, right = 3 * unit, images.shape[-1] - 3 * unit
    window = images[:, top : top + glyph.shape[0], right - glyph.shape[1] : right]
    window[marker[:, None, None] & glyph] = 250
