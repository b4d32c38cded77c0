import pytest

from mmpkd.errors import InputError
from mmpkd.teach.settings import TeachSettings, build_teacher
from mmpkd.teach.text import TfidfTeacher


def test_a_bare_kind_stands_for_its_defaults():
    assert build_teacher("tfidf") == build_teacher({"kind": "tfidf"}) == TfidfTeacher()


def test_settings_of_the_kind_reach_the_teacher():
    assert build_teacher({"kind": "tfidf", "max_features": 7}).max_features == 7


def test_an_unknown_kind_is_told_with_the_near_miss():
    with pytest.raises(InputError, match="no 'tfid' among the teachers; did you mean 'tfidf'"):
        build_teacher("tfid")


def test_all_wrong_settings_of_a_teacher_are_told_at_once():
    with pytest.raises(InputError) as caught:
        build_teacher({"kind": "tfidf", "max_feature": 3, "C": -1})
    assert len(caught.value.problems) == 2
    assert "unknown setting 'max_feature'; did you mean 'max_features'?" in str(caught.value)
    assert "'C' is -1" in str(caught.value)


def test_a_teacher_without_a_kind_is_refused():
    with pytest.raises(InputError, match="'kind' is missing"):
        build_teacher({"max_features": 3})


def test_a_registered_object_that_is_no_teacher_is_refused(register):
    register("odd", dict)
    with pytest.raises(InputError, match="'odd' is not a teacher"):
        build_teacher("odd")


def test_the_study_files_teacher_is_kept_fully_resolved():
    settings = TeachSettings.from_data({"teacher": {"kind": "tabular", "leaves": 6}}, "study.yaml")
    assert settings.teacher["kind"] == "tabular"
    assert settings.teacher["leaves"] == 6
    assert settings.teacher["exclude"] == []
    assert TeachSettings.from_data(settings.to_data(), "again") == settings


def test_the_default_teacher_is_tfidf_out_of_fold_in_five_folds():
    settings = TeachSettings()
    assert (settings.teacher["kind"], settings.folds, settings.out_of_fold) == ("tfidf", 5, True)


def test_a_teachers_typo_is_told_with_the_file_and_beside_the_files_other_problems():
    with pytest.raises(InputError) as caught:
        TeachSettings.from_data({"teacher": {"kind": "tfidf", "max_feature": 3}, "folds": 1}, "study.yaml")
    assert all(problem.startswith("study.yaml: ") for problem in caught.value.problems)
    assert len(caught.value.problems) == 2
    assert "did you mean 'max_features'?" in str(caught.value)


@pytest.mark.parametrize("teacher", [3, ["tfidf"], None])
def test_a_teacher_that_is_neither_name_nor_mapping_is_refused(teacher):
    with pytest.raises(InputError, match="kind"):
        TeachSettings.from_data({"teacher": teacher}, "study.yaml")
