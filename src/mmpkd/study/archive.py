"""A study whose cohort is an archive as it lies on disk: converted once, then used like any other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from mmpkd import registry
from mmpkd.errors import InputError
from mmpkd.files import fingerprint
from mmpkd.progress import SILENT, Progress
from mmpkd.settings import Settings, read_yaml


class ArchiveCohort(Settings):
    """What a study file says of an archive, in place of a cohort's description.

    Args:
        archive: Registered name of the converter (``mmpkd convert --help`` lists them).
        roots: Folders that the archive lies in, relative to the study file; ``--root`` (which may be repeated)
            replaces them.
        options: Of the converter.
        change: Settings of the converted cohort's ``cohort.yaml`` to replace, such as ``metadata`` or ``labels``.
    """

    archive: str
    roots: tuple[str, ...] = ()
    options: dict[str, Any] = Field(default_factory=dict)
    change: dict[str, Any] = Field(default_factory=dict)


def converted(
    archive: ArchiveCohort, roots: Sequence[Path], base: Path, cohorts: Path, progress: Progress = SILENT
) -> tuple[Path, Mapping[str, Any]]:
    """Return the converted cohort's folder and its description, converting first where that has not been done.

    The folder's name says what it was made from: archive, options and roots. An archive that changes on disk is not
    noticed; delete the folder to convert anew.

    Args:
        archive: What the study file says.
        roots: Of ``--root``; may be empty.
        base: Folder of the study file.
        cohorts: Where converted cohorts lie.
        progress: Shown to a person.

    Raises:
        InputError: No root at all, and whatever the converter finds.
    """
    from mmpkd.cohort.converters.convert import DESCRIPTION, convert_archive

    folders = [folder.resolve() for folder in (roots or [base / root for root in archive.roots])]
    if not folders:
        raise InputError(f"the study reads the archive {archive.archive!r}: give its folder with --root.")
    converter = registry.load("converters", archive.archive)
    options = converter.options.from_data(archive.options, source=f"options of {archive.archive}")
    made_from = {**options.model_dump(mode="json"), "roots": [str(folder) for folder in folders]}
    out = cohorts / f"{archive.archive}-{fingerprint(made_from)}"
    if not (out / DESCRIPTION).is_file():
        convert_archive(archive.archive, folders, out, options, progress)
        progress.say(f"cohort: {out / DESCRIPTION} (what was read and left out: {out / 'NOTICE'})")
    description = read_yaml(out / DESCRIPTION)
    if not isinstance(description, dict):
        raise InputError(f"{out / DESCRIPTION}: is no cohort's description any more; delete the folder.")
    return out, {**description, **archive.change}
