"""A sweep drawn: the loss over the learning rate."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullFormatter

from carlib.lr_find.curve import Curve
from carlib.style.drawing import LIGHT, WIDTH, Theme, blank, frame, name_axis, typeface

HIGH_ENOUGH = 1.5  # of the loss's fall: what blows up further is cut off


def draw(curve: Curve, theme: Theme = LIGHT) -> Figure:
    """Draw a sweep: dots are steps, the line is their smoothed course, a rule the suggestion.

    Args:
        curve: Of ``find_lr``.
        theme: Colours. Defaults to LIGHT.
    """
    figure = blank(WIDTH * 0.75, 3.6, theme)
    axes = figure.subplots()
    frame(axes, theme)
    axes.set_xscale("log")
    # Powers of ten as plain numbers: the log axis' own labels are formulas.
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.plot(curve.rates, curve.losses, "o", ms=2.5, color=theme.muted, alpha=0.6, zorder=3)
    axes.plot(curve.rates, curve.smoothed, color=theme.accent, lw=1.8, zorder=4)
    low, first = float(np.min(curve.smoothed)), float(curve.smoothed[0])
    room = max(first - low, 0.1 * abs(first), 1e-6)
    axes.set_ylim(low - 0.15 * room, first + HIGH_ENOUGH * room)
    axes.yaxis.set_major_locator(MaxNLocator(nbins=5))
    if curve.suggestion is not None:
        axes.axvline(curve.suggestion, color=theme.ink, lw=1.0, ls=(0, (4, 3)), zorder=2)
        axes.annotate(
            f"try {curve.suggestion:g}",
            (curve.suggestion, 1),
            (4, -4),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            va="top",
            color=theme.ink,
            **typeface(8.5),
        )
    name_axis(axes.set_xlabel, "learning rate", theme)
    name_axis(axes.set_ylabel, "loss", theme)
    return figure
