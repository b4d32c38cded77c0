"""A cohort on its way to disk: cases streamed to Parquet, ROIs and zones beside them, ids made pseudonyms."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.errors import InputError
from mmpkd.progress import SILENT, Progress

CASES, ROIS, ZONES, SALT = "cases.parquet", "rois.parquet", "zones.parquet", "salt.txt"

_SALT_BYTES = 16


class CohortWriter:
    """Writes a cohort's tables into a folder that nobody else sees until all of it is written.

    Args:
        folder: Where to write.
        identifiers: ``hashed`` or ``kept`` (:class:`mmpkd.cohort.converters.contract.ConverterOptions`).
        salt: Of the hashes; drawn when ``None``.
        progress: Shown to a person.
    """

    def __init__(
        self,
        folder: Path,
        identifiers: Literal["hashed", "kept"] = "hashed",
        salt: str | None = None,
        progress: Progress = SILENT,
    ) -> None:
        self.folder, self.progress, self.ledger = folder, progress, Ledger()
        self._hashed = identifiers == "hashed"
        self._salt = salt or secrets.token_hex(_SALT_BYTES)
        if self._hashed and salt is None:
            path = folder / SALT
            path.touch(mode=0o600)
            path.write_text(self._salt + "\n", encoding="ascii")

    def pseudonyms(self, kind: str, ids: Iterable[object]) -> np.ndarray:
        """Return each id's pseudonym: 16 hex digits of BLAKE2b under the salt, or the id itself where ids are kept.

        Equal ids of one kind (``case``, ``patient``) have equal pseudonyms; the same id of two kinds has two.
        """
        names = [str(value) for value in ids]
        if not self._hashed:
            return np.array(names, dtype=object)
        key = hashlib.blake2b(self._salt.encode(), digest_size=32).digest()
        person = kind.encode()[:16]
        known: dict[str, str] = {}
        for name in names:
            if name not in known:
                known[name] = hashlib.blake2b(name.encode(), digest_size=8, key=key, person=person).hexdigest()
        return np.array([known[name] for name in names], dtype=object)

    def write_cases(self, chunks: Iterable[pd.DataFrame] | pd.DataFrame) -> int:
        """Write the table of cases, a chunk at a time, and return how many there are.

        All values become strings (numbers as Python writes them), missing ones stay missing: the cohort's own reader
        interprets them. Chunks have the same columns.

        Raises:
            InputError: There is no case at all.
        """
        count = self._write(CASES, [chunks] if isinstance(chunks, pd.DataFrame) else chunks)
        if not count:
            raise InputError("no case is left after the rules of the conversion; loosen its options.")
        self.ledger.count("cases in the cohort", count)
        return count

    def write_rois(self, rois: pd.DataFrame) -> None:
        """Write the table of ROIs: ``case``, ``finding``, and boxes (original pixels), mask paths or run lengths."""
        self.ledger.count("ROIs in the cohort", self._write(ROIS, [rois]))

    def write_zones(self, zones: Iterable[pd.DataFrame] | pd.DataFrame) -> None:
        """Write the zones of each image: ``case``, ``zone``, and boxes (original pixels) or run lengths."""
        count = self._write(ZONES, [zones] if isinstance(zones, pd.DataFrame) else zones)
        self.ledger.count("zones in the cohort", count)

    def _write(self, name: str, chunks: Iterable[pd.DataFrame]) -> int:
        writer: pq.ParquetWriter | None = None
        count = 0
        try:
            for chunk in chunks:
                table = _as_strings(chunk)
                if writer is None:
                    writer = pq.ParquetWriter(self.folder / name, table.schema, compression="zstd")
                writer.write_table(table)
                count += len(chunk)
        finally:
            if writer is not None:
                writer.close()
        return count


def _as_strings(chunk: pd.DataFrame) -> pa.Table:
    columns = {}
    for name in chunk.columns:
        values = chunk[name]
        if pd.api.types.is_float_dtype(values.dtype):
            whole = values.dropna()
            if (whole == np.floor(whole)).all() and (whole.abs() < 2**53).all():
                values = values.astype("Int64")
        missing = values.isna().to_numpy()
        texts = [None if absent else str(value) for value, absent in zip(values.tolist(), missing, strict=True)]
        columns[str(name)] = pa.array(texts, pa.string())
    return pa.table(columns)
