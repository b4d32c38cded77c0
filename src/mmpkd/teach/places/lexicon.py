"""The words that the rules know: findings, places, denials and doubts. Plain data; a study may add words of its own.

medspaCy's ConText has richer scopes, but brings spaCy for what are two dozen triggers here, and knows no places. Most
of the triggers are NegEx's (Chapman et al. 2001).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

FINDINGS: Mapping[str, Sequence[str]] = {
    "nodule": (r"nodul\w*( opacit\w+| density)?", r"coin lesions?", r"rounded opacit\w+"),
    "consolidation": (
        r"consolidat\w+",
        r"infiltrat\w+",
        r"air[- ]?space (disease|change\w*|opacit\w+|opacif\w+|shadow\w*)",
        r"pneumonia",
    ),
    "opacity": (
        r"(ground[- ]glass|reticul\w+|interstitial|patchy|hazy|alveolar|lung|pulmonary|peripheral|multifocal)? ?"
        r"(opacit\w+|opacification\w*|shadow\w*|haz\w+|densit\w+|ggos?)",
        r"ground[- ]glass( change\w*)?",
    ),
    "effusion": (r"(pleural )?effusions?", r"pleural fluid", r"hydrothorax"),
    "pneumothorax": (r"(hydro)?pneumothora\w+",),
    "atelectasis": (r"atelecta\w+", r"collapse\w*"),
    "cardiomegaly": (
        r"cardiomegaly",
        r"(enlarged (heart|cardiac)|(cardiac|heart) (enlargement|size is (increased|enlarged)))[\w ]{0,12}",
        r"enlargement of the cardiac silhouette",
    ),
    "mass": (r"(dense|focal)? ?(mass\w*|dense lesions?|nodular densit\w+)",),
    "calcification": (r"(micro)?calcification\w*( clusters?)?", r"clusters? of (micro)?calcification\w*"),
}
"""Finding -> patterns of its names."""

DENIED_BEFORE = (
    r"no( definite| obvious| acute| significant| new| focal)?( radiographic)?( evidence| signs?| features?)?( of)?",
    r"without( evidence of)?",
    r"negative for",
    r"free of",
    r"absence of",
    r"rules? out",
    r"not? (show|demonstrate|reveal)\w*( any)?",
    r"did not (show|demonstrate|reveal)( any)?",
    r"neither|nor",
    r"resolution of|resolved",
    r"unremarkable for",
)
DENIED_AFTER = (
    r"(is|are|was|were) (not|no longer) (seen|identified|present|visible|evident|detected)",
    r"(is|are|was|were) absent",
    r"(has|have) (completely )?(resolved|cleared|disappeared)",
    r"(is|are|was|were) (excluded|ruled out)",
)
DOUBTED_BEFORE = (
    r"possibl[ey]",
    r"probabl[ey]",
    r"likely",
    r"suspect\w*|suspicio\w+( for| of)?",
    r"question\w*( of)?",
    r"may (represent|be|reflect)|might be|could (represent|be)",
    r"suggest\w*( of)?",
    r"cannot (exclude|rule out)|can ?not (exclude|rule out)",
    r"concern\w*( for)?",
)
DOUBTED_AFTER = (
    r"cannot be (entirely |completely )?(excluded|ruled out)",
    r"(is|are) (possible|suspected|questionable|questioned|not excluded)",
    r"not excluded",
)
STOPS = r"\b(but|however|although|though|except|apart from|whereas|while|with|aside from|other than)\b"
"""Words at which a denial or a doubt ends."""


@dataclass(frozen=True)
class PlaceWords:
    """The words of places in one kind of report. A place has two parts, such as side and level; either may be unsaid.

    Args:
        first: Value -> patterns. The value ``both`` means every other one that is not in between.
        second: Value -> patterns.
        alone: Pattern -> both parts, for words that say all at once.
        filler: What may stand between the words of one place.
    """

    first: Mapping[str, Sequence[str]]
    second: Mapping[str, Sequence[str]]
    alone: Mapping[str, tuple[str, str]]
    filler: str


CHEST = PlaceWords(
    first={
        "right": (r"right(-sided|ward)?", r"rt"),
        "left": (r"left(-sided|ward)?", r"lt"),
        "both": (r"bilateral(ly)?", r"both( sides)?"),
    },
    second={
        "upper": (r"upper", r"(bi)?ap(ex|ical|ices)"),
        "middle": (r"mid(dle)?(-zone\w*)?", r"(peri-?)?hilar"),
        "lower": (r"lower", r"(bi)?bas(e|al|ilar|es)", r"infra-?hilar", r"costophrenic"),
    },
    alone={
        r"lingula\w*": ("left", "middle"),
        r"retrocardiac": ("left", "lower"),
        r"RUL": ("right", "upper"),
        r"RML": ("right", "middle"),
        r"RLL": ("right", "lower"),
        r"LUL": ("left", "upper"),
        r"LLL": ("left", "lower"),
    },
    filler=r"(lungs?|lobes?|zones?|fields?|the|a|an|of|in|at|on|to|and|or|&|,|/|-|side|hemithorax|thorax|chest|"
    r"as well as|region\w*|area\w*|greater than|more than|>)",
)
"""Side of the patient and level of the lung."""

BREAST = PlaceWords(
    first={
        "first": (r"upper", r"outer", r"superior", r"lateral"),
        "central": (r"central", r"retroareolar"),
        "last": (r"lower", r"inner", r"inferior", r"medial"),
    },
    second={"anterior": (r"anterior",), "middle": (r"middle",), "posterior": (r"posterior",)},
    alone={},
    filler=r"(right|left|breast|aspect|depth|third|quadrant|the|of|in|at|and|,|/)",
)
"""Along the chest wall (upper or outer first, as the view has it) and depth into the breast."""

EVERYWHERE = r"(diffuse(ly)?|throughout|widespread|all (lung )?(zones|lobes|fields))"
PLURAL = r"(bases|apices|zones|lobes|fields|lungs)"
"""Without a side these mean both."""


def compiled(patterns: Sequence[str]) -> re.Pattern[str]:
    """Return one pattern for any of several, as whole words, in any case."""
    return re.compile("|".join(rf"\b(?:{pattern})\b" for pattern in patterns), re.IGNORECASE)
