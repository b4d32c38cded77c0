"""The verdict over the cases that matter: gain, loss, nothing shown, undefined, one seed, controls, priors."""

import json
from typing import Any

import pandas as pd
import pytest

from mmpkd.compare.compare import COLUMNS, Endpoint
from mmpkd.compare.verdict import verdict

NAN = float("nan")
ARMS = ("hard", "mmpkd")
Limits = tuple[float, float, float]
GAIN: Limits = (0.06, 0.03, 0.09)
LOSS: Limits = (-0.06, -0.09, -0.03)
OPEN: Limits = (0.01, -0.02, 0.04)
UNDEFINED: Limits = (NAN, NAN, NAN)


def row(kind: str, arm: str, limits: Limits, reference: str = "", metric: str = "auroc", **more: Any) -> dict[str, Any]:
    is_map = metric in ("iou", "fdr", "attended_area")
    values = {
        "kind": kind,
        "arm": arm,
        "reference_arm": reference,
        "metric": metric,
        "policy": "matched-area" if is_map else "",
        "method": "attention" if is_map else "",
        "finding": "macro",
        **dict(zip(("estimate", "low", "high"), limits, strict=True)),
        "cases": 400,
        "patients": 120,
        "seeds": 3,
        "role": "exploratory",
    }
    return {**values, **more}


def classified(limits: Limits, seeds: int = 3, patients: int = 120) -> list[dict[str, Any]]:
    rest = {"seeds": seeds, "patients": patients}
    return [
        row("arm", "hard", (0.77, 0.74, 0.80), **rest),
        row("arm", "mmpkd", (0.83, 0.80, 0.86), **rest),
        row("difference", "mmpkd", limits, "hard", role="primary", **rest),
    ]


def looked(
    chance: Limits, prior: Limits | None = None, arm: str = "mmpkd", metric: str = "iou"
) -> list[dict[str, Any]]:
    rows = [
        row("arm", arm, (0.15, 0.12, 0.18), metric=metric),
        row("difference", arm, chance, "chance", metric=metric),
    ]
    return rows + ([row("difference", arm, prior, "mean-roi-prior", metric=metric)] if prior else [])


