import pytest

from mmpkd.cohort.phantom import PhantomSettings
from mmpkd.errors import InputError


def refusal(**settings: object) -> str:
    with pytest.raises(InputError) as caught:
        PhantomSettings.from_data(settings, source="phantom.yaml")
    return str(caught.value)


def test_a_prevalence_given_for_one_finding_leaves_the_others_at_a_quarter() -> None:
    assert PhantomSettings(prevalence={"effusion": 0.4}).prevalences == (0.25, 0.25, 0.4, 0.25, 0.25)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"prevalence": {"efusion": 0.4}}, "did you mean 'effusion'?"),
        ({"kind": "breast", "marker": "nodule"}, "the breast phantom has no finding 'nodule'"),
        ({"prevalence": {"nodule": 1.2}}, "the prevalence of nodule is 1.2"),
        ({"images_per_patient": [2, 4]}, "images_per_patient is [2, 4]"),
        ({"images_per_patient": [2, 1]}, "the smaller first"),
        ({"pateints": 5}, "did you mean 'patients'?"),
        ({"size_px": 16}, "setting 'size_px' is 16"),
    ],
)
def test_wrong_settings_are_refused_in_one_sentence(settings: dict[str, object], said: str) -> None:
    message = refusal(**settings)
    assert said in message
    assert "\n" not in message


def test_settings_survive_the_way_through_yaml(tmp_path) -> None:
    settings = PhantomSettings(kind="breast", prevalence={"mass": 0.1}, images_per_patient=(2, 3))
    path = tmp_path / "phantom.yaml"
    path.write_text(settings.to_yaml())
    assert PhantomSettings.from_yaml(path) == settings
