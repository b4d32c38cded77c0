"""Cells that did not finish, told in one error: which, why, and that nothing else is lost.

A failure is plain data, so that it travels from a worker process or another machine whatever was raised there.
"""

from __future__ import annotations

import errno
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mmpkd.errors import InputError

_MOST_TOLD = 8
_MOST_CHARACTERS = 300
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)


@dataclass(frozen=True)
class Failure:
    """Why a cell did not finish.

    Args:
        cell: What the cell is called.
        reason: One sentence or several.
        everywhere: The same would happen to every other cell (the disk is full), so that no further one is started.
        trace: The traceback of an error that is nobody's input; empty for input errors.
    """

    cell: str
    reason: str
    everywhere: bool = False
    trace: str = ""


def attempt(cell: str, work: Callable[[], object]) -> Failure | None:
    """Do a cell's work and return what stopped it, ``None`` if nothing did."""
    try:
        work()
    except InputError as error:
        return Failure(cell, " ".join(error.problems), _is_of_the_disk(error))
    except Exception as error:  # noqa: BLE001  (whatever a cell raises must not end the other cells; it is reported)
        told = " ".join(str(error).split())[:_MOST_CHARACTERS]
        reason = f"{type(error).__name__}: {told}" if told else type(error).__name__
        return Failure(cell, reason, _is_of_the_disk(error), traceback.format_exc())
    return None


def tell_failures(failures: Sequence[Failure], finished: int, cells: int) -> InputError:
    """Return the one error that tells of all failures.

    Args:
        failures: At least one.
        finished: Cells of the plan that are finished.
        cells: Cells of the plan.
    """
    by_reason: dict[str, list[str]] = {}
    for failure in failures:
        by_reason.setdefault(failure.reason, []).append(failure.cell)
    lines = [f"{_listed(names)}: {reason}" for reason, names in by_reason.items()]
    if len(lines) > _MOST_TOLD:
        lines = [*lines[:_MOST_TOLD], f"and {len(lines) - _MOST_TOLD} more reasons."]
    idle = cells - finished - len(failures)
    not_run = f", {idle} not started" if idle else ""
    summary = (
        f"{len(failures)} of {cells} cells failed{not_run}; the {finished} finished are kept, and the same command "
        "goes on with those that are missing."
    )
    return InputError([*lines, summary])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _MOST_TOLD} more" if len(names) > _MOST_TOLD else ""
    return "; ".join(names[:_MOST_TOLD]) + more


def _is_of_the_disk(error: BaseException) -> bool:
    link: BaseException | None = error
    while link is not None:
        if isinstance(link, OSError) and link.errno in _DISK_ERRORS:
            return True
        link = link.__cause__ or link.__context__
    return False
