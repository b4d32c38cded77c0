"""Joins the cells' tables with labels and baselines, and hands them to `compare`, which knows only arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, TypedDict

import numpy as np
import pandas as pd

from mmpkd.compare.compare import Endpoint, compare_arms
from mmpkd.compare.controls import controls_of
from mmpkd.compare.ensembles import compare_ensembles
from mmpkd.compare.repeatability import compare_repeatability
from mmpkd.compare.sanity import compare_sanity
from mmpkd.compare.slices import compare_slices
from mmpkd.compare.verdict import verdict
from mmpkd.distil.controls import lone_share
from mmpkd.errors import InputError
from mmpkd.files import read_json, read_table, write_json, write_table
from mmpkd.folder import RunFolder
from mmpkd.study.baselines import score_roi_on_grid, score_unlearned
from mmpkd.study.cell import CellWork, map_methods
from mmpkd.study.checks import checked_targets
from mmpkd.study.localise import COLUMNS, roi_targets, score_blind
from mmpkd.study.repeat import map_similarities, score_ensembles
from mmpkd.study.sanity import forgetting
from mmpkd.study.settings import StudySettings
from mmpkd.study.slices import roi_slices

if TYPE_CHECKING:
    from mmpkd.cohort.cohort import Cohort

_ALONE_SHARE = 0.1
_SLICED = ("iou", "precision", "recall", "pointing", "energy_enrichment", "pixel_auroc")


class Bootstrapping(TypedDict):
    """How intervals are made; the same for every table of a study, so that their draws are paired."""

    replicates: int
    level: float
    seed: int


def write_baselines(work: CellWork, folder: RunFolder, threads: int) -> None:
    """Score the baselines on the same ROIs as the students, for every map method.

    The shuffled student is that of the first arm and seed. ``threads`` are torch's.
    """
    table = pd.DataFrame(columns=["arm", *COLUMNS])
    if work.targets:
        known = np.flatnonzero(~work.cohort.in_split("test"))
        prior = roi_targets(work.cohort, work.images, known, work.study.evaluate.max_side_px)
        methods, first = map_methods(work.study), folder.cell(next(iter(work.study.arms)), work.study.seeds[0])
        blind = score_blind(work.targets, prior, work.study.evaluate.policies, methods)
        unlearned = score_unlearned(work, first, methods, threads)
        table = pd.concat([blind, unlearned, score_roi_on_grid(work, first, methods)], ignore_index=True)
    write_table(folder.baselines, table, work.provenance)


def compare_study(work: CellWork, folder: RunFolder, cells: Sequence[tuple[str, int]], threads: int = 1) -> None:
    """Write the comparison table, what else there is to say of maps, and the verdict. ``threads`` are torch's."""
    predictions = _of_cells(folder, cells, "predictions")
    localisation, checks = (_of_cells(folder, cells, what) for what in ("localisation", "checks"))
    baselines = read_table(folder.baselines)
    settings, labels = work.study.compare, test_labels(work.cohort)
    endpoint, kinds = primary_endpoint(work.study), {name: arm.kind for name, arm in work.study.arms.items()}
    bootstrap: Bootstrapping = {
        "replicates": settings.replicates,
        "level": settings.level,
        "seed": settings.seed,
    }
    reference_arm = settings.reference_arm if settings.reference_arm in work.study.arms else next(iter(work.study.arms))
    comparison = compare_arms(
        predictions[predictions["split"] == "test"].drop(columns="split"),
        labels,
        pd.concat([part for part in (localisation, checks) if len(part)], ignore_index=True)
        if len(localisation)
        else None,
        baselines if len(baselines) else None,
        reference_arm=reference_arm,
        primary=endpoint,
        controls=[arm for arm, kind in kinds.items() if kind in controls_of(kinds.get(endpoint.arm, ""))],
        upper=upper_bound(work.study),
        **bootstrap,
    )
    write_table(folder.comparison, comparison, work.provenance)
    if len(localisation):
        chosen, blind = (table[table["metric"].isin(_SLICED)] for table in (localisation, baselines))
        slices = roi_slices(work, predictions)
        of_slices = compare_slices(chosen, labels, slices, blind, reference_arm=reference_arm, **bootstrap)
        write_table(folder.slices, of_slices, work.provenance)
    if checked_targets(work):
        arm, seed = cells[0]
        similar = forgetting(work, folder.cell(arm, seed), threads)
        forgotten = compare_sanity(similar, labels, arm=arm, **bootstrap)
        write_table(folder.sanity, forgotten, work.provenance)
    if len(localisation) and len(work.study.seeds) > 1:
        ensembles = compare_ensembles(score_ensembles(work, folder), localisation, labels, baselines, **bootstrap)
        write_table(folder.ensembles, ensembles, work.provenance)
        similarities = map_similarities(work, folder)
        repeated = compare_repeatability(similarities, labels, reference_arm=reference_arm, **bootstrap)
        write_table(folder.repeatability, repeated, work.provenance)
    teacher = read_json(folder.teacher) if folder.teacher.is_file() else {}
    said = verdict(
        comparison,
        endpoint,
        list(kinds),
        teacher,
        level=settings.level,
        equivalence_margin=settings.margin,
        kinds=kinds,
        boxes={name: arm.boxes for name, arm in work.study.arms.items() if arm.boxes is not None},
        remarks=weak_controls(work),
    )
    write_json(folder.verdict, said)


