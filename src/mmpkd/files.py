"""Artefacts on disk: written whole or not at all, in formats that hold no code, and saying what made them.

Tables are Parquet, documents JSON or YAML, tensors safetensors (see ``mmpkd.distil.checkpoint``).
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mmpkd.errors import InputError

if TYPE_CHECKING:
    import pandas as pd

_PROVENANCE_KEY = b"mmpkd"


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path`` and rename it into place when the block succeeds.

    A full or read-only disk becomes one :class:`InputError`; the temporary file never stays behind unless
    the process itself is killed, and a later write replaces it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(path)
    except OSError as error:
        raise _explain(error, path) from error
    except Exception as error:
        number = re.search(r"os error (\d+)", str(error))  # safetensors tells of the system's errors in words alone
        if number is None:
            raise
        cause = OSError(int(number[1]), str(error))
        raise _explain(cause, path) from cause
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _explain(error: OSError, path: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return InputError(f"{path}: the disk is full; free some space and run the same command again.")
    if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return InputError(f"{path}: cannot be written (read-only); choose another folder with --out.")
    if error.errno in (errno.ENOTDIR, errno.EEXIST):
        return InputError(f"{path}: a file stands where a folder is needed; choose another folder with --out.")
    return error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text whole."""
    with written_whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, data: object) -> None:
    """Write JSON whole, keys in the order given; NaN is refused because JSON has none."""
    write_text(path, json.dumps(data, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON document that mmpkd wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def write_table(path: Path, table: pd.DataFrame, provenance: Mapping[str, object] | None = None) -> None:
    """Write a Parquet table whole; ``provenance`` (plain data) goes into the file's own metadata.

    The bytes depend only on the content, never on the time or place of writing.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    arrow = pa.Table.from_pandas(table, preserve_index=False)
    metadata = dict(arrow.schema.metadata or {})
    metadata[_PROVENANCE_KEY] = json.dumps(dict(provenance or {}), sort_keys=True).encode()
    with written_whole(path) as temporary:
        pq.write_table(arrow.replace_schema_metadata(metadata), temporary)


def read_table(path: Path) -> pd.DataFrame:
    """Read a Parquet table that mmpkd wrote."""
    import pandas as pd

    return pd.read_parquet(path)


def read_provenance(path: Path) -> dict[str, Any]:
    """Return what a Parquet table written by :func:`write_table` says of its making."""
    import pyarrow.parquet as pq

    raw = (pq.read_schema(path).metadata or {}).get(_PROVENANCE_KEY, b"{}")
    return dict(json.loads(raw))


def fingerprint(data: object) -> str:
    """Return a short hash of plain data (JSON, keys sorted), for naming and for recognising artefacts."""
    text = json.dumps(data, sort_keys=True, ensure_ascii=False, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
