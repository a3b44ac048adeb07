"""The figures of a report, drawn with matplotlib's objects alone.

No pyplot and no rcParams: a notebook's own style neither changes these figures nor
is changed by them. Hence every colour, size and width is said here.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

DPI = 200  # twice what a page of 100 px an inch shows, for dense screens
WIDTH = 9.2  # inches, the width of the page's column
FONT = "DejaVu Sans"  # comes with matplotlib, so figures look alike everywhere
NUMBERS_UP_TO = 20  # classes; above it a count no longer fits its cell of the confusion matrix
LABELS_UP_TO = 30  # class labels along a side
LONGEST_LABEL = 16  # characters


@dataclass(frozen=True, slots=True)
class Theme:
    """Colours of a figure: one accent on greys, so that it reads without colour vision."""

    card: str
    ink: str
    muted: str
    line: str
    band: str
    accent: str
    tile: str


LIGHT = Theme("#ffffff", "#1c2127", "#646c76", "#d9dde3", "#f2f4f7", "#0a61c9", "#d5d9df")
DARK = Theme("#1b2027", "#e8ebef", "#9aa4b0", "#39414c", "#232a33", "#6cb0ff", "#3a424d")


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
        columns: Equally long arrays: epoch, lr, loss, accuracy, val_loss, val_accuracy.
        bands: The phases, in order.
        sessions: Each session's name and first epoch.
        best: Number of the best epoch, or None.
    """

    columns: dict[str, NDArray[Any]]
    bands: Sequence[Band]
    sessions: Sequence[tuple[str, int]] = ()
    best: int | None = None

    def finite(self, name: str) -> NDArray[Any]:
        """Return a column with NaN for infinite values, which would stretch an axis away."""
        values = np.asarray(self.columns[name], float)
        return np.where(np.isfinite(values), values, np.nan)


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A photo of the worst ones: its caption, and its thumbnail or None."""

    caption: str
    thumbnail: NDArray[Any] | None


def png(figure: Figure) -> bytes:
    """Return the figure as PNG.

    >>> png(Figure(figsize=(1, 1)))[1:4]
    b'PNG'
    """
    content = io.BytesIO()
    with warnings.catch_warnings():
        # A class name may hold what no font here draws; the page itself spells it out.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # savefig would ask rcParams for colours and borders; the canvas does not.
        canvas: Any = FigureCanvasAgg(figure)
        canvas.print_png(content, metadata={"Software": None})
    return content.getvalue()


def curves(course: Course, theme: Theme = LIGHT) -> Figure:
    """Draw accuracy above loss, training and validation, over the epochs."""
    figure = _figure(WIDTH, 5.6, theme)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, name in ((upper, "accuracy"), (lower, "loss")):
        _frame(axes, theme)
        _bands(axes, course, theme, named=axes is upper)
        _pair(axes, course, name, theme)
        _label(axes.set_ylabel, name, theme)
    _legend(upper, theme)
    low, high = lower.get_ylim()
    lower.set_ylim(low - 0.12 * (high - low), high)  # room for the sessions below the curves
    upper.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value * 100:.4g}%"))
    _sessions(lower, course, theme)
    _label(lower.set_xlabel, "epoch", theme)
    return figure


def lr(course: Course, theme: Theme = LIGHT) -> Figure:
    """Draw the learning rate at each epoch's end; logarithmic where it spans a decade."""
    figure = _figure(WIDTH, 2.3, theme)
    axes = figure.subplots()
    _frame(axes, theme)
    values = course.finite("lr")
    above = values[values > 0]
    if above.size and above.max() >= 10 * above.min():
        # An lr that ends at 0 runs out through the bottom.
        axes.set_yscale("log", nonpositive="clip")
        axes.set_ylim(above.min() / 1.8, above.max() * 1.8)
        axes.yaxis.set_major_locator(LogLocator(numticks=6))
        axes.yaxis.set_minor_locator(NullLocator())
    elif above.size:
        axes.set_ylim(0, above.max() * 1.12)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _rate(value)))
    _bands(axes, course, theme, named=True)
    epochs = course.columns["epoch"]
    for band in course.bands:  # a line a phase: each begins its schedule anew
        inside = (epochs >= band.first) & (epochs <= band.last)
        _line(axes, epochs[inside], values[inside], theme.accent, len(epochs))
    _label(axes.set_ylabel, "learning rate", theme)
    _label(axes.set_xlabel, "epoch", theme)
    return figure


def confusion(counts: NDArray[Any], classes: Sequence[str], theme: Theme = LIGHT) -> Figure:
    """Draw the confusion matrix.

    Args:
        counts: Shape (C, C): photos of the row's class taken for the column's.
        classes: C names.
        theme: Colours.
    """
    many = len(classes)
    side = 5.4 if many <= 12 else 7.2 if many <= LABELS_UP_TO else 8.6
    figure = _figure(side, side, theme)
    axes = figure.subplots()
    _frame(axes, theme, grid=False)
    totals = counts.sum(axis=1, keepdims=True)
    share = np.divide(counts, totals, out=np.zeros(counts.shape), where=totals > 0)
    ramp = LinearSegmentedColormap.from_list("share", [theme.card, theme.accent])
    # The root lifts rare mistakes off the ground; a plain ramp hides 1 of 50.
    axes.imshow(np.sqrt(share), ramp, vmin=0, vmax=1, interpolation="nearest", origin="upper")
    if many <= NUMBERS_UP_TO:
        for row, column in np.argwhere(counts > 0):
            shade = theme.card if share[row, column] > 0.3 else theme.ink
            text = f"{counts[row, column]:d}"
            axes.text(column, row, text, ha="center", va="center", color=shade, **_font(8))
        edges = np.arange(many + 1) - 0.5
        axes.hlines(edges, -0.5, many - 0.5, theme.line, lw=0.5, ls="solid")
        axes.vlines(edges, -0.5, many - 0.5, theme.line, lw=0.5, ls="solid")
    step = math.ceil(many / LABELS_UP_TO)
    places = list(range(0, many, step))
    labels = [_short(classes[place], place) for place in places]
    size = 8 if many <= NUMBERS_UP_TO else 6.5
    font = _font(size, color=theme.ink)
    axes.set_xticks(places, labels, rotation=90 if max(map(len, labels)) > 3 else 0, **font)
    axes.set_yticks(places, labels, **font)
    _label(axes.set_xlabel, "predicted", theme)
    _label(axes.set_ylabel, "true", theme)
    return figure


