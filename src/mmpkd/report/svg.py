"""Turns a matplotlib figure into SVG that may stand inline in a page beside others, in light and in dark.

The bytes depend only on what is drawn: no dates, ids salted by the figure's name. Text stays text. Colours of
the palette become CSS variables, so that the page's theme reaches into the figure.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET  # only parses what matplotlib wrote a moment before

from markupsafe import Markup

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PX_PER_INCH = 72.0  # matplotlib's SVG unit is the point; the report shows one unit as one CSS pixel

INK = "#1c2530"
MUTED = "#5f6b78"
RULE = "#d9dee5"
CARD = "#fffffe"
ARM_COLOURS = ("#b4541a", "#1263a8", "#0b7a5b", "#a04a86", "#8a6d00", "#3f8fc4")
ARM_MARKERS = ("o", "s", "D", "^", "v", "P")
_VARIABLES = {
    INK: "--ink",
    MUTED: "--muted",
    RULE: "--rule",
    CARD: "--card",
    **{colour: f"--arm-{index}" for index, colour in enumerate(ARM_COLOURS)},
}
_RC = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # a finding's name may hold a dollar sign
    "font.size": 12.0,
    "axes.linewidth": 0.8,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 11.5,
    "axes.unicode_minus": True,
    "text.color": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "xtick.labelcolor": MUTED,
    "ytick.labelcolor": MUTED,
    "xtick.labelsize": 11.0,
    "ytick.labelsize": 11.0,
}
_SVG = "{http://www.w3.org/2000/svg}"
_XLINK = "{http://www.w3.org/1999/xlink}"


@contextmanager
def drawing_style(salt: str = "mmpkd") -> Iterator[None]:
    """Draw in the report's own style, whatever the user's matplotlib settings; restores them afterwards."""
    from matplotlib import style

    with style.context(["default", {**_RC, "svg.hashsalt": salt}]):
        yield


def inline_svg(figure: Figure, name: str, description: str, enlarge: float = 1.0) -> Markup:
    """Return the figure as an ``<svg>`` element for inlining.

    Args:
        figure: Drawn inside :func:`drawing_style`.
        name: Unique in the page, letters and dashes; it prefixes every id.
        description: What a reader who cannot see the figure is told.
        enlarge: How far a wide screen may enlarge it.
    """
    buffer = io.BytesIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    figure.savefig(buffer, format="svg", metadata=nothing, transparent=True)
    root = ET.fromstring(buffer.getvalue())  # noqa: S314  (our own bytes)
    _drop_page_wide_style(root)
    _make_ids_unique(root, name)
    for element in root.iter():
        element.tag = element.tag.removeprefix(_SVG)
        if "style" in element.attrib:
            element.set("style", _themed(element.get("style", "")))
    width, height = (round(inches * PX_PER_INCH) for inches in figure.get_size_inches())
    title = ET.Element("title")
    title.text = description
    root.insert(0, title)
    root.attrib = {
        "viewBox": root.get("viewBox", f"0 0 {width} {height}"),
        "role": "img",
        "style": f"max-width: {round(enlarge * width)}px; aspect-ratio: {width} / {height}",
    }
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704  (serialised, so already escaped)


def _drop_page_wide_style(root: ET.Element) -> None:
    """Remove the ``* {...}`` rule that matplotlib writes: inline, it would style the whole page."""
    for parent in root.iter():
        for child in list(parent):
            if child.tag == f"{_SVG}style":
                parent.remove(child)


def _make_ids_unique(root: ET.Element, name: str) -> None:
    """Prefix ids that are referred to with the figure's name, and drop all others."""
    used = set()
    for element in root.iter():
        href = element.attrib.pop(f"{_XLINK}href", None)
        if href:
            used.add(href.removeprefix("#"))
            element.set("href", f"#{name}-{href.removeprefix('#')}")
        for key, value in element.attrib.items():
            found = re.findall(r"url\(#([^)]+)\)", value)
            used.update(found)
            if found:
                element.set(key, re.sub(r"url\(#([^)]+)\)", rf"url(#{name}-\1)", value))
    for element in root.iter():
        identity = element.attrib.pop("id", None)
        if identity in used:
            element.set("id", f"{name}-{identity}")


def _themed(style: str) -> str:
    style = re.sub(r"font-family:[^;]*;?\s*", "", style)
    return re.sub(r"#[0-9a-f]{6}\b", lambda found: _variable(found.group()), style)


def _variable(colour: str) -> str:
    return f"var({_VARIABLES[colour]})" if colour in _VARIABLES else colour
