"""Where findings are, for arms that are told: from the soft-label table or the ROIs to zones on the student's grid."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from mmpkd.distil.roi_coverage import roi_coverage
from mmpkd.distil.zone_arms import Places, places_of
from mmpkd.distil.zone_controls import Located
from mmpkd.distil.zone_coverage import zone_coverage
from mmpkd.distil.zone_labels import ZoneLabels
from mmpkd.errors import InputError, did_you_mean
from mmpkd.progress import SILENT, Progress
from mmpkd.teach.learned_places import fill_unsaid
from mmpkd.teach.located import locate_findings, located_warnings
from mmpkd.teach.soft_labels import WHOLE_IMAGE, SoftLabels

if TYPE_CHECKING:
    from mmpkd.cohort.cohort import Cohort
    from mmpkd.cohort.zones import ZoneScheme
    from mmpkd.study.cell import CellWork
    from mmpkd.study.settings import ArmSettings, StudySettings

_SURE = 4.0  # log-odds of a place that an ROI shows, or shows to be free
_LEAST_SHARE = 0.1  # of an ROI's area in a zone, for the finding to be there


def with_located(
    soft_labels: SoftLabels,
    cohort: Cohort,
    study: StudySettings,
    progress: Progress = SILENT,
    folder: Path | None = None,
) -> tuple[SoftLabels, list[str]]:
    """Return the soft labels with those of regions added, where the study asks for them, and what to know of the texts.

    Args:
        soft_labels: Of whole images.
        cohort: With text.
        study: Settings.
        progress: Where to show that a teacher learns.
        folder: Where its finished folds are kept.

    Raises:
        InputError: The cohort has no zones, the text says nothing of any, or a given table names a region that the
            scheme lacks.
    """
    if study.teach.located is None:
        _check_regions(soft_labels, study)
        return soft_labels, []
    if study.cohort.zones is None:
        raise InputError("teach.located: the cohort has no zones; add 'cohort.zones', or leave 'located' out.")
    scheme = study.cohort.zones.named
    rows, counts = locate_findings(cohort.privileged, cohort.findings, scheme, study.teach.located)
    told = located_warnings(counts)
    if study.teach.located.learned:
        rows, of_learned = fill_unsaid(cohort, rows, scheme.regions, study.teach, progress, folder)
        told += of_learned
    table = pd.concat([soft_labels.table, rows], ignore_index=True)
    return SoftLabels(table, soft_labels.provenance), told


def _check_regions(soft_labels: SoftLabels, study: StudySettings) -> None:
    """Hold a table from elsewhere against the scheme: a region that it lacks would teach nobody."""
    zones = study.cohort.zones
    given = [region for region in soft_labels.table["region"].unique() if region != WHOLE_IMAGE]
    if zones is None or not given:
        return
    known = zones.named.regions
    problems = [
        f"the soft labels' region {region!r} is none of the scheme {zones.scheme!r}"
        f"{did_you_mean(region, known) or '; it has ' + ', '.join(known) + '.'}"
        for region in given
        if region not in known
    ]
    if problems:
        raise InputError(problems)


def located_matrix(
    soft_labels: SoftLabels, cases: pd.Index[str], findings: tuple[str, ...], scheme: ZoneScheme
) -> Located | None:
    """Return located logits (cases, findings, regions), NaN where nothing is said; ``None`` if no row is located."""
    if not soft_labels.table["region"].isin(scheme.regions).any():
        return None
    return np.stack([soft_labels.matrix(cases, findings, region) for region in scheme.regions], axis=2)


def zone_labels(
    work: CellWork, arm: ArmSettings, labels: np.ndarray, rng: np.random.Generator, grid: tuple[int, int]
) -> ZoneLabels:
    """Return what an arm's zones say of the training cases, and where they lie on the student's grid.

    Args:
        work: What the cells share.
        arm: Its kind and doses.
        labels: Of training cases, NaN elsewhere.
        rng: Of the cell.
        grid: Rows and columns of the student's tokens.

    Raises:
        InputError: The cohort has no zones, or nothing says where.
    """
    cohort, zones = work.cohort, work.study.cohort.zones
    if zones is None:
        raise InputError("objective.attention.zones: the cohort has no zones; add 'cohort.zones'.")
    scheme, train = zones.named, np.flatnonzero(cohort.in_split("train"))
    own = zone_coverage(cohort, scheme, work.images, train, grid)
    coverage = own
    if len(own) > 1:
        coverage = np.zeros((len(cohort), *own.shape[1:]), own.dtype)
        coverage[train] = own
    truth = _true_places(work, own, train, grid) if arm.kind == "zone-truth" else None
    if arm.kind != "zone-truth" and work.located is None:
        raise InputError(
            "objective.attention.zones: the teacher's soft labels say nothing of any zone; set 'teach.located', or "
            "give a precomputed table with a column 'region'."
        )
    places = Places(work.located, truth, labels, scheme)
    said = places_of(arm.kind, places, arm.zones.unsaid, arm.zones.side_errors, rng)
    in_train = cohort.in_split("train")[:, None, None]
    return ZoneLabels(np.where(in_train, said, np.nan), coverage)


def _true_places(work: CellWork, coverage: np.ndarray, train: np.ndarray, grid: tuple[int, int]) -> Located:
    """Return sure logits: present in regions that hold a share of an ROI, absent elsewhere and in absent findings."""
    cohort = work.cohort
    rois = roi_coverage(cohort, work.images, train, grid)
    zones = np.broadcast_to(coverage, (len(train), *coverage.shape[1:])).astype(np.float32)
    shares = rois.share.astype(np.float32)
    inside = np.einsum("pij,prij->pr", shares, zones[rois.cases]) / shares.sum((1, 2))[:, None]
    places = np.full((len(cohort), len(cohort.findings), coverage.shape[1]), np.nan)
    places[(cohort.labels == 0) & cohort.in_split("train")[:, None]] = -_SURE
    places[train[rois.cases], rois.findings] = np.where(inside >= _LEAST_SHARE, _SURE, -_SURE)
    return places
