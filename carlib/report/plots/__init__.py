"""The figures of a report, drawn with matplotlib's objects alone.

No pyplot and no rcParams: a notebook's own style neither changes these figures nor
is changed by them. Hence every colour, size and width is said here.
"""

from carlib.report.plots.bars import Effort, phases, sessions
from carlib.report.plots.classes import Recall, confusion, recalls
from carlib.report.plots.course import Band, Course, curves, lr
from carlib.report.plots.photos import ACROSS, Tile, confused, worst
from carlib.style.drawing import DARK, LIGHT, Theme, drawable, png, short

__all__ = [
    "ACROSS",
    "DARK",
    "LIGHT",
    "Band",
    "Course",
    "Effort",
    "Recall",
    "Theme",
    "Tile",
    "confused",
    "confusion",
    "curves",
    "drawable",
    "lr",
    "phases",
    "png",
    "recalls",
    "sessions",
    "short",
    "worst",
]
