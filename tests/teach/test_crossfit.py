"""Cross-fitting: no case is labelled by a teacher that has seen its patient, and killed work is found again."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Self

import numpy as np
import pandas as pd
import pytest

from mmpkd.errors import InputError
from mmpkd.files import read_provenance
from mmpkd.progress import SILENT
from mmpkd.teach import crossfit
from mmpkd.teach.base import Teacher
from mmpkd.teach.crossfit import teach
from mmpkd.teach.diagnose import auroc
from mmpkd.teach.settings import TeachSettings


class Memory(Teacher):
    """Knows the labels of every patient it has seen by heart, and nothing else: the worst leak there can be."""

    needs: ClassVar[str] = "text"
    fits: ClassVar[list[set[str]]] = []

    def fit(self, privileged, labels, task, findings, seed=0) -> Self:
        self._seen = dict(zip(privileged.patients, labels, strict=True))
        Memory.fits.append(set(self._seen))
        return self

    def predict_proba(self, privileged):
        return np.array([np.clip(self._seen.get(p, [0.5, 0.5]), 0.01, 0.99) for p in privileged.patients])

    def informed(self, privileged):
        return np.asarray(privileged.has_text, dtype=bool)

    _seen: dict[str, np.ndarray]


@pytest.fixture
def memory(register):
    register("memory", Memory)
    Memory.fits = []
    return TeachSettings.from_data({"teacher": "memory", "folds": 3, "calibrate": False}, "study")


def by_patient(cohort):
    """Give all cases of a patient the labels of the first."""
    first = cohort.cases["patient"].map(dict(zip(cohort.cases["patient"][::-1], range(len(cohort))[::-1], strict=True)))
    return replace(cohort, labels=cohort.labels[first])


def matrix(taught, cohort):
    return taught.soft_labels.matrix(cohort.cases.index, cohort.findings)


def test_no_training_case_is_labelled_by_a_teacher_that_has_seen_its_patient(memory, planted):
    cohort = by_patient(planted())
    logits = matrix(teach(cohort, memory), cohort)
    train = cohort.in_split("train")
    np.testing.assert_array_equal(logits[train], 0)  # the teacher by heart knows nothing of them
    assert len(Memory.fits) == 4
    others = set(cohort.cases["patient"][~train])
    assert not any(seen & others for seen in Memory.fits)  # and never learns from validation or test


def test_in_sample_is_the_papers_way_and_leaks_by_design(memory, planted):
    cohort = by_patient(planted())
    logits = matrix(teach(cohort, memory.model_copy(update={"out_of_fold": False})), cohort)
    train = cohort.in_split("train")
    np.testing.assert_array_equal(logits[train] > 0, cohort.labels[train] == 1)
    assert len(Memory.fits) == 1


def test_the_table_says_which_fold_held_a_case_out(planted):
    cohort = planted()
    table = teach(cohort, TeachSettings(folds=3)).soft_labels.table
    assert set(table["region"]) == {"image"}
    fold = table.groupby("case")["fold"].first().loc[cohort.cases.index].to_numpy()
    train = cohort.in_split("train")
    assert set(fold[train]) == {0, 1, 2}
    assert set(fold[~train]) == {-1}
    folds_of_a_patient = pd.Series(fold[train]).groupby(cohort.cases["patient"].to_numpy()[train]).nunique()
    assert (folds_of_a_patient == 1).all()


def test_out_of_fold_soft_labels_see_through_label_noise(planted):
    noisy = planted(400, noise=0.15, seed=3)
    truth = planted(400, noise=0.0, seed=3).labels
    logits = matrix(teach(noisy, TeachSettings()), noisy)
    for column in range(2):
        against_truth = auroc(logits[:, column], truth[:, column])
        assert against_truth > 0.9
        assert against_truth > auroc(logits[:, column], noisy.labels[:, column]) + 0.05


def test_the_same_seed_gives_the_same_table_and_another_does_not(planted):
    cohort = planted(noise=0.2)
    first, again = (matrix(teach(cohort, TeachSettings(folds=3)), cohort) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, matrix(teach(cohort, TeachSettings(folds=3, seed=1)), cohort))


def test_finished_folds_are_found_again_and_others_are_not_trusted(memory, planted, tmp_path):
    cohort = planted()
    first = teach(cohort, memory, folder=tmp_path)
    assert len(Memory.fits) == 4
    next(tmp_path.glob("*.parquet")).unlink()  # as if killed before the last fold
    again = teach(cohort, memory, folder=tmp_path)
    assert len(Memory.fits) == 5
    pd.testing.assert_frame_equal(first.soft_labels.table, again.soft_labels.table)
    changed = replace(cohort, labels=1 - cohort.labels)
    teach(changed, memory, folder=tmp_path)
    assert len(Memory.fits) == 9


def test_cases_without_information_get_no_soft_label_and_most_lacking_it_is_told(planted):
    cohort = planted()
    text = cohort.text.copy()
    text.iloc[np.arange(120) % 3 > 0] = None
    taught = teach(replace(cohort, text=text), TeachSettings(folds=3))
    logits = matrix(taught, cohort)
    np.testing.assert_array_equal(np.isnan(logits).all(axis=1), text.isna().to_numpy())
    assert any("of the training cases lack text" in sentence for sentence in taught.warnings)


def test_fewer_training_patients_than_folds_is_told_with_both_numbers(planted):
    cohort = planted(40, patients=5)  # three of them train
    with pytest.raises(InputError, match=r"teach\.folds is 5, but the training split has 3 patients; use at most 3"):
        teach(cohort, TeachSettings(folds=5))


def test_a_cohort_without_text_is_told_what_its_teacher_reads(planted):
    for text in (None, pd.Series([None] * 120, index=planted().text.index, dtype=object)):
        with pytest.raises(InputError, match="no training case has text, which the teacher reads"):
            teach(replace(planted(), text=text), TeachSettings())


def test_an_empty_training_split_is_told(planted):
    cohort = planted()
    cases = cohort.cases.assign(split="test")
    with pytest.raises(InputError, match="the training split has no case"):
        teach(replace(cohort, cases=cases), TeachSettings())


def test_a_teacher_that_breaks_its_contract_is_named(memory, planted, monkeypatch):
    monkeypatch.setattr(Memory, "predict_proba", lambda self, privileged: np.full((len(privileged.patients), 2), 1.5))
    with pytest.raises(ValueError, match=r"Memory\.predict_proba, fold 0: not probabilities in \[0, 1\]"):
        teach(planted(), memory)


def test_provenance_names_no_patient_and_no_text(planted, tmp_path):
    cohort = planted()
    teach(cohort, TeachSettings(folds=2), SILENT, tmp_path).soft_labels.write(tmp_path / "soft_labels.parquet")
    said = str(read_provenance(tmp_path / "soft_labels.parquet"))
    assert "'folds': 2" in said
    assert "'kind': 'tfidf'" in said
    assert "fluid" not in said
    assert "p1" not in said.replace("mmpkd", "")


def test_a_change_of_any_input_changes_the_hash(planted):
    cohort = planted()
    changed = [
        replace(cohort, labels=1 - cohort.labels),
        replace(cohort, text=cohort.text.str.upper()),
        replace(cohort, metadata=cohort.metadata.assign(size_mm=0.0)),
        replace(cohort, cases=cohort.cases.assign(split="train")),
    ]
    hashes = {crossfit._content_hash(one) for one in (cohort, *changed)}
    assert len(hashes) == 5
