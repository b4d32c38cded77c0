"""Leaks that are planted are found, and harmless look-alikes are not."""

from pathlib import Path

import numpy as np
import pandas as pd

from mmpkd.cohort.cohort import Cohort
from mmpkd.cohort.leaks import find_leaks

N = 200
LABELS = np.arange(N) % 2.0
RNG = np.random.default_rng(0)


def cohort(
    split: list[str] | None = None, metadata: dict[str, object] | None = None, text: list[str] | None = None
) -> Cohort:
    index = pd.Index([f"c{i}" for i in range(N)], name="case")
    cases = pd.DataFrame(
        {"patient": [f"p{i // 2}" for i in range(N)], "split": split or ["train"] * N, "image": None}, index=index
    )
    return Cohort(
        name="n",
        task="multi-label",
        findings=("covid19",),
        cases=cases,
        labels=LABELS[:, None],
        root=Path(),
        metadata=None if metadata is None else pd.DataFrame(metadata, index=index),
        text=None if text is None else pd.Series(text, index=index, dtype=object),
    )


def test_a_clean_cohort_has_none():
    noise = {"age": RNG.normal(size=N), "sex": pd.Categorical(RNG.choice(["F", "M"], N))}
    words = [" ".join(RNG.choice(["lung", "heart", "clear", "opacity"], 6)) for _ in range(N)]
    assert find_leaks(cohort(metadata=noise, text=words), digests=[str(i) for i in range(N)]) == []


def test_patients_across_splits_are_counted():
    assert find_leaks(cohort(split=["train", "test"] * 3 + ["train"] * (N - 6))) == [
        "3 patients have cases in more than one split; split by patient."
    ]


def test_identical_images_across_splits_and_patients_are_counted():
    digests = [str(i) for i in range(N)]
    digests[1] = "0"  # the same patient, the same split: nothing to say
    digests[10] = digests[2]  # two patients, one split
    digests[199] = digests[3]  # two patients, two splits
    digests[5] = digests[7] = ""  # unknown is equal to nothing
    leaks = find_leaks(cohort(split=["train"] * 198 + ["test"] * 2), digests)
    assert leaks == [
        "1 images stand identically in more than one split; give them one split or drop the copies.",
        "2 images stand identically under more than one patient; merge those patients.",
    ]


def test_a_number_that_tells_the_label_either_way_is_told():
    (leak,) = find_leaks(cohort(metadata={"score": 10 - LABELS * 3 + RNG.normal(size=N) * 0.1}))
    assert leak.startswith("the metadata column 'score' tells 'covid19' by itself (AUROC 1.000)")


def test_a_category_that_is_the_label_in_other_words_is_told():
    kinds = np.where(LABELS == 1, RNG.choice(["u", "v"], N), "w").astype(object)
    kinds[:20] = None
    (leak,) = find_leaks(cohort(metadata={"kind": pd.Categorical(kinds)}))
    assert leak.startswith("the metadata column 'kind' tells 'covid19'")


def test_an_identifier_and_a_constant_do_not_tell_the_label():
    columns = {"id": pd.Categorical([f"i{i}" for i in range(N)]), "same": pd.Categorical(["x"] * N)}
    assert find_leaks(cohort(metadata=columns)) == []


def test_a_column_filled_in_only_for_the_sick_is_told():
    filled = np.where(LABELS == 1, RNG.normal(size=N), np.nan)
    (leak,) = find_leaks(cohort(metadata={"ventilation": filled}))
    assert leak.startswith("whether the metadata column 'ventilation' is blank tells 'covid19'")


def test_columns_are_judged_on_training_cases_only():
    split = ["train"] * (N // 2) + ["test"] * (N // 2)
    late = np.where(np.arange(N) < N // 2, RNG.normal(size=N), LABELS)
    assert find_leaks(cohort(split=split, metadata={"late": late})) == []


def test_too_few_cases_say_nothing():
    split = ["test"] * (N - 10) + ["train"] * 10
    assert find_leaks(cohort(split=split, metadata={"y": LABELS})) == []


def test_text_that_names_the_finding_as_people_spell_it_is_told():
    names = ["COVID-19", "covid 19", "Covid19", "CoViD_19"]
    text = [
        f"{names[i // 2 % 4]} pneumonia" if y and i % 10 != 1 else f"pneumonia of sort {i}"
        for i, y in enumerate(LABELS)
    ]
    (leak,) = find_leaks(cohort(text=text))
    assert leak.startswith("the text names 'covid19' in 80% of its positive and 0% of its negative training cases")


def test_a_name_as_common_in_negatives_is_no_leak():
    text = ["covid19 seen" if y else "covid19 not seen" if i % 4 else "nothing" for i, y in enumerate(LABELS)]
    leaks = find_leaks(cohort(text=text))
    assert not any(leak.startswith("the text names") for leak in leaks)


def test_one_word_that_tells_the_label_by_standing_or_lacking_is_told():
    text = ["Unremarkable study." if not y else "See the note." for y in LABELS]
    text[0] = "A study."
    (leak,) = find_leaks(cohort(text=text))
    assert "tells 'covid19' by itself (AUROC 1.000)" in leak or "(AUROC 0.995)" in leak


def test_no_case_patient_or_report_is_quoted():
    text = [f"Mr Miller{i} has covid19" if y else f"Mrs Smith{i} is well" for i, y in enumerate(LABELS)]
    told = "\n".join(find_leaks(cohort(text=text)))
    assert told
    assert "Miller" not in told
    assert "Smith" not in told
