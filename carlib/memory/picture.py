"""A forecast drawn: what each work holds, by term, and how the largest phase grows."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, MaxNLocator
from matplotlib.transforms import ScaledTranslation

from carlib.memory.explain import Explanation
from carlib.memory.noun import Forecast
from carlib.memory.words import amount
from carlib.style.drawing import (
    FONT,
    LIGHT,
    WIDTH,
    Theme,
    beside,
    blank,
    frame,
    name_axis,
    short,
    typeface,
)

# Greys are the weights', blues the photos' and grow with them; the last is room for the allocator.
COLOURS = {
    "weights": "#1c2127",
    "slots": "#646c76",
    "gradients": "#a3abb5",
    "activations": "#0a61c9",
    "transients": "#6cb0ff",
    "input": "#bcd9fb",
    "allocator": "#ffffff",
}
NAMES = {
    "slots": "optimizer",
    "activations": "saved activations",
    "allocator": "the allocator's room, up to T",
}
FAR = 2.5  # times the longest bar: where the device's line is no longer drawn to scale


def draw(forecast: Forecast, said: Explanation | None = None, theme: Theme = LIGHT) -> Figure:
    """Draw the terms of each work against the device, and below it how the largest phase grows.

    Args:
        forecast: What is drawn.
        said: Of ``explain``; None leaves the lower row out. Defaults to None.
        theme: Colours of text and frame. Defaults to LIGHT.
    """
    bars = 1.55 + 0.36 * len(forecast.needs)
    figure = blank(WIDTH, bars + (2.75 if said else 0), theme)
    if said is None:
        _bars(figure.subplots(), forecast, theme)
        return figure
    upper, lower = figure.subfigures(2, 1, height_ratios=(bars, 2.75))
    for each in (upper, lower):
        each.set_facecolor(theme.card)
    _bars(upper.subplots(), forecast, theme)
    _laws(lower, forecast, said, theme)
    return figure


def _bars(axes: Axes, forecast: Forecast, theme: Theme) -> None:
    needs, device = forecast.needs, forecast.device
    frame(axes, theme, grid="x")
    names = [short(need.name, number, 24) for number, need in enumerate(needs)]
    axes.set_yticks(range(len(needs)), names, color=theme.ink, **typeface(8))
    axes.set_ylim(len(needs) - 0.4, -0.6)
    unit, unit_name = _unit(max(need.safe for need in needs))
    ends = np.zeros(len(needs))
    for term, colour in COLOURS.items():
        widths = np.array([need.terms[term] for need in needs]) / unit
        room = term == "allocator"
        axes.barh(
            range(len(needs)),
            widths,
            0.56,
            left=ends,
            color=colour,
            edgecolor=theme.muted if room else theme.card,
            linewidth=0.7 if room else 0.4,
            linestyle=(0, (2, 2)) if room else "solid",
            zorder=3,
        )
        ends = ends + widths
    for row, need in enumerate(needs):
        low, high = (value / unit for value in need.expected_between)
        axes.plot([low, high], [row, row], color=theme.ink, lw=1.2, zorder=5)
        middle = need.expected / unit
        dot: dict[str, Any] = {"marker": "o", "ms": 4, "mfc": theme.card, "mec": theme.ink}
        axes.plot([middle], [row], ls="none", mew=1.2, zorder=6, **dot)
        misses = forecast.fits(need) is False
        text = f"T {amount(need.safe)}" + (", does not fit" if misses else "")
        colours = dataclasses.replace(theme, muted=theme.ink) if misses else theme
        beside(axes, max(ends[row], high), row, text, colours)
    longest = max(ends.max(), *(need.expected_between[1] / unit for need in needs))
    axes.set_xlim(0, longest * 1.2)
    if device is not None:
        _line(axes, device.usable / unit, longest, f"{device.name}: {amount(device.usable)}", theme)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=7))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    name_axis(axes.set_xlabel, unit_name, theme)
    _legend(axes, forecast.recipe, theme)


def _line(axes: Axes, usable: float, longest: float, name: str, theme: Theme) -> None:
    """Mark the device's usable memory, or say that it is far to the right."""
    where: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "va": "bottom"}
    if usable > FAR * longest:
        text = f"{name}, {usable / longest:.0f} times the longest bar →"
        axes.text(
            axes.get_xlim()[1], 1.015, text, ha="right", color=theme.ink, **where, **typeface(8)
        )
        return
    axes.set_xlim(0, max(longest, usable) * 1.2)
    axes.axvline(usable, color=theme.ink, lw=1.4, ls=(0, (5, 2)), zorder=4)
    left = usable < axes.get_xlim()[1] / 2
    text = f" {name}" if left else f"{name} "
    axes.text(
        usable, 1.015, text, ha="left" if left else "right", color=theme.ink, **where, **typeface(8)
    )


def _legend(axes: Axes, recipe: str, theme: Theme) -> None:
    handles: list[Any] = [
        Patch(
            facecolor=colour,
            edgecolor=theme.muted if term == "allocator" else "none",
            linewidth=0.7,
            linestyle=(0, (2, 2)) if term == "allocator" else "solid",
            label=NAMES.get(term, term),
        )
        for term, colour in COLOURS.items()
    ]
    mark: dict[str, Any] = {"marker": "o", "ms": 4, "mfc": theme.card, "mec": theme.ink, "mew": 1.2}
    handles.append(Line2D([], [], color=theme.ink, lw=1.2, label="U, 95% of models", **mark))
    # Above the device's name, whatever the height of the axes.
    root: Any = axes.figure
    above = ScaledTranslation(0, 18 / 72, root.dpi_scale_trans)
    legend = axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        bbox_transform=axes.transAxes + above,
        ncols=4,
        frameon=False,
        labelcolor=theme.ink,
        prop=FontProperties(family=[FONT], size=8),
        borderaxespad=0.2,
        handlelength=1.4,
        columnspacing=1.6,
        title=f"{short(recipe, 0, 40)}: what a step holds at its peak; greys are the weights', "
        "blues the photos'",
        title_fontproperties=FontProperties(family=[FONT], size=9),
        alignment="left",
    )
    legend.get_title().set(color=theme.ink, parse_math=False)


