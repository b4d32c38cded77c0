"""Maps: where a model looked. One small module per method, one contract for all (`contract.py`)."""

from __future__ import annotations

from typing import Any

__all__ = ["explain", "token_maps"]


def __getattr__(name: str) -> Any:
    """Import the room's functions, and torch with them, when they are asked for."""
    if name not in ("explain", "token_maps"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module("mmpkd.attribute.attribute"), name)
