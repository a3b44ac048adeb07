"""The body of a car in space: a side silhouette given depth.

x runs along the car, y up, z towards the camera's side; metres.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from carlib.sample.models import Model, Point
from carlib.sample.view import Floats


def rounded(outline: Sequence[Point], radius: float) -> Floats:
    """Return the outline with its inner corners rounded, (n, 2).

    >>> rounded([(0, 0), (0, 1), (1, 1)], 0.2).shape
    (6, 2)
    """
    points = np.array(outline, np.float64)
    smooth = [points[0]]
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        back, ahead = before - corner, after - corner
        cut = min(radius, 0.45 * float(np.hypot(*back)), 0.45 * float(np.hypot(*ahead)))
        start = corner + back * (cut / np.hypot(*back))
        end = corner + ahead * (cut / np.hypot(*ahead))
        for t in (0.0, 0.33, 0.67, 1.0):
            smooth.append((1 - t) ** 2 * start + 2 * t * (1 - t) * corner + t**2 * end)
    return np.array([*smooth, points[-1]])


class Body:
    """A model with its depth worked out."""

    def __init__(self, model: Model):
        self.model = model
        self.top = rounded(model.outline, model.corner)
        self.length = float(np.ptp(self.top[:, 0]))
        self.height = float(self.top[:, 1].max())
        self.sill = float(min(self.top[0, 1], self.top[-1, 1]))

    def half(self, points: ArrayLike) -> Floats:
        """Return half the width of the body at points (n, 2) of its side."""
        x, y = np.asarray(points, np.float64).T
        model = self.model
        reach = 2 * x / self.length
        ends = 1 - 0.16 * reach * reach * reach * reach
        rise = np.maximum((y - model.belt) / max(self.height - model.belt, 0.1), 0)
        tuck = 1 - 0.05 * np.minimum(np.maximum((0.55 - y) / 0.3, 0), 1)
        half: Floats = model.width / 2 * ends * (1 - model.lean * rise) * tuck
        return half

    def on_side(self, points: ArrayLike, out: float = 0.0) -> Floats:
        """Return points (n, 2) of the near side as points in space, (n, 3)."""
        flat = np.asarray(points, np.float64)
        return np.column_stack([flat, self.half(flat) + out])

    def end_x(self, y: float | Floats, front: bool) -> Floats:
        """Return x of the front's (or the rear's) surface at the heights ``y``."""
        chain = self.top[self.top[:, 1] <= self.model.belt + 0.05]
        chain = chain[chain[:, 0] > 0] if front else chain[chain[:, 0] < 0]
        order = np.argsort(chain[:, 1])
        x: Floats = np.interp(y, chain[order, 1], chain[order, 0])
        return x

    def on_end(self, y: ArrayLike, z: ArrayLike, front: bool) -> Floats:
        """Return points of the front (or rear) at heights ``y``, ``z`` from the middle, (n, 3)."""
        heights, across = np.broadcast_arrays(np.asarray(y, np.float64), z)
        return np.column_stack([self.end_x(heights, front), heights, across])

    def hull(self) -> Floats:
        """Return points around the whole car, (n, 3)."""
        half = self.half(self.top)
        feet = [(x, 0.0, self.model.width / 2) for x in self.model.wheels]
        return np.concatenate(
            [np.column_stack([self.top, half]), np.column_stack([self.top, -half]), feet]
        )

    def roof(self, x: Floats) -> Floats:
        """Return the height of the outline at ``x``, (n,)."""
        order = np.argsort(self.top[:, 0], kind="stable")
        return np.interp(x, self.top[order, 0], self.top[order, 1])

    def is_cab(self, x: float) -> bool:
        """Return whether the body at ``x`` is the car itself, not a truck's load."""
        end = self.model.load_end
        return end is None or x > end + 0.02