def _laws(part: Any, forecast: Forecast, said: Explanation, theme: Theme) -> None:
    """Draw R over photos a step, their side, and what is frozen."""
    unit, unit_name = _unit(max(nbytes for _, nbytes in said.batches))
    left, middle, right = part.subplots(1, 3, sharey=True)
    names = ("photos a step", "their side, px", "blocks below the head, frozen")
    for axes, name in zip((left, middle, right), names, strict=True):
        frame(axes, theme)
        name_axis(axes.set_xlabel, name, theme)
        axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    name_axis(left.set_ylabel, f"R of phase {short(said.need.name, 0, 18)}, {unit_name}", theme)
    own = said.need.requested / unit
    batches, sizes = _pairs(said.batches, unit)
    _curve(left, batches, sizes, theme)
    _point(left, said.need.batch, own, theme)
    left.set_xlim(0, batches.max() * 1.06)
    _title(left, f"linear: {amount(said.need.per_photo)} a photo", theme)
    _side(middle, said, unit, theme)
    _frozen(right, said, unit, theme)
    tops = [sizes.max(), own, *(nbytes / unit for _, nbytes in said.sides)]
    left.set_ylim(0, max(*tops, *(cut.requested / unit for cut in said.frozen)) * 1.1)


def _side(axes: Axes, said: Explanation, unit: float, theme: Theme) -> None:
    if not said.sides:
        axes.set_xticks([])
        _title(axes, "no matter: cached features", theme)
        return
    sides, sizes = _pairs(said.sides, unit)
    # The law itself between the points: a constant and a square.
    square, constant = np.polyfit(sides**2, sizes, 1)
    places = np.linspace(0, sides.max() * 1.04, 100)
    law: dict[str, Any] = {"color": theme.accent, "lw": 1.8, "zorder": 3}
    axes.plot(places, constant + square * places**2, **law)
    _dots(axes, sides, sizes, theme)
    _point(axes, said.need.size, said.need.requested / unit, theme)
    axes.set_xlim(0, sides.max() * 1.1)
    axes.set_xticks(sides, [f"{side:.0f}" for side in sides], color=theme.muted, **typeface(8))
    _title(axes, "quadratic", theme)


def _frozen(axes: Axes, said: Explanation, unit: float, theme: Theme) -> None:
    cuts = said.frozen[:-1]
    shares = np.array([cut.share for cut in cuts])
    sizes = np.array([cut.requested for cut in cuts]) / unit
    stairs: dict[str, Any] = {"color": theme.accent, "lw": 1.8, "zorder": 3}
    axes.step(shares, sizes, where="post", **stairs)
    axes.set_xlim(-0.04, 1.06)
    places = [0, 0.25, 0.5, 0.75, 1]
    labels = ["0%", "25%", "50%", "75%", "100%"]
    axes.set_xticks(places, labels, color=theme.muted, **typeface(8))
    train: dict[str, Any] = {"color": theme.muted, "lw": 1.2, "ls": (0, (3, 2)), "zorder": 2}
    trained = np.array([cut.trained for cut in cuts]) * sizes[0]
    axes.step(shares, trained, where="post", **train)
    _title(axes, "a staircase", theme)
    axes.annotate(
        "share of parameters that train",
        (1.05, sizes[0]),
        (0, 4),
        textcoords="offset points",
        ha="right",
        va="bottom",
        color=theme.muted,
        **typeface(7.5),
    )


def _pairs(pairs: Sequence[tuple[int, int]], unit: float) -> tuple[Any, Any]:
    places, sizes = zip(*pairs, strict=True)
    return np.array(places, float), np.array(sizes, float) / unit


def _curve(axes: Axes, places: Any, sizes: Any, theme: Theme) -> None:
    line: dict[str, Any] = {"color": theme.accent, "lw": 1.8, "zorder": 3}
    axes.plot(places, sizes, **line)
    _dots(axes, places, sizes, theme)


def _dots(axes: Axes, places: Any, sizes: Any, theme: Theme) -> None:
    dot: dict[str, Any] = {"ls": "none", "marker": "o", "ms": 3.2, "mew": 0, "zorder": 4}
    axes.plot(places, sizes, mfc=theme.accent, **dot)


def _point(axes: Axes, place: float, size: float, theme: Theme) -> None:
    """Ring the phase itself."""
    ring: dict[str, Any] = {"marker": "o", "ms": 8, "mew": 1.8, "zorder": 5, "ls": "none"}
    axes.plot([place], [size], mfc="none", mec=theme.ink, **ring)


def _title(axes: Axes, text: str, theme: Theme) -> None:
    axes.set_title(text, loc="left", color=theme.ink, pad=6, **typeface(9))


def _unit(nbytes: float) -> tuple[float, str]:
    return (1e9, "GB") if nbytes >= 2e9 else (1e6, "MB")
