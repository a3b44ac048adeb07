"""Bars: what trains in each phase and where its time goes, and the hours of each session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, MaxNLocator

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
from carlib.style.text import clock, percent

UNITS = ((3600.0, "hours"), (60.0, "minutes"), (1.0, "seconds"))
SHARES = ("layers", "parameters", "compute")
SECONDS = ("training", "validation", "features")


@dataclass(frozen=True, slots=True)
class Effort:
    """What a phase trains and takes.

    Args:
        name: Of the phase.
        shares: Trainable share, 0..1, of SHARES, as far as known.
        seconds: Spent on SECONDS, as far as known.
    """

    name: str
    shares: Mapping[str, float]
    seconds: Mapping[str, float]


def phases(efforts: Sequence[Effort], theme: Theme = LIGHT) -> Figure:
    """Draw the trainable share of each phase on the left, its time on the right."""
    figure = blank(WIDTH, 1.15 + 0.62 * len(efforts), theme)
    left, right = figure.subplots(1, 2)
    colours = (theme.muted, theme.accent, theme.ink)
    names = [short(effort.name, number, 20) for number, effort in enumerate(efforts)]
    for axes in (left, right):
        _rows(axes, names, theme)
    for at, (kind, colour) in enumerate(zip(SHARES, colours, strict=True)):
        known = [(row, e.shares[kind]) for row, e in enumerate(efforts) if kind in e.shares]
        if not known:
            continue
        places = np.array([row for row, _ in known]) + (at - 1) * 0.26
        widths = [share for _, share in known]
        left.barh(places, widths, 0.22, color=colour, linewidth=0, label=kind, zorder=3)
        for place, share in zip(places, widths, strict=True):
            beside(left, share, place, percent(share, 1 if share < 0.1 else 0), theme, 6.5)
    left.set_xlim(0, 1.12)
    left.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"], color=theme.muted, **typeface(8))
    name_axis(left.set_xlabel, "share that trains", theme)
    totals = [sum(effort.seconds.values()) for effort in efforts]
    each, unit = _unit(max(totals, default=0.0))
    ends = np.zeros(len(efforts))
    for kind, colour in zip(SECONDS, (theme.accent, theme.muted, theme.ink), strict=True):
        widths = [effort.seconds.get(kind, 0.0) / each for effort in efforts]
        if any(widths):
            right.barh(
                np.arange(len(efforts)),
                widths,
                0.5,
                left=ends,
                color=colour,
                linewidth=0,
                label=kind,
                zorder=3,
            )
            ends = ends + widths
    for row, total in enumerate(totals):
        beside(right, total / each, row, clock(total) if total else "not known", theme)
    _long(right, max(totals, default=0.0) / each, unit, theme)
    for axes in (left, right):
        _legend(axes, theme)
    return figure


def sessions(hours: Sequence[tuple[str, str, float]], theme: Theme = LIGHT) -> Figure:
    """Draw the time of each session.

    Args:
        hours: Of each session its name, why it stopped, and its hours.
        theme: Colours.
    """
    figure = blank(WIDTH, 0.9 + 0.3 * len(hours), theme)
    axes = figure.subplots()
    _rows(axes, [short(f"session {name}", at, 24) for at, (name, _, _) in enumerate(hours)], theme)
    seconds = [spent * 3600 for _, _, spent in hours]
    each, unit = _unit(max(seconds, default=0.0))
    widths = [spent / each for spent in seconds]
    axes.barh(np.arange(len(hours)), widths, 0.55, color=theme.accent, linewidth=0, zorder=3)
    for row, (_, why, _) in enumerate(hours):
        words = f"{clock(seconds[row])}, {short(why, row, 40)}"
        beside(axes, widths[row], row, words, theme)
    _long(axes, max(widths, default=0.0), unit, theme, room=1.5)
    return figure


def _rows(axes: Axes, names: Sequence[str], theme: Theme) -> None:
    frame(axes, theme, grid="x")
    axes.set_yticks(range(len(names)), names, color=theme.ink, **typeface(8))
    axes.set_ylim(len(names) - 0.5, -0.5)


def _unit(seconds: float) -> tuple[float, str]:
    """Return the unit that ``seconds`` is told in: its seconds, and its name."""
    return next((unit for unit in UNITS if seconds >= 2 * unit[0]), UNITS[-1])


def _long(axes: Axes, longest: float, unit: str, theme: Theme, room: float = 1.28) -> None:
    axes.set_xlim(0, longest * room or 1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    name_axis(axes.set_xlabel, unit, theme)


def _legend(axes: Axes, theme: Theme) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(
            loc="lower left",
            bbox_to_anchor=(0, 1),
            ncols=3,
            frameon=False,
            labelcolor=theme.ink,
            prop=FontProperties(family=[FONT], size=8),
            borderaxespad=0.2,
            handlelength=1.0,
            columnspacing=1.4,
        )
