"""Reads a run folder into one typed object, and leaves behind what a report must not carry.

Case ids are never kept, and file paths are withheld from every sentence and setting. No scores are computed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from mmpkd.errors import InputError
from mmpkd.files import read_json, read_table
from mmpkd.folder import RunFolder
from mmpkd.settings import read_yaml

MACRO, POOLED = "macro", "pooled"
WITHHELD = "(path withheld)"
_TEXT_COLUMNS = ("kind", "arm", "reference_arm", "metric", "policy", "method", "finding")
_TABLE_COLUMNS = [*_TEXT_COLUMNS, "estimate", "low", "high", "cases", "patients", "seeds"]
_PATH_KEYS = {"root", "table", "tables", "path", "paths", "folder", "cache", "cache_dir", "out"}
_PATH = re.compile(
    r"(?<![\w.:/\\])(?:file://|~|[A-Za-z]:(?=[/\\]))?(?:/[\w.+~@%-]+){2,}/?"
    r"|(?<!\w)(?:[A-Za-z]:\\|\\\\|~[/\\]|\.\.?[/\\])[^\s'\";,)]+"
)
_FILE = re.compile(
    r"(?i)[\w./\\@+~%-]*[\w*]\.(?:csv|tsv|parquet|jsonl?|ya?ml|gz|safetensors|png|jpe?g|tiff?|pgm|dcm)\b"
)


@dataclass(frozen=True)
class Estimate:
    """One number with its interval; NaN where undefined."""

    value: float
    low: float = math.nan
    high: float = math.nan

    @property
    def defined(self) -> bool:
        """Whether there is a number at all."""
        return not math.isnan(self.value)

    @property
    def has_interval(self) -> bool:
        """Whether both ends of the interval are known."""
        return not (math.isnan(self.low) or math.isnan(self.high))


@dataclass(frozen=True)
class Row:
    """One row of the comparison table (see ``mmpkd.compare``)."""

    kind: str
    arm: str
    reference_arm: str
    metric: str
    policy: str
    method: str
    finding: str
    estimate: Estimate
    cases: int | None
    patients: int | None
    seeds: int | None
    role: str


@dataclass(frozen=True)
class History:
    """The training of one (arm, seed): columns of the history table, each (epochs,)."""

    arm: str
    seed: int
    epoch: Float[np.ndarray, " epochs"]
    series: Mapping[str, Float[np.ndarray, " epochs"]]


@dataclass(frozen=True)
class GalleryCase:
    """One example: an image with its ROI, and each arm's map of one finding at the same pixels."""

    finding: str
    label: float | None
    probabilities: Mapping[str, float]
    image: UInt8[np.ndarray, "height width"]
    roi: Bool[np.ndarray, "height width"] | None
    maps: Mapping[str, Float[np.ndarray, "height width"]]


@dataclass(frozen=True)
class ReportData:
    """All that a report shows. What has not run is ``None`` or empty."""

    study: Mapping[str, Any]
    run: Mapping[str, Any]
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    cohort: Mapping[str, Any] | None
    teacher: Mapping[str, Any] | None
    verdict: Mapping[str, Any] | None
    diagnosis: Mapping[str, Any] | None
    comparison: tuple[Row, ...]
    histories: tuple[History, ...]
    gallery: tuple[GalleryCase, ...]
    slices: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)
    ensembles: tuple[Row, ...] = ()
    repeatability: tuple[Row, ...] = ()
    sanity: Mapping[str, tuple[Row, ...]] = field(default_factory=dict)

    def select(self, **wanted: str) -> tuple[Row, ...]:
        """Return the comparison rows whose columns equal ``wanted``."""
        return tuple(r for r in self.comparison if all(getattr(r, name) == value for name, value in wanted.items()))


def read_report_data(folder: RunFolder) -> ReportData:
    """Read all that the run folder holds so far.

    Raises:
        InputError: ``study.yaml`` or ``run.json`` is missing, or a table lacks a column.
    """
    for needed in (folder.study, folder.run):
        if not needed.is_file():
            raise InputError(f"{needed}: not found; give the folder of a study that `mmpkd run` has started.")
    study = read_yaml(folder.study)
    run = withhold_paths(_read_document(folder.run))
    arms = tuple(_name_of(arm) for arm in run.get("arms") or ())
    seeds = tuple(int(seed) for seed in run.get("seeds") or ())
    return ReportData(
        study=withhold_paths(study if isinstance(study, Mapping) else {}),
        run=run,
        arms=arms,
        seeds=seeds,
        cohort=_optional_document(folder.cohort),
        teacher=_optional_document(folder.teacher),
        verdict=_optional_document(folder.verdict),
        diagnosis=_optional_document(folder.diagnosis),
        comparison=_read_rows(folder.comparison, needs=["role"]).get("", ()),
        histories=tuple(_read_histories(folder, arms, seeds)),
        gallery=_read_gallery(folder.gallery),
        slices=_read_rows(folder.slices, by="slice"),
        ensembles=_read_rows(folder.ensembles).get("", ()),
        repeatability=_read_rows(folder.repeatability).get("", ()),
        sanity=_read_rows(folder.sanity, by="layer"),
    )


