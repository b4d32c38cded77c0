"""Pictures of the map methods for ``docs/maps``: three test cases of a finished run under every method of its study.

    python docs/pictures.py RUN_FOLDER [RUN_FOLDER ...] OUT [--root COHORT_FOLDER]

``OUT/<method>.png`` shows each case's image with the ROI beside the map over it, ``OUT/overview.png`` all methods as
columns and the cases as rows. Cases are drawn with a fixed seed among the test ROIs, before any map is looked at; the
student is that of the primary endpoint's arm (the first arm, if that is not there) and the first seed. No student has
every method (``patch`` needs a head that ``attention`` refuses), so runs of one cohort with different heads may be
given together: a method is taken from the first run that has it.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from mmpkd.cohort.images import decode, read_bytes
from mmpkd.errors import InputError
from mmpkd.files import read_json
from mmpkd.folder import RunFolder
from mmpkd.report.overlays import image_with_roi, map_overlay
from mmpkd.study.cell import CellWork, map_methods
from mmpkd.study.inputs import localised_positions
from mmpkd.study.load import load_study
from mmpkd.study.localise import Target, token_map_on_canvas
from mmpkd.study.map_file import read_maps
from mmpkd.study.run import StudyRun

CASES = 3
OVERVIEW_PX = 1200
MOST_TILE_PX = 200
PAIR_TILE_PX = 180
TITLE_PX, LEAST_TITLE_PX = 12, 7
_SEED = 0
_GAP_PX, _GUTTER_PX, _LABEL_PX = 4, 22, 18
_FINER = 2  # drawn so much larger, then reduced: smooth outlines, and thin ones on small tiles
_INK, _PAPER = (30, 34, 40), (255, 255, 255)
_FONT = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@dataclass(frozen=True)
class Example:
    """One drawn case.

    Args:
        case: Its name in the run, never shown.
        finding: Whose ROI and maps these are.
        image: (height, width) uint8, on the canvas on which maps are scored.
        roi: The same shape.
        maps: By method, the same shape.
    """

    case: str
    finding: str
    image: np.ndarray
    roi: np.ndarray
    maps: dict[str, np.ndarray]


def main() -> None:
    """Read the runs and write the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+", metavar="RUN_FOLDER")
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--root", type=Path, help="the cohort's folder [default: `cohort` beside the first run]")
    given = parser.parse_args()
    try:
        write_pictures(given.runs, given.out, given.root)
    except InputError as error:
        parser.exit(2, "".join(f"{parser.prog}: {problem}\n" for problem in error.problems))


def write_pictures(run_folders: Sequence[Path], out: Path, root: Path | None = None) -> None:
    """Write all pictures of finished runs.

    Args:
        run_folders: Of studies of one cohort that scored maps.
        out: Folder of the pictures; made if it is not there.
        root: The cohort's folder; ``cohort`` beside the first run by default, as `mmpkd demo` lays it out.

    Raises:
        InputError: No run, runs of another cohort, no test ROI, or maps that are missing.
    """
    root = run_folders[0].parent / "cohort" if root is None else root
    examples = merge([read_examples(_finished_run(folder, root)) for folder in run_folders])
    out.mkdir(parents=True, exist_ok=True)
    methods = list(examples[0].maps)
    _save(draw_overview(examples, methods), out / "overview.png")
    for method in methods:
        _save(draw_pairs(examples, method), out / f"{method}.png")


def merge(of_runs: Sequence[Sequence[Example]]) -> list[Example]:
    """Return the first run's cases with the maps of all runs.

    Raises:
        InputError: The runs drew different cases.
    """
    merged = []
    for together in zip_longest(*of_runs):
        if len({one and (one.case, one.finding) for one in together}) > 1:
            raise InputError("the runs have other test ROIs than each other; give runs of one cohort and one split.")
        maps: dict[str, np.ndarray] = {}
        for one in together:
            maps |= {method: heat for method, heat in one.maps.items() if method not in maps}
        merged.append(replace(together[0], maps=maps))
    return merged


