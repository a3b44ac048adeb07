"""The camera, the light and the paint of one sample photo, and what fills flat shapes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Canvas = NDArray[np.uint8]
Colour = Sequence[float] | Floats  # red, green, blue; 0..255

SHIFT = 4  # fractional bits of OpenCV's coordinates
AROUND = np.linspace(0.0, 2.0 * np.pi, 28, endpoint=False)  # angles of a circle
FAR = 1e5  # keeps coordinates within OpenCV's 32 bits


def ink(colour: Colour, gain: float = 1.0) -> tuple[int, int, int]:
    """Return ``colour`` times ``gain`` as OpenCV wants it.

    >>> ink((10, 20, 200), 1.5)
    (15, 30, 255)
    """
    red, green, blue = (int(min(255.0, max(0.0, part * gain))) for part in colour)
    return red, green, blue


def polygon(canvas: Canvas, points: ArrayLike, colour: tuple[int, int, int]) -> None:
    """Fill the polygon through ``points``, (n, 2) pixels."""
    pixels = np.asarray(points, np.float64)
    corners = (np.clip(pixels, -FAR, FAR) * (1 << SHIFT)).astype(np.int32)
    cv2.fillPoly(canvas, [corners], colour, cv2.LINE_8, SHIFT)


def line(canvas: Canvas, points: ArrayLike, colour: tuple[int, int, int], width: float) -> None:
    """Draw the open line through ``points``, (n, 2) pixels, ``width`` pixels wide."""
    pixels = np.asarray(points, np.float64)
    corners = (np.clip(pixels, -FAR, FAR) * (1 << SHIFT)).astype(np.int32)
    thickness = max(1, round(width))
    cv2.polylines(canvas, [corners], False, colour, thickness, cv2.LINE_AA, SHIFT)


@dataclass(frozen=True, slots=True)
class View:
    """A pinhole camera looking at the car's middle.

    Args:
        eye: Where it stands, (3,) metres.
        axes: Its right, up and forward, (3, 3) rows.
        turn: Focal length times roll and mirroring, (2, 2), pixels.
        centre: Where the middle of the car comes to lie, (2,) pixels.
    """

    eye: Floats
    axes: Floats
    turn: Floats
    centre: Floats

    def __call__(self, points: ArrayLike) -> Floats:
        """Return the pixels, (n, 2), of points (n, 3) in metres that lie before the camera."""
        seen = (np.asarray(points, np.float64) - self.eye) @ self.axes.T
        flat: Floats = seen[:, :2] / np.maximum(seen[:, 2:], 0.2)
        return flat @ self.turn.T + self.centre

    def pixels(self, metres: float) -> float:
        """Return how many pixels ``metres`` take at the car's middle."""
        distance = float(np.linalg.norm(self.eye))
        return metres * float(np.sqrt(abs(np.linalg.det(self.turn)))) / distance

    def horizon(self, width: int) -> tuple[float, float]:
        """Return the height of the horizon in pixels at the left and the right edge."""
        away = self.axes[2] * (1.0, 0.0, 1.0)
        ends = np.array([away * 1e4 + self.axes[0] * side for side in (-4e3, 4e3)])
        (x0, y0), (x1, y1) = self(self.eye + ends)
        slope = (y1 - y0) / (x1 - x0)
        return float(y0 - slope * x0), float(y0 + slope * (width - x0))


@dataclass(frozen=True, slots=True)
class Look:
    """What differs between two photos of one model: paint, light and small chances."""

    paint: Colour
    light: Floats  # unit vector towards the light
    ambient: float  # share of the light that comes from everywhere
    glass: Colour
    metal: Colour  # rims
    trim: Colour  # bumpers and cladding
    spin: float  # of the wheels, radians
    load: Colour  # of a box truck
    plate: Colour
    lit: bool  # head lamps on

    def bright(self, normal: ArrayLike) -> float:
        """Return how bright a surface with this unit normal is; 1 is plain paint."""
        towards = np.asarray(normal, np.float64)
        direct = max(0.0, float(towards @ self.light))
        sky = 0.16 * max(0.0, float(towards[1]))
        return self.ambient + (1.15 - self.ambient) * direct + sky


def aimed(rng: np.random.Generator, size: tuple[int, int], body: Floats, *, close: float) -> View:
    """Return a random camera that has ``body`` in its picture.

    The camera sees the side of the car and, by its yaw, some of the front or of
    the rear. Mirroring gives both driving directions.

    Args:
        rng: Draws yaw, height, distance, roll, mirroring and place.
        size: Of the picture, (width, height) pixels.
        body: Points around the car, (n, 3) metres.
        close: Share of the picture's width the car may take.
    """
    width, height = size
    yaw = rng.uniform(-0.7, 0.7)
    distance = rng.uniform(6.0, 11.0)
    eye_height = rng.uniform(0.9, 2.4)
    middle = np.array([0.0, 0.7, 0.0])
    eye = np.array([distance * np.sin(yaw), eye_height, distance * np.cos(yaw)])
    forward = (middle - eye) / np.linalg.norm(middle - eye)
    right = np.cross(forward, (0.0, 1.0, 0.0))
    right /= np.linalg.norm(right)
    axes = np.stack([right, np.cross(right, forward), forward])
    roll = rng.normal(0.0, 0.035)
    mirror = rng.choice((-1.0, 1.0))
    turn = np.array([[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]])
    turn = turn @ np.diag([mirror * rng.uniform(0.93, 1.07), -1.0])
    seen = View(eye, axes, turn, np.zeros(2))(body)
    low, high = seen.min(0), seen.max(0)
    reach = high - low
    focal = min(close * width / reach[0], 0.84 * height / reach[1])
    room = np.maximum(np.array(size) - focal * reach, 0.06 * np.array(size))
    middle_at = np.array(size) / 2 + room * (rng.uniform(-0.4, 0.4), rng.uniform(-0.2, 0.4))
    return View(eye, axes, turn * focal, middle_at - focal * (low + high) / 2)
