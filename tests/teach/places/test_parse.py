"""Invented sentences, and what the rules should read in them."""

import pytest

from mmpkd.teach.places import lexicon
from mmpkd.teach.places.parse import PlaceParser

CASES = [
    ("Nodule in the right upper lung zone.", "nodule", {"right upper"}, ""),
    ("Dense infiltrate in the left lower zone.", "consolidation", {"left lower"}, ""),
    (
        "Left upper, right middle and left lower lobes opacities.",
        "opacity",
        {"left upper", "right middle", "left lower"},
        "",
    ),
    ("Opacities in the right upper and lower lobes.", "opacity", {"right upper", "right lower"}, ""),
    ("Bibasal atelectasis.", "atelectasis", {"left lower", "right lower"}, ""),
    ("Patchy opacification of both lower zones.", "opacity", {"left lower", "right lower"}, ""),
    ("Opacities at the bases.", "opacity", {"left lower", "right lower"}, ""),
    ("Bilateral consolidation.", "consolidation", {"left", "right"}, ""),
    ("Right-sided pneumothorax is noted.", "pneumothorax", {"right"}, ""),
    ("Hazy opacity in a perihilar pattern.", "opacity", {"middle"}, ""),
    ("Retrocardiac consolidation.", "consolidation", {"left lower"}, ""),
    ("Consolidation of the lingula.", "consolidation", {"left middle"}, ""),
    ("RLL pneumonia.", "consolidation", {"right lower"}, ""),
    ("Opacity in the right greater than left lung.", "opacity", {"left", "right"}, ""),
    ("No pleural effusion.", "effusion", set(), "denied"),
    ("No left effusion.", "effusion", {"left"}, "denied"),
    ("No evidence of pneumothorax or pleural effusion.", "effusion", set(), "denied"),
    ("Negative for consolidation.", "consolidation", set(), "denied"),
    ("A pneumothorax is not seen.", "pneumothorax", set(), "denied"),
    ("The effusion has resolved.", "effusion", set(), "denied"),
    ("No effusion but a nodule at the left apex.", "nodule", {"left upper"}, ""),
    ("Pleural effusion cannot be excluded.", "effusion", set(), "doubted"),
    ("Possible consolidation in the right lower lobe.", "consolidation", {"right lower"}, "doubted"),
    ("Nodule in the left mid zone is suspected.", "nodule", {"left middle"}, "doubted"),
    ("The heart is shifted to the right. Small nodule.", "nodule", set(), ""),
]


def _read(text, finding, parser=None):
    found = [one for one in (parser or PlaceParser())(text) if one.finding == finding]
    assert len(found) == 1, found
    return found[0]


@pytest.mark.parametrize(("text", "finding", "places", "mark"), CASES, ids=[case[0] for case in CASES])
def test_one_statement(text, finding, places, mark):
    found = _read(text, finding)
    assert {" ".join(part for part in place if part) for place in found.places} == places
    assert (found.denied, found.doubted) == (mark == "denied", mark == "doubted")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Small consolidation in the right upper lobe and ground-glass opacities in both lower lobes.",
            {"consolidation": {("right", "upper")}, "opacity": {("left", "lower"), ("right", "lower")}},
        ),
        (
            "Right pleural effusion and left basal atelectasis.",
            {"effusion": {("right", "")}, "atelectasis": {("left", "lower")}},
        ),
        (
            "Consolidation and effusion at the left base.",
            {"consolidation": {("left", "lower")}, "effusion": {("left", "lower")}},
        ),
        (
            "Bibasal atelectasis with small left effusion.",
            {"atelectasis": {("left", "lower"), ("right", "lower")}, "effusion": {("left", "")}},
        ),
        ("RLL pneumonia, no pneumothorax.", {"consolidation": {("right", "lower")}, "pneumothorax": set()}),
    ],
)
def test_each_place_goes_to_its_finding(text, expected):
    assert {one.finding: set(one.places) for one in PlaceParser()(text)} == expected


def test_the_span_is_that_of_the_findings_words():
    text = "Clear. There is a small pleural effusion on the left."
    found = _read(text, "effusion")
    assert text[found.start : found.end] == "pleural effusion"


def test_diffuse_is_everywhere():
    found = _read("Diffuse consolidation.", "consolidation")
    assert found.everywhere
    assert not found.places


def test_breast_words():
    parser = PlaceParser(words=lexicon.BREAST)
    found = _read("Mass in the outer aspect of the right breast at middle depth.", "mass", parser)
    assert found.places == {("first", "middle")}
    found = _read("Cluster of calcifications in the inner right breast, posterior third.", "calcification", parser)
    assert found.places == {("last", "posterior")}


@pytest.mark.parametrize("text", ["", "Kein Pneumothorax. Erguss links basal.", "Unremarkable."])
def test_texts_without_statements(text):
    assert all(not one.places for one in PlaceParser()(text) if one.finding != "pneumothorax")
