"""How figures look: colours, font, frame, and names that fit."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import Any, Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font

DPI = 200  # twice what a page of 100 px an inch shows, for dense screens
WIDTH = 9.2  # inches, the width of the page's column
FONT = "DejaVu Sans"  # comes with matplotlib, so figures look alike everywhere
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


def blank(width: float, height: float, theme: Theme) -> Figure:
    """Return an empty figure, its sides in inches."""
    return Figure(
        (width, height), dpi=DPI, facecolor=theme.card, edgecolor=theme.card, layout="constrained"
    )


def typeface(size: float, **more: Any) -> dict[str, Any]:
    """Return how a text is set, for the matplotlib calls that write one; size in points."""
    # Names are data: a "$" in them must not start a formula.
    return {"fontsize": size, "fontfamily": FONT, "parse_math": False, "usetex": False, **more}


def name_axis(setter: Any, text: str, theme: Theme) -> None:
    """Write an axis' name with its ``set_xlabel`` or ``set_ylabel``."""
    setter(text, color=theme.muted, labelpad=4, fontweight="normal", **typeface(9))


def beside(axes: Axes, x: float, y: float, text: str, theme: Theme, size: float = 7.5) -> None:
    """Write a text to the right of the point ``x``, ``y``."""
    axes.annotate(
        text,
        (x, y),
        (5, 0),
        textcoords="offset points",
        ha="left",
        va="center",
        color=theme.muted,
        annotation_clip=False,
        zorder=5,
        **typeface(size),
    )


def frame(axes: Axes, theme: Theme, grid: Literal["x", "y", ""] = "y") -> None:
    """Style the axes, with lines across ``grid``: "x", "y", or "" for neither and no border."""
    axes.set_facecolor(theme.card)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        shown = bool(grid) and name in ("left", "bottom")
        spine.set(visible=shown, color=theme.line, linewidth=0.8)
    drawn = {"bottom": True, "left": True, "top": False, "right": False}
    sides: dict[str, Any] = drawn | {f"label{side}": is_on for side, is_on in drawn.items()}
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
        axes.grid(True, which="major", axis=grid, color=theme.line, lw=0.6, ls="solid", alpha=0.8)


def drawable(name: str) -> bool:
    """Return whether the figures' font has all letters of ``name``.

    >>> drawable("Lada"), drawable("甲虫")
    (True, False)
    """
    letters = get_font(findfont(FontProperties(family=[FONT])))
    return bool(name.strip()) and all(letters.get_char_index(ord(letter)) for letter in name)


def short(name: str, number: int, longest: int = LONGEST_LABEL) -> str:
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
