"""mini-MIAS: 322 mammograms (one of each breast, oblique) with circles around abnormalities.

`Info.txt` holds prose, then one line an abnormality: film, tissue, class, severity, x, y, radius, in pixels of the
1024 x 1024 film with y counted from the bottom.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from mmpkd.cohort.converters.contract import Converter, ConverterOptions
from mmpkd.cohort.converters.roots import Roots
from mmpkd.cohort.converters.writer import CASES, ROIS, CohortWriter
from mmpkd.cohort.images import BrokenImageError, read_size
from mmpkd.cohort.problems import Problems
from mmpkd.errors import InputError

FRAME_PX = 1024
"""Side of the films that the circles are given in."""

_TISSUES = {"F": "fatty", "G": "fatty-glandular", "D": "dense-glandular"}
_CLASSES = ("CALC", "CIRC", "SPIC", "MISC", "ARCH", "ASYM")
_NORMAL = "NORM"
_SEVERITIES = {"B": "benign", "M": "malignant"}
_SUFFIXES = (".pgm", ".png", ".tif", ".tiff", ".jpg", ".jpeg")


class MiniMiasOptions(ConverterOptions):
    """Options of ``mini-mias``: those of every archive."""


class Entry(NamedTuple):
    """A line of Info.txt: severity is ``None`` for a normal film, the circle ``None`` where none is given."""

    film: int
    tissue: str
    abnormality: str
    severity: str | None
    circle: tuple[float, float, float] | None


def _convert(roots: Roots, options: MiniMiasOptions, writer: CohortWriter) -> Mapping[str, Any]:
    info = roots.need("Info.txt", "info.txt", "*Info.txt")
    entries = read_info(info)
    ledger = writer.ledger
    films = pd.DataFrame(entries, columns=Entry._fields).groupby("film")
    images = _images(roots)
    ledger.version(info.name, "one line an abnormality")
    ledger.version("films", ", ".join(sorted({path.suffix for path in images.values()})))
    ledger.count("lines of the table", len(entries))
    ledger.count("films in the table", len(films))
    ledger.count("films with several lines", int((films.size() > 1).sum()))
    sizes = {film: _size(images[film]) for film in films.groups if film in images}
    kept = [film for film, size in sizes.items() if size is not None]
    ledger.drop("films without a file", len(films) - len(sizes))
    ledger.drop("films whose file cannot be read", len(sizes) - len(kept))
    folder = roots.common()
    cases = pd.DataFrame({"film": kept})
    cases["case"] = writer.pseudonyms("case", (f"mdb{film:03d}" for film in kept))
    cases["patient"] = writer.pseudonyms("patient", ((film + 1) // 2 for film in kept))
    cases["image"] = [str(images[film].relative_to(folder)) for film in kept]
    cases["side"] = ["right" if film % 2 else "left" for film in kept]
    cases["tissue"] = films["tissue"].first().loc[kept].to_numpy()
    cases["abnormality"] = films["abnormality"].agg(lambda values: "|".join(sorted(set(values)))).loc[kept].to_numpy()
    cases["abnormal"] = films["abnormality"].agg(lambda values: int((values != _NORMAL).any())).loc[kept].to_numpy()
    cases["malignant"] = films["severity"].agg(lambda values: int((values == "malignant").any())).loc[kept].to_numpy()
    ledger.note("Films 2k - 1 (right) and 2k (left) are one woman's: the table lists pairs and names no patient.")
    ledger.note("A film is malignant if any of its abnormalities is; normal films are not.")
    ledger.note(
        "'abnormality' (the class, NORM for normal films) is the label 'abnormal' itself and is left out of the "
        "metadata."
    )
    ledger.note("There is no official split; one is made: whole women, stratified.")
    rois = _rois(entries, {film: size for film, size in sizes.items() if size is not None}, writer)
    rois["case"] = rois["film"].map(dict(zip(kept, cases["case"], strict=True)))
    writer.write_cases(cases.drop(columns="film"))
    described: dict[str, Any] = {
        "table": CASES,
        "image_root": str(folder),
        "case": "case",
        "image": "image",
        "patient": "patient",
        "labels": ["abnormal", "malignant"],
        "metadata": {"tissue": "category"},
        "split": {"fractions": {"train": 0.6, "val": 0.15, "test": 0.25}, "seed": 0},
    }
    if len(rois):
        writer.write_rois(rois[["case", "finding", "abnormality", "x_min", "y_min", "x_max", "y_max"]])
        targets = {"malignant": ["abnormal", "malignant"], "benign": ["abnormal"]}
        described["rois"] = {
            "table": ROIS,
            "boxes": ["x_min", "y_min", "x_max", "y_max"],
            "findings": {name: targets[name] for name in targets if name in set(rois["finding"])},
        }
    return described


def read_info(path: Path) -> list[Entry]:
    """Return the entries of Info.txt; its prose, lines that begin with no film number, is passed over.

    Raises:
        InputError: Every line that begins as an entry and is none, a film both normal and not, or no entry at all.
    """
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path.") from None
    problems = Problems()
    entries: list[Entry] = []
    places: list[int] = []
    for number, line in enumerate(lines, start=1):
        if re.match(r"mdb\d", line.strip(), re.IGNORECASE):
            entry = _entry(line.split(), f"{path.name}, row {number}", problems)
            if entry is not None:
                entries.append(entry)
                places.append(number)
    first: dict[int, Entry] = {}
    for entry, number in zip(entries, places, strict=True):
        before = first.setdefault(entry.film, entry)
        if (before.abnormality == _NORMAL) != (entry.abnormality == _NORMAL) or before.tissue != entry.tissue:
            problems.add(f"{path.name}, row {number}: contradicts an earlier row of the same film; keep one of them.")
    problems.raise_any()
    if not entries:
        raise InputError(f"{path}: holds no row that begins with a film's number (mdb001); give the archive's own.")
    return entries


def _entry(fields: list[str], place: str, problems: Problems) -> Entry | None:
    film = re.fullmatch(r"mdb(\d{3})", fields[0], re.IGNORECASE)
    if film is None or len(fields) < 3:
        problems.add(f"{place}: is cut off; a row gives film, tissue, class, severity, x, y and radius.")
        return None
    tissue, abnormality = fields[1].upper(), fields[2].upper()
    said = len(problems)
    if tissue not in _TISSUES:
        problems.add(f"{place}, column 2: {fields[1][:20]!r} is no tissue; it is one of {', '.join(_TISSUES)}.")
    if abnormality not in (*_CLASSES, _NORMAL):
        classes = ", ".join((*_CLASSES, _NORMAL))
        problems.add(f"{place}, column 3: {fields[2][:20]!r} is no class; it is one of {classes}.")
    severity, circle = None, None
    if abnormality != _NORMAL:
        severity = _SEVERITIES.get(fields[3].upper()) if len(fields) > 3 else None
        if severity is None:
            problems.add(f"{place}, column 4: an abnormality has a severity, B or M.")
        rest = fields[4:]
        if rest and not rest[0].startswith("*"):  # "*NOTE 3*" stands where a circle would say nothing
            circle = _circle(rest, place, problems)
    if len(problems) > said:
        return None
    return Entry(int(film.group(1)), _TISSUES[tissue], abnormality, severity, circle)


def _circle(fields: list[str], place: str, problems: Problems) -> tuple[float, float, float] | None:
    if len(fields) >= 3 and all(re.fullmatch(r"\d{1,4}", field) for field in fields[:3]) and int(fields[2]) > 0:
        return int(fields[0]), int(fields[1]), int(fields[2])
    problems.add(f"{place}, columns 5 to 7: are no circle; give x, y and radius in pixels, or leave all three out.")
    return None


def _images(roots: Roots) -> dict[int, Path]:
    """Return each film's file; of several, the archive's own format first, then the nearest to a root."""
    found: dict[int, Path] = {}
    paths = [path for path in roots.all("mdb*.*", "MDB*.*") if path.suffix.lower() in _SUFFIXES]
    for path in sorted(paths, key=lambda path: _SUFFIXES.index(path.suffix.lower())):  # a stable sort
        if re.fullmatch(r"mdb\d{3}", path.stem, re.IGNORECASE) and path.is_file():
            found.setdefault(int(path.stem[3:]), path)
    if not found:
        where = ", ".join(str(folder) for folder in roots.folders)
        raise InputError(f"{where}: holds no film (mdb001.pgm); give the folder that they lie in as well.")
    return found


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return read_size(path)
    except BrokenImageError:
        return None


def _rois(entries: list[Entry], sizes: Mapping[int, tuple[int, int]], writer: CohortWriter) -> pd.DataFrame:
    """Return the circles as boxes, top-left origin, in pixels of each image, cut to the frame.

    A circle (x, y, r) with y from the bottom is the box x - r, (1024 - y) - r, x + r, (1024 - y) + r.
    """
    abnormal = [entry for entry in entries if entry.film in sizes and entry.severity is not None]
    rows = [
        (entry.film, entry.severity, entry.abnormality, *_box(entry.circle, sizes[entry.film]))
        for entry in abnormal
        if entry.circle is not None
    ]
    columns = ["film", "finding", "abnormality", "x_min", "y_min", "x_max", "y_max", "cut"]
    rois = pd.DataFrame(rows, columns=columns)
    inside = (rois["x_max"] > rois["x_min"]) & (rois["y_max"] > rois["y_min"])
    ledger = writer.ledger
    ledger.drop("abnormalities without a circle (their films stay)", len(abnormal) - len(rois))
    ledger.drop("circles outside the film", int((~inside).sum()))
    ledger.count("boxes cut to the film", int(rois.loc[inside, "cut"].sum()))
    ledger.count("films of another size than 1024 x 1024", sum(size != (FRAME_PX, FRAME_PX) for size in sizes.values()))
    ledger.note("Circles became boxes, y turned from bottom up to top down, scaled where a film has another size.")
    return rois[inside].reset_index(drop=True)


def _box(circle: tuple[float, float, float], size_px: tuple[int, int]) -> tuple[float, float, float, float, bool]:
    x, y, radius = circle
    down = FRAME_PX - y
    frame = (x - radius, down - radius, x + radius, down + radius)
    x_min, y_min, x_max, y_max = (min(max(value, 0), FRAME_PX) for value in frame)
    per_y, per_x = size_px[0] / FRAME_PX, size_px[1] / FRAME_PX
    return x_min * per_x, y_min * per_y, x_max * per_x, y_max * per_y, frame != (x_min, y_min, x_max, y_max)


CONVERTER = Converter(
    title="the mini-MIAS database of mammograms (Suckling et al. 1994)",
    terms="The MIAS licence allows research use only and asks for citation; see Licence.txt of the archive.",
    options=MiniMiasOptions,
    convert=_convert,
)
