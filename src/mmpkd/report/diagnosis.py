"""The checks of the diagnosis, named for readers."""

from __future__ import annotations

from mmpkd.report.data import ReportData
from mmpkd.report.glossary import plain

_TITLES = {
    "teacher-gap": "Does the teacher know more than the images show?",
    "teacher-saturated": "Are soft labels softer than hard ones?",
    "teacher-calibrated": "Are the teacher's probabilities right?",
    "information-gain": "Do soft labels say more of the image than labels do?",
    "can-help": "Could distillation help at all?",
    "error-transfer": "Do the teacher's errors reach the student?",
    "spatial-content": "Does privileged information say where?",
    "lambda": "Does AUROC fall with λ?",
    "under-trained": "Were the students trained to the end?",
    "varying-maps": "Are maps the same from seed to seed?",
}
_OUTCOMES = {"fine": "fine", "concern": "look here", "unknown": "not known"}


def diagnosis_items(data: ReportData) -> list[dict[str, str]]:
    """Return each check with its title and its outcome in words."""
    checks = (data.diagnosis or {}).get("checks", [])
    return [
        {
            **check,
            "title": _TITLES.get(check["name"], plain(check["name"])),
            "said": _OUTCOMES.get(check["outcome"], check["outcome"]),
        }
        for check in checks
    ]
