"""What stands around the car, and what a camera does to the picture."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from carlib.sample.view import Canvas, Colour, Floats, Look, View, ink, line, polygon

SKIES = (  # top, horizon
    ((70, 120, 200), (190, 215, 240)),
    ((120, 160, 215), (225, 232, 238)),
    ((150, 155, 162), (210, 212, 214)),
    ((60, 60, 110), (240, 170, 110)),
    ((20, 24, 44), (60, 62, 84)),
    ((200, 205, 212), (240, 240, 238)),
)
GROUNDS = (
    (92, 92, 96), (70, 70, 74), (128, 126, 122), (150, 146, 138), (168, 150, 120),
    (96, 120, 66), (120, 100, 80), (222, 226, 232), (110, 96, 92),
)  # fmt: skip
WALLS = (
    (168, 92, 74), (200, 196, 186), (140, 146, 152), (216, 190, 140), (84, 96, 110),
    (110, 130, 110), (236, 234, 228), (60, 62, 68), (150, 60, 50),
)  # fmt: skip
PAINTS = (
    (236, 236, 234), (28, 28, 32), (150, 154, 160), (92, 96, 102), (176, 30, 34),
    (34, 66, 142), (92, 150, 206), (22, 84, 62), (226, 178, 40), (210, 100, 34),
    (96, 58, 40), (200, 188, 160), (110, 34, 60), (120, 170, 120), (190, 204, 212),
)  # fmt: skip


Noise = NDArray[np.float32]


def _one(rng: np.random.Generator, colours: tuple[tuple[int, int, int], ...]) -> Floats:
    """Return one of the colours, a little changed."""
    colour = np.array(colours[rng.integers(len(colours))], np.float64)
    return np.clip(colour * rng.uniform(0.85, 1.12) + rng.normal(0, 6, 3), 8, 250)


def random_look(rng: np.random.Generator) -> Look:
    """Return paint and light for one photo."""
    light = np.array([rng.normal(0, 0.7), rng.uniform(0.5, 1.2), rng.normal(0.35, 0.7)])
    tint = rng.uniform(0.6, 1.5)
    return Look(
        paint=_one(rng, PAINTS),
        light=light / np.linalg.norm(light),
        ambient=rng.uniform(0.42, 0.75),
        glass=np.array([52.0, 62.0, 70.0]) * tint + rng.normal(0, 4, 3),
        metal=np.array([196.0, 198.0, 202.0]) * rng.choice((1.0, 0.85, 0.6)),
        trim=np.array([48.0, 48.0, 50.0]) * rng.uniform(0.7, 1.5),
        spin=rng.uniform(0, 2 * np.pi),
        load=_one(rng, (*PAINTS[:1] * 4, *PAINTS)),
        plate=((240, 240, 236), (240, 200, 60), (40, 44, 60))[rng.choice(3, p=(0.7, 0.2, 0.1))],
        lit=bool(rng.random() < 0.25),
    )


def _grain(rng: np.random.Generator, size: tuple[int, int], cell: int, power: float) -> Noise:
    """Return smooth grey noise, signed, (height, width, 3), with spots of about ``cell`` pixels."""
    width, height = size
    coarse = rng.standard_normal((height // cell + 2, width // cell + 2), np.float32) * power
    return np.asarray(cv2.cvtColor(cv2.resize(coarse, size), cv2.COLOR_GRAY2RGB))


def _gradient(top: Colour, bottom: Colour, size: tuple[int, int], split: float) -> Canvas:
    t = np.clip(np.arange(size[1]) / max(split, 1.0), 0, 1)[:, None, None]
    column = (1 - t) * np.array(top, np.float64) + t * np.array(bottom, np.float64)
    return np.asarray(cv2.resize(column.astype(np.uint8), size), np.uint8)


def background(rng: np.random.Generator, view: View, size: tuple[int, int]) -> Canvas:
    """Return a picture without the car: sky, what stands far off, ground, things around.

    Args:
        rng: Draws everything.
        view: The camera; horizon and road follow it.
        size: Of the picture, (width, height) pixels.
    """
    width, height = size
    left, right = view.horizon(width)
    top, bottom = SKIES[rng.integers(len(SKIES))]
    canvas = _gradient(top, bottom, size, max(left, right))
    if rng.random() < 0.5:  # clouds
        cv2.add(canvas, _grain(rng, size, 48, rng.uniform(5, 20)), canvas, dtype=cv2.CV_8U)
    behind = (_hills, _trees, _houses, _wall)
    for part in rng.permutation(4)[: rng.integers(1, 4)]:
        behind[part](rng, canvas, left, right)
    ground = _one(rng, GROUNDS)
    polygon(
        canvas,
        [(-9, left), (width + 9, right), (width + 9, height + 9), (-9, height + 9)],
        ink(ground),
    )
    _road(rng, canvas, view, ground)
    _things(rng, canvas, view)
    start = int(np.clip(min(left, right), 0, height - 1))
    noise = _grain(rng, (width, height - start), int(rng.integers(2, 14)), rng.uniform(1, 5))
    cv2.add(canvas[start:], noise, canvas[start:], dtype=cv2.CV_8U)
    return canvas


def _hills(rng: np.random.Generator, canvas: Canvas, left: float, right: float) -> None:
    height, width = canvas.shape[:2]
    x = np.linspace(0, width, 12)
    rise = rng.uniform(0.02, 0.25) * height * rng.random(12)
    y = np.linspace(left, right, 12) - rise
    points = np.concatenate([np.column_stack([x, y]), [(width, height), (0, height)]])
    polygon(canvas, points, ink(_one(rng, ((96, 116, 96), (110, 124, 140), (130, 112, 92)))))


def _trees(rng: np.random.Generator, canvas: Canvas, left: float, right: float) -> None:
    height, width = canvas.shape[:2]
    leaf = _one(rng, ((52, 84, 40), (84, 110, 48), (140, 104, 44), (40, 60, 44)))
    for _ in range(rng.integers(2, 9)):
        x = rng.uniform(0, width)
        foot = left + (right - left) * x / width
        tall = rng.uniform(0.15, 0.6) * height
        line(canvas, [(x, foot), (x, foot - tall * 0.6)], (60, 48, 38), tall * 0.07)
        for _ in range(7):
            at = (x + rng.normal(0, 0.16) * tall, foot - tall * rng.uniform(0.45, 1.0))
            centre = (int(at[0]), int(at[1]))
            cv2.circle(
                canvas,
                centre,
                int(tall * rng.uniform(0.1, 0.24)),
                ink(leaf, rng.uniform(0.7, 1.25)),
                -1,
            )


def _houses(rng: np.random.Generator, canvas: Canvas, left: float, right: float) -> None:
    height, width = canvas.shape[:2]
    x = -rng.uniform(0, 0.3) * width
    while x < width:
        across = rng.uniform(0.15, 0.5) * width
        foot = left + (right - left) * (x + across / 2) / width + 4
        tall = rng.uniform(0.15, 0.8) * height
        wall = _one(rng, WALLS)
        polygon(
            canvas,
            [(x, foot), (x, foot - tall), (x + across, foot - tall), (x + across, foot)],
            ink(wall),
        )
        glass = ink(_one(rng, ((60, 70, 84), (120, 140, 160), (230, 210, 150), (40, 42, 48))))
        step = rng.uniform(0.07, 0.14) * height
        for row in np.arange(foot - tall + 0.3 * step, foot - 0.9 * step, 1.6 * step):
            for column in np.arange(x + 0.4 * step, x + across - step, 1.5 * step):
                polygon(
                    canvas,
                    [
                        (column, row),
                        (column + 0.8 * step, row),
                        (column + 0.8 * step, row + step),
                        (column, row + step),
                    ],
                    glass,
                )
        x += across * rng.uniform(1.0, 1.4)


def _wall(rng: np.random.Generator, canvas: Canvas, left: float, right: float) -> None:
    height, width = canvas.shape[:2]
    tall = rng.uniform(0.2, 1.2) * height
    wall = _one(rng, WALLS)
    polygon(
        canvas,
        [(-9, left + 6), (-9, left - tall), (width + 9, right - tall), (width + 9, right + 6)],
        ink(wall),
    )
    step = rng.uniform(0.04, 0.2) * height
    if rng.random() < 0.5:  # courses of bricks or planks
        for rise in np.arange(step, tall, step):
            line(canvas, [(0, left - rise), (width, right - rise)], ink(wall, 0.82), 2)
    if rng.random() < 0.5:
        for x in np.arange(rng.uniform(0, step), width, step * rng.uniform(1, 4)):
            line(canvas, [(x, left), (x, left - tall)], ink(wall, 0.85), 2)


def _road(rng: np.random.Generator, canvas: Canvas, view: View, ground: Floats) -> None:
    """Draw kerb and lane lines along the car, or bays across it."""
    kind = rng.integers(4)
    x = np.linspace(-30, 30, 61)
    depth = (np.column_stack([x, 0 * x, 0 * x - 2.2]) - view.eye) @ view.axes[2]
    x = x[depth > 1.0]
    if kind == 0 and len(x) > 1:  # a pavement behind the car
        z = rng.uniform(-3.5, -1.6)
        kerb = view(np.column_stack([x, 0 * x, 0 * x + z]))
        far = view(np.column_stack([x, 0 * x, 0 * x + z - rng.uniform(1.5, 6)]))
        polygon(canvas, np.concatenate([kerb, far[::-1]]), ink(_one(rng, GROUNDS)))
        line(canvas, kerb, ink(ground, 0.6), view.pixels(0.12))
    elif kind == 1:  # a lane line, broken or not, behind or before the car
        z = rng.choice((-2.0, -2.6, 1.5, 1.9))
        broken = rng.random() < 0.6
        for start in np.arange(-24, 24, 3.0):
            dash = np.array([(start, 0.0, z), (start + (1.5 if broken else 3.0), 0.0, z)])
            if ((dash - view.eye) @ view.axes[2] > 1.0).all():
                line(canvas, view(dash), (225, 222, 210), view.pixels(0.1))
    elif kind == 2:  # parking bays
        for start in np.arange(-9.2, 9.2, 2.7) + rng.uniform(0, 2.7):
            bay = np.array([(start, 0.0, -2.5), (start + 0.3, 0.0, 2.2)])
            if ((bay - view.eye) @ view.axes[2] > 1.0).all():
                line(canvas, view(bay), (220, 220, 214), view.pixels(0.09))


def _things(rng: np.random.Generator, canvas: Canvas, view: View) -> None:
    """Draw posts, bins, people and signs that stand behind the car."""
    for _ in range(rng.integers(0, 6)):
        foot = np.array([rng.uniform(-7, 7), 0.0, rng.uniform(-9, -1.4)])
        tall, across = rng.uniform(0.5, 3.8), rng.uniform(0.05, 0.6)
        colour = _one(rng, (*WALLS, *PAINTS))
        low, high = view([foot, foot + np.array((0, tall, 0))])
        side = np.array((view.pixels(across) / 2, 0.0))
        polygon(canvas, [low - side, high - side, high + side, low + side], ink(colour))
        if rng.random() < 0.3:  # a head, a lamp or a sign on it
            centre = (int(high[0]), int(high[1]))
            radius = int(view.pixels(rng.uniform(0.1, 0.25)))
            cv2.circle(canvas, centre, radius, ink(_one(rng, (*PAINTS, (224, 180, 150)))), -1)


def before(rng: np.random.Generator, canvas: Canvas) -> None:
    """Now and then, put something before the car: a post, twigs, a wall's top."""
    height, width = canvas.shape[:2]
    chance = rng.random()
    if chance < 0.10:
        x, half = rng.uniform(0, width), rng.uniform(0.008, 0.025) * width
        tilt = rng.normal(0, 0.02) * width
        polygon(
            canvas,
            [(x - half, height), (x + half, height), (x + half + tilt, 0), (x - half + tilt, 0)],
            ink(_one(rng, WALLS), 0.7),
        )
    elif chance < 0.20:
        leaf = _one(rng, ((52, 84, 40), (84, 110, 48), (120, 100, 60)))
        corner = np.array([rng.choice((0, width)), rng.choice((0, height))])
        for _ in range(24):
            at = corner + rng.normal(0, 0.11, 2) * (width, height)
            cv2.circle(
                canvas,
                (int(at[0]), int(at[1])),
                int(rng.uniform(0.01, 0.05) * width),
                ink(leaf, rng.uniform(0.6, 1.3)),
                -1,
            )
    elif chance < 0.26:
        top = height * rng.uniform(0.90, 0.97)
        polygon(
            canvas,
            [(0, height), (0, top), (width, top + rng.normal(0, 6)), (width, height)],
            ink(_one(rng, WALLS)),
        )


