"""CheXlocalize: radiologists' masks of ten findings on CheXpert's validation and test X-rays.

Source: Saporta et al. 2022, Benchmarking saliency methods for chest X-ray interpretation, Nature Machine Intelligence.
CheXpert's validation set is for tuning, its test set for testing; training needs CheXpert's own training set.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import pandas as pd
from pydantic import Field, ValidationInfo, field_validator

from mmpkd.cohort.converters.chexlocalize_masks import read_masks
from mmpkd.cohort.converters.chexpert_labels import read_chexpert
from mmpkd.cohort.converters.contract import Converter, ConverterOptions
from mmpkd.cohort.converters.label_policy import Policy, check_policy
from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CASES, ROIS, CohortWriter
from mmpkd.cohort.converters.zones import write_chexmask
from mmpkd.errors import InputError

Finding = Literal[
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Support Devices",
]
_FINDINGS: tuple[Finding, ...] = get_args(Finding)
_TABLES = {
    "test": ("test_labels.csv", "test.csv", "groundtruth.csv"),
    "val": ("val_labels.csv", "valid.csv", "val.csv"),
    "train": ("train.csv",),
}
_CHEXMASK = ("CheXpert.csv", "CheXpert.csv.gz")
_METADATA = {"age": "number", "sex": "category", "view": "category"}


class CheXlocalizeOptions(ConverterOptions):
    """Options of ``chexlocalize``.

    Args:
        findings: Those to learn, of the ten that have masks; CheXpert's names (``Lung Opacity`` is CheXlocalize's
            ``Airspace Opacity``).
        views: Frontal X-rays, lateral ones, or both.
        uncertain: What CheXpert's -1 becomes: ``missing``, 1 or 0; or finding -> one of these, ``default`` for others.
        blank: What a finding that the report does not mention becomes, likewise.
        split: ``official``: CheXpert's training, validation and test sets. ``patients``: the patients of validation
            and test alone are divided anew; such a cohort is small, and its numbers compare with no published ones.
    """

    findings: tuple[Finding, ...] = Field(default=_FINDINGS, min_length=1)
    views: Literal["frontal", "lateral", "all"] = "frontal"
    uncertain: Policy = "missing"
    blank: Policy = 0
    split: Literal["official", "patients"] = "official"

    @field_validator("uncertain", "blank")
    @classmethod
    def _names_findings(cls, policy: Policy, info: ValidationInfo) -> Policy:
        return check_policy(policy, _FINDINGS)


def _convert(roots: Roots, options: CheXlocalizeOptions, writer: CohortWriter) -> Mapping[str, Any]:
    ledger, base = writer.ledger, roots.common()
    cases = _read_cases(roots, options, ledger)
    cases = _with_images(cases, _patient_folders(roots, ledger), base, options, ledger)
    if options.split == "official":
        _resolve_crossings(cases, ledger)
    cases["key"] = cases["patient"] + "_" + cases["study"] + "_" + cases["file"].str.rsplit(".", n=1).str[0]
    masks = read_masks(roots, cases, base, options.findings, ledger)
    described_metadata = {name: kind for name, kind in _METADATA.items() if cases[name].notna().any()}
    official = options.split == "official"
    table = pd.DataFrame(
        {
            "case": writer.pseudonyms("case", cases["key"]),
            "patient": writer.pseudonyms("patient", cases["patient"]),
            "image": cases["image"],
            **({"split": cases["split"]} if official else {}),
            **{str(finding): cases[finding] for finding in options.findings},
            **{name: cases[name] for name in described_metadata},
        }
    )
    writer.write_cases(table)
    described: dict[str, Any] = {
        "image_root": str(base),
        "table": CASES,
        "case": "case",
        "image": "image",
        "patient": "patient",
        "labels": list(options.findings),
        **({"metadata": described_metadata} if described_metadata else {}),
        **({"split": {"column": "split"}} if official else {}),
    }
    if len(masks):
        writer.write_rois(masks.assign(case=writer.pseudonyms("case", masks["key"])).drop(columns="key"))
        described["rois"] = {"table": ROIS, "rle": "rle"}
    scored = cases[cases["split"] != "train"] if official else cases
    ids = scored["patient"] + "/" + scored["study"] + "/" + scored["file"]
    zoned = pd.DataFrame({"id": ids, "key": scored["key"], "image": scored["image"]})
    write_chexmask(roots, _CHEXMASK, zoned, base, writer, parts=3)
    ledger.note("Masks of the val split are for tuning; localisation is scored on the test split.")
    ledger.note("CheXpert's training labels were mined from reports; those of validation and test are radiologists'.")
    return described


def _read_cases(roots: Roots, options: CheXlocalizeOptions, ledger: Ledger) -> pd.DataFrame:
    roots.need("gt_segmentations_test.json")
    found = {"test": roots.need(*_TABLES["test"])}
    found |= {split: path for split in ("val", "train") if (path := roots.find(*_TABLES[split])) is not None}
    if options.split == "patients":
        found.pop("train", None)
        ledger.note("The patients of CheXpert's validation and test sets are divided anew: no published split.")
    elif "train" not in found:
        raise InputError(
            "the roots hold no train.csv of CheXpert, and CheXlocalize alone has no training cases; give CheXpert's "
            "folder as well, or set 'split: patients' to divide the validation and test patients anew."
        )
    parts = []
    for split, path in found.items():
        part = read_chexpert(path, options.findings, options.uncertain, options.blank).assign(split=split)
        ledger.version(f"{split} labels", path.name)
        ledger.count(f"rows in the table of {split}", len(part))
        if split == "val":
            part = _described(part, roots.find("valid.csv"), path)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _described(part: pd.DataFrame, valid: Path | None, read: Path) -> pd.DataFrame:
    """Take age, sex and view from CheXpert's ``valid.csv`` where the labels came from a table without them."""
    if valid is None or valid == read:
        return part
    known = read_chexpert(valid, (), "missing", "missing").drop_duplicates(["patient", "study", "file"])
    keys = ["patient", "study", "file"]
    return part.drop(columns=list(_METADATA)).merge(known[[*keys, *_METADATA]], on=keys, how="left")


