"""A table drawn: accuracies with their intervals on the left, differences to the base right."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from carlib.experiments.estimate import Estimate
from carlib.experiments.table import Line, Table
from carlib.experiments.verdict import UNKNOWN
from carlib.style.drawing import (
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

LONGEST_NAME = 34


@dataclass(frozen=True, slots=True)
class _Row:
    """A line of the figure: an arm, or the title of those below it."""

    title: str = ""
    line: Line | None = None
    base: bool = False


def draw(tables: Sequence[Table], theme: Theme = LIGHT) -> Figure:
    """Draw tables one below the other; a full dot is a verdict, an empty one none.

    Args:
        tables: An experiment's, or one a round of a search.
        theme: Colours. Defaults to LIGHT.
    """
    rows = list(_rows(tables))
    figure = blank(WIDTH, 0.85 + 0.3 * len(rows), theme)
    left, right = figure.subplots(1, 2, sharey=True)
    for axes in (left, right):
        frame(axes, theme, grid="x")
        axes.xaxis.set_major_locator(MaxNLocator(nbins=5, steps=[1, 2, 2.5, 5, 10]))
    names = [
        short(row.line.arm.name, at, LONGEST_NAME) if row.line else row.title
        for at, row in enumerate(rows)
    ]
    left.set_yticks(range(len(rows)), names, color=theme.ink, **typeface(8))
    left.set_ylim(len(rows) - 0.4, -0.6)
    right.tick_params(labelleft=False)
    right.axvline(0, color=theme.muted, lw=0.9, zorder=2)
    for label, row in zip(left.get_yticklabels(), rows, strict=True):
        if row.title:
            label.set_color(theme.muted)
    for place, row in enumerate(rows):
        if row.line is not None:
            _draw(left, right, place, row.line, row.base, theme)
    left.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    right.xaxis.set_major_formatter(FuncFormatter(_points))
    name_axis(left.set_xlabel, "validation accuracy, mean and 95% interval", theme)
    name_axis(right.set_xlabel, "difference to the base, points, and 95% interval", theme)
    low, high = right.get_xlim()
    right.set_xlim(low, high + 0.32 * (high - low))  # room for the verdicts
    return figure


def _points(value: float, _: object) -> str:
    return f"{100 * value:+.3g}" if value else "0"


def _rows(tables: Sequence[Table]) -> Iterator[_Row]:
    for table in tables:
        groups = [(table.experiment.name, table.lines), ("on the proxy", table.proxy)]
        named = len(tables) > 1 or bool(table.proxy)
        for title, lines in groups:
            if lines and named:
                yield _Row(title=short(title, 0, LONGEST_NAME))
            name = table.experiment.base.name
            yield from (_Row(line=line, base=line.arm.name == name) for line in lines)


def _draw(left: Axes, right: Axes, place: int, line: Line, base: bool, theme: Theme) -> None:
    if line.accuracy is None:
        beside(left, left.get_xlim()[0], place, "no run finished", theme)
        return
    clear = line.comparison is None or line.comparison.verdict != UNKNOWN
    colour = theme.muted if line.comparison is None else theme.accent
    low, high = line.accuracy.interval()
    _point(left, place, line.accuracy.mean, (max(0.0, low), min(1.0, high)), colour, clear, theme)
    if line.comparison is None:
        words = "base" if base else "no run of the base to compare with"
        beside(right, 0.0, place, words, theme)
        return
    found: Estimate = line.comparison.difference
    _point(right, place, found.mean, found.interval(), colour, clear, theme)
    words = line.comparison.verdict
    beside(right, max(found.mean, found.interval()[1]), place, words, theme)


def _point(
    axes: Axes,
    place: int,
    value: float,
    interval: tuple[float, float],
    colour: str,
    clear: bool,
    theme: Theme,
) -> None:
    axes.plot(interval, [place, place], color=colour, lw=1.6, solid_capstyle="butt", zorder=3)
    axes.plot(
        [value],
        [place],
        marker="o",
        ms=5.5,
        mfc=colour if clear else theme.card,
        mec=colour,
        mew=1.4,
        ls="none",
        zorder=4,
    )