def camera(rng: np.random.Generator, canvas: Canvas, size: tuple[int, int]) -> Canvas:
    """Return the drawing as a camera gives it: smaller, blurred, exposed, tinted and noisy.

    Args:
        rng: Draws blur, exposure, colour of the light and noise.
        canvas: The drawing, twice as large.
        size: Of the photo, (width, height) pixels.
    """
    photo = cv2.resize(canvas, size, interpolation=cv2.INTER_AREA)
    blur = rng.choice(3, p=(0.35, 0.5, 0.15))
    if blur == 1:
        photo = cv2.GaussianBlur(photo, (0, 0), rng.uniform(0.4, 1.0))
    elif blur == 2:  # a hand that moved
        kernel = np.zeros((5, 5), np.float32)
        reach = rng.uniform(0.5, 2.0)
        angle = rng.uniform(0, np.pi)
        shake = np.array([np.cos(angle), np.sin(angle)]) * reach
        line_at = np.clip(np.round(2 + np.linspace(-1, 1, 9)[:, None] * shake), 0, 4).astype(int)
        np.add.at(kernel, (line_at[:, 1], line_at[:, 0]), 1 / 9)
        photo = cv2.filter2D(photo, -1, kernel)
    level = np.linspace(0, 1, 256)
    contrast = rng.uniform(0.75, 1.15)
    tint = np.exp(rng.normal(0, 0.05, 3))
    curve = 0.5 + (level ** rng.uniform(0.8, 1.25) - 0.5) * contrast
    exposure = np.clip(rng.uniform(85, 150) / photo.mean(), 0.75, 1.7)  # cameras seek a middle
    table = np.clip(curve[:, None] * exposure * tint, 0, 1)
    photo = cv2.LUT(photo, (255 * table).astype(np.uint8).reshape(256, 1, 3))
    noise = rng.standard_normal(photo.shape, np.float32) * np.float32(rng.uniform(1, 8))
    return np.asarray(cv2.add(photo, noise, dtype=cv2.CV_8U), np.uint8)
