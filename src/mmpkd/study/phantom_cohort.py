"""A study whose cohort is a phantom: written once from its settings, then used like any other."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field

from mmpkd.cohort.phantom.settings import PhantomSettings
from mmpkd.errors import InputError
from mmpkd.files import fingerprint
from mmpkd.progress import SILENT, Progress
from mmpkd.settings import Settings, read_yaml


class PhantomCohort(Settings):
    """What a study file says of a phantom, in place of a cohort's description.

    Args:
        phantom: Its settings.
        change: Settings of the written cohort's ``cohort.yaml`` to replace, such as ``text`` or ``split``.
    """

    phantom: PhantomSettings
    change: dict[str, Any] = Field(default_factory=dict)


def written(made: PhantomCohort, cohorts: Path, progress: Progress = SILENT) -> tuple[Path, Mapping[str, Any]]:
    """Return the phantom's folder and its description, writing it first where that has not been done.

    The folder's name says what it was made from, so that studies of one phantom share it.
    """
    from mmpkd.cohort.phantom import write_phantom

    out = cohorts / f"phantom-{fingerprint(made.phantom.model_dump(mode='json'))}"
    if not (out / "cohort.yaml").is_file():
        write_phantom(made.phantom, out, progress)
    description = read_yaml(out / "cohort.yaml")
    if not isinstance(description, dict):
        raise InputError(f"{out / 'cohort.yaml'}: is no cohort's description any more; delete the folder.")
    return out, {**description, **made.change}
