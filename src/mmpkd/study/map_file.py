"""Token maps on disk: one safetensors file a method, half precision, with what made them in its header."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.numpy import save_file

from mmpkd.attribute.attribute import TokenMaps
from mmpkd.files import written_whole


def write_maps(path: Path, maps: TokenMaps, provenance: Mapping[str, object]) -> None:
    """Write token maps whole."""
    header = {
        "findings": list(maps.findings),
        "method": maps.method,
        "class_specific": maps.class_specific,
        "provenance": dict(provenance),
    }
    with written_whole(path) as temporary:
        save_file({"maps": maps.values}, temporary, metadata={"mmpkd": json.dumps(header, sort_keys=True)})


def read_maps(path: Path) -> TokenMaps:
    """Read token maps."""
    with safe_open(path, framework="numpy") as stored:
        header = json.loads(stored.metadata()["mmpkd"])
        values = stored.get_tensor("maps")
    return TokenMaps(values, tuple(header["findings"]), header["method"], header["class_specific"])
