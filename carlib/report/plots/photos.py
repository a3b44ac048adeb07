"""Photos in grids: the worst ones, and those of the most confused classes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from numpy.typing import NDArray

from carlib.style.drawing import LIGHT, WIDTH, Theme, blank, typeface

ACROSS = 5  # photos of a pair of confused classes


@dataclass(frozen=True, slots=True, eq=False)
class Tile:
    """A photo in a grid: its caption, and its thumbnail or None."""

    caption: str
    thumbnail: NDArray[Any] | None


def worst(tiles: Sequence[Tile], theme: Theme = LIGHT) -> Figure:
    """Draw the worst photos as a grid of six a row."""
    rows = max(1, math.ceil(len(tiles) / 6))
    figure = blank(WIDTH, 1.6 * rows, theme)
    for place, tile in enumerate(tiles):
        _tile(figure.add_subplot(rows, 6, place + 1), tile, theme)
    return figure


def confused(rows: Sequence[tuple[str, Sequence[Tile]]], theme: Theme = LIGHT) -> Figure:
    """Draw a row a pair of classes: what it is, then its photos, up to five.

    Args:
        rows: Of each pair its words, in lines, and its photos.
        theme: Colours.
    """
    figure = blank(WIDTH, max(1, len(rows)) * 1.45, theme)
    grid = figure.add_gridspec(max(1, len(rows)), ACROSS + 1)
    for row, (words, tiles) in enumerate(rows):
        axes = figure.add_subplot(grid[row, 0])
        axes.set_axis_off()
        axes.text(
            0,
            0.5,
            words,
            ha="left",
            va="center",
            color=theme.ink,
            linespacing=1.5,
            transform=axes.transAxes,
            **typeface(7.5),
        )
        for column, tile in enumerate(tiles[:ACROSS]):
            _tile(figure.add_subplot(grid[row, column + 1]), tile, theme)
    return figure


def _tile(axes: Axes, tile: Tile, theme: Theme) -> None:
    axes.imshow(_framed(tile.thumbnail, theme), interpolation="antialiased", origin="upper")
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_title(
        tile.caption, loc="center", pad=3, color=theme.ink, fontweight="normal", **typeface(6)
    )


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
