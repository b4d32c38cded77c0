"""Draws the report's figures: estimates with intervals, training curves, label counts.

Each ``draw_*`` function draws on given axes, so that the page and the summary picture share them; the functions
without prefix make a whole figure for the page. Widths are those of a phone, so that nothing need shrink much.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from mmpkd.report.data import Estimate, History
from mmpkd.report.svg import (
    ARM_COLOURS,
    ARM_MARKERS,
    CARD,
    INK,
    MUTED,
    PX_PER_INCH,
    RULE,
    drawing_style,
    inline_svg,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BASELINE_MARKERS = ("|", "x", "+", "1", "2", "3")


@dataclass(frozen=True)
class Series:
    """How one arm or baseline looks: colour and marker, so that colour is never the only sign."""

    label: str
    colour: str
    marker: str
    filled: bool = True


@dataclass(frozen=True)
class ForestRow:
    """One labelled line of a forest plot: an estimate per series."""

    label: str
    estimates: tuple[Estimate, ...]
    emphasised: bool = False


def arm_series(arms: Sequence[str], arm: str, label: str | None = None) -> Series:
    """Return the look of an arm, the same in every figure of a report."""
    index = arms.index(arm) if arm in arms else len(arms)
    return Series(label or arm, ARM_COLOURS[index % len(ARM_COLOURS)], ARM_MARKERS[index % len(ARM_MARKERS)])


def baseline_series(index: int, label: str) -> Series:
    """Return the look of a baseline: muted, with an open marker."""
    return Series(label, MUTED, _BASELINE_MARKERS[index % len(_BASELINE_MARKERS)], filled=False)


def forest(
    name: str,
    rows: Sequence[ForestRow],
    series: Sequence[Series],
    *,
    axis_label: str,
    line_at: float | None,
    description: str,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> Markup:
    """Return a forest plot: rows top to bottom, one marker with its interval per series."""
    line_px = _row_height_px(rows, len(series))
    left, top, bottom = _label_width_px([row.label for row in rows]), 30, 44
    height = top + bottom + line_px * len(rows)
    with drawing_style(name):
        axes = _one_axes(500, height, left=left, right=16, top=top, bottom=bottom)
        draw_forest(axes, rows, series, line_at=line_at, bounds=bounds)
        axes.set_xlabel(axis_label, labelpad=6)
        _legend(axes, series, top)
        return inline_svg(_figure_of(axes), name, description)


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
            _draw_estimate(axes, position + offset, estimate, look)
    if line_at is not None:
        axes.axvline(line_at, color=MUTED, linewidth=0.9, dashes=(3, 3), zorder=1)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_yticks(range(len(rows)), [_wrapped(row.label) for row in rows])
    for label, row in zip(axes.get_yticklabels(), rows, strict=True):
        label.set_color(INK)
        label.set_fontweight("bold" if row.emphasised else "normal")
        label.set_linespacing(1.0)
    _bare(axes)
    _set_range(axes, [e for row in rows for e in row.estimates], line_at, bounds)


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
    top, bottom, line_px = 26, 24, 21
    left = _label_width_px([look.label for look, _ in entries], most=126)
    height = top + bottom + line_px * len(entries)
    with drawing_style(name):
        axes = _one_axes(330, height, left=left, right=54, top=top, bottom=bottom)
        for position, (look, estimate) in enumerate(entries):
            _draw_estimate(axes, position, estimate, look)
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
        axes.set_yticks(range(len(entries)), [look.label for look, _ in entries])
        for label, (look, _) in zip(axes.get_yticklabels(), entries, strict=True):
            label.set_color(INK if look.filled else MUTED)
        axes.set_ylim(len(entries) - 0.4, -0.6)
        if line_at is not None:
            axes.axvline(line_at, color=MUTED, linewidth=0.9, dashes=(3, 3), zorder=1)
        _bare(axes)
        _set_range(axes, [estimate for _, estimate in entries], 0.0 if line_at is None else line_at, (0.0, np.inf))
        axes.set_xlim(left=min(0.0, axes.get_xlim()[0]))
        axes.xaxis.set_major_locator(_few_ticks(4))
        _title(axes, title, left)
        return inline_svg(_figure_of(axes), name, description)


def curves(
    name: str, title: str, quantity: str, histories: Sequence[History], arms: Sequence[str], *, description: str
) -> Markup:
    """Return training curves of one quantity: one line a seed, one colour an arm."""
    from matplotlib.ticker import MaxNLocator

    left, top, bottom = 46, 28, 42
    with drawing_style(name):
        axes = _one_axes(330, 220, left=left, right=12, top=top, bottom=bottom)
        for history in histories:
            if quantity in history.series:
                look = arm_series(arms, history.arm)
                values = history.series[quantity]
                axes.plot(history.epoch, values, color=look.colour, linewidth=1.4, alpha=0.8)
                axes.plot(history.epoch[-1:], values[-1:], look.marker, color=look.colour, markersize=4.5)
        axes.grid(axis="y", color=RULE, linewidth=0.6)
        axes.set_axisbelow(True)
        _bare(axes)
        axes.spines["bottom"].set_visible(True)
        axes.set_xlabel("epoch", labelpad=4)
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.yaxis.set_major_locator(_few_ticks(5))
        axes.margins(x=0.03)
        _title(axes, title, left)
        return inline_svg(_figure_of(axes), name, description)


def label_counts(name: str, counts: Mapping[str, tuple[int, int, int]], *, description: str) -> Markup:
    """Return stacked bars of positive, negative and missing labels, as shares of all cases, a row a finding."""
    labels = [label for label in counts]
    left, top, bottom, line_px = _label_width_px(labels), 30, 40, 26
    with drawing_style(name):
        axes = _one_axes(500, top + bottom + line_px * len(labels), left=left, right=16, top=top, bottom=bottom)
        for position, (positive, negative, missing) in enumerate(counts.values()):
            whole = max(positive + negative + missing, 1)
            shares = np.array([positive, negative, missing]) / whole
            starts = np.concatenate([[0.0], np.cumsum(shares)[:-1]])
            axes.barh([position], shares[:1], left=starts[:1], height=0.52, color=ARM_COLOURS[1])
            axes.barh([position], shares[1:2], left=starts[1:2], height=0.52, color=RULE)
            axes.barh(
                [position], shares[2:], left=starts[2:], height=0.52, color="none", edgecolor=MUTED, hatch="////", lw=0
            )
            inside = shares[0] > 0.12
            axes.text(
                shares[0] - 0.01 if inside else shares[0] + 0.01,
                position,
                f"{positive:,}",
                ha="right" if inside else "left",
                va="center_baseline",
                fontsize=11,
                color=CARD if inside else INK,
            )
        axes.set_yticks(range(len(labels)), [_wrapped(label) for label in labels])
        for label in axes.get_yticklabels():
            label.set_color(INK)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_xlim(0, 1)
        axes.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0%", "25%", "50%", "75%", "100%"])
        _bare(axes)
        axes.set_xlabel("share of cases", labelpad=6)
        return inline_svg(_figure_of(axes), name, description)


def _one_axes(width: float, height: float, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Return axes with margins in pixels, in a figure of ``width`` x ``height`` pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / PX_PER_INCH, height / PX_PER_INCH))
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    return figure.add_axes(box)


def _draw_estimate(axes: Axes, height: float, estimate: Estimate, look: Series) -> None:
    if not estimate.defined:
        return
    if estimate.has_interval:
        axes.plot(
            [estimate.low, estimate.high], [height, height], color=look.colour, linewidth=1.7, solid_capstyle="butt"
        )
    edge = CARD if look.filled else look.colour
    axes.plot(
        [estimate.value],
        [height],
        marker=look.marker,
        linestyle="none",
        markersize=7.0 if look.filled else 7.5,
        markerfacecolor=look.colour,
        markeredgecolor=edge,
        markeredgewidth=0.9 if look.filled else 1.6,
        zorder=3,
    )


def _bare(axes: Axes) -> None:
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.tick_params(axis="x", length=3, width=0.8)


def _set_range(
    axes: Axes, estimates: Sequence[Estimate], include: float | None, bounds: tuple[float, float]
) -> None:
    values = [v for e in estimates for v in (e.value, e.low, e.high) if np.isfinite(v)]
    if include is not None:
        values.append(include)
    if not values:
        values = [0.0, 1.0]
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.05
    axes.set_xlim(max(low - pad, bounds[0] - 0.2 * pad), min(high + pad, bounds[1] + 0.2 * pad))
    axes.xaxis.set_major_locator(_few_ticks(6))


def _few_ticks(count: int) -> object:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count, steps=[1, 2, 2.5, 5, 10])


def _legend(axes: Axes, series: Sequence[Series], top_px: float) -> None:
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=look.colour, marker=look.marker, markeredgecolor=CARD, markersize=7, label=look.label)
        for look in series
    ]
    legend = axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=len(series),
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.5,
        handletextpad=0.5,
        columnspacing=1.4,
        fontsize=11.5,
    )
    legend.set_in_layout(top_px > 0)


def _title(axes: Axes, title: str, left_px: float) -> None:
    axes.annotate(
        title,
        (0, 1),
        (-left_px, 8),
        xycoords="axes fraction",
        textcoords="offset points",
        ha="left",
        va="bottom",
        fontsize=12,
        fontweight="bold",
    )


def _figure_of(axes: Axes) -> object:
    return axes.get_figure()


def _wrapped(label: str, width: int = 22) -> str:
    return "\n".join(textwrap.wrap(label, width, max_lines=2, placeholder=" …") or [label])


def _label_width_px(labels: Sequence[str], most: float = 170) -> float:
    """Return the room that the wrapped labels need; 6.9 px a letter is DejaVu Sans at 11 px, a wide face."""
    longest = max((len(line) for label in labels for line in _wrapped(label).split("\n")), default=0)
    return min(6.9 * longest + 14, most)


def _row_height_px(rows: Sequence[ForestRow], series: int) -> float:
    wrapped = any("\n" in _wrapped(row.label) for row in rows)
    return max(30 if wrapped else 26, 11 * series + 12)