def judge(rows: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    arguments = {"primary": Endpoint(), "arms_ran": ARMS, "teacher": None, **more}
    document = verdict(pd.DataFrame(rows, columns=list(COLUMNS)), **arguments)
    assert json.loads(json.dumps(document, allow_nan=False)) == document
    assert set(document) == {"question", "answer", "sentences", "caveats"}
    return document


def all_text(document: dict[str, Any]) -> str:
    return " ".join([document["answer"], *document["sentences"], *document["caveats"]])


def test_a_gain_is_stated_with_its_interval_and_not_credited_without_controls() -> None:
    document = judge(classified(GAIN))
    assert document["answer"] == (
        "The AUROC (mean over findings) is higher with 'mmpkd' than with 'hard' by 0.060 (95% interval 0.030 to 0.090)."
    )
    assert document["caveats"][0].startswith(
        "No control arm ran, so the gain must not be credited to privileged knowledge: longer training"
    )
    assert document["sentences"][0] == (
        "This is the primary endpoint, the one that the study file names. It rests on 400 test cases of 120 "
        "patients and on 3 seeds of each arm: 0.830 (0.800 to 0.860) with 'mmpkd', 0.770 (0.740 to 0.800) with "
        "'hard' (95% intervals in brackets)."
    )


def test_a_loss_is_stated_as_a_loss_and_is_no_gain() -> None:
    document = judge(classified(LOSS))
    assert "is lower with 'mmpkd' than with 'hard' by 0.060" in document["answer"]
    assert "whatever differs between the arms must not be credited" in document["caveats"][0]


def test_nothing_shown_is_neither_equality_nor_stability() -> None:
    document = judge(classified(OPEN))
    assert document["answer"].startswith("No difference shown in the AUROC (mean over findings)")
    assert "does not exclude a decrease of up to 0.020 or an increase of up to 0.040" in document["answer"]
    assert any("does not make AUROC stable" in sentence for sentence in document["sentences"])
    assert "equivalent" not in all_text(document)
    assert "gain must" not in all_text(document)


@pytest.mark.parametrize(
    ("margin", "words"),
    [(0.05, "lies inside: AUROC is equivalent by that margin"), (0.03, "does not lie inside")],
)
def test_auroc_is_called_equivalent_only_inside_a_margin(margin: float, words: str) -> None:
    document = judge(classified(OPEN), equivalence_margin=margin)
    assert f"Against the margin of ±{margin:g} set for AUROC, the interval {words}." in document["sentences"]
    assert "stable" not in all_text(document)


def test_an_undefined_primary_claims_nothing() -> None:
    document = judge(classified(UNDEFINED))
    assert document["answer"] == (
        "Nothing can be said of the AUROC (mean over findings): it is undefined on these cases."
    )
    assert "higher" not in document["answer"]


def test_an_estimate_without_interval_concludes_nothing() -> None:
    assert judge(classified((0.2, NAN, NAN)))["answer"].startswith("Nothing can be concluded on the AUROC")


def test_one_seed_is_said_to_cover_patients_only() -> None:
    document = judge(classified(GAIN, seeds=1))
    assert "on 1 seed of each arm" in document["sentences"][0]
    assert any("cover the choice of test patients only" in caveat for caveat in document["caveats"])


def test_few_seeds_and_few_patients_are_caveats_and_enough_are_not() -> None:
    few = all_text(judge(classified(GAIN, seeds=3, patients=12)))
    assert "3 seeds are few" in few
    assert "12 test patients are few" in few
    assert "are few" not in all_text(judge(classified(GAIN, seeds=5)))


KINDS = ("longer", "label-smoothing", "self", "shuffled", "permuted", "constant")


def held_against(controls: dict[str, Limits], **more: Any) -> dict[str, Any]:
    """Judge a gain with a row for each control."""
    rows = [*classified(GAIN), *(row("control", "mmpkd", limits, name) for name, limits in controls.items())]
    return judge(rows, arms_ran=(*ARMS, *controls), **more)


def test_each_control_is_told_with_its_interval() -> None:
    sentences = held_against({"shuffled": GAIN, "longer": OPEN})["sentences"]
    assert sentences[1:3] == [
        "Control 'shuffled' (soft labels of other cases with the same labels): the AUROC (mean over findings) is "
        "higher with 'mmpkd' than with 'shuffled' by 0.060 (95% interval 0.030 to 0.090).",
        "Control 'longer' (longer training): no difference shown in the AUROC (mean over findings) between 'mmpkd' and "
        "'longer': the estimate is 0.010 (95% interval −0.020 to 0.040), which does not exclude a decrease of up to "
        "0.020 or an increase of up to 0.040.",
    ]


@pytest.mark.parametrize("limits", [OPEN, LOSS, UNDEFINED, (0.06, NAN, NAN)])
def test_one_control_that_is_not_exceeded_forbids_credit(limits: Limits) -> None:
    document = held_against({"shuffled": GAIN, "longer": limits})
    assert document["caveats"][0] == (
        "The gain over 'hard' must not be credited to privileged knowledge: 'mmpkd' is not shown to exceed 'longer'. "
        "Controls that did not run: label-smoothing, self, permuted, constant."
    )
    assert "may be credited" not in all_text(document)


def test_a_control_without_a_measured_difference_is_not_exceeded() -> None:
    caveat = judge(classified(GAIN), arms_ran=(*ARMS, "shuffled"))["caveats"][0]
    assert "is not shown to exceed 'shuffled'" in caveat


def test_credit_goes_no_further_than_the_controls_that_ran() -> None:
    document = held_against({"shuffled": GAIN, "longer": GAIN})
    assert document["caveats"][0] == (
        "'mmpkd' exceeds every control that ran ('shuffled' and 'longer'), so the gain may be credited to privileged "
        "knowledge as far as these tell. Controls that did not run: label-smoothing, self, permuted, constant."
    )


def test_a_gain_over_every_control_is_credited_and_no_caveat_speaks_of_controls() -> None:
    document = held_against(dict.fromkeys(KINDS, GAIN))
    assert document["sentences"][7] == (
        "'mmpkd' exceeds 'hard' and every control, so the gain may be credited to privileged knowledge."
    )
    assert "ontrol" not in " ".join(document["caveats"])


@pytest.mark.parametrize("limits", [OPEN, LOSS, UNDEFINED])
def test_without_a_gain_there_is_nothing_to_credit_whatever_the_controls(limits: Limits) -> None:
    rows = [*classified(limits), *(row("control", "mmpkd", GAIN, kind) for kind in KINDS)]
    document = judge(rows, arms_ran=(*ARMS, *KINDS))
    assert "credited" not in all_text(document)
    some = judge(rows, arms_ran=(*ARMS, "longer"))["caveats"][0]
    assert some.startswith("No gain is shown that the controls could put to the test. Controls that did not run: label")


def test_controls_are_known_by_their_kind_whatever_their_name() -> None:
    rows = [*classified(GAIN), row("control", "mmpkd", GAIN, "twice")]
    kinds = {"hard": "hard", "mmpkd": "mmpkd", "twice": "longer", "constant": "hard"}
    document = judge(rows, arms_ran=(*ARMS, "twice", "constant"), kinds=kinds)
    assert "Control 'twice' (longer training): the AUROC" in document["sentences"][1]
    assert "every control that ran ('twice')" in document["caveats"][0]
    assert document["caveats"][0].endswith("did not run: label-smoothing, self, shuffled, permuted, constant.")


def test_a_reference_arm_that_is_a_control_needs_no_row_of_its_own() -> None:
    document = judge(classified(GAIN), kinds={"hard": "label-smoothing"})
    assert document["sentences"][1].startswith(
        "Control 'hard' (softer labels): the AUROC (mean over findings) is higher"
    )
    assert "exceeds every control that ran ('hard')" in document["caveats"][0]


def test_where_lower_is_better_a_control_is_exceeded_from_below() -> None:
    rows = classified(OPEN)[:2]
    rows += [
        row("difference", "mmpkd", LOSS, "hard", metric="fdr", role="primary"),
        row("control", "mmpkd", LOSS, "longer", metric="fdr"),
        row("control", "mmpkd", GAIN, "constant", metric="fdr"),
    ]
    asked = Endpoint("fdr", method="attention", policy="matched-area")
    caveat = judge(rows, primary=asked, arms_ran=(*ARMS, "longer", "constant"))["caveats"][0]
    assert "is not shown to exceed 'constant'." in caveat


def test_remarks_of_the_study_stand_last() -> None:
    assert judge(classified(GAIN), remarks=["Beware."])["caveats"][-1] == "Beware."


@pytest.mark.parametrize(
    ("chance", "prior", "words"),
    [
        (
            GAIN,
            GAIN,
            "find the ROIs better than chance (difference 0.060, 95% interval 0.030 to 0.090), and better than",
        ),
        (
            GAIN,
            OPEN,
            "better than chance (difference 0.060, 95% interval 0.030 to 0.090), but are not shown to do better",
        ),
        (GAIN, LOSS, ", but worse than a picture-blind prior of where such ROIs sit (difference −0.060"),
        (GAIN, UNDEFINED, "; nothing can be concluded against a picture-blind prior of where such ROIs sit."),
        (GAIN, None, "no picture-blind prior was scored, so habit of place alone is not ruled out."),
        (OPEN, GAIN, "are not shown to do better than chance (difference 0.010, 95% interval −0.020 to 0.040)."),
        (LOSS, LOSS, "find the ROIs worse than chance (difference −0.060"),
        (UNDEFINED, None, "cannot be judged against chance"),
    ],
)
def test_maps_are_judged_against_chance_and_then_a_blind_prior(
    chance: Limits, prior: Limits | None, words: str
) -> None:
    sentence = judge(classified(OPEN) + looked(chance, prior))["sentences"][-1]
    assert sentence.startswith(
        "The maps of 'mmpkd' (IoU of attended area and ROI (attention, matched-area, mean over findings), 0.150 "
        "(0.120 to 0.180))"
    )
    assert words in sentence


def test_both_arms_maps_are_judged_and_their_difference_is_exploratory() -> None:
    rows = classified(OPEN) + looked(GAIN, OPEN) + looked(OPEN, arm="hard")
    rows.append(row("difference", "mmpkd", GAIN, "hard", metric="iou"))
    sentences = judge(rows)["sentences"]
    assert sentences[-3].startswith("Exploratory: the IoU of attended area and ROI")
    assert "is higher with 'mmpkd' than with 'hard' by 0.060" in sentences[-3]
    assert sentences[-1].startswith("The maps of 'hard'")


def test_where_lower_is_better_a_fall_below_chance_is_to_the_better() -> None:
    rows = classified(OPEN)[:2] + looked(LOSS, LOSS, metric="fdr")
    rows.append(row("difference", "mmpkd", LOSS, "hard", metric="fdr", role="primary"))
    document = judge(rows, primary=Endpoint("fdr", method="attention", policy="matched-area"))
    assert document["answer"].endswith("by 0.060 (95% interval 0.030 to 0.090; lower is better).")
    assert "find the ROIs better than chance" in document["sentences"][-1]
    assert "the gain must not be credited" in document["caveats"][0]


def test_a_localisation_endpoint_reports_auroc_as_exploratory_and_not_stable() -> None:
    rows = classified(OPEN)
    rows[2]["role"] = "exploratory"
    rows.append(row("difference", "mmpkd", GAIN, "hard", metric="iou", role="primary"))
    document = judge(rows, primary=Endpoint("iou", method="attention", policy="matched-area"))
    assert "IoU of attended area and ROI" in document["answer"]
    assert document["sentences"][1].startswith("Exploratory: no difference shown in the AUROC")
    assert "does not make AUROC stable" in document["sentences"][2]


def test_attended_area_has_no_better_and_no_worse() -> None:
    rows = classified(OPEN)[:2] + looked(GAIN, GAIN, metric="attended_area")
    rows.append(row("difference", "mmpkd", GAIN, "hard", metric="attended_area", role="primary"))
    document = judge(rows, primary=Endpoint("attended_area", method="attention", policy="matched-area"))
    assert "chance" not in all_text(document).replace("by chance alone", "")
    assert "the gain must" not in all_text(document)


def test_the_teacher_is_told_with_its_interval_and_reference() -> None:
    macro = {"auroc": 0.97, "auroc_low": 0.95, "auroc_high": 0.98, "reference_auroc": 0.9}
    document = judge(classified(GAIN), teacher={"macro": macro, "out_of_fold": True})
    assert document["sentences"][-1] == (
        "The teacher's AUROC (mean over findings, out of fold) is 0.970 (0.950 to 0.980) against the labels it "
        "learned from and 0.900 against the reference labels."
    )
    assert "may know little" not in all_text(document)


def test_a_teacher_hardly_better_than_the_student_is_a_caveat() -> None:
    document = judge(classified(OPEN), teacher={"macro": {"auroc": 0.8}, "out_of_fold": False})
    assert "in sample, which flatters it" in document["sentences"][-1]
    assert any("(0.800, training cases) is not 0.1 above that of 'hard' (0.770" in c for c in document["caveats"])


def test_the_teacher_is_held_against_the_labels_that_the_students_are_scored_by() -> None:
    good = {"macro": {"auroc": 0.78, "reference_auroc": 0.95}}
    assert "The teacher's AUROC (" not in " ".join(judge(classified(OPEN), teacher=good)["caveats"])
    poor = {"macro": {"auroc": 0.95}, "test": {"macro": {"auroc": 0.95, "reference_auroc": 0.8}}}
    assert "(0.800, test cases) is not 0.1 above" in " ".join(judge(classified(OPEN), teacher=poor)["caveats"])


@pytest.mark.parametrize("teacher", [None, {}, {"macro": {"auroc": None}}])
def test_without_a_teachers_score_nothing_is_said_of_it(teacher: dict[str, Any] | None) -> None:
    assert "teacher" not in all_text(judge(classified(GAIN), teacher=teacher)).lower()


def test_findings_left_out_of_the_mean_are_named() -> None:
    rows = [*classified(GAIN), row("difference", "mmpkd", UNDEFINED, "hard", finding="pneumothorax")]
    assert (
        "Undefined on the test cases (too few labels or ROIs) and not in the mean: 'pneumothorax'."
        in judge(rows)["caveats"]
    )


def test_exploratory_differences_are_counted() -> None:
    rows = [*classified(GAIN), row("difference", "mmpkd", GAIN, "hard", metric="brier")]
    assert judge(rows)["caveats"][-1].startswith("All other differences (1 with an interval) are exploratory")


def test_one_arm_alone_answers_nothing() -> None:
    document = judge([row("arm", "mmpkd", (0.8, 0.7, 0.9))], arms_ran=["mmpkd"])
    assert document["answer"] == "This cannot be told: only the arm 'mmpkd' ran."
    assert document["sentences"] == []


def _placed(rows: list[dict[str, Any]], arms: tuple[str, ...]) -> dict[str, Any]:
    primary = Endpoint("iou", "macro", "patch", "matched-area", "spatial")
    return judge(rows, primary=primary, arms_ran=arms)


def _of_maps(reference: str, limits: Limits, kind: str = "control", method: str = "patch") -> dict[str, Any]:
    role = "primary" if reference == "hard" and method == "patch" else "exploratory"
    kind = "difference" if reference == "hard" else kind
    return row(kind, "spatial", limits, reference, metric="iou", method=method, role=role)


def test_an_arm_that_is_told_where_is_held_against_other_places() -> None:
    rows = [_of_maps("hard", GAIN), _of_maps("zones-shuffled", GAIN), _of_maps("zones-prior", OPEN)]
    document = _placed(rows, ("hard", "spatial", "zones-shuffled", "zones-prior"))
    controls = [sentence for sentence in document["sentences"] if sentence.startswith("Control")]
    assert [sentence.partition(":")[0] for sentence in controls] == [
        "Control 'zones-shuffled' (places of other cases with the same labels)",
        "Control 'zones-prior' (the mean place of each finding)",
    ]
    assert document["caveats"][0].startswith(
        "The gain over 'hard' must not be credited to privileged knowledge: 'spatial' is not shown to exceed "
        "'zones-prior'. Controls that did not run: longer,"
    )


def test_places_are_no_control_of_an_arm_that_is_not_told_where() -> None:
    document = judge(classified(GAIN), arms_ran=("hard", "mmpkd", "zones-prior"))
    assert document["caveats"][0].startswith("No control arm ran")
    assert "zones-prior" not in all_text(document)


def test_other_map_methods_are_heard_too() -> None:
    rows = [
        _of_maps("hard", GAIN),
        _of_maps("hard", GAIN, method="libra-fullgrad"),
        _of_maps("hard", OPEN, method="cam"),
    ]
    sentences = _placed(rows, ("hard", "spatial"))["sentences"]
    expected = "Exploratory, the same difference by other map methods: higher by 'libra-fullgrad'; none shown by 'cam'."
    assert expected in sentences
