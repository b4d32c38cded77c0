"""One conversion, whole or not at all: an archive's folders in, a cohort's folder out."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

import mmpkd
from mmpkd import registry
from mmpkd.cohort.converters.contract import Converter, ConverterOptions
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CohortWriter
from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError
from mmpkd.files import write_json, write_text
from mmpkd.progress import SILENT, Progress

DESCRIPTION, NOTICE, RECORD = "cohort.yaml", "NOTICE", "conversion.json"


def convert_archive(
    name: str,
    folders: Sequence[Path],
    out: Path,
    options: Mapping[str, Any] | ConverterOptions | None = None,
    progress: Progress = SILENT,
) -> Path:
    """Read an archive in place and write a cohort; return the path of its ``cohort.yaml``.

    The cohort's folder holds ``cases.parquet``, ``rois.parquet`` and ``zones.parquet`` where the archive has them,
    ``cohort.yaml``, ``NOTICE`` (for people: source, terms, versions, counts, rules) and ``conversion.json`` (the same
    for programs, with the options). Images are not copied: ``image_root`` in the description says where they lie.

    Args:
        name: Registered name of the converter (``mmpkd.registry.names("converters")``).
        folders: The folders that the archive lies in.
        out: The cohort's folder; it must be new or empty.
        options: Of the converter; data from a YAML or the options model itself.
        progress: Shown to a person.

    Raises:
        InputError: Unknown archive or options, a file that is missing or broken, an ``out`` that holds something.
            Nothing is left half-written.
    """
    converter: Converter = registry.load("converters", name)
    chosen = options if isinstance(options, ConverterOptions) else _options(converter, name, options or {})
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out}: is not empty; give --out a new folder, or delete that one first.")
    roots = Roots(folders, converter.skip)
    out = out.absolute()
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=out.parent))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror}); choose another folder with --out.") from None
    try:
        writer = CohortWriter(temporary, chosen.identifiers, chosen.salt, progress)
        described = {"name": name, **converter.convert(roots, chosen, writer)}
        settings = CohortSettings.from_data(described, source=f"the converter {name!r}")
        write_text(temporary / DESCRIPTION, _yaml(described))
        record = {
            "archive": name,
            "mmpkd": mmpkd.__version__,
            "options": chosen.model_dump(mode="json", exclude={"salt"}),
            "versions": writer.ledger.versions,
            "counts": dict(writer.ledger.steps),
            "left_out": dict(writer.ledger.drops),
            "rules": writer.ledger.notes,
        }
        write_json(temporary / RECORD, record)
        write_text(temporary / NOTICE, _notice(converter, settings, writer))
        if out.exists():
            out.rmdir()
        temporary.rename(out)
    except OSError as error:
        raise _explained(error, out, temporary) from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return out / DESCRIPTION


def _explained(error: OSError, out: Path, temporary: Path) -> InputError:
    """Say what failed; files of the archive are not named, since their paths may hold identifiers."""
    ours = any(folder in Path(os.fsdecode(error.filename or "")).parents for folder in (out, temporary))
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)  # an archive is only read, so this is ours, named or not
    what = f"{out}: cannot be written" if ours or full else "a file of the archive cannot be read"
    return InputError(f"{what} ({error.strerror or type(error).__name__}); mend that and convert again.")


def _options(converter: Converter, name: str, data: Mapping[str, Any]) -> ConverterOptions:
    return converter.options.from_data(dict(data), source=f"options of {name}")


def _yaml(described: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(described), sort_keys=False, allow_unicode=True, width=110)


def _notice(converter: Converter, settings: CohortSettings, writer: CohortWriter) -> str:
    lines = [
        f"A cohort for mmpkd {mmpkd.__version__}, read from {converter.title}.",
        converter.terms,
        "The images stay where they are; this folder holds tables only, under the same terms as the archive.",
        *writer.ledger.lines(),
        "",
        f"Findings: {', '.join(settings.findings)}",
    ]
    return "\n".join(lines) + "\n"
