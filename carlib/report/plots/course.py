"""The course of a run, epoch by epoch: curves, and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from carlib.style.drawing import (
    FONT,
    LIGHT,
    WIDTH,
    Theme,
    blank,
    frame,
    name_axis,
    short,
    typeface,
)


@dataclass(frozen=True, slots=True)
class Band:
    """Epochs ``first`` to ``last`` of a phase."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, eq=False)
class Course:
    """A training run epoch by epoch.

    Args:
        columns: Equally long arrays: epoch, lr, loss, accuracy, val_loss, val_accuracy; maybe
            lr_start.
        bands: The phases, in order.
        sessions: Each session's name and first epoch.
        best: Number of the best epoch, or None.
        validated: Whether photos were kept for validation.
    """

    columns: dict[str, NDArray[Any]]
    bands: Sequence[Band]
    sessions: Sequence[tuple[str, int]] = ()
    best: int | None = None
    validated: bool = True

    def finite(self, name: str) -> NDArray[Any]:
        """Return a column with NaN for infinite values, which would stretch an axis away."""
        values = np.asarray(self.columns[name], float)
        return np.where(np.isfinite(values), values, np.nan)


def curves(course: Course, theme: Theme = LIGHT) -> Figure:
    """Draw accuracy above loss, training and validation, over the epochs."""
    figure = blank(WIDTH, 5.6, theme)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, name in ((upper, "accuracy"), (lower, "loss")):
        frame(axes, theme)
        _bands(axes, course, theme, named=axes is upper)
        _pair(axes, course, name, theme)
        name_axis(axes.set_ylabel, name, theme)
    _legend(upper, theme)
    low, high = lower.get_ylim()
    lower.set_ylim(low - 0.12 * (high - low), high)  # room for the sessions below the curves
    upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.4g}%"))
    _sessions(lower, course, theme)
    name_axis(lower.set_xlabel, "epoch", theme)
    return figure


def lr(course: Course, theme: Theme = LIGHT) -> Figure:
    """Draw the learning rate as one line over the run, from each epoch's first step to its last.

    Logarithmic where it spans a decade; what lies more than four below the peak runs out
    through the bottom.
    """
    figure = blank(WIDTH, 2.6, theme)
    axes = figure.subplots()
    frame(axes, theme)
    _bands(axes, course, theme, named=True)
    places, values = _steps(course)
    above = values[values > 0]
    if above.size and above.max() >= 10 * above.min():
        low, high = max(above.min(), above.max() / 1e4), above.max()
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(low * (low / high) ** 0.15 / 1.2, high * 1.5)
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    elif above.size:
        axes.set_ylim(0, above.max() * 1.12)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _rate(value)))
    axes.plot(places, values, color=theme.accent, lw=1.8, ls="-", marker="", label="_", zorder=3)
    _sessions(axes, course, theme)
    name_axis(axes.set_ylabel, "learning rate", theme)
    name_axis(axes.set_xlabel, "epoch", theme)
    return figure


