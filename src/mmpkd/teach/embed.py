"""Embeddings of privileged information, for objective terms that compare how cases lie; no label is read.

Whatever is fitted is fitted to training cases. Without labels there is nothing that a case could have told about its
own, so embeddings need no folds.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float
from pydantic import Field, model_validator

from mmpkd.cohort.cohort import Privileged
from mmpkd.cohort.table import read_table_file
from mmpkd.errors import InputError
from mmpkd.settings import Settings
from mmpkd.teach.text import TfidfTeacher, texts_at


class EmbeddingSettings(Settings):
    """Which embedding of privileged information, and of how many numbers.

    Args:
        kind: ``tfidf`` (latent semantic analysis of the text: TF-IDF and a truncated SVD), ``encoder`` (a pretrained
            text encoder, frozen), ``tabular`` (metadata: numbers standardised, categories as indicators), or
            ``precomputed``.
        dims: Numbers of ``tfidf``, at most.
        model: Of ``encoder``, as for the teacher of that name.
        table: Of ``precomputed``: a column ``case``, all other columns numbers; relative to the cohort's root.
    """

    kind: Literal["tfidf", "encoder", "tabular", "precomputed"] = "tfidf"
    dims: int = Field(default=64, ge=2)
    model: str = "pubmedbert"
    table: Path | None = None

    @model_validator(mode="after")
    def _needs_its_table(self) -> EmbeddingSettings:
        if (self.kind == "precomputed") != (self.table is not None):
            raise ValueError("'table' belongs to kind: precomputed; give both or neither.")
        return self


def embed(
    privileged: Privileged, train: Bool[np.ndarray, " cases"], settings: EmbeddingSettings, root: Path
) -> Float[np.ndarray, "cases dims"]:
    """Return one embedding a case, a row of NaN where the case lacks what is embedded.

    Args:
        privileged: All cases.
        train: Which of them are training cases.
        settings: Which embedding.
        root: Folder of a precomputed table or a local encoder.

    Raises:
        InputError: The cohort has no such information, or the table does not fit it.
    """
    makers: dict[str, Callable[[], np.ndarray]] = {
        "tfidf": lambda: _of_words(privileged, train, settings.dims),
        "encoder": lambda: _of_encoder(privileged, settings.model, root),
        "tabular": lambda: _of_metadata(privileged, train),
        "precomputed": lambda: _of_table(privileged, root, settings.table or Path()),
    }
    return makers[settings.kind]()


def _of_words(privileged: Privileged, train: np.ndarray, dims: int) -> np.ndarray:
    from sklearn.decomposition import TruncatedSVD
    from sklearn.feature_extraction.text import TfidfVectorizer

    known = _with_text(privileged)
    learn = np.flatnonzero(known & train)
    if len(learn) < 2:
        raise InputError("teach.embedding: fewer than two training cases have a text.")
    terms = TfidfTeacher()
    vectoriser = TfidfVectorizer(
        ngram_range=(1, terms.max_ngram), sublinear_tf=True, strip_accents="unicode", token_pattern=r"(?u)\b\w+\b"
    )
    counted = vectoriser.fit_transform(texts_at(privileged, learn))
    kept = min(dims, counted.shape[1] - 1, counted.shape[0] - 1)
    if kept < 1:
        raise InputError("teach.embedding: the training texts hold fewer than two words.")
    reduce = TruncatedSVD(kept, random_state=0).fit(counted)
    values = reduce.transform(vectoriser.transform(texts_at(privileged, np.flatnonzero(known))))
    return _spread(known, values)


def _of_encoder(privileged: Privileged, model: str, root: Path) -> np.ndarray:
    from mmpkd.teach.encoder import EncoderTeacher

    known = _with_text(privileged)
    teacher = EncoderTeacher(model=model, mode="frozen").rooted(root)
    return _spread(known, teacher.embed(texts_at(privileged, np.flatnonzero(known))))


def _of_metadata(privileged: Privileged, train: np.ndarray) -> np.ndarray:
    if privileged.metadata is None:
        raise InputError("teach.embedding: the cohort has no metadata; add 'cohort.metadata' or embed the text.")
    columns = []
    for name in privileged.metadata.columns:
        column = privileged.metadata[name]
        if pd.api.types.is_numeric_dtype(column.dtype):
            values = column.to_numpy(float)
            mean, deviation = np.nanmean(values[train]), np.nanstd(values[train])
            columns.append(np.nan_to_num((values - mean) / (deviation or 1.0)))
        else:
            known = sorted(column[train].dropna().astype(str).unique())
            columns += [(column.astype(str) == value).to_numpy(float) for value in known]
    return _spread(privileged.has_metadata, np.stack(columns, axis=1)[privileged.has_metadata])


def _of_table(privileged: Privileged, root: Path, path: Path) -> np.ndarray:
    cells = read_table_file(root / path, str(path)).cells
    if "case" not in cells.columns or len(cells.columns) < 2:
        raise InputError(f"{path}: needs the column 'case' and columns of numbers beside it.")
    if (twice := cells["case"].duplicated()).any():
        row = int(np.flatnonzero(twice)[0]) + 1
        raise InputError(f"{path}: row {row} repeats the case of an earlier row; keep one of them.")
    numbers = cells.drop(columns="case").apply(pd.to_numeric, errors="coerce").set_index(cells["case"])
    wrong = ~np.isfinite(numbers.to_numpy(float))
    if wrong.any():
        row, column = (int(place) for place in np.argwhere(wrong)[0])
        raise InputError(f"{path}: row {row + 1}, column {numbers.columns[column]!r} is no number; mend or remove it.")
    if not numbers.index.isin(privileged.cases).any():
        raise InputError(f"{path}: names no case of the cohort; check its column 'case'.")
    return numbers.reindex(privileged.cases).to_numpy(float)


def _with_text(privileged: Privileged) -> np.ndarray:
    if privileged.text is None:
        raise InputError("teach.embedding: the cohort has no text; add 'cohort.text' or embed something else.")
    return privileged.has_text


def _spread(known: np.ndarray, values: np.ndarray) -> np.ndarray:
    rows = np.full((len(known), values.shape[1]), np.nan)
    rows[known] = values
    return rows
