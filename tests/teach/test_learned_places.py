"""Reports that say where, in words that the rules know or not: what is unsaid is filled, what is said is kept."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from mmpkd.cohort.zones import SCHEMES
from mmpkd.errors import InputError
from mmpkd.teach.learned_places import fill_unsaid
from mmpkd.teach.located import LocatedSettings, locate_findings
from mmpkd.teach.settings import TeachSettings
from mmpkd.teach.soft_labels import ALL_TRAINING_CASES

SIDES = SCHEMES["sides"]
TEACH = TeachSettings.from_data({"teacher": "tfidf", "folds": 3, "located": {"learned": True}}, "study.yaml")


@pytest.fixture
def cohort(planted):
    """Effusions left or right; every report names the side in a code of its own, a third of them in plain words too."""
    cohort = planted(300)
    rng = np.random.default_rng(1)
    left, plain = rng.random(300) < 0.5, rng.random(300) < 1 / 3
    texts = []
    for has, side, said in zip(cohort.labels[:, 1] == 1, left, plain, strict=True):
        word = "left" if side else "right"
        code = "sinistra" if side else "dextra"
        texts.append(f"{word if said else ''} pleural effusion, {code}." if has else "The lungs are clear.")
    return replace(cohort, text=pd.Series(texts, index=cohort.cases.index)), left, plain


@pytest.fixture
def filled(cohort):
    cases, *_ = cohort
    rules, _ = locate_findings(cases.privileged, cases.findings, SIDES, LocatedSettings())
    rows, told = fill_unsaid(cases, rules, SIDES.regions, TEACH)
    return rules, rows, told


def _logits(rows, cases, region):
    of_region = rows[(rows["region"] == region) & (rows["finding"] == "effusion")].set_index("case")
    return of_region.reindex(cases.cases.index)


def test_what_is_unsaid_is_learned_from_those_who_say_it(cohort, filled):
    cases, left, plain = cohort
    silent = (cases.labels[:, 1] == 1) & ~plain
    found = _logits(filled[1], cases, "left")["logit"].to_numpy()
    assert np.isfinite(found[silent]).all()
    assert (found[silent & left].mean() - found[silent & ~left].mean()) > 1.0
    assert ((found > 0) == left)[silent].mean() > 0.9


def test_what_the_rules_say_is_kept_as_it_is(filled):
    rules, rows, _ = filled
    kept = rows.merge(rules, on=["case", "finding", "region"], suffixes=("", "_said"))
    assert len(kept) == len(rules)
    assert (kept["logit"] == kept["logit_said"]).all()
    assert not rows.duplicated(["case", "finding", "region"]).any()


def test_training_cases_are_labelled_out_of_fold(cohort, filled):
    cases, _, plain = cohort
    silent = cases.cases.index[(cases.labels[:, 1] == 1) & ~plain]
    fold = _logits(filled[1], cases, "left").loc[silent, "fold"]
    trains = cases.cases.loc[silent, "split"] == "train"
    assert set(fold[trains]) == {0, 1, 2}
    assert set(fold[~trains]) == {ALL_TRAINING_CASES}


def test_a_finding_that_no_text_places_stays_unlocated_and_is_named(filled):
    _, rows, told = filled
    assert set(rows["finding"]) == {"effusion"}
    assert told[0].endswith("Nothing could be learned of where nodule is.")


def test_too_few_places_are_told_and_nothing_is_made_up(cohort):
    cases, *_ = cohort
    few = replace(cases, text=cases.text.where(np.arange(300) < 12, "The lungs are clear."))
    rules, _ = locate_findings(few.privileged, few.findings, SIDES, LocatedSettings())
    rows, told = fill_unsaid(few, rules, SIDES.regions, TEACH)
    assert rows.equals(rules)
    assert "has nothing to learn from" in told[0]


def test_a_teacher_that_learns_nothing_cannot_fill(cohort):
    cases, *_ = cohort
    rules, _ = locate_findings(cases.privileged, cases.findings, SIDES, LocatedSettings())
    given = TeachSettings.from_data({"teacher": {"kind": "precomputed", "table": "soft.csv"}}, "study.yaml")
    with pytest.raises(InputError, match=r"teach.located.learned: a teacher of kind 'precomputed' learns nothing"):
        fill_unsaid(cases, rules, SIDES.regions, given)