def _patient_folders(roots: Roots, ledger: Ledger) -> dict[str, Path]:
    """Return patient -> folder; CheXpert numbers patients through all sets. Full size goes before the small copy."""
    folders = [path for path in roots.all("patient[0-9]*") if path.is_dir()]
    chosen: dict[str, Path] = {}
    for path in sorted(folders, key=lambda path: (_is_small(path), len(path.parts), path)):
        chosen.setdefault(path.name, path)
    used = sum(map(_is_small, chosen.values()))
    ledger.version("images", f"{len(chosen) - used:,} patients at full size, {used:,} as small copies")
    return chosen


def _is_small(path: Path) -> bool:
    return "-small" in str(path.parent)


def _with_images(
    cases: pd.DataFrame, folders: dict[str, Path], base: Path, options: CheXlocalizeOptions, ledger: Ledger
) -> pd.DataFrame:
    """Return a row for each image on disk of the views asked for; a row of a study becomes one for each image."""
    whole = cases["file"].isna()
    if whole.any():
        studies = cases[whole].copy()
        studies["file"] = [
            _files(folders.get(patient), study)
            for patient, study in zip(studies["patient"], studies["study"], strict=True)
        ]
        ledger.drop("studies without an image on disk", int((studies["file"].str.len() == 0).sum()))
        cases = pd.concat([cases[~whole], studies.explode("file").dropna(subset=["file"])], ignore_index=True)
    if options.views != "all":
        kept = cases["file"].str.contains(options.views)
        ledger.drop(f"images that are not {options.views}", int((~kept).sum()))
        cases = cases[kept]
    paths = [
        folders[patient] / study / file if patient in folders else None
        for patient, study, file in zip(cases["patient"], cases["study"], cases["file"], strict=True)
    ]
    on_disk = [path is not None and path.is_file() for path in paths]
    cases = cases.assign(image=["" if path is None else str(path.relative_to(base)) for path in paths])
    ledger.drop("images of the tables that are not on disk", len(on_disk) - sum(on_disk))
    cases = cases[on_disk]
    twice = cases.duplicated(["patient", "study", "file"])
    ledger.drop("rows of an image that an earlier row names", int(twice.sum()))
    return cases[~twice].reset_index(drop=True)


def _files(folder: Path | None, study: str) -> list[str]:
    if folder is None or not (folder / study).is_dir():
        return []
    return sorted(path.name for path in (folder / study).glob("view*_*.*"))


def _resolve_crossings(cases: pd.DataFrame, ledger: Ledger) -> None:
    """Give a patient of several sets to the last of them: test before val before train."""
    rank = cases["split"].map({"train": 0, "val": 1, "test": 2})
    last = rank.groupby(cases["patient"]).transform("max")
    moved = rank < last
    ledger.count("patients in several sets, given to the later", cases.loc[moved, "patient"].nunique())
    cases["split"] = last.map({0: "train", 1: "val", 2: "test"})


CONVERTER = Converter(
    title="CheXlocalize with CheXpert (Stanford)",
    terms="Terms: the Stanford University School of Medicine research use agreement; see https://aimi.stanford.edu.",
    options=CheXlocalizeOptions,
    convert=_convert,
    skip=("patient*",),
)
