"""The vocabulary of the phantom's reports, as data. How sentences are chosen and joined is `report`'s.

Placeholders: ``{noun}`` a synonym with its size and side, ``{a}`` its article, ``{where}`` a place or nothing,
``{be}`` "is" or "are".
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

# Words that tell where something is; no report without spatial information contains one.
SPATIAL_WORDS = frozenset(
    [
        "right",
        "left",
        "right-sided",
        "left-sided",
        "bilateral",
        "both",
        "upper",
        "mid",
        "middle",
        "lower",
        "zone",
        "zones",
        "lobe",
        "lingula",
        "base",
        "bases",
        "basal",
        "apex",
        "apical",
        "lateral",
        "costophrenic",
        "quadrant",
        "half",
        "outer",
        "inner",
        "central",
        "anterior",
        "posterior",
        "third",
        "depth",
        "side",
    ]
)
# What stands in the place of a place then, so that the text is as long and tells the findings as plainly.
SOMEWHERE = (" on this study", " on this examination", " in the imaged region", " as described")
HEDGED_PRESENT = (
    "Possible {noun}{where}.",
    "Questionable {noun}{where}.",
    "Findings may represent {a}{noun}{where}.",
    "{noun}{where} cannot be excluded.",
    "Suspected {noun}{where}, clinical correlation is advised.",
)
HEDGED_ABSENT = (
    "{noun} cannot be entirely excluded.",
    "No definite {noun}, although assessment is limited.",
    "{noun} is considered unlikely.",
)


@dataclass(frozen=True)
class Wording:
    """How one finding is spoken of.

    Args:
        nouns: Synonyms.
        uncountable: Those of them that take no article.
        grades: Words for a subtle, a medium and a gross finding.
        measured: Whether a size in mm may stand in place of the grade.
        placing: ``zone`` (side and zone), ``side`` (side only), ``none``.
        present: Sentences that state the finding.
        absent: Sentences that deny it.
    """

    nouns: tuple[str, ...]
    grades: tuple[str, str, str]
    present: tuple[str, ...]
    absent: tuple[str, ...]
    placing: Literal["zone", "side", "none"]
    uncountable: frozenset[str] = field(default_factory=frozenset)
    measured: bool = False


@dataclass(frozen=True)
class Script:
    """A kind of report: its opening lines, asides, and closing phrases.

    Args:
        openings: First lines, with ``{view}`` and ``{of}`` (the breast's side, or nothing).
        asides: Sentences that have nothing to do with any finding.
        normal: Impressions of a report that states no finding.
        unsaid: Impressions of a report that says nothing of any finding.
        jointly_absent: Two findings that are often denied in one sentence, and those sentences.
    """

    openings: tuple[str, ...]
    asides: tuple[str, ...]
    normal: tuple[str, ...]
    unsaid: tuple[str, ...]
    jointly_absent: tuple[tuple[str, str], tuple[str, ...]] | None = None


_STATED = (
    "There {be} {a}{noun}{where}.",
    "{noun}{where}.",
    "{noun} {be} seen{where}.",
    "Interval development of {a}{noun}{where}.",
)
_DENIED = (
    "No {noun}.",
    "No evidence of {noun}.",
    "There is no {noun}.",
    "{noun} is not seen.",
    "Negative for {noun}.",
)

WORDING: dict[str, Wording] = {
    "nodule": Wording(
        nouns=("nodule", "pulmonary nodule", "nodular opacity", "rounded opacity", "coin lesion"),
        grades=("small", "well-defined", "large"),
        present=(*_STATED, "{noun}{where}, new since the prior study."),
        absent=(*_DENIED, "No suspicious {noun} is identified."),
        placing="zone",
        measured=True,
    ),
    "consolidation": Wording(
        nouns=("consolidation", "airspace opacity", "airspace disease", "infiltrate", "pneumonia"),
        uncountable=frozenset({"consolidation", "airspace disease", "pneumonia"}),
        grades=("faint", "patchy", "dense"),
        present=(*_STATED, "{noun}{where}, compatible with infection."),
        absent=(*_DENIED, "No focal {noun}."),
        placing="zone",
    ),
    "effusion": Wording(
        nouns=("pleural effusion", "effusion", "pleural fluid"),
        uncountable=frozenset({"pleural fluid"}),
        grades=("small", "moderate", "large"),
        present=(*_STATED, "{noun}{where} with adjacent atelectasis."),
        absent=_DENIED,
        placing="side",
    ),
    "pneumothorax": Wording(
        nouns=("pneumothorax", "PTX"),
        grades=("small", "moderate", "large"),
        present=(*_STATED, "{noun}{where} with a visible pleural line."),
        absent=(*_DENIED, "No visible {noun}."),
        placing="side",
    ),
    "cardiomegaly": Wording(
        nouns=(
            "cardiomegaly",
            "cardiac enlargement",
            "enlargement of the cardiac silhouette",
        ),
        uncountable=frozenset({"cardiomegaly", "cardiac enlargement", "enlargement of the cardiac silhouette"}),
        grades=("mild", "moderate", "marked"),
        present=(
            "There is {a}{noun}.",
            "{noun}.",
            "{noun} is noted.",
            "{noun}, as before.",
            "Findings of {noun}.",
        ),
        absent=(
            "Heart size is normal.",
            "The cardiac silhouette is within normal limits.",
            "No {noun}.",
            "The heart is not enlarged.",
            "Normal cardiac contours.",
        ),
        placing="none",
    ),
    "mass": Wording(
        nouns=("mass", "focal mass", "dense lesion", "space-occupying lesion", "nodular density"),
        grades=("small", "irregular", "large"),
        present=(*_STATED, "{noun}{where}, biopsy is recommended."),
        absent=(*_DENIED, "No dominant {noun}."),
        placing="zone",
        measured=True,
    ),
    "calcification": Wording(
        nouns=("cluster of calcifications", "group of microcalcifications", "calcification cluster"),
        grades=("tiny", "pleomorphic", "coarse"),
        present=(*_STATED, "{noun}{where}, magnification views are recommended."),
        absent=(
            "No {noun}.",
            "No suspicious calcifications.",
            "No evidence of {noun}.",
            "There is no {noun}.",
        ),
        placing="zone",
        measured=True,
    ),
}

SCRIPTS: dict[str, Script] = {
    "chest": Script(
        openings=(
            "Frontal chest radiograph, {view} view.",
            "Single {view} view of the chest.",
            "Chest radiograph ({view}).",
            "{view} chest, comparison with the prior study.",
        ),
        asides=(
            "Osseous structures are intact.",
            "Degenerative changes of the thoracic spine.",
            "Aortic calcification is noted.",
            "The mediastinal contours are unremarkable.",
            "The trachea is not deviated.",
            "Inspiration is adequate.",
            "The patient is slightly rotated.",
            "No acute fracture.",
            "Prior studies were reviewed.",
        ),
        normal=(
            "No acute cardiopulmonary abnormality.",
            "No acute disease.",
            "Normal study.",
            "No acute intrathoracic process.",
        ),
        unsaid=("As above.", "Study reviewed.", "Please see the clinical notes."),
        jointly_absent=(
            ("effusion", "pneumothorax"),
            (
                "No pleural effusion or pneumothorax.",
                "There is no pneumothorax or pleural effusion.",
                "Neither pleural effusion nor pneumothorax is seen.",
            ),
        ),
    ),
    "breast": Script(
        openings=(
            "Digital mammogram{of}, {view} view.",
            "Mammography{of} ({view}).",
            "{view} view{of}, compared with the prior examination.",
        ),
        asides=(
            "Skin and nipple are unremarkable.",
            "Parenchymal pattern is stable.",
            "Image quality is adequate.",
            "Vascular structures are unremarkable.",
            "Benign lymph nodes are noted.",
            "Prior examinations were reviewed.",
        ),
        normal=("No mammographic evidence of malignancy.", "Benign findings.", "Negative examination."),
        unsaid=("As above.", "Examination reviewed.", "Please see the clinical notes."),
        jointly_absent=(
            ("mass", "calcification"),
            (
                "No mass or suspicious calcifications.",
                "Neither a mass nor clustered calcifications are seen.",
            ),
        ),
    ),
}