def read_examples(run: StudyRun) -> list[Example]:
    """Return the drawn cases with their maps."""
    work = run.work
    drawn = draw_cases(work.targets)
    if not drawn:
        raise InputError(f"{run.folder.path}: no test case has an ROI, so the study made no maps to show.")
    arm = work.study.compare.primary.arm
    cell = run.folder.cell(arm if arm in work.study.arms else next(iter(work.study.arms)), work.study.seeds[0])
    row_of = {int(position): row for row, position in enumerate(localised_positions(work.cohort))}
    shown: list[dict[str, np.ndarray]] = [{} for _ in drawn]
    for method in map_methods(work.study):
        path = cell.maps(method)
        if not path.is_file():
            raise InputError(f"{path}: the maps are missing; run `mmpkd attribute` first.")
        maps = read_maps(path)
        for target, canvases in zip(drawn, shown, strict=True):
            token_map = maps.values[row_of[target.position], maps.findings.index(target.finding)]
            canvases[method] = token_map_on_canvas(token_map, target, work.images)
    return [
        Example(target.case, target.finding, _picture(work, target), target.mask, canvases)
        for target, canvases in zip(drawn, shown, strict=True)
    ]


def draw_cases(targets: Sequence[Target], count: int = CASES) -> list[Target]:
    """Draw up to ``count`` ROIs of different patients, of different findings as far as there are."""
    order = [targets[index] for index in np.random.default_rng(_SEED).permutation(len(targets))]
    drawn: list[Target] = []
    for new_findings_only in (True, False):
        for target in order:
            patients = {one.patient for one in drawn}
            findings = {one.finding for one in drawn} if new_findings_only else set()
            if len(drawn) < count and target.patient not in patients and target.finding not in findings:
                drawn.append(target)
    return drawn


