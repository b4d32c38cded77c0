"""Draws the report's figures: estimates with intervals, training curves, label counts.

``draw_forest`` draws on given axes, so that the page and the summary picture share it; the others make a
whole figure for the page. Widths are those of a phone, so that nothing need shrink much.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from mmpkd.report.axes import (
    Series,
    arm_series,
    draw_estimate,
    draw_legend,
    draw_title,
    few_ticks,
    figure_of,
    label_rows,
    label_width_px,
    legend_columns,
    one_axes,
    row_height_px,
    set_range,
    strip_frame,
)
from mmpkd.report.data import Estimate, History
from mmpkd.report.svg import ARM_COLOURS, CARD, INK, MUTED, RULE, drawing_style, inline_svg

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_WIDE_PX, _NARROW_PX = 400, 300
_ENLARGE = 1.22


@dataclass(frozen=True)
class ForestRow:
    """One labelled line of a forest plot: an estimate per series."""

    label: str
    estimates: tuple[Estimate, ...]
    emphasised: bool = False


def forest(
    name: str,
    rows: Sequence[ForestRow],
    series: Sequence[Series],
    *,
    axis_label: str,
    line_at: float | None,
    description: str,
    bounds: tuple[float, float] = (-np.inf, np.inf),
    slots: int = 0,
) -> Markup:
    """Return a forest plot: rows top to bottom, one marker with its interval per series.

    ``slots`` keeps the rows of two figures at one height: room for that many series, at least those given.
    """
    labels = [row.label for row in rows]
    line_px = max(row_height_px(labels, 26), 11 * max(len(series), slots) + 12)
    columns = legend_columns(series, _WIDE_PX - 16)
    left, top, bottom = label_width_px(labels), 12 + 18 * math.ceil(len(series) / columns), 44
    height = top + bottom + line_px * len(rows)
    with drawing_style(name):
        axes = one_axes(_WIDE_PX, height, left=left, right=16, top=top, bottom=bottom)
        draw_forest(axes, rows, series, line_at=line_at, bounds=bounds)
        axes.set_xlabel(axis_label, labelpad=6)
        draw_legend(axes, series, columns)
        return inline_svg(figure_of(axes), name, description, _ENLARGE)


def draw_forest(
    axes: Axes,
    rows: Sequence[ForestRow],
    series: Sequence[Series],
    *,
    line_at: float | None,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> None:
    """Draw the rows of a forest plot; ``line_at`` is where nothing is gained (0.5, or 0 for a difference)."""
    offsets = (np.arange(len(series)) - (len(series) - 1) / 2) * min(0.26, 0.66 / max(len(series), 1))
    for position, row in enumerate(rows):
        if position:
            axes.axhline(position - 0.5, color=RULE, linewidth=1.2 if rows[position - 1].emphasised else 0.6)
        for look, estimate, offset in zip(series, row.estimates, offsets, strict=True):
            draw_estimate(axes, position + offset, estimate, look)
    if line_at is not None:
        axes.axvline(line_at, color=MUTED, linewidth=0.9, dashes=(3, 3), zorder=1)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    label_rows(axes, [row.label for row in rows], emphasised=[row.emphasised for row in rows])
    strip_frame(axes)
    set_range(axes, [e for row in rows for e in row.estimates], line_at, bounds)


def dots(
    name: str,
    title: str,
    entries: Sequence[tuple[Series, Estimate]],
    *,
    show: Callable[[float], str],
    line_at: float | None,
    description: str,
) -> Markup:
    """Return a small dot plot of one metric: arms and baselines as rows, the numbers at the right."""
    labels = [look.label for look, _ in entries]
    top, bottom, line_px = 26, 24, row_height_px(labels, 21)
    left = label_width_px(labels, most=126)
    height = top + bottom + line_px * len(entries)
    with drawing_style(name):
        axes = one_axes(_NARROW_PX, height, left=left, right=54, top=top, bottom=bottom)
        for position, (look, estimate) in enumerate(entries):
            draw_estimate(axes, position, estimate, look)
            axes.annotate(
                show(estimate.value),
                (1, position),
                (48, 0),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                va="center_baseline",
                color=INK if look.filled else MUTED,
                fontsize=11.5,
            )
        label_rows(axes, labels, colours=[INK if look.filled else MUTED for look, _ in entries])
        axes.set_ylim(len(entries) - 0.4, -0.6)
        if line_at is not None:
            axes.axvline(line_at, color=MUTED, linewidth=0.9, dashes=(3, 3), zorder=1)
        strip_frame(axes)
        values = [estimate.value for _, estimate in entries if estimate.defined] or [0.0]
        from_zero = 0 <= min(values) < 0.5 * max(values)
        set_range(axes, [estimate for _, estimate in entries], 0.0 if from_zero else line_at)
        axes.xaxis.set_major_locator(few_ticks(4))
        draw_title(axes, title, left)
        return inline_svg(figure_of(axes), name, description, _ENLARGE)


def curves(
    name: str,
    title: str,
    quantity: str,
    histories: Sequence[History],
    arms: Sequence[str],
    *,
    description: str,
) -> Markup:
    """Return training curves of one quantity: one line a seed, one colour an arm."""
    from matplotlib.ticker import MaxNLocator

    left, top, bottom = 46, 28, 42
    with drawing_style(name):
        axes = one_axes(_NARROW_PX, 220, left=left, right=12, top=top, bottom=bottom)
        for history in histories:
            values = history.series.get(quantity, np.zeros(0))
            known = np.isfinite(values)
            if known.any():
                look = arm_series(arms, history.arm)
                axes.plot(history.epoch[known], values[known], color=look.colour, linewidth=1.4, alpha=0.8)
                axes.plot(
                    history.epoch[known][-1:],
                    values[known][-1:],
                    look.marker,
                    color=look.colour,
                    markersize=4.5,
                )
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        strip_frame(axes)
        axes.spines["bottom"].set_visible(True)
        axes.set_xlabel("epoch", labelpad=4)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(few_ticks(5))
        axes.margins(x=0.03)
        draw_title(axes, title, left)
        return inline_svg(figure_of(axes), name, description, _ENLARGE)


def label_counts(name: str, counts: Mapping[str, tuple[int, int, int]], *, description: str) -> Markup:
    """Return stacked bars of positive, negative and missing labels, a row a finding."""
    labels = list(counts)
    left, top, bottom, line_px = label_width_px(labels), 4, 40, row_height_px(labels, 26)
    with drawing_style(name):
        axes = one_axes(_WIDE_PX, top + bottom + line_px * len(labels), left=left, right=16, top=top, bottom=bottom)
        for position, counted in enumerate(counts.values()):
            _draw_counts(axes, position, counted)
        label_rows(axes, labels)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        strip_frame(axes)
        axes.set_xlabel("share of cases", labelpad=6)
        return inline_svg(figure_of(axes), name, description, _ENLARGE)


def _draw_counts(axes: Axes, position: int, counted: tuple[int, int, int]) -> None:
    """Draw one finding's positive, negative and missing labels as shares of the cases."""
    positive, negative, missing = np.array(counted) / max(sum(counted), 1)
    axes.barh(position, positive, height=0.52, color=ARM_COLOURS[1])
    axes.barh(position, negative, left=positive, height=0.52, color=RULE)
    unlabelled = axes.barh(position, missing, left=positive + negative, height=0.52, color="none", hatch="////")
    for bar in unlabelled:
        bar.set(edgecolor=MUTED, linewidth=0)
    inside = positive > 0.12
    axes.text(
        positive - 0.01 if inside else positive + 0.01,
        position,
        f"{counted[0]:,}",
        ha="right" if inside else "left",
        va="center_baseline",
        fontsize=11,
        color=CARD if inside else INK,
    )
