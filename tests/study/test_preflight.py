"""What a study asks for is refused before any work is done."""

from __future__ import annotations

from typing import Any

import pytest

from mmpkd.errors import InputError
from mmpkd.study.preflight import check_names, check_student
from mmpkd.study.settings import StudySettings

ROIS = {"table": "r.csv", "boxes": ["a", "b", "c", "d"]}
SMALL = {"image_size_px": 16, "patch_px": 8, "width": 16, "depth": 1, "heads": 1}


def study(rois: bool = True, **parts: Any) -> StudySettings:
    cohort = {"table": "a.csv", "case": "case", "labels": ["nodule", "mass"], **({"rois": ROIS} if rois else {})}
    return StudySettings.from_data({"cohort": cohort, "student": SMALL, **parts}, "study.yaml")


def problems(asked: StudySettings) -> str:
    with pytest.raises(InputError) as caught:
        check_names(asked)
    return "\n".join(caught.value.problems)


def primary(**named: str) -> dict[str, Any]:
    return {"compare": {"primary": named}}


def test_the_default_study_passes():
    check_names(study())
    check_student(study())


def test_unknown_arm_map_and_policy_are_told_at_once():
    told = problems(
        study(
            arms={"hard": {}, "mmpkd": {"kind": "mmpdk"}},
            evaluate={"maps": ["atention"], "policies": ["top-area=2", "matched-area"]},
        )
    )
    assert "arms.mmpkd: there is no arm of kind 'mmpdk'; did you mean 'mmpkd'?" in told
    assert "evaluate.maps: there is no map method 'atention'; did you mean 'attention'?" in told
    assert "evaluate.policies: " in told


@pytest.mark.parametrize(
    ("named", "sentence"),
    [
        ({"metric": "auorc"}, "compare.primary.metric: there is no metric 'auorc'; did you mean 'auroc'?"),
        ({"finding": "nodul"}, "compare.primary.finding: there is no finding 'nodul'; did you mean 'nodule'?"),
        ({"metric": "auroc", "policy": "matched-area"}, "compare.primary.policy: auroc is no metric of maps"),
        ({"metric": "iou"}, "compare.primary.policy: is missing; iou needs one of the study's policies"),
        ({"metric": "iou", "policy": "top-area=0.2"}, "compare.primary.policy: is 'top-area=0.2'; iou needs one of"),
        ({"metric": "pointing", "policy": "matched-area"}, "compare.primary.policy: pointing has no threshold"),
        ({"metric": "pointing", "method": "patch"}, "compare.primary.method: 'patch' is none of the study's map"),
    ],
)
def test_an_endpoint_that_the_run_would_not_compute_is_refused(named, sentence):
    assert sentence in problems(study(**primary(**named)))


def test_a_map_endpoint_without_rois_is_refused():
    told = problems(study(rois=False, **primary(metric="pointing")))
    assert "compare.primary.metric: pointing needs ROIs, and the cohort has none" in told


def test_an_endpoint_on_maps_passes_where_everything_is_there():
    check_names(study(**primary(metric="iou", policy="matched-area", method="attention")))


def test_checks_and_pooled_means_may_be_endpoints_and_are_refused_where_they_are_not_computed():
    check_names(study(**primary(metric="faithfulness_gain", finding="pooled")))
    told = problems(study(**primary(metric="shift_ssim"), evaluate={"checks": {"rois": 0}}))
    assert "compare.primary.metric: shift_ssim is one of the checks; set evaluate.checks.rois above 0." in told
    assert "compare.primary.finding: there is no finding 'pooled'" in problems(study(**primary(finding="pooled")))


def test_attention_terms_that_cannot_be_computed_are_refused_before_the_teacher_runs():
    told = problems(study(rois=False, arms={"hard": {}, "mmpkd": {"attention": {"roi": 1.0}}}))
    assert "arms.mmpkd: objective.attention.roi: training by ROIs needs a cohort that has them" in told


def test_a_map_that_says_nothing_about_the_student_is_refused():
    with pytest.raises(InputError, match="patch"):
        check_student(study(evaluate={"maps": ["patch"]}))


def test_a_student_that_cannot_be_built_is_refused():
    with pytest.raises(InputError, match=r"student\.backbone: timm has no model 'vit_tinny'"):
        check_student(study(student={**SMALL, "backbone": "vit_tinny"}))


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"evaluate": {"maps": ["legrad", "legrad"]}}, "'legrad' is given twice"),
        ({"evaluate": {"policies": ["otsu", "otsu"]}}, "'otsu' is given twice"),
        ({"compare": {"primary": {"arm": "hard"}}}, "compare.primary.arm 'hard' is the reference arm"),
    ],
)
def test_settings_that_would_fail_after_all_training_are_refused_when_they_are_read(more, sentence):
    with pytest.raises(InputError, match=sentence):
        study(**more)


def test_findings_may_not_be_called_like_a_mean():
    data = study().to_data()
    data["cohort"]["labels"] = ["pooled", "nodule"]
    with pytest.raises(InputError, match="a finding is called 'pooled'"):
        StudySettings.from_data(data, "study.yaml")
