"""One picture of a run, for a README or a slide: a few cases with their maps, and AUROC per finding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mmpkd.errors import InputError
from mmpkd.files import written_whole
from mmpkd.folder import RunFolder
from mmpkd.report import overlays
from mmpkd.report.axes import arm_series, draw_legend, legend_columns
from mmpkd.report.data import GalleryCase, ReportData, read_report_data
from mmpkd.report.figures import ForestRow, draw_forest
from mmpkd.report.findings import arm_rows
from mmpkd.report.glossary import plain
from mmpkd.report.svg import INK, MUTED, PX_PER_INCH, drawing_style
from mmpkd.report.tables import compared_arms

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WIDTH_PX = 1200
_WIDTH, _TOP, _SIDE, _GAP, _LEFT = 720.0, 34.0, 96.0, 5.0, 24.0
_CASES_SHOWN, _FINDINGS_SHOWN = 3, 8


def write_summary_figure(run_folder: RunFolder, path: Path) -> Path:
    """Write a PNG picture, 1200 px wide: example cases with every arm's map, and a forest plot of AUROC.

    Raises:
        InputError: The run folder holds neither a gallery nor a comparison yet.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    data = read_report_data(run_folder)
    cases, rows = _chosen(data), arm_rows(data, "auroc")
    if not cases and not rows:
        raise InputError(f"{run_folder.path}: nothing to picture yet; run `mmpkd run` first.")
    if len(rows) > _FINDINGS_SHOWN + 1:
        rows = [*rows[:_FINDINGS_SHOWN], rows[-1]]
    height = _TOP + max(len(cases) * (_SIDE + _GAP), 26.0 * len(rows) + 60) + 8
    with drawing_style():
        figure = Figure(figsize=(_WIDTH / PX_PER_INCH, height / PX_PER_INCH), facecolor="white")
        FigureCanvasAgg(figure)
        right_of_cases = _draw_cases(figure, cases, compared_arms(data), height) if cases else 0.0
        if rows:
            _draw_auroc(figure, rows, compared_arms(data), right_of_cases, height)
        with written_whole(path) as temporary:
            figure.savefig(temporary, format="png", dpi=WIDTH_PX * PX_PER_INCH / _WIDTH, metadata={"Software": None})
    return path


def _chosen(data: ReportData) -> list[GalleryCase]:
    """Return the first case of each finding, then others, up to a few; in the gallery's own order."""
    first = {case.finding: index for index, case in reversed(list(enumerate(data.gallery)))}
    ranked = sorted(range(len(data.gallery)), key=lambda index: (first[data.gallery[index].finding] != index, index))
    return [data.gallery[index] for index in sorted(ranked[:_CASES_SHOWN])]


def _draw_cases(figure: Figure, cases: list[GalleryCase], arms: tuple[str, ...], height: float) -> float:
    """Draw one row a case and return where the grid ends."""
    shown = [arm for arm in arms if all(arm in case.maps for case in cases)]
    for row, case in enumerate(cases):
        top = _TOP + row * (_SIDE + _GAP)
        pictures = [overlays.image_with_roi(case.image, case.roi, 320)]
        pictures += [overlays.map_overlay(case.image, case.maps[arm], case.roi, 320) for arm in shown]
        for column, picture in enumerate(pictures):
            left = _LEFT + column * (_SIDE + _GAP)
            box = (left / _WIDTH, 1 - (top + _SIDE) / height, _SIDE / _WIDTH, _SIDE / height)
            axes = figure.add_axes(box)
            axes.imshow(picture, interpolation="lanczos")
            axes.set_axis_off()
        figure.text(
            (_LEFT - 5) / _WIDTH,
            1 - (top + _SIDE / 2) / height,
            plain(case.finding),
            rotation=90,
            ha="right",
            va="center",
            fontsize=11,
        )
    for column, title in enumerate(["image and ROI", *(f"map, {arm}" for arm in shown)]):
        left = _LEFT + column * (_SIDE + _GAP)
        figure.text(left / _WIDTH, 1 - (_TOP - 7) / height, title, fontsize=11, color=INK if column else MUTED)
    return _LEFT + (1 + len(shown)) * (_SIDE + _GAP)


def _draw_auroc(figure: Figure, rows: list[ForestRow], arms: tuple[str, ...], start: float, height: float) -> None:
    left, right, bottom = start + 130, 14.0, 38.0
    looks = [arm_series(arms, arm) for arm in arms]
    columns = legend_columns(looks, _WIDTH - start - right)
    top = 28.0 + 18 * -(-len(looks) // columns)
    box = (left / _WIDTH, bottom / height, 1 - (left + right) / _WIDTH, 1 - (top + bottom) / height)
    axes = figure.add_axes(box)
    draw_forest(axes, rows, looks, line_at=0.5, bounds=(0.0, 1.0))
    draw_legend(axes, looks, columns)
    axes.set_xlabel("AUROC on test, with interval", labelpad=5)
