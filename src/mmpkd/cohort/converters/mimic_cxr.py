"""MIMIC-CXR-JPG with MIMIC-CXR's reports and MS-CXR's boxes: one case an image, labels and report those of its study.

Source: Johnson et al. 2019, MIMIC-CXR-JPG. Labels were mined from the very reports that a teacher reads, so that a text
teacher is close to its labels by construction.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
from pydantic import Field, ValidationInfo, field_validator

from mmpkd.cohort.converters import mimic_boxes, mimic_files, mimic_tables
from mmpkd.cohort.converters.contract import Converter, ConverterOptions
from mmpkd.cohort.converters.imagenome import find_imagenome, read_imagenome
from mmpkd.cohort.converters.label_policy import Policy, check_policy
from mmpkd.cohort.converters.ledger import Ledger
from mmpkd.cohort.converters.mimic_boxes import CORNERS
from mmpkd.cohort.converters.mimic_reports import ReportReader
from mmpkd.cohort.converters.mimic_tables import Finding
from mmpkd.cohort.converters.ms_cxr import FINDINGS as FINDINGS_OF_BOXES
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CASES, ROIS, CohortWriter
from mmpkd.cohort.converters.zones import find_chexmask, read_chexmask

_FINDINGS: tuple[Finding, ...] = get_args(Finding)
_WITH_BOXES = tuple(finding for finding in _FINDINGS if finding in FINDINGS_OF_BOXES)
_STUDIES = 15_000  # written at a time


class MimicCxrOptions(ConverterOptions):
    """Options of ``mimic-cxr``.

    Args:
        findings: Those to learn, of the fourteen label columns; by default the eight that MS-CXR has boxes of.
        views: Values of ``ViewPosition`` to keep: ``PA`` and ``AP`` are the frontal ones.
        labeller: Whose labels: ``chexpert`` or ``negbio``.
        uncertain: What -1 becomes: ``missing`` (masked out of the hard loss), 1 or 0; or finding -> one of these,
            ``default`` for the others.
        blank: What a finding that the report does not mention becomes, likewise. By default 0, as is usual with
            these labels: reports seldom name what is not there.
        sections: Of the reports, in this order; ``null`` keeps whole reports.
        zones: Whose zones to read, where CheXmask or Chest ImaGenome lie in the roots: those of the ``test`` images,
            on which maps are scored, of ``all`` (hours for CheXmask), or ``none``.
    """

    findings: tuple[Finding, ...] = Field(default=_WITH_BOXES, min_length=1)
    views: tuple[str, ...] = Field(default=("PA", "AP"), min_length=1)
    labeller: Literal["chexpert", "negbio"] = "chexpert"
    uncertain: Policy = "missing"
    blank: Policy = 0
    sections: tuple[str, ...] | None = Field(default=("findings", "impression"), min_length=1)
    zones: Literal["test", "all", "none"] = "test"

    @field_validator("uncertain", "blank")
    @classmethod
    def _names_findings(cls, policy: Policy, info: ValidationInfo) -> Policy:
        return check_policy(policy, _FINDINGS)


def _convert(roots: Roots, options: MimicCxrOptions, writer: CohortWriter) -> Mapping[str, Any]:
    ledger = writer.ledger
    split = roots.need("mimic-cxr-*-split.csv.gz", "mimic-cxr-*-split.csv")
    metadata = roots.need("mimic-cxr-*-metadata.csv.gz", "mimic-cxr-*-metadata.csv")
    labelled = roots.need(f"mimic-cxr-*-{options.labeller}.csv.gz", f"mimic-cxr-*-{options.labeller}.csv")
    base = mimic_files.find_images(roots)
    reports = mimic_files.find_reports(roots)
    images = mimic_tables.read_images(split, metadata, options.views, ledger)
    on_disk = images["patient"].isin(mimic_files.patients_on_disk(base))
    ledger.drop("images of patients without a folder on disk", int((~on_disk).sum()))
    labels = mimic_tables.read_study_labels(labelled, options.findings, options.uncertain, options.blank)
    ledger.version("labels", labelled.name)
    known = images["study"].isin(labels.index)
    ledger.drop("images of studies without a row in the labels", int((on_disk & ~known).sum()))
    images = images[on_disk & known].reset_index(drop=True)
    _resolve_crossings(images, ledger)
    boxes = mimic_boxes.take_boxes(roots, images, options.findings, ledger)
    reference = _reference(roots, images, options, ledger)
    labels = labels.join(reference) if reference is not None else labels
    reader = ReportReader(reports, options.sections)
    ledger.version("reports", f"{reports.path.name}, {'zip' if reports.zipped else 'folder'}")
    try:
        writer.write_cases(_cases(images, labels, reader, base.name, writer))
    finally:
        reader.close()
    reader.tell(ledger)
    described: dict[str, Any] = {
        "image_root": str(base.parent),
        "table": CASES,
        "case": "case",
        "image": "image",
        "patient": "patient",
        "labels": list(options.findings),
        "text": "report",
        "metadata": {"view": "category"},
        "split": {"column": "split"},
    }
    if reference is not None:
        columns = {finding: _radiologist(finding) for finding in options.findings}
        described["reference"] = {finding: name for finding, name in columns.items() if name in reference}
    if len(boxes):
        boxes = mimic_boxes.on_copies(boxes, images, base, ledger)
        rois = boxes[["finding", *CORNERS]].assign(case=writer.pseudonyms("case", boxes["image"]))
        writer.write_rois(rois)
        described["rois"] = {"table": ROIS, "boxes": CORNERS}
    _write_zones(roots, images, options, writer)
    for what, policy in (("uncertain (-1)", options.uncertain), ("not mentioned (blank)", options.blank)):
        ledger.note(f"A finding that is {what} counts as {_told(policy)}.")
    ledger.note("Labels and reports belong to studies: all images of a study share them.")
    ledger.note(f"Labels were mined by {options.labeller} from the reports that a text teacher reads.")
    return described


def _cases(
    images: pd.DataFrame, labels: pd.DataFrame, reader: ReportReader, folder: str, writer: CohortWriter
) -> Iterator[pd.DataFrame]:
    """Yield the cases of some thousand studies at a time; a study's report is read once."""
    study = (images["study"] != images["study"].shift()).cumsum().to_numpy() - 1
    studies = int(study[-1]) + 1 if len(study) else 0
    with writer.progress.bar("reports", studies) as advance:
        for start in range(0, studies, _STUDIES):
            low, high = np.searchsorted(study, [start, start + _STUDIES])
            part = images.iloc[low:high]
            first, of_study = np.unique(study[low:high], return_index=True)
            texts = reader.texts(part["patient"].iloc[of_study], part["study"].iloc[of_study])
            advance(len(first))
            patient = part["patient"]
            group = patient.str[:2]
            yield pd.DataFrame(
                {
                    "case": writer.pseudonyms("case", part["image"]),
                    "patient": writer.pseudonyms("patient", patient),
                    "image": f"{folder}/p"
                    + group
                    + "/p"
                    + patient
                    + "/s"
                    + part["study"]
                    + "/"
                    + part["image"]
                    + ".jpg",
                    "split": part["split"],
                    **{str(name): labels[name].reindex(part["study"]).to_numpy() for name in labels},
                    "view": part["view"],
                    "report": texts[study[low:high] - start],
                }
            )