def draw_overview(examples: Sequence[Example], methods: Sequence[str]) -> Image.Image:
    """Return the cases as rows, and as columns the image with its ROI and the map of each method."""
    columns = 1 + len(methods)
    side = min(MOST_TILE_PX, (OVERVIEW_PX - _LABEL_PX) // columns - _GAP_PX)
    titles, font, title_px = _titles(["image, ROI", *methods], side)
    width, height = (count * (side + _GAP_PX) - _GAP_PX for count in (columns, len(examples)))
    sheet = _Sheet(_LABEL_PX + width, title_px + height)
    for column, title in enumerate(titles):
        sheet.write(title, _LABEL_PX + column * (side + _GAP_PX) + side / 2, title_px - 5, font, "md")
    for row, example in enumerate(examples):
        y = title_px + row * (side + _GAP_PX)
        sheet.write_upwards(example.finding, _LABEL_PX - 5, y + side / 2, side)
        for column, method in enumerate([None, *methods]):
            sheet.paste(example, method, _LABEL_PX + column * (side + _GAP_PX), y, side)
    return sheet.reduced()


def draw_pairs(examples: Sequence[Example], method: str) -> Image.Image:
    """Return one row of pairs, the image with its ROI beside one method's map, each under its finding."""
    side, title_px = PAIR_TILE_PX, 20
    pair = 2 * side + _GAP_PX
    sheet = _Sheet(len(examples) * (pair + _GUTTER_PX) - _GUTTER_PX, title_px + side)
    for index, example in enumerate(examples):
        x = index * (pair + _GUTTER_PX)
        sheet.write(example.finding, x, title_px - 5, _font(TITLE_PX), "ld")
        sheet.paste(example, None, x, title_px, side)
        sheet.paste(example, method, x + side + _GAP_PX, title_px, side)
    return sheet.reduced()


class _Sheet:
    """White paper on which places are given in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self._size = (width, height)
        self._paper = Image.new("RGB", (width * _FINER, height * _FINER), _PAPER)
        self._pen = ImageDraw.Draw(self._paper)

    def write(self, text: str, x: float, y: float, font: ImageFont.FreeTypeFont, anchor: str) -> None:
        """Write lines above ``y``."""
        for line in reversed(text.split("\n")):
            self._pen.text((x * _FINER, y * _FINER), line, _INK, font, anchor=anchor)
            y -= _line_px(font)

    def write_upwards(self, text: str, x: float, y: float, room_px: float) -> None:
        """Write one line from below to above, its middle at ``y`` and its foot at ``x``."""
        font = next((f for f in map(_font, range(TITLE_PX, LEAST_TITLE_PX, -1)) if _width_px(text, f) <= room_px), None)
        font = font or _font(LEAST_TITLE_PX)
        left, top, right, bottom = (round(edge) for edge in font.getbbox(text, anchor="ld"))
        line = Image.new("RGB", (right - left, bottom - top), _PAPER)
        ImageDraw.Draw(line).text((-left, -top), text, _INK, font, anchor="ld")
        turned = line.transpose(Image.Transpose.ROTATE_90)
        self._paper.paste(turned, (round(x * _FINER) - turned.width, round(y * _FINER) - turned.height // 2))

    def paste(self, example: Example, method: str | None, x: int, y: int, side: int) -> None:
        """Lay one tile, its longer side ``side``, in the middle of its square."""
        larger = side * _FINER
        if method is None:
            tile = image_with_roi(example.image, example.roi, larger)
        else:
            tile = map_overlay(example.image, example.maps[method], example.roi, larger)
        place = (x * _FINER + (larger - tile.width) // 2, y * _FINER + (larger - tile.height) // 2)
        self._paper.paste(tile, place)

    def reduced(self) -> Image.Image:
        """Return the finished picture."""
        return self._paper.resize(self._size, Image.Resampling.LANCZOS)


def _titles(names: Sequence[str], side: int) -> tuple[list[str], ImageFont.FreeTypeFont, int]:
    """Return titles broken into lines that fit a tile, in the largest font that allows it, and their height."""
    for size in range(TITLE_PX, LEAST_TITLE_PX - 1, -1):
        font = _font(size)
        titles = [_broken(name, font, side) for name in names]
        if all(_width_px(line, font) <= side for title in titles for line in title.split("\n")):
            break
    lines = max(title.count("\n") + 1 for title in titles)
    return titles, font, lines * _line_px(font) + 8


def _broken(name: str, font: ImageFont.FreeTypeFont, side: int) -> str:
    """Break a name after hyphens and spaces and before options, where a line would not fit."""
    lines = [""]
    for part in re.split(r"(?<=[-\s])|(?=\+)", name):
        if lines[-1] and _width_px(lines[-1] + part, font) > side:
            lines.append("")
        lines[-1] += part
    return "\n".join(line.strip() for line in lines)


def _font(size_px: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(_FONT, size_px * _FINER)


def _width_px(text: str, font: ImageFont.FreeTypeFont) -> float:
    return font.getlength(text) / _FINER


def _line_px(font: ImageFont.FreeTypeFont) -> int:
    return round(1.2 * font.size / _FINER)


def _finished_run(path: Path, root: Path) -> StudyRun:
    folder = RunFolder(path)
    if not folder.run.is_file():
        raise InputError(f"{path}: no run of mmpkd is here; run `mmpkd run` first.")
    run = StudyRun(*load_study(folder.study, root), path)
    if run.fingerprint != read_json(folder.run)["study_fingerprint"]:
        raise InputError(f"{path}: is the run of another cohort than {root}; give the run's own with --root.")
    return run


def _picture(work: CellWork, target: Target) -> np.ndarray:
    path = work.cohort.root / str(work.cohort.cases["image"].iloc[target.position])
    height, width = target.mask.shape
    return np.asarray(Image.fromarray(decode(read_bytes(path), channels=1)).resize((width, height)))


def _save(picture: Image.Image, path: Path) -> None:
    picture.save(path, format="PNG", optimize=True)  # in full colour: a palette of 256 makes steps in maps


if __name__ == "__main__":
    main()
