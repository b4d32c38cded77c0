"""Axes with margins in pixels, and the marks that the report's figures share."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import numpy as np

from mmpkd.report.data import Estimate
from mmpkd.report.svg import ARM_COLOURS, ARM_MARKERS, CARD, INK, MUTED, PX_PER_INCH

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

_BASELINE_MARKERS = ("|", "x", "+", "1", "2", "3")
_LINE_PX = 13.5


@dataclass(frozen=True)
class Series:
    """How one arm or baseline looks: colour and marker, so that colour is never the only sign."""

    label: str
    colour: str
    marker: str
    filled: bool = True


def arm_series(arms: Sequence[str], arm: str, label: str | None = None) -> Series:
    """Return the look of an arm, the same in every figure of a report."""
    index = arms.index(arm) if arm in arms else len(arms)
    return Series(label or arm, ARM_COLOURS[index % len(ARM_COLOURS)], ARM_MARKERS[index % len(ARM_MARKERS)])


def baseline_series(index: int, label: str) -> Series:
    """Return the look of a baseline: muted, with an open marker."""
    return Series(label, MUTED, _BASELINE_MARKERS[index % len(_BASELINE_MARKERS)], filled=False)


def one_axes(width: float, height: float, *, left: float, right: float, top: float, bottom: float) -> Axes:
    """Return axes with margins in pixels, in a figure of ``width`` x ``height`` pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / PX_PER_INCH, height / PX_PER_INCH))
    box = (left / width, bottom / height, 1 - (left + right) / width, 1 - (top + bottom) / height)
    return figure.add_axes(box)


def draw_estimate(axes: Axes, height: float, estimate: Estimate, look: Series) -> None:
    """Draw a marker with its interval at a row; nothing where the estimate is undefined."""
    if not estimate.defined:
        return
    if estimate.has_interval:
        axes.plot(
            [estimate.low, estimate.high],
            [height, height],
            color=look.colour,
            linewidth=1.7,
            solid_capstyle="butt",
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


def strip_frame(axes: Axes) -> None:
    """Leave only the axis at the bottom."""
    for side in ("left", "right", "top"):
        axes.spines[side].set_visible(False)
    axes.tick_params(axis="y", length=0, pad=6)
    axes.tick_params(axis="x", length=3, width=0.8)


def set_range(
    axes: Axes,
    estimates: Sequence[Estimate],
    include: float | None,
    bounds: tuple[float, float] = (-np.inf, np.inf),
) -> None:
    """Let the axis span the estimates, their intervals and ``include``, hardly beyond ``bounds``."""
    values = [v for e in estimates for v in (e.value, e.low, e.high) if np.isfinite(v)]
    if include is not None:
        values.append(include)
    if not values:
        values = [0.0, 1.0]
    low, high = min(values), max(values)
    pad = 0.06 * (high - low) or 0.05
    axes.set_xlim(max(low - pad, bounds[0] - 0.2 * pad), min(high + pad, bounds[1] + 0.2 * pad))
    axes.xaxis.set_major_locator(few_ticks(6))


def few_ticks(count: int) -> MaxNLocator:
    """Return a locator of at most ``count`` round ticks."""
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(count, steps=[1, 2, 2.5, 5, 10])


def legend_columns(series: Sequence[Series], width_px: float) -> int:
    """Return how many names of a legend fit side by side."""
    widest = 6.9 * max(len(look.label) for look in series) + 46
    return int(np.clip(width_px // widest, 1, len(series)))


def draw_legend(axes: Axes, series: Sequence[Series], columns: int) -> None:
    """Draw the series' names above the axes, growing leftwards from their right end."""
    from matplotlib.lines import Line2D

    handles = [
        Line2D([], [], color=s.colour, marker=s.marker, markeredgecolor=CARD, markersize=7, label=s.label)
        for s in series
    ]
    axes.legend(
        handles=handles,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        ncols=columns,
        frameon=False,
        borderaxespad=0.2,
        handlelength=1.5,
        handletextpad=0.5,
        columnspacing=1.4,
        labelspacing=0.35,
        fontsize=11.5,
    )


def draw_title(axes: Axes, title: str, left_px: float) -> None:
    """Write a title at the left edge of the figure."""
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


def figure_of(axes: Axes) -> Figure:
    """Return the figure of the axes."""
    return cast("Figure", axes.get_figure())


def _wrapped(label: str, width: int = 19) -> list[str]:
    return textwrap.wrap(label, width, max_lines=2, placeholder=" …") or [label]


def label_width_px(labels: Sequence[str], most: float = 148) -> float:
    """Return the room that the wrapped labels need; 6.9 px a letter is DejaVu Sans at 11 px, a wide face."""
    longest = max((len(line) for label in labels for line in _wrapped(label)), default=0)
    return min(6.9 * longest + 14, most)


def row_height_px(labels: Sequence[str], least: float) -> float:
    """Return the height of a row that holds the wrapped labels."""
    return max(least, 30.0 if any(len(_wrapped(label)) > 1 for label in labels) else 0.0)


def label_rows(axes: Axes, labels: Sequence[str], emphasised: Sequence[bool] = (), colours: Sequence[str] = ()) -> None:
    """Write the rows' labels left of the axes, line by line, so that any typeface aligns at the right."""
    axes.set_yticks([])
    for row, label in enumerate(labels):
        lines = _wrapped(label)
        for index, line in enumerate(lines):
            axes.annotate(
                line,
                (0, row),
                (-7, ((len(lines) - 1) / 2 - index) * _LINE_PX),
                xycoords=axes.get_yaxis_transform(),
                textcoords="offset points",
                ha="right",
                va="center_baseline",
                fontsize=11.5,
                color=colours[row] if colours else INK,
                fontweight="bold" if emphasised and emphasised[row] else "normal",
            )


def arm_styles(arms: Sequence[str]) -> dict[str, str]:
    """Return the CSS class that gives each arm its colour, so that tables and pictures match the figures."""
    return {arm: f"arm-{index % len(ARM_COLOURS)}" for index, arm in enumerate(arms)}
