"""Draws the parts that only some models have, and the mirrors."""

from __future__ import annotations

import cv2
import numpy as np

from carlib.sample.shapes import Body
from carlib.sample.view import AROUND, Canvas, Look, View, ink, line, polygon


def draw_rear_parts(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw what hangs or stands behind the body, which hides it when seen from the front."""
    for extra, part in (("spare", _spare), ("wing", _wing)):
        if extra in car.model.extras:
            part(car, canvas, view, look)


def draw_extras(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw what the body cannot hide: rails, an open car's inside, fenders, the near mirror."""
    for extra, part in (("rails", _rails), ("open", _open), ("fenders", _fenders)):
        if extra in car.model.extras:
            part(car, canvas, view, look)
    if car.model.windows:  # a mirror at the front end of the side windows
        x = max(point[0] for point in car.model.windows[-1]) - 0.06
        y = car.model.belt + 0.12
        shape = [(x, y - 0.07), (x + 0.14, y - 0.06), (x + 0.12, y + 0.07), (x, y + 0.08)]
        bright = 0.8 * look.bright((0.5, 0.0, 0.8))
        polygon(canvas, view(car.on_side(shape, 0.16)), ink(look.paint, bright))


def _rails(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw the near roof rail of an estate."""
    rail = [(x, car.height + 0.07) for x in (-2.0, -0.9, 0.1)]
    line(canvas, view(car.on_side(rail, -0.1)), ink(look.metal, 0.5), view.pixels(0.05))
    for x in (-1.95, -0.9, 0.05):
        foot = car.on_side([(x, car.height + 0.06), (x, car.height - 0.03)], -0.1)
        line(canvas, view(foot), ink(look.metal, 0.4), view.pixels(0.05))


def _spare(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw the spare wheel on an off-roader's rear door."""
    rear = float(car.top[:, 0].min())
    for depth, shade in ((-0.02, 0.5), (-0.2, 1.0)):
        y = 1.05 + 0.36 * np.sin(AROUND)
        z = 0.1 + 0.36 * np.cos(AROUND)
        disc = np.column_stack([np.full(len(y), rear + depth), y, z])
        polygon(canvas, view(disc), ink((40, 40, 42), shade))


def _open(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw what stands up from an open car: head rests, windscreen."""
    for z in (-0.36, 0.36):
        for depth, shade in ((0.0, 0.7), (0.1, 1.0)):
            back = [
                (-0.62 + depth, 0.84, z - 0.2),
                (-0.62 + depth, 0.84, z + 0.2),
                (-0.70 + depth, 1.14, z + 0.16),
                (-0.70 + depth, 1.14, z - 0.16),
            ]
            polygon(canvas, view(back), ink(look.trim, 1.5 * shade))
    frame = np.array(
        [(0.46, 0.93, 0.70), (0.08, 1.26, 0.60), (0.08, 1.26, -0.60), (0.46, 0.93, -0.70)]
    )
    pixels = view(frame)
    x, y = np.maximum(np.floor(pixels.min(0)), 0).astype(int)
    x1, y1 = np.maximum(np.ceil(pixels.max(0)), 0).astype(int)
    region = canvas[y:y1, x:x1]
    if region.size:
        tinted = region.copy()
        polygon(tinted, pixels - (x, y), ink(look.glass, 1.3))
        cv2.addWeighted(tinted, 0.45, region, 0.55, 0, region)
    line(canvas, np.concatenate([pixels, pixels[:1]]), ink(look.trim, 0.8), view.pixels(0.05))
    rest = view(car.on_side([(-0.9, 0.90), (0.44, 0.89)], -0.02))
    line(canvas, rest, ink(look.paint, 1.1), view.pixels(0.05))


def _fenders(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw the separate wings of a beetle as thick arcs, and its running board."""
    angles = np.linspace(0.15, np.pi - 0.15, 12)
    bright = look.bright((0.0, 0.5, 0.85))
    for x in car.model.wheels:
        hub = np.array([x, car.model.radius])
        ring = np.column_stack([np.cos(angles), np.sin(angles)])
        outer, inner = hub + ring * 0.60 * (1.0, 0.86), hub + ring * 0.40
        arc = np.concatenate([outer, inner[::-1]])
        side = np.column_stack([arc, np.full(len(arc), 0.80)])
        polygon(canvas, view(side), ink(look.paint, bright * 0.92))
        edge = np.column_stack([outer, np.full(len(outer), 0.80)])
        line(canvas, view(edge), ink(look.paint, 0.45), view.pixels(0.025))
    board = [(-0.75, 0.30, 0.80), (0.78, 0.30, 0.80), (0.78, 0.38, 0.80), (-0.75, 0.38, 0.80)]
    polygon(canvas, view(board), (30, 30, 32))


def _wing(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw the rear wing of a coupe."""
    for z in (-0.5, 0.5):
        foot = [(-1.92, 0.93, z), (-1.98, 1.16, z)]
        line(canvas, view(foot), ink(look.trim, 0.6), view.pixels(0.05))
    blade = [(-2.16, 1.18, -0.8), (-2.16, 1.18, 0.8), (-1.86, 1.15, 0.8), (-1.86, 1.15, -0.8)]
    bright = look.bright((0.0, 1.0, 0.0))
    polygon(canvas, view(blade), ink(look.paint, bright))
    line(canvas, view(blade[:3]), ink(look.paint, 0.5 * bright), view.pixels(0.06))
