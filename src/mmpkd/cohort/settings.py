"""The description of a cohort: which table, which columns mean what, how to split. Data, never code.

One short YAML serves every archive; `mmpkd.cohort.read` does the reading.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mmpkd.cohort.cohort import SPLITS, Task
from mmpkd.cohort.zone_settings import ZoneSettings
from mmpkd.errors import InputError, did_you_mean
from mmpkd.settings import Settings

SplitName = Literal["train", "val", "test"]
Scalar = str | int | float | bool
ALL_FINDINGS = "all"


def _as_tuple(value: Any) -> Any:
    return (value,) if isinstance(value, (str, int, float, bool)) else value


Values = Annotated[tuple[Scalar, ...], BeforeValidator(_as_tuple)]
Names = Annotated[tuple[str, ...], BeforeValidator(_as_tuple)]


class TableFile(Settings):
    """One table of cases: .csv, .tsv, .jsonl (each also .gz) or .parquet.

    Args:
        path: Relative to the cohort's root.
        split: The split of all its cases, where each split has a table of its own.
        rename: Column in this file -> the name it has everywhere else.
    """

    path: str = Field(min_length=1)
    split: SplitName | None = None
    rename: dict[str, str] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_path(cls, value: Any) -> Any:
        return {"path": value} if isinstance(value, str) else value


class LabelColumn(Settings):
    """How one column is read as 1, 0 or missing.

    Args:
        column: Column of the table.
        positive: Values that mean 1 (default: 1, true, yes, y, t, positive, present).
        negative: Values that mean 0 (default: 0, false, no, n, f, negative, absent), or ``rest`` for every
            other value that is not missing.
        missing: Further values that mean missing, such as -1 for uncertain. Blank, NA and NaN always do.
    """

    column: str
    positive: Values | None = None
    negative: Literal["rest"] | Values | None = None
    missing: Values = ()

    @field_validator("missing")
    @classmethod
    def _means_one_thing(cls, missing: tuple[Scalar, ...], info: ValidationInfo) -> tuple[Scalar, ...]:
        given = {"missing": missing, "positive": info.data.get("positive"), "negative": info.data.get("negative")}
        meanings: dict[str, str] = {}
        for meaning, values in given.items():
            for value in values if isinstance(values, tuple) else ():
                other = meanings.setdefault(str(value).casefold(), meaning)
                if other != meaning:
                    raise ValueError(f"the value {value!r} is listed as both {other} and {meaning}; list it once")
        return missing

    @model_validator(mode="before")
    @classmethod
    def _from_column(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


def _classes_by_name(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return {str(item): (item,) for item in value}
    return value


class ClassColumn(Settings):
    """How one column is read as one of several classes.

    Args:
        column: Column of the table.
        classes: Names of the classes, in order; or class name -> the values that mean it.
    """

    column: str
    classes: Annotated[dict[str, Values], BeforeValidator(_classes_by_name), Field(min_length=2)]


def _findings_by_name(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        if len(set(map(str, value))) < len(value):
            raise ValueError("a column is listed twice; list each once")
        return {item: item for item in value}
    return value


def _labels_form(value: Any) -> str:
    is_classes = isinstance(value, ClassColumn) or (isinstance(value, Mapping) and "classes" in value)
    return "classes" if is_classes else "findings"


Labels = Annotated[
    Annotated[dict[str, LabelColumn], Tag("findings")] | Annotated[ClassColumn, Tag("classes")],
    Discriminator(_labels_form),
    BeforeValidator(_findings_by_name),
]


class TextSettings(Settings):
    """Where the text of a case stands.

    Args:
        columns: Joined in this order, blank ones skipped.
        sections: Sections of a report to keep, by heading (``findings``, ``impression``, ...), in this order;
            ``None`` keeps the whole text. A report without any of them is kept whole and counted.
    """

    columns: Names = Field(min_length=1)
    sections: Names | None = None

    @model_validator(mode="before")
    @classmethod
    def _from_columns(cls, value: Any) -> Any:
        return {"columns": value} if isinstance(value, (str, list, tuple)) else value


MetadataType = Literal["auto", "number", "category"]


def _metadata_by_name(value: Any) -> Any:
    value = _as_tuple(value)
    return dict.fromkeys(value, "auto") if isinstance(value, (list, tuple)) else value


class RoiSettings(Settings):
    """The table of regions of interest, one row a box or mask.

    Args:
        table: Path relative to the root; the table of cases itself may serve.
        case: Its column of case ids.
        finding: Its column of ROI names; ``None``: every ROI belongs to all findings.
        boxes: Its four columns of coordinates, in pixels of the original image, top-left origin.
        box_format: ``xyxy`` (x_min, y_min, x_max, y_max; half-open) or ``xywh`` (x_min, y_min, width,
            height).
        mask: Its column of mask paths, relative to the root.
        mask_value: Its column of the pixel value that counts as inside; without it any non-zero pixel does.
        rle: Its column of masks as COCO run lengths of the original image, plain ("0 5 3 ...") or compressed.
        findings: ROI name in the table -> finding or findings of the cohort, ``all`` for every finding, or an
            empty list to ignore it. A name that is a finding needs no entry.
    """

    table: str
    case: str = "case"
    finding: str | None = "finding"
    boxes: tuple[str, str, str, str] | None = None
    box_format: Literal["xyxy", "xywh"] = "xyxy"
    mask: str | None = None
    mask_value: str | None = None
    rle: str | None = None
    findings: dict[str, Literal["all"] | Names] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _has_something(self) -> RoiSettings:
        if self.mask is None and self.boxes is None and self.rle is None:
            raise ValueError("neither 'boxes' nor 'mask' nor 'rle' is given; name the columns of one of them")
        return self

    @field_validator("mask_value")
    @classmethod
    def _has_mask(cls, mask_value: str | None, info: ValidationInfo) -> str | None:
        if mask_value is not None and info.data.get("mask") is None:
            raise ValueError("it needs 'mask', the column of mask paths")
        return mask_value


class GivenSplit(Settings):
    """A split that the table holds.

    Args:
        column: Its column; ``None`` where each table file states its own split.
        train, val, test: The values of the column that mean each.
        val_fraction: Share of the training cases drawn as validation, by patient, where no case is ``val``.
        seed: Of that draw.
        crossing: A patient in more than one split is refused, or (``drop``) keeps only the cases of the later
            split (test before val before train), the others being left out and counted.
    """

    column: str | None = None
    train: Values = ("train", "training")
    val: Values = ("val", "valid", "validate", "validation", "dev")
    test: Values = ("test", "testing")
    val_fraction: float = Field(default=0.15, gt=0, lt=1)
    seed: int = Field(default=0, ge=0)
    crossing: Literal["refuse", "drop"] = "refuse"


class MadeSplit(Settings):
    """A split to be made: whole patients, stratified over the findings, seeded."""

    fractions: dict[SplitName, Annotated[float, Field(gt=0, lt=1)]] = Field(
        default={"train": 0.6, "val": 0.15, "test": 0.25}, min_length=3
    )
    seed: int = Field(default=0, ge=0)

    @field_validator("fractions")
    @classmethod
    def _sums_to_one(cls, fractions: dict[str, float]) -> dict[str, float]:
        if not math.isclose(sum(fractions.values()), 1.0, abs_tol=1e-6):
            raise ValueError(f"the shares of train, val and test sum to {sum(fractions.values()):g}; make it 1")
        return {name: fractions[name] for name in SPLITS}


def _stated_split(table: Any) -> Any:
    if isinstance(table, TableFile):
        return table.split
    return table.get("split") if isinstance(table, Mapping) else None


def _split_form(value: Any) -> str:
    if isinstance(value, Settings):
        return "made" if isinstance(value, MadeSplit) else "given"
    given_only = {"column", "train", "val", "test", "val_fraction", "crossing"}
    return "given" if isinstance(value, Mapping) and given_only & set(value) else "made"


Split = Annotated[Annotated[GivenSplit, Tag("given")] | Annotated[MadeSplit, Tag("made")], Discriminator(_split_form)]


class CohortSettings(Settings):
    """A cohort: tables, columns, labels, privileged information, ROIs and split.

    Args:
        name: For people.
        root: Folder that all paths are relative to and may not leave; itself relative to the YAML file.
        image_root: Folder that paths of images and masks are relative to, where it is not ``root``; itself relative
            to ``root``. Archives stay in place this way while their tables lie elsewhere.
        table: One table, or several that are stacked.
        case: Column of case ids; without it row numbers are used.
        image: Column of image paths; without it the cohort serves teachers only.
        patient: Column of patients; without it every case is its own patient.
        task: ``multi-label`` or ``multi-class``.
        labels: Finding -> column (or :class:`LabelColumn`), a list of columns, or a :class:`ClassColumn`.
        reference: Labels by a better reader, same syntax, used for evaluation only; some findings suffice.
        text: Column, columns, or :class:`TextSettings`.
        metadata: Columns, or column -> ``number``, ``category`` or ``auto`` (by inference).
        rois: Table of regions of interest.
        zones: Named regions of the pictures, for privileged information that says where.
        split: :class:`GivenSplit` or :class:`MadeSplit`.
        where: Column -> values to keep; other rows are left out and counted.
        max_broken_share: Share of cases whose image may be missing or broken (they are left out) before it is
            an error.
    """

    name: str = "cohort"
    root: str = "."
    image_root: str | None = None
    table: tuple[TableFile, ...] = Field(min_length=1)
    case: str | None = None
    image: str | None = None
    patient: str | None = None
    task: Task = "multi-label"
    labels: Labels
    reference: Labels | None = None
    text: TextSettings | None = None
    metadata: Annotated[dict[str, MetadataType], BeforeValidator(_metadata_by_name)] = Field(default_factory=dict)
    rois: RoiSettings | None = None
    zones: ZoneSettings | None = None
    split: Split = Field(default_factory=MadeSplit)
    where: dict[str, Values] = Field(default_factory=dict)
    max_broken_share: float = Field(default=0.01, ge=0, le=1)

    @model_validator(mode="before")
    @classmethod
    def _split_of_tables(cls, data: Any) -> Any:
        """Read tables that state their split as a given split, unless the settings say how."""
        if isinstance(data, Mapping) and "split" not in data and isinstance(data.get("table"), (list, tuple, dict)):
            tables = data["table"] if not isinstance(data["table"], dict) else [data["table"]]
            states = (_stated_split(item) for item in tables)
            if any(states):
                return {**data, "split": {"column": None}}
        return data

    @field_validator("table", mode="before")
    @classmethod
    def _one_or_many(cls, table: Any) -> Any:
        return table if isinstance(table, (list, tuple)) else [table]

    @field_validator("labels")
    @classmethod
    def _fits_task(cls, labels: Any, info: ValidationInfo) -> Any:
        task = info.data.get("task", "multi-label")
        if task == "multi-class" and not isinstance(labels, ClassColumn):
            raise ValueError("a multi-class cohort needs {column: ..., classes: [...]}")
        if task == "multi-label" and isinstance(labels, ClassColumn):
            raise ValueError("classes belong to a multi-class cohort; set 'task: multi-class'")
        if not isinstance(labels, ClassColumn) and not labels:
            raise ValueError("there is no finding; name at least one")
        return labels

    @field_validator("reference")
    @classmethod
    def _fits_labels(cls, reference: Any, info: ValidationInfo) -> Any:
        labels = info.data.get("labels")
        if reference is None or labels is None:
            return reference
        if isinstance(labels, ClassColumn) != isinstance(reference, ClassColumn):
            raise ValueError("it must have the same form as 'labels'")
        if isinstance(labels, ClassColumn):
            if tuple(reference.classes) != tuple(labels.classes):
                raise ValueError("it must list the same classes as 'labels', in the same order")
        else:
            _refuse_unknown(reference, labels)
        return reference

    @field_validator("metadata")
    @classmethod
    def _is_no_label(cls, metadata: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        labels = info.data.get("labels")
        columns = {labels.column} if isinstance(labels, ClassColumn) else {c.column for c in (labels or {}).values()}
        for column in metadata:
            if column in columns:
                raise ValueError(f"the column {column!r} is a label itself; leave it out of the metadata")
        return metadata

    @field_validator("rois")
    @classmethod
    def _names_findings(cls, rois: RoiSettings | None, info: ValidationInfo) -> RoiSettings | None:
        if rois is None:
            return None
        if "case" in info.data and info.data["case"] is None:
            raise ValueError("ROIs are matched by case id, so the cohort needs 'case', its column of case ids")
        labels = info.data.get("labels")
        if labels is not None:
            named = [name for names in rois.findings.values() if names != ALL_FINDINGS for name in names]
            _refuse_unknown(named, labels.classes if isinstance(labels, ClassColumn) else labels)
        return rois

    @field_validator("zones")
    @classmethod
    def _zones_have_cases(cls, zones: ZoneSettings | None, info: ValidationInfo) -> ZoneSettings | None:
        if zones is not None and zones.table is not None and info.data.get("case") is None:
            raise ValueError("zones are matched by case id, so the cohort needs 'case', its column of case ids")
        return zones

    @field_validator("split")
    @classmethod
    def _fits_tables(cls, split: GivenSplit | MadeSplit, info: ValidationInfo) -> GivenSplit | MadeSplit:
        tables = info.data.get("table", ())
        stated = [table.split is not None for table in tables]
        has_column = isinstance(split, GivenSplit) and split.column is not None
        if any(stated) and not all(stated):
            raise ValueError("some tables state their split and some do not; state it for each")
        if any(stated) and (has_column or isinstance(split, MadeSplit)):
            raise ValueError("the tables state their split already; give the split once")
        if tables and not any(stated) and isinstance(split, GivenSplit) and not has_column:
            raise ValueError("name the 'column' that holds the split")
        return split

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the findings (or classes), in order."""
        return tuple(self.labels.classes if isinstance(self.labels, ClassColumn) else self.labels)

    def root_folder(self, beside: Path, override: Path | None = None) -> Path:
        """Return the root: ``override`` if given, else ``root`` relative to ``beside``, the folder of the YAML."""
        folder = override if override is not None else beside / self.root
        if not folder.is_dir():
            raise InputError(f"{folder}: there is no such folder; give the cohort's root with 'root' or --root.")
        return folder.resolve()

    def image_folder(self, root: Path) -> Path:
        """Return the folder that paths of images and masks are relative to, given the cohort's root."""
        return root if self.image_root is None else (root / self.image_root).resolve()


def _refuse_unknown(names: Any, known: Any) -> None:
    for name in names:
        if name not in known:
            raise ValueError(f"there is no finding {name!r}{did_you_mean(name, known)}")
