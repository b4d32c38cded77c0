"""What a study asks for and can be refused before any work is done: names, endpoint, student, its maps.

Settings models check values; here stand the checks that need the registry, the metrics or a built student.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from mmpkd import registry
from mmpkd.errors import InputError, did_you_mean
from mmpkd.evaluate import classification
from mmpkd.evaluate.localisation import FREE_METRICS, OVERLAP_METRICS
from mmpkd.evaluate.strata import POOLED
from mmpkd.evaluate.threshold import parse_policy
from mmpkd.study.cell import map_methods
from mmpkd.study.checks import CHECKED_METRICS
from mmpkd.study.inputs import check_arms
from mmpkd.study.settings import StudySettings

if TYPE_CHECKING:
    from mmpkd.cohort.cohort import Cohort


def check_names(study: StudySettings) -> None:
    """Refuse unknown arms, map methods and policies, and an endpoint that the run would not compute.

    Raises:
        InputError: One sentence for each.
    """
    problems = [
        f"arms.{name}: there is no arm of kind {arm.kind!r}{did_you_mean(arm.kind, registry.names('arms'))}"
        for name, arm in study.arms.items()
        if arm.kind not in registry.names("arms")
    ]
    problems += [
        f"evaluate.maps: there is no map method {name!r}{did_you_mean(name, registry.names('maps'))}"
        for name in study.evaluate.maps
        if name.partition("+")[0].partition("=")[0] not in registry.names("maps")
    ]
    for policy in study.evaluate.policies:
        try:
            parse_policy(policy)
        except InputError as error:
            problems += [f"evaluate.policies: {problem}" for problem in error.problems]
    problems += _endpoint_problems(study)
    try:
        check_arms(study)
    except InputError as error:
        problems += error.problems
    if problems:
        raise InputError(problems)


def check_cohort(study: StudySettings, cohort: Cohort) -> None:
    """Hold the test split against what the comparison needs, before any training.

    Raises:
        InputError: It has one patient, so that no interval can be made, or lacks cases with or without the finding of
            the primary endpoint.
    """
    test = cohort.in_split("test")
    patients = cohort.cases["patient"].to_numpy()[test]
    if len(set(patients)) < 2:
        raise InputError(
            f"the test split has {len(patients)} cases of {len(set(patients))} patient; intervals resample patients "
            "and need at least two: change 'cohort.split', or 'cohort.patient' if that column names something else."
        )
    primary = study.compare.primary
    if primary.finding in cohort.findings and primary.metric in ("auroc", "average_precision"):
        labels = cohort.evaluation_labels[test, cohort.findings.index(primary.finding)]
        lacking = [word for value, word in ((1.0, "with"), (0.0, "without")) if not (labels == value).any()]
        if lacking:
            raise InputError(
                f"compare.primary.finding: the test split has no case {lacking[0]} {primary.finding!r}, so its "
                f"{primary.metric} is undefined; name another finding, or change 'cohort.split'."
            )


def check_student(study: StudySettings) -> None:
    """Build the study's student once and hold it against the map methods.

    Raises:
        InputError: The backbone, its weights or its sizes will not do, or a map method says nothing about it.
    """
    from mmpkd.attribute.attribute import map_method
    from mmpkd.attribute.vit import vit_of
    from mmpkd.distil.student import build_student

    student = build_student(study.student, study.cohort.findings, study.cohort.task, study.images.fit)
    for method in map_methods(study) if study.cohort.rois is not None else ():
        map_method(method, vit_of(student))


def _endpoint_problems(study: StudySettings) -> list[str]:
    primary, findings = study.compare.primary, (classification.MACRO, *study.cohort.findings)
    metrics = (*classification.METRICS, *OVERLAP_METRICS, *FREE_METRICS, *CHECKED_METRICS)
    where, problems = "compare.primary", []
    if primary.metric not in classification.METRICS:
        findings = (*findings, POOLED)
    if primary.finding not in findings:
        problems.append(
            f"{where}.finding: there is no finding {primary.finding!r}{did_you_mean(primary.finding, findings)}"
        )
    if primary.metric not in metrics:
        problems.append(f"{where}.metric: there is no metric {primary.metric!r}{did_you_mean(primary.metric, metrics)}")
        return problems
    if primary.metric in classification.METRICS:
        problems += [
            f"{where}.{name}: {primary.metric} is no metric of maps; leave {name!r} out."
            for name in ("policy", "method")
            if getattr(primary, name)
        ]
        return problems
    if primary.metric in CHECKED_METRICS and not study.evaluate.checks.rois:
        problems.append(f"{where}.metric: {primary.metric} is one of the checks; set evaluate.checks.rois above 0.")
    if study.cohort.rois is None:
        problems.append(f"{where}.metric: {primary.metric} needs ROIs, and the cohort has none; add 'cohort.rois'.")
    if primary.method and primary.method not in map_methods(study):
        methods = ", ".join(map_methods(study))
        problems.append(f"{where}.method: {primary.method!r} is none of the study's map methods ({methods}).")
    if primary.metric in OVERLAP_METRICS and primary.policy not in study.evaluate.policies:
        policies = ", ".join(study.evaluate.policies)
        said = repr(primary.policy) if primary.policy else "missing"
        problems.append(f"{where}.policy: is {said}; {primary.metric} needs one of the study's policies ({policies}).")
    if primary.metric in (*FREE_METRICS, *CHECKED_METRICS) and primary.policy:
        problems.append(f"{where}.policy: {primary.metric} has no threshold; leave 'policy' out.")
    return problems