def worst(tiles: Sequence[Tile], theme: Theme = LIGHT) -> Figure:
    """Draw the worst photos as a grid of six a row."""
    rows = max(1, math.ceil(len(tiles) / 6))
    figure = _figure(WIDTH, 1.6 * rows, theme)
    for place, tile in enumerate(tiles):
        axes = figure.add_subplot(rows, 6, place + 1)
        axes.imshow(_framed(tile.thumbnail, theme), interpolation="antialiased", origin="upper")
        axes.set_aspect("equal")
        axes.set_axis_off()
        axes.set_title(
            tile.caption, loc="center", pad=3, color=theme.ink, fontweight="normal", **_font(6)
        )
    return figure


def _framed(photo: NDArray[Any] | None, theme: Theme) -> NDArray[Any]:
    """Return a 4:3 tile with the whole photo in its middle; all grey without one."""
    height, width = (96, 128) if photo is None else photo.shape[:2]
    high = max(height, math.ceil(width * 3 / 4))
    wide = max(width, math.ceil(high * 4 / 3))
    ground = theme.tile if photo is None else theme.band
    tile = np.full((high, wide, 3), np.array(to_rgb(ground)) * 255, np.uint8)
    if photo is not None:
        top, left = (high - height) // 2, (wide - width) // 2
        tile[top : top + height, left : left + width] = photo
    return tile


def _figure(width: float, height: float, theme: Theme) -> Figure:
    return Figure(
        (width, height), dpi=DPI, facecolor=theme.card, edgecolor=theme.card, layout="constrained"
    )


def _font(size: float, **more: Any) -> dict[str, Any]:
    # Names are data: a "$" in them must not start a formula.
    return {"fontsize": size, "fontfamily": FONT, "parse_math": False, "usetex": False, **more}


def _label(setter: Any, text: str, theme: Theme) -> None:
    setter(text, color=theme.muted, labelpad=4, fontweight="normal", **_font(9))


def _frame(axes: Axes, theme: Theme, grid: bool = True) -> None:
    axes.set_facecolor(theme.card)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set(visible=grid and name in ("left", "bottom"), color=theme.line, linewidth=0.8)
    shown = {"bottom": True, "left": True, "top": False, "right": False}
    sides: dict[str, Any] = shown | {f"label{side}": is_on for side, is_on in shown.items()}
    axes.tick_params(
        which="both",
        direction="out",
        length=3 if grid else 0,
        width=0.8,
        pad=4,
        color=theme.line,
        labelcolor=theme.muted,
        labelsize=8,
        labelfontfamily=FONT,
        labelrotation=0,
        **sides,
    )
    axes.grid(False, which="both")
    if grid:
        axes.grid(True, which="major", axis="y", color=theme.line, lw=0.6, ls="solid", alpha=0.8)


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
                _short(band.name, number, min(room, 40)),
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="bottom",
                color=theme.ink,
                **_font(8),
            )


def _pair(axes: Axes, course: Course, name: str, theme: Theme) -> None:
    """Draw training (grey, dashed) and validation (accent), the best epoch, what is not finite."""
    epochs = course.columns["epoch"]
    training, validation = course.finite(name), course.finite(f"val_{name}")
    _line(axes, epochs, training, theme.muted, len(epochs), "--", "training")
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
    curves = [course.finite(key) for key in ("loss", "accuracy", "val_loss", "val_accuracy")]
    lost = epochs[~np.isfinite(curves).all(axis=0)]
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
        text = _short(f"session {name}", 0, 24)
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
                **_font(7.5),
            )
            free = place + (len(text) + 2) / room


def _rate(value: float) -> str:
    """Return a learning rate as people write it: 0.02, 1e-5."""
    return f"{value:.3g}" if value >= 0.01 or value == 0 else f"{value:.2g}".replace("e-0", "e-")


def drawable(name: str) -> bool:
    """Return whether the figures' font has all letters of ``name``.

    >>> drawable("Lada"), drawable("甲虫")
    (True, False)
    """
    font = get_font(findfont(FontProperties(family=[FONT])))
    return bool(name.strip()) and all(font.get_char_index(ord(letter)) for letter in name)


def _short(name: str, number: int, longest: int = LONGEST_LABEL) -> str:
    """Return a name as the font can draw it: "#3" where it cannot, else without its middle.

    Names of one data set often begin alike, and end alike too.
    """
    name = " ".join(str(name).split())
    if not drawable(name):
        return f"#{number}"
    if len(name) <= longest:
        return name
    tail = (longest - 1) // 2
    return name[: max(1, longest - 1 - tail)].rstrip() + "…" + name[len(name) - tail :].lstrip()