def _resolve_crossings(images: pd.DataFrame, ledger: Ledger) -> None:
    """Give a patient of several official splits to the last of them: test before val before train."""
    rank = images["split"].map({"train": 0, "val": 1, "test": 2})
    last = rank.groupby(images["patient"]).transform("max")
    ledger.count(
        "patients in several official splits, given to the later", images.loc[rank < last, "patient"].nunique()
    )
    images["split"] = last.map({0: "train", 1: "val", 2: "test"})


def _radiologist(finding: str) -> str:
    return f"{finding} (radiologist)"


def _reference(roots: Roots, images: pd.DataFrame, options: MimicCxrOptions, ledger: Ledger) -> pd.DataFrame | None:
    """Return the radiologists' labels of test studies, by study, if they are there."""
    path = roots.find("mimic-cxr-*-test-set-labeled.csv", "mimic-cxr-*-test-set-labeled.csv.gz")
    if path is None:
        ledger.note("There is no mimic-cxr-2.1.0-test-set-labeled.csv: test labels are mined from reports as well.")
        return None
    findings = mimic_tables.findings_of(path, options.findings)
    labels = mimic_tables.read_study_labels(path, findings, options.uncertain, options.blank)
    used = set(images.loc[images["split"] == "test", "study"]) & set(labels.index)
    ledger.version("radiologists' labels", path.name)
    ledger.count("test studies with radiologists' labels", len(used))
    if not used or not findings:
        return None
    return labels[labels.index.isin(used)].rename(columns=_radiologist)


def _write_zones(roots: Roots, images: pd.DataFrame, options: MimicCxrOptions, writer: CohortWriter) -> None:
    masks = find_chexmask(roots, "MIMIC-CXR-JPG.csv", "MIMIC-CXR-JPG.csv.gz")
    graphs = find_imagenome(roots)
    if options.zones == "none" or (masks is None and graphs is None):
        return
    wanted = images if options.zones == "all" else images[images["split"] == "test"]
    sizes = list(zip(wanted["height"].astype(int), wanted["width"].astype(int), strict=True))
    sizes_px = dict(zip(wanted["image"], sizes, strict=True))
    parts = chain(
        () if masks is None else read_chexmask(masks, sizes_px, writer.ledger),
        () if graphs is None else read_imagenome(graphs, sizes_px, writer.ledger),
    )
    writer.write_zones(
        part.assign(image=writer.pseudonyms("case", part["image"])).rename(columns={"image": "case"}) for part in parts
    )
    writer.ledger.note("Zones are in pixels of the original image, whose height and width stand beside.")


def _told(policy: Policy) -> str:
    return ", ".join(f"{name}: {to}" for name, to in policy.items()) if isinstance(policy, dict) else str(policy)


CONVERTER = Converter(
    title="MIMIC-CXR-JPG with MIMIC-CXR's reports and MS-CXR (PhysioNet)",
    terms="Terms: the PhysioNet Credentialed Health Data License 1.5.0; see https://physionet.org/content/mimic-cxr-jpg.",
    options=MimicCxrOptions,
    convert=_convert,
    skip=("files", "p1[0-9]", "scene_graph"),
)
