"""What a converter is: a name, options, and one function from the archive's files to a cohort's tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CohortWriter
from mmpkd.settings import Settings


class ConverterOptions(Settings):
    """What every archive lets its user choose; archives add their own.

    Args:
        identifiers: ``hashed``: case and patient ids become salted hashes; ``kept``: they stay as in the archive.
            Image paths are the archive's own either way.
        salt: Of the hashes. By default drawn at random and kept beside the cohort in ``salt.txt``, readable by its
            owner alone; without it nobody can tell whose hash is whose by trying ids.
    """

    identifiers: Literal["hashed", "kept"] = "hashed"
    salt: str | None = None


@dataclass(frozen=True)
class Converter:
    """One archive. Instances stand in the registry under the kind ``converters``.

    Args:
        title: The archive's full name, for people.
        terms: Its terms of use in one sentence, with where to read them.
        options: Settings model of its options.
        convert: Reads the archive and writes cases, ROIs and zones through the writer; returns the cohort's
            description, data for :class:`mmpkd.cohort.settings.CohortSettings` without ``table``'s and ``rois``' paths
            being checked. It drops nothing without telling the writer's ledger.
        skip: Folder names (patterns) that hold images by the thousand and no table; they are not searched for tables.
    """

    title: str
    terms: str
    options: type[ConverterOptions]
    convert: Callable[[Roots, Any, CohortWriter], Mapping[str, Any]]
    skip: tuple[str, ...] = ()
