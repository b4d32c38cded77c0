"""JSON documents of archives, read so that a broken one is one sentence that quotes nothing of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mmpkd.errors import InputError


def read_archive_json(path: Path, keep: Callable[[dict[str, Any]], Any] | None = None) -> dict[str, Any]:
    """Return the object in a file.

    Args:
        path: The file. All its text is held while it is parsed.
        keep: Called on each object as it is parsed; what it returns is held in its place.

    Raises:
        InputError: The file cannot be read or is no JSON object.
    """
    try:
        with path.open(encoding="utf-8-sig") as file:
            content = json.load(file, object_hook=keep)
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}); check the path.") from None
    except (ValueError, RecursionError):  # of JSON and of UTF-8 alike
        raise InputError(f"{path.name}: is no whole JSON document; download it anew.") from None
    if not isinstance(content, dict):
        raise InputError(f"{path.name}: holds no JSON object at its top; download it anew.")
    return content
