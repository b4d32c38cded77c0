"""The pages about maps agree with the code: no method, refusal or table is missing, misquoted or made up."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest
import timm
import torch

from mmpkd.attribute.attribute import map_method
from mmpkd.attribute.vit import vit_of
from mmpkd.compare.repeatability import ARMS, CHANGE, ENSEMBLES, EXCESS, SEEDS, UNRELATED
from mmpkd.distil.settings import StudentSettings
from mmpkd.distil.student import build_student
from mmpkd.errors import InputError
from mmpkd.evaluate.baselines import BASELINES
from mmpkd.evaluate.similarity import MEASURES
from mmpkd.evaluate.strata import stratum_names
from mmpkd.registry import BUILT_IN
from mmpkd.study.checks import FAITHFULNESS, FAITHFULNESS_GAIN

PAGES = Path(__file__).parents[2] / "docs" / "maps"
METHODS = sorted(BUILT_IN["maps"])
SMALL = {"img_size": 32, "depth": 1}
# What is asked: page, backbone and its options (none: a student with the patch head), method.
REFUSALS = [
    ("index", "swin_tiny_patch4_window7_224", {}, "legrad"),
    ("index", "vit_tiny_r_s16_p8_224", {}, "legrad"),
    ("index", "vit_small_patch16_18x2_224", {}, "legrad"),
    ("index", "vit_tiny_patch16_224", {**SMALL, "num_classes": 0}, "legrad"),
    ("attention", None, {}, "attention"),
    ("attention", "vit_tiny_patch16_224", SMALL, "attention=3"),
    ("patch", "vit_tiny_patch16_224", SMALL, "patch"),
    ("libra-fullgrad", "eva02_tiny_patch14_224", {"img_size": 28, "depth": 1}, "libra-fullgrad"),
    ("libra-fullgrad", "vit_base_patch16_siglip_224", SMALL, "libra-fullgrad"),
    ("libra-fullgrad", "beit_base_patch16_224", SMALL, "libra-fullgrad"),
    ("libra-fullgrad", "vit_tiny_patch16_224", {**SMALL, "norm_layer": "rmsnorm"}, "libra-fullgrad"),
    ("libra-attcat", "eva02_tiny_patch14_224", {"img_size": 28, "depth": 1}, "libra-attcat"),
    ("occlusion", "eva02_tiny_patch14_224", {"img_size": 28, "depth": 1}, "occlusion"),
    ("integrated-gradients", "vit_tiny_patch16_224", SMALL, "integrated-gradients"),
]


def text(page: str) -> str:
    return (PAGES / f"{page}.md").read_text(encoding="utf-8")


def quotes(page: str) -> list[str]:
    """Return a page's block quotes, each in one line."""
    return [
        " ".join(found.replace("\n> ", " ").split())[2:] for found in re.findall(r"(?:^> .*\n?)+", text(page), re.M)
    ]


def refusal(backbone: str | None, options: dict[str, object], method: str) -> str:
    if backbone is None:
        settings = StudentSettings(head="patch", image_size_px=32, patch_px=8, width=32, depth=1, heads=2)
        model = build_student(settings, ("nodule",))
    else:
        with torch.device("meta"):
            model = timm.create_model(backbone, **{"num_classes": 2, **options})
    with pytest.raises(InputError) as refused:
        map_method(method, vit_of(model))
    return str(refused.value)


@pytest.mark.parametrize("page", dict.fromkeys(page for page, *_ in REFUSALS))
def test_refusals_are_quoted_as_they_are(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "captum.attr", None)  # as on a machine without captum
    said = [refusal(*asked) for where, *asked in REFUSALS if where == page]
    assert quotes(page) == said


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_a_page_of_its_own(method: str) -> None:
    page = text(method)
    assert page.startswith(f"# {method}\n")
    assert 25 <= page.count("\n") <= 60
    assert f"](../images/maps/{method}.png)" in page
    found = re.findall(r"^## (.+)$", page, re.M)
    assert found == ["Equation", "Source", "What it shows, and what not", "Cost", "Refuses"]
    assert f"| [{method}]({method}.md) |" in text("index")


def test_every_page_of_a_method_belongs_to_one() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {"index", "alone", "phantom", "trust", *METHODS}


@pytest.mark.parametrize("page", sorted(path.stem for path in PAGES.glob("*.md")))
def test_links_lead_somewhere(page: str) -> None:
    for target in re.findall(r"(?<!!)\[[^\]]*\]\((?!http)([^)#]*)(#[^)]*)?\)", text(page)):
        path, anchor = PAGES / (target[0] or f"{page}.md"), target[1]
        assert path.is_file(), target
        if anchor:
            headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
            anchors = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor[1:] in anchors, target


@pytest.mark.parametrize("page", sorted(path.stem for path in PAGES.glob("*.md")))
def test_prose_is_wrapped_and_fences_are_closed(page: str) -> None:
    lines = text(page).split("\n")
    assert [line for line in lines if len(line) > 120 and not line.startswith("|")] == []
    assert sum(line.startswith("```") for line in lines) % 2 == 0


def test_the_page_on_trust_explains_every_name_of_the_tables() -> None:
    page = text("trust")
    kinds = (SEEDS, UNRELATED, ARMS, ENSEMBLES)
    explained = (*BASELINES, *FAITHFULNESS, FAITHFULNESS_GAIN, *MEASURES, *kinds, EXCESS, CHANGE)
    assert [name for name in explained if f"`{name}`" not in page] == []
    assert [name for name in stratum_names() if name not in page] == []