def weak_controls(work: CellWork) -> list[str]:
    """Return a sentence where the arm `shuffled` could move few soft labels, for want of cases with the same labels."""
    if work.soft_logits is None or all(arm.kind != "shuffled" for arm in work.study.arms.values()):
        return []
    in_train = work.cohort.in_split("train")
    alone = lone_share(work.cohort.labels[in_train], work.soft_logits[in_train])
    if not alone > _ALONE_SHARE:
        return []
    return [
        f"The control 'shuffled' is weak here: {100 * alone:.0f}% of the training cases with soft labels are alone "
        "with their labels and kept their own."
    ]


def upper_bound(study: StudySettings) -> str:
    """Return the arm that was shown all ROIs of the training cases; ``""`` if none was."""
    shown = (name for name, arm in study.arms.items() if arm.kind == "roi-supervised" and arm.boxes is None)
    return next(shown, "")


def primary_endpoint(study: StudySettings) -> Endpoint:
    """Return the endpoint that the study file names, its map method filled in."""
    named = study.compare.primary
    endpoint = Endpoint(
        metric=named.metric, finding=named.finding, method=named.method, policy=named.policy, arm=named.arm
    )
    is_map_metric = named.metric not in ("auroc", "average_precision", "brier", "calibration_error")
    return replace(endpoint, method=map_methods(study)[0]) if is_map_metric and not named.method else endpoint


def test_labels(cohort: Cohort) -> pd.DataFrame:
    """Return the evaluation labels of the test split, long: ``case``, ``patient``, ``finding``, ``label``."""
    test = np.flatnonzero(cohort.in_split("test"))
    cases, findings = cohort.cases.iloc[test], list(cohort.findings)
    return pd.DataFrame(
        {
            "case": np.repeat(cases.index.to_numpy(), len(findings)),
            "patient": np.repeat(cases["patient"].to_numpy(), len(findings)),
            "finding": np.tile(np.asarray(findings, dtype=object), len(test)),
            "label": cohort.evaluation_labels[test].ravel(),
        }
    )


def _of_cells(folder: RunFolder, cells: Sequence[tuple[str, int]], what: str) -> pd.DataFrame:
    tables = []
    for arm, seed in cells:
        path = getattr(folder.cell(arm, seed), what)
        if not path.is_file():
            raise InputError(f"{path}: is missing; run `mmpkd run` to finish the cells first.")
        tables.append(read_table(path).assign(arm=arm, seed=seed))
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)
