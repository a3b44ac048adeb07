"""Classes: what is taken for what, and how much of each is recognised."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from numpy.typing import NDArray

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

NUMBERS_UP_TO = 20  # classes; above it a count no longer fits its cell of the confusion matrix
LABELS_UP_TO = 30  # class labels along a side
SHOWN_UP_TO = 600  # classes; a picture of more would be too high to open


@dataclass(frozen=True, slots=True)
class Recall:
    """A class: its number and name, the share of its photos recognised, and that share's interval.

    Args:
        number: In the order of the classes; shown where no font has the name.
        name: Of the class.
        share: Recall, 0..1.
        low: Of the 95% interval.
        high: Of the 95% interval.
        photos: That it was measured on.
    """

    number: int
    name: str
    share: float
    low: float
    high: float
    photos: int


def confusion(counts: NDArray[Any], classes: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """Draw the confusion matrix.

    Args:
        counts: Shape (C, C): photos of the row's class taken for the column's.
        classes: C names.
        theme: Colours.
    """
    many = len(classes)
    side = 5.4 if many <= 12 else 7.2 if many <= LABELS_UP_TO else 8.6
    figure = blank(side, side, theme)
    axes = figure.subplots()
    frame(axes, theme, grid="")
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    ramp = LinearSegmentedColormap.from_list("share", [theme.card, theme.accent])
    # The root lifts rare mistakes off the ground; a plain ramp hides 1 of 50.
    axes.imshow(np.sqrt(share), ramp, vmin=0, vmax=1, interpolation="nearest", origin="upper")
    if many <= NUMBERS_UP_TO:
        for row, column in np.argwhere(counts > 0):
            shade = theme.card if share[row, column] > 0.3 else theme.ink
            text = f"{counts[row, column]:d}"
            axes.text(column, row, text, ha="center", va="center", color=shade, **typeface(8))
        edges = np.arange(many + 1) - 0.5
        axes.hlines(edges, -0.5, many - 0.5, theme.line, lw=0.5, ls="solid")
        axes.vlines(edges, -0.5, many - 0.5, theme.line, lw=0.5, ls="solid")
    step = math.ceil(many / LABELS_UP_TO)
    places = list(range(0, many, step))
    labels = [short(classes[place], place) for place in places]
    size = 8 if many <= NUMBERS_UP_TO else 6.5
    style = typeface(size, color=theme.ink)
    axes.set_xticks(places, labels, rotation=90 if max(map(len, labels)) > 3 else 0, **style)
    axes.set_yticks(places, labels, **style)
    name_axis(axes.set_xlabel, "predicted", theme)
    name_axis(axes.set_ylabel, "true", theme)
    return figure


def recalls(rows: Sequence[Recall], theme: Theme = LIGHT) -> Figure:
    """Draw the recall of each class with its interval, in columns, in the order given.

    Of more than SHOWN_UP_TO classes, the first.
    """
    shown = rows[:SHOWN_UP_TO]
    columns = 1 if len(shown) <= 30 else 2 if len(shown) <= 80 else 3
    length = max(1, math.ceil(len(shown) / columns))
    figure = blank(WIDTH, 0.8 + 0.18 * max(length, 3), theme)
    for at, axes in enumerate(figure.subplots(1, columns, squeeze=False)[0]):
        part = shown[at * length : (at + 1) * length]
        frame(axes, theme, grid="x")
        places = np.arange(len(part))
        shares = [row.share for row in part]
        low, high = [row.low for row in part], [row.high for row in part]
        axes.barh(places, shares, 0.66, color=theme.accent, alpha=0.35, linewidth=0, zorder=2)
        axes.hlines(places, low, high, theme.ink, lw=0.9, ls="solid", zorder=3)
        dot: dict[str, Any] = {"mec": theme.accent, "mfc": theme.accent, "mew": 0.0, "ms": 4.0}
        axes.plot(shares, places, ls="none", marker="o", zorder=4, **dot)
        for place, row in zip(places, part, strict=True):
            beside(axes, 1, place, f"{row.share:.0%} of {row.photos:,}", theme, 7)
        names = [short(row.name, row.number, 24) for row in part]
        axes.set_yticks(places, names, color=theme.ink, **typeface(7.5))
        axes.set_xlim(0, 1)
        axes.set_ylim(length - 0.5, -0.5)
        axes.set_xticks([0, 0.5, 1], ["0%", "50%", "100%"], color=theme.muted, **typeface(8))
    least = f" (the lowest {len(shown)} of {len(rows)})" if len(shown) < len(rows) else ""
    words = f"recall with 95% interval{least}"
    figure.supxlabel(words, color=theme.muted, fontweight="normal", **typeface(9))
    return figure
