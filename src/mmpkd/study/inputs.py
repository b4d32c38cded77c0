"""What every cell of a study needs, read once: the cohort's arrays and the decoded images."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from mmpkd.cohort.cache import cache_images
from mmpkd.cohort.check import find_leaks, summarise
from mmpkd.cohort.cohort import Cohort
from mmpkd.cohort.image_set import ImageSet
from mmpkd.cohort.read import read_cohort
from mmpkd.cohort.rois import check_rois
from mmpkd.distil.arms import attention_of, embedding_of
from mmpkd.errors import InputError
from mmpkd.files import fingerprint
from mmpkd.progress import SILENT, Progress
from mmpkd.study.arm import arm_training
from mmpkd.study.settings import StudySettings


@dataclass(frozen=True)
class StudyInputs:
    """A cohort with its decoded images.

    Args:
        cohort: Only the cases whose image could be read.
        images: In the order of the cohort's cases.
        warnings: What a person should know; one sentence each.
        summary: What is in the cohort, plain data.
    """

    cohort: Cohort
    images: ImageSet
    warnings: tuple[str, ...]
    summary: dict[str, object]


def read_inputs(study: StudySettings, root: Path, cache_dir: Path, progress: Progress = SILENT) -> StudyInputs:
    """Read the table, decode the images (or find them in the cache), and check all of it.

    Raises:
        InputError: Every fatal problem of table, images and ROIs.
    """
    read = read_cohort(study.cohort, root)
    cohort = read.cohort
    if "image" not in cohort.cases or cohort.cases["image"].isna().all():
        raise InputError("the cohort has no images: set `cohort.image`, or use `mmpkd teach`, which needs none.")
    cached = cache_images(
        cohort.cases["image"].tolist(),
        root=cohort.files,
        size_px=study.student.image_size_px,
        channels=study.student.channels,
        fit=study.images.fit,
        cache_dir=study.images.cache or cache_dir,
        progress=progress,
        max_broken_share=study.cohort.max_broken_share,
        # paths of an archive that stays in place may hold identifiers, where case ids are pseudonyms
        shown=None if cohort.image_root is None else [f"case {case}" for case in cohort.cases.index],
    )
    warnings = [*read.warnings, *cached.problems]
    cohort = cohort.take(cached.kept)
    images = cached.image_set().take(cached.kept)
    sizes = dict(zip(cohort.cases.index, map(tuple, images.sizes_px.tolist()), strict=True))
    problems = [] if cohort.rois is None else check_rois(cohort.rois, sizes, cohort.files)
    problems += [] if cohort.zones is None else check_rois(cohort.zones, sizes, cohort.files, what="zone")
    if problems:
        raise InputError(problems)
    warnings += find_leaks(cohort, cached.digests[cached.kept].tolist())
    low, high = images.sizes_px.min(0), images.sizes_px.max(0)
    extremes = {"smallest": f"{low[0]} x {low[1]}", "largest": f"{high[0]} x {high[1]}"}
    summary: dict[str, object] = {**summarise(cohort), "image_sizes_px": extremes}
    if steps := cached.count_steps():
        summary["image_steps"] = steps
    summary["warnings"] = warnings
    return StudyInputs(cohort, images, tuple(warnings), summary)


def study_fingerprint(study: StudySettings, root: Path) -> str:
    """Return a hash of everything that decides the study's results: settings and the cohort's tables.

    Execution, cache place and name are left out; images are keyed by content in their own cache.
    """
    data = replace_keys(study.to_data(), drop=("name", "execution"))
    data["images"] = replace_keys(study.images.to_data(), drop=("cache",))
    return fingerprint({"settings": data, "tables": [_digest(path) for path in table_paths(study, root)]})


def table_paths(study: StudySettings, root: Path) -> list[Path]:
    """Return the tables that the cohort's description names."""
    paths = [root / table.path for table in study.cohort.table]
    if study.cohort.rois is not None:
        paths.append(root / study.cohort.rois.table)
    if study.cohort.zones is not None and study.cohort.zones.table is not None:
        paths.append(root / study.cohort.zones.table)
    return paths


def replace_keys(data: dict[str, object], drop: Sequence[str]) -> dict[str, object]:
    """Return a copy of ``data`` without the keys in ``drop``."""
    return {key: value for key, value in data.items() if key not in drop}


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "blake2b").hexdigest()[:32]
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check `cohort.root` and the table.") from None


def evaluation_positions(cohort: Cohort) -> np.ndarray:
    """Return the positions of validation and test cases: those whose predictions are written."""
    return np.flatnonzero(~cohort.in_split("train"))


def localised_positions(cohort: Cohort) -> np.ndarray:
    """Return the positions of test cases that have at least one ROI."""
    if cohort.rois is None:
        return np.zeros(0, np.int64)
    with_roi = cohort.cases.index.isin(cohort.rois["case"])
    return np.flatnonzero(with_roi & cohort.in_split("test"))


def check_arms(study: StudySettings) -> None:
    """Refuse terms and epochs of any arm that this study cannot train with, before the first of them is trained.

    Raises:
        InputError: One sentence for each arm and reason.
    """
    from mmpkd.distil.attention_criterion import check_attention
    from mmpkd.distil.embedding_criterion import check_embedding

    problems = []
    for name, arm in study.arms.items():
        try:
            training = arm_training(study, name)
            terms, head = attention_of(arm.kind, arm.objective), study.student.head
            if embedding_of(arm.kind, arm.objective).names:
                check_embedding(training, study.teach.embedding is not None)
            check_attention(
                terms, training, head, study.cohort.rois is not None, has_zones=study.cohort.zones is not None
            )
        except InputError as error:
            problems += [f"arms.{name}: {problem}" for problem in error.problems]
    if problems:
        raise InputError(problems)


def without_privileged(cohort: Cohort) -> Cohort:
    """Return the cohort as the student's side may hold it: no text, no metadata."""
    return replace(cohort, text=None, metadata=None)


def summarise_table(study: StudySettings, root: Path) -> dict[str, object]:
    """Return what is in a cohort without images."""
    read = read_cohort(study.cohort, root)
    return {**summarise(read.cohort), "warnings": [*read.warnings, *find_leaks(read.cohort)]}
