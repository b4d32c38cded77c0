"""Reading a study file: its cohort, where that is an archive or a phantom, and its variants."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmpkd.cohort.settings import CohortSettings
from mmpkd.errors import InputError
from mmpkd.progress import SILENT, Progress
from mmpkd.settings import read_yaml
from mmpkd.study.archive import ArchiveCohort, converted
from mmpkd.study.lent import LentTeacher, lent_teacher, precomputed
from mmpkd.study.phantom_cohort import PhantomCohort, written
from mmpkd.study.settings import StudySettings
from mmpkd.study.variants import vary


def study_schema() -> dict[str, Any]:
    """Return the JSON Schema of the study file, each form of ``cohort`` included."""
    schema = StudySettings.model_json_schema()
    for form in (ArchiveCohort, PhantomCohort):
        described = form.model_json_schema(ref_template="#/$defs/{model}")
        schema["$defs"].update(described.pop("$defs", {}))
        schema["$defs"][form.__name__] = described
    own = schema["properties"]["cohort"]
    archive_or_phantom = [{"$ref": f"#/$defs/{form.__name__}"} for form in (ArchiveCohort, PhantomCohort)]
    path = {"type": "string", "description": "Path of the cohort's own YAML, relative to the study file."}
    schema["properties"]["cohort"] = {"anyOf": [own, *archive_or_phantom, path]}
    schema["properties"]["variants"] = {
        "type": "object",
        "description": "Studies that differ in a few settings: names, and what is replaced in each.",
        "additionalProperties": {"type": ["object", "null"]},
    }
    return schema


def load_study(
    path: Path,
    root: Path | Sequence[Path] | None = None,
    cohorts: Path | None = None,
    progress: Progress = SILENT,
    variant: str | None = None,
) -> tuple[StudySettings, Path]:
    """Read a study file and return its settings and the cohort's root folder, absolute.

    A teacher that another study lends (:mod:`mmpkd.study.lent`) is fitted there, unless that has been done.

    Args:
        path: The study YAML. Its ``cohort`` may be the path of another YAML, relative to it, name an archive
            (:class:`mmpkd.study.archive.ArchiveCohort`), which is then converted unless that has been done, or
            describe a phantom (:class:`mmpkd.study.phantom_cohort.PhantomCohort`), which is likewise written.
        root: Overrides the cohort's ``root`` (``--root``); for an archive, the folders that it lies in.
        cohorts: Folder for converted cohorts; ``cohorts`` beside the study file by default.
        progress: Shown to a person.
        variant: Which of the file's variants (:mod:`mmpkd.study.variants`), if it has some.

    Raises:
        InputError: Every problem in the file, one sentence each.
    """
    data = read_yaml(path)
    if not isinstance(data, dict):
        raise InputError(
            f"{path}: a study file is a mapping with at least 'cohort'; `mmpkd schema` prints what it may hold."
        )
    data = vary(data, variant, path)
    base = path.parent
    roots = [root] if isinstance(root, Path) else list(root or ())
    if isinstance(data.get("cohort"), str):
        cohort_path = base / data["cohort"]
        data = {**data, "cohort": read_yaml(cohort_path)}
        base = cohort_path.parent
    elif isinstance(data.get("cohort"), dict) and "archive" in data["cohort"]:
        archive = ArchiveCohort.from_data(data["cohort"], source=f"{path}, 'cohort'")
        base, description = converted(archive, roots, base, cohorts or base / "cohorts", progress)
        data, roots = {**data, "cohort": description}, []
    elif isinstance(data.get("cohort"), dict) and "phantom" in data["cohort"]:
        if roots:
            raise InputError(f"{path}: its cohort is a phantom, which has no folder of its own; leave --root out.")
        phantom = PhantomCohort.from_data(data["cohort"], source=f"{path}, 'cohort'")
        base, description = written(phantom, cohorts or base / "cohorts", progress)
        data = {**data, "cohort": description}
    if len(roots) > 1:
        raise InputError("--root is given more than once; only a study of an archive has several roots.")
    lent = lent_teacher(data, path)
    if lent is not None:
        cohort = CohortSettings.from_data(data.get("cohort"), source=f"{path}, 'cohort'")
        folder = cohorts or path.parent / "cohorts"
        lender = _lender(lent, path, root, folder, progress)
        teacher = precomputed(*lender, lent.findings, cohort, _root(cohort, roots, base), folder, progress)
        data = {**data, "teach": {**data["teach"], "teacher": teacher}}
    study = StudySettings.from_data(data, source=str(path))
    return study, _root(study.cohort, roots, base)


def _root(cohort: CohortSettings, given: Sequence[Path], base: Path) -> Path:
    return (given[0] if given else base / cohort.root).resolve()


def _lender(
    lent: LentTeacher, path: Path, root: Path | Sequence[Path] | None, cohorts: Path, progress: Progress
) -> tuple[StudySettings, Path]:
    """Return the lender's settings and root; one that has borrowed its teacher itself is refused.

    A variant of the same file lies where ``root`` says that this one lies, unless it is a phantom.
    """
    lender = path if lent.study is None else path.parent / lent.study
    data = read_yaml(lender)
    cohort: object = None
    if isinstance(data, dict):
        data = vary(data, lent.variant, lender)
        cohort = data.get("cohort")
        if lent_teacher(data, lender) is not None:
            raise InputError(
                f"{path}, 'teach.teacher.lent': the teacher of {lender.name}{_of(lent.variant)} is lent itself; name "
                "the study that it learned in."
            )
    is_phantom = isinstance(cohort, dict) and "phantom" in cohort
    own_root = None if is_phantom or lent.study is not None else root
    return load_study(lender, own_root, cohorts, progress, lent.variant)


def _of(variant: str | None) -> str:
    return "" if variant is None else f", variant {variant!r},"
