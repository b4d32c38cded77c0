"""The `teach:` part of a study file, and from a teacher's settings to the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError

from mmpkd.errors import InputError
from mmpkd.registry import load
from mmpkd.settings import Settings, describe_validation_error
from mmpkd.teach.base import Teacher
from mmpkd.teach.embed import EmbeddingSettings
from mmpkd.teach.located import LocatedSettings


def build_teacher(data: Mapping[str, Any] | str, root: Path | None = None, source: str = "teacher") -> Teacher:
    """Return the teacher that ``data`` describes, not yet fitted.

    Args:
        data: ``{"kind": "tfidf", "C": 3.0}``, or the kind alone; whatever is not given has its default.
        root: Folder for relative paths in the settings; the working folder if not given.
        source: What to call ``data`` in an error.

    Raises:
        InputError: An unknown kind, an unknown setting or a value out of range, one sentence each.

    >>> build_teacher("tfidf").max_features
    50000
    """
    settings = {"kind": data} if isinstance(data, str) else dict(data)
    kind = settings.pop("kind", None)
    if not isinstance(kind, str):
        raise InputError(f"{source}: the setting 'kind' is missing; add one, such as `kind: tfidf`.")
    found = load("teachers", kind)
    if not (isinstance(found, type) and issubclass(found, Teacher)):
        raise InputError(f"{source}: {kind!r} is not a teacher; it must be a subclass of mmpkd.teach.base.Teacher.")
    try:
        teacher = found.model_validate(settings)
    except ValidationError as error:
        raise InputError(describe_validation_error(error, source, found)) from None
    return teacher if root is None else teacher.rooted(root)


def resolve_teacher(data: object) -> dict[str, Any]:
    """Return a teacher's settings with every default filled in; a kind alone stands for its defaults."""
    if not isinstance(data, str | Mapping):
        raise ValueError("give a teacher's kind, or a mapping with its kind and settings, such as {kind: tfidf}.")
    kind = data if isinstance(data, str) else data.get("kind")
    try:
        return {"kind": kind, **build_teacher(data).to_data()}
    except InputError as error:  # as a ValueError it is told together with the file's other problems
        raise ValueError(" ".join(error.problems)) from None


TeacherData = Annotated[dict[str, Any], BeforeValidator(resolve_teacher)]
"""A teacher in a settings model: its kind or a mapping, validated, and kept fully resolved."""


class TeachSettings(Settings):
    """How soft labels are made.

    Args:
        teacher: ``kind`` and the settings of that kind; the kind alone stands for its defaults.
        folds: Folds of patients for out-of-fold soft labels.
        out_of_fold: Training cases get soft labels from a teacher that has not seen their patient. ``False`` is
            the paper's way: one teacher, trained on all training cases, labels them too; it saturates easily.
        calibrate: Scale the logits on held-out folds (Platt for findings, one temperature for classes). Needs
            ``out_of_fold``; without it there is nothing held out.
        seed: Of the folds and of the teacher.
        located: Soft labels of zones, read from the text by rules; the cohort needs ``zones``.
        embedding: Of the privileged information, for arms with a term on embeddings.
    """

    teacher: TeacherData = Field(default="tfidf", validate_default=True)
    folds: int = Field(default=5, ge=2)
    out_of_fold: bool = True
    calibrate: bool = True
    seed: int = Field(default=0, ge=0)
    located: LocatedSettings | None = None
    embedding: EmbeddingSettings | None = None
