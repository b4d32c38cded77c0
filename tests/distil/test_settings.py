import numpy as np
import pytest

from mmpkd.distil.settings import AugmentSettings, ObjectiveSettings, StudentSettings, TrainingSettings
from mmpkd.errors import InputError


def test_lambda_is_called_lambda_in_yaml_and_back():
    settings = ObjectiveSettings.from_data({"lambda": 0.3, "temperature": 2.0}, "study.yaml")
    assert settings.weights(["a", "b"], 0, 10).tolist() == [0.3, 0.3]
    terms = {"entropy": 0.0, "total_variation": 0.0, "consistency": 0.0, "roi": 0.0, "zones": 0.0}
    embedding = {"feature": 0.0, "relational": 0.0, "contrastive": 0.0, "temperature": 0.1}
    plain = {"lambda": 0.3, "temperature": 2.0, "preset": "paper"}
    assert settings.to_data() == {**plain, "attention": terms, "embedding": embedding}


@pytest.mark.parametrize(
    ("kind", "expected"),
    [("linear", [0.2, 0.4, 0.6, 0.8, 1.0]), ("cosine", [0.2, 0.317157, 0.6, 0.882843, 1.0])],
)
def test_lambda_schedules_run_from_start_to_end(kind, expected):
    # cosine: 0.2 + 0.8 (1 - cos(π e / 4)) / 2
    settings = ObjectiveSettings.from_data({"lambda": {"kind": kind, "start": 0.2, "end": 1.0}}, "study.yaml")
    np.testing.assert_allclose([settings.weights(["a"], epoch, 5)[0] for epoch in range(5)], expected, atol=1e-6)
    assert settings.changes_over_epochs


def test_constant_schedule_and_one_epoch_stay_at_the_start():
    constant = ObjectiveSettings.from_data({"lambda": {"kind": "constant", "start": 0.4}}, "study.yaml")
    assert constant.weights(["a"], 7, 10)[0] == 0.4
    assert not constant.changes_over_epochs
    linear = ObjectiveSettings.from_data({"lambda": {"kind": "linear", "start": 0.1, "end": 0.9}}, "study.yaml")
    assert linear.weights(["a"], 0, 1)[0] == 0.1


def test_per_finding_values_follow_the_order_of_the_findings():
    settings = ObjectiveSettings.from_data({"lambda": {"mass": 0.1, "nodule": 0.9}}, "study.yaml")
    assert settings.weights(["nodule", "mass"], 0, 1).tolist() == [0.9, 0.1]


def test_a_misspelt_and_a_missing_finding_are_both_told():
    settings = ObjectiveSettings.from_data({"temperature": {"nodul": 2.0}}, "study.yaml")
    with pytest.raises(InputError) as error:
        settings.temperatures(["nodule"])
    assert error.value.problems == (
        "objective.temperature: there is no finding 'nodul'; did you mean 'nodule'?",
        "objective.temperature: the finding 'nodule' has no value; give one for each, or one number for all.",
    )


@pytest.mark.parametrize(
    ("model", "data", "told"),
    [
        (ObjectiveSettings, {"lambda": 1.5}, "less than or equal to 1"),
        (ObjectiveSettings, {"temperature": 0}, "greater than 0"),
        (ObjectiveSettings, {"lambda": {"nodule": -1}}, "greater than or equal to 0"),
        (ObjectiveSettings, {"preset": "hinto"}, "'paper', 'hinton' or 'lopez-paz'"),
        (ObjectiveSettings, {"lambda": {"kind": "cosine", "start": 0.1}}, "needs 'end'"),
        (ObjectiveSettings, {"attention": {"entropy": -1}}, "greater than or equal to 0"),
        (
            ObjectiveSettings,
            {"attention": {"entrpy": 1}},
            "unknown setting 'attention.entrpy'; did you mean 'entropy'?",
        ),
        (ObjectiveSettings, {"attention": 1.0}, "attention"),
        (StudentSettings, {"image_size_px": 60, "patch_px": 16}, "does not divide into patches of 16 px"),
        (StudentSettings, {"width": 100, "heads": 3}, "does not divide into 3 heads"),
        (StudentSettings, {"pretrained": True, "weights": "vit.safetensors"}, "keep one of them"),
        (StudentSettings, {"wdith": 100}, "did you mean 'width'?"),
        (TrainingSettings, {"epochs": 2, "warmup_epochs": 3}, "exceeds 'epochs' (2)"),
        (TrainingSettings, {"learning_rate": float("nan")}, "learning_rate"),
    ],
)
def test_bad_settings_are_one_sentence(model, data, told):
    with pytest.raises(InputError, match=r"study\.yaml") as error:
        model.from_data(data, "study.yaml")
    assert told in error.value.problems[0]
    assert len(error.value.problems) == 1


def test_nothing_flips_unless_asked():
    assert AugmentSettings().flip is False
    assert TrainingSettings().augment.flip is False


def test_attention_terms_are_off_unless_asked_and_named_in_order():
    assert ObjectiveSettings().attention.names == ()
    settings = ObjectiveSettings.from_data({"attention": {"roi": 1, "entropy": 0.1, "consistency": 0}}, "study.yaml")
    assert settings.attention.names == ("entropy", "roi")