def withhold_paths(value: Any, key: str = "") -> Any:
    """Return plain data with every file path replaced by a note; model names such as ``org/model`` stay."""
    if isinstance(value, Mapping):
        return {name: withhold_paths(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [withhold_paths(item, key) for item in value]
    if isinstance(value, str):
        if value and key in _PATH_KEYS:
            return WITHHELD
        return _FILE.sub(WITHHELD, _PATH.sub(WITHHELD, value))
    return value


def _name_of(arm: object) -> str:
    return str(arm.get("name", "")) if isinstance(arm, Mapping) else str(arm)


def _read_document(path: Path) -> dict[str, Any]:
    try:
        document = read_json(path)
    except (OSError, ValueError):
        document = None
    if not isinstance(document, dict):
        raise InputError(f"{path}: not a JSON object; remove it and run the stage that writes it again.")
    return document


def _optional_document(path: Path) -> Mapping[str, Any] | None:
    return withhold_paths(_read_document(path)) if path.is_file() else None


def _read_rows(path: Path, by: str = "", needs: Sequence[str] = ()) -> dict[str, tuple[Row, ...]]:
    """Return a table in the columns of the comparison, split by one more column where it has one."""
    if not path.is_file():
        return {}
    table = read_table(path)
    needed = [*_TABLE_COLUMNS, *needs, *([by] if by else [])]
    missing = [column for column in needed if column not in table.columns]
    if missing:
        raise InputError(
            f"{path}: lacks the column {missing[0]!r}; remove it and verdict.json, and run `mmpkd compare` again."
        )
    rows: dict[str, list[Row]] = {}
    for record in table.to_dict(orient="records"):
        rows.setdefault(str(record[by]) if by else "", []).append(_row(record))
    return {name: tuple(found) for name, found in rows.items()}


def _row(record: Mapping[Any, Any]) -> Row:
    kind, arm, reference_arm, metric, policy, method, finding = (
        "" if _is_missing(record[name]) else str(record[name]) for name in _TEXT_COLUMNS
    )
    role = str(record.get("role", "exploratory"))
    cases, patients, seeds = (_count(record[name]) for name in ("cases", "patients", "seeds"))
    estimate = Estimate(*(_number(record[name]) for name in ("estimate", "low", "high")))
    return Row(kind, arm, reference_arm, metric, policy, method, finding, estimate, cases, patients, seeds, role)


def _is_missing(value: object) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _count(value: Any) -> int | None:
    return None if _is_missing(value) else int(value)


def _read_histories(folder: RunFolder, arms: Sequence[str], seeds: Sequence[int]) -> list[History]:
    histories = []
    for arm in arms:
        for seed in seeds:
            path = folder.cell(arm, seed).history
            if not path.is_file():
                continue
            table = read_table(path)
            if "epoch" not in table.columns:
                raise InputError(f"{path}: lacks the column 'epoch'; remove the cell's folder and run again.")
            columns = {
                str(name): table[name].to_numpy(dtype=float, na_value=np.nan)
                for name in table.columns
                if name == "val_auroc" or str(name).startswith("train_")
            }
            histories.append(History(arm, seed, table["epoch"].to_numpy(dtype=float), columns))
    return histories


def _read_gallery(path: Path) -> tuple[GalleryCase, ...]:
    if not path.is_file():
        return ()
    from safetensors import safe_open

    with safe_open(path, framework="numpy") as tensors:
        entries = json.loads((tensors.metadata() or {}).get("gallery", "[]"))
        names = set(tensors.keys())
        cases = []
        for index, entry in enumerate(entries):
            if f"image/{index}" not in names:
                raise InputError(f"{path}: lacks the tensor 'image/{index}'; remove it and make the report again.")
            arms = [name.split("/")[1] for name in names if name.startswith("map/") and name.endswith(f"/{index}")]
            roi = tensors.get_tensor(f"roi/{index}") > 0 if f"roi/{index}" in names else None
            maps = {arm: tensors.get_tensor(f"map/{arm}/{index}").astype(np.float32) for arm in sorted(arms)}
            cases.append(
                GalleryCase(
                    finding=str(entry.get("finding", "")),
                    label=entry.get("label"),
                    probabilities=dict(entry.get("probabilities") or {}),
                    image=tensors.get_tensor(f"image/{index}"),
                    roi=roi,
                    maps=maps,
                )
            )
    return tuple(cases)
