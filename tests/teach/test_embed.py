"""Embeddings of privileged information: what they hold, and what they must not have seen."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from mmpkd.errors import InputError
from mmpkd.teach.embed import EmbeddingSettings, embed


def _embed(cohort, root=None, **settings):
    chosen = EmbeddingSettings.from_data(settings, "teach.embedding")
    return embed(cohort.privileged, cohort.in_split("train"), chosen, root or Path())


@pytest.mark.parametrize("kind", ["tfidf", "tabular"])
def test_cases_with_the_same_finding_lie_closer(planted, kind):
    cohort = planted()
    values = _embed(cohort, kind=kind, **({"dims": 8} if kind == "tfidf" else {}))
    assert len(values) == len(cohort.cases)
    assert np.isfinite(values).all()
    wet = cohort.labels[:, 1] == 1
    centres = [values[wet].mean(0), values[~wet].mean(0)]
    assert np.linalg.norm(centres[0] - centres[1]) > 0.2 * np.linalg.norm(values - values.mean(0), axis=1).mean()


def test_words_of_other_splits_are_not_learned_from(planted):
    cohort = planted()
    test = np.flatnonzero(cohort.in_split("test"))
    text = cohort.text.copy()
    text.iloc[test] = "entirely other words"
    changed = _embed(replace(cohort, text=text), dims=8)
    train = cohort.in_split("train")
    np.testing.assert_array_equal(changed[train], _embed(cohort, dims=8)[train])


def test_a_case_without_text_has_no_embedding(planted):
    cohort = planted()
    text = cohort.text.copy()
    text.iloc[3] = None
    values = _embed(replace(cohort, text=text))
    assert np.isnan(values[3]).all()
    assert np.isfinite(np.delete(values, 3, axis=0)).all()


def test_an_encoder_embeds_every_text(planted, tiny_encoder):
    cohort = planted(cases=12)
    values = _embed(cohort, tiny_encoder.parent, kind="encoder", model=tiny_encoder.name)
    assert np.isfinite(values).all()
    assert len(np.unique(values.round(6), axis=0)) > 1


def test_a_table_is_taken_as_it_is(planted, tmp_path):
    cohort = planted(cases=6)
    table = pd.DataFrame({"case": cohort.cases.index[:5], "a": range(5), "b": 1.5})
    table.to_csv(tmp_path / "e.csv", index=False)
    values = _embed(cohort, tmp_path, kind="precomputed", table="e.csv")
    assert values[:5].tolist() == [[float(row), 1.5] for row in range(5)]
    assert np.isnan(values[5]).all()


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("case,a\ncase0,1\ncase0,2\n", "e.csv: row 2 repeats the case of an earlier row"),
        ("case,a\ncase0,x\n", "e.csv: row 1, column 'a' is no number"),
        ("id,a\ncase0,1\n", "e.csv: needs the column 'case'"),
        ("case,a\nother,1\n", "e.csv: names no case of the cohort"),
    ],
)
def test_a_wrong_table_is_told_by_row_and_column(planted, tmp_path, table, message):
    (tmp_path / "e.csv").write_text(table)
    with pytest.raises(InputError, match=message):
        _embed(planted(cases=6), tmp_path, kind="precomputed", table="e.csv")


def test_what_the_cohort_lacks_is_told(planted):
    with pytest.raises(InputError, match="the cohort has no text"):
        _embed(replace(planted(), text=None))
    with pytest.raises(InputError, match="the cohort has no metadata"):
        _embed(replace(planted(), metadata=None), kind="tabular")
    with pytest.raises(InputError, match="'table' belongs to kind: precomputed"):
        EmbeddingSettings.from_data({"kind": "precomputed"}, "teach.embedding")