def _steps(course: Course) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the places and values of the learning rate, a first and a last one an epoch."""
    epochs, ends = np.asarray(course.columns["epoch"], float), course.finite("lr")
    begins = course.finite("lr_start" if "lr_start" in course.columns else "lr").copy()
    if "lr_start" not in course.columns:
        # An older run: an epoch began where the one before ended, unless a phase began with it.
        follows = ~np.isin(epochs[1:], [band.first for band in course.bands])
        begins[1:] = np.where(follows & np.isfinite(ends[:-1]), ends[:-1], ends[1:])
    places = np.stack([epochs - 0.5, epochs + 0.5], axis=1)
    return places.ravel(), np.stack([begins, ends], axis=1).ravel()


def _bands(axes: Axes, course: Course, theme: Theme, named: bool) -> None:
    """Shade every second phase, and write the names of all above the axes."""
    first, last = course.bands[0].first, course.bands[-1].last
    axes.set_xlim(first - 0.5, last + 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=12, integer=True, min_n_ticks=1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0f}"))
    for number, band in enumerate(course.bands):
        left, right = band.first - 0.5, band.last + 0.5
        if number % 2 == 0:
            axes.axvspan(left, right, facecolor=theme.band, edgecolor="none", lw=0, zorder=0)
        room = int(110 * (right - left) / (last - first + 1))  # characters above the band
        if named and room >= 2:
            axes.text(
                (left + right) / 2,
                1.02,
                short(band.name, number, min(room, 40)),
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                color=theme.ink,
                **typeface(8),
            )


def _pair(axes: Axes, course: Course, name: str, theme: Theme) -> None:
    """Draw training (grey, dashed) and validation (accent), the best epoch, what is not finite."""
    epochs = course.columns["epoch"]
    training, validation = course.finite(name), course.finite(f"val_{name}")
    _line(axes, epochs, training, theme.muted, len(epochs), "--", "training")
    if course.validated:
        _line(axes, epochs, validation, theme.accent, len(epochs), "-", "validation")
    at = np.flatnonzero(epochs == course.best)
    if at.size and np.isfinite(validation[at[0]]):
        label = f"best epoch, {course.best}"
        ring: dict[str, Any] = {
            "mfc": theme.card,
            "mec": theme.accent,
            "mew": 2.0,
            "ms": 8.0,
            "zorder": 5,
        }
        axes.plot(epochs[at[:1]], validation[at[:1]], marker="o", ls="none", label=label, **ring)
    names = ("loss", "accuracy", *(("val_loss", "val_accuracy") if course.validated else ()))
    lost = epochs[~np.isfinite([course.finite(key) for key in names]).all(axis=0)]
    if lost.size:
        foot: dict[str, Any] = {
            "transform": axes.get_xaxis_transform(),
            "clip_on": False,
            "zorder": 6,
        }
        cross: dict[str, Any] = {
            "marker": "x",
            "ms": 6.0,
            "mew": 1.6,
            "mec": theme.ink,
            "ls": "none",
        }
        axes.plot(lost, np.full(len(lost), 0.04), label="NaN or infinite", **foot, **cross)
    axes.margins(y=0.08)
    if not np.isfinite([training, validation]).any():
        axes.set_ylim(0, 1)


def _legend(axes: Axes, theme: Theme) -> None:
    legend = axes.legend(
        loc="lower right",  # where accuracy, which rises, leaves room
        frameon=False,
        labelcolor=theme.ink,
        prop=FontProperties(family=[FONT], size=8),
        borderaxespad=0.6,
        handlelength=2.4,
    )
    legend.set_zorder(7)


def _line(
    axes: Axes,
    epochs: NDArray[Any],
    values: NDArray[Any],
    colour: str,
    length: int,
    style: str = "-",
    label: str = "",
) -> None:
    # Dots on short runs: a line of one epoch, or between two NaN, would not be seen.
    alone = np.isfinite(values).sum() < 2 or np.isnan(values).any()
    axes.plot(
        epochs,
        values,
        color=colour,
        lw=1.8,
        ls=style,
        marker="o" if length <= 40 or alone else "",
        ms=3.2,
        mec=colour,
        mfc=colour,
        mew=0.0,
        label=label,
        zorder=3,
    )


def _sessions(axes: Axes, course: Course, theme: Theme) -> None:
    """Mark on the lower edge where each session began."""
    first, last = course.bands[0].first, course.bands[-1].last
    room = 90 / max(1, last - first + 1)  # characters an epoch
    free = -math.inf
    for name, epoch in course.sessions:
        place = max(epoch, first) - 0.5
        edge: dict[str, Any] = {
            "transform": axes.get_xaxis_transform(),
            "clip_on": False,
            "zorder": 6,
        }
        axes.plot(
            [place, place], [0, 0.09], color=theme.ink, lw=1.4, ls="-", marker="", label="_", **edge
        )
        text = short(f"session {name}", 0, 24)
        if place >= free:  # else it would run into the one before
            axes.annotate(
                text,
                (place, 0.03),
                (4, 0),
                xycoords=axes.get_xaxis_transform(),
                textcoords="offset points",
                ha="left",
                va="bottom",
                color=theme.muted,
                annotation_clip=False,
                zorder=6,
                **typeface(7.5),
            )
            free = place + (len(text) + 2) / room


def _rate(value: float) -> str:
    """Return a learning rate as people write it: 0.02, 1e-5."""
    return f"{value:.3g}" if value >= 0.01 or value == 0 else f"{value:.2g}".replace("e-0", "e-")
