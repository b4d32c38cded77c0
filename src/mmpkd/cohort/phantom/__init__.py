"""The phantom: chest-like and breast-like cohorts with known truth.

The embedded default of the toolkit, and the instrument for controlled experiments: it knows where each finding is,
which labels are wrong, and how much the text and the metadata tell. It is not a model of any disease.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmpkd.cohort.phantom.assemble import Phantom, generate, generate_chunks
    from mmpkd.cohort.phantom.settings import PhantomSettings
    from mmpkd.cohort.phantom.write import write_phantom

__all__ = ["Phantom", "PhantomSettings", "generate", "generate_chunks", "write_phantom"]

_HOMES = {
    "Phantom": "assemble",
    "PhantomSettings": "settings",
    "generate": "assemble",
    "generate_chunks": "assemble",
    "write_phantom": "write",
}


def __getattr__(name: str) -> Any:
    """Load the drawing code only when it is used, so that the command line starts fast."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value
