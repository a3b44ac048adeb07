"""Draws one car: a body seen through a camera, lit and painted."""

from __future__ import annotations

import cv2
import numpy as np

from carlib.sample.extras import draw_extras, draw_rear_parts
from carlib.sample.models import Lamp, Panel
from carlib.sample.shapes import Body
from carlib.sample.view import AROUND, Canvas, Floats, Look, View, ink, line, polygon

BANDS = 7  # shades of a side, from the shoulder to the sill


def draw_car(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw the car, far parts first."""
    _shadow(car, canvas, view, look)
    _wheels(car, canvas, view, look, near=False)
    from_behind = float(view.eye[0]) < float(car.top[:, 0].min())
    if not from_behind:
        draw_rear_parts(car, canvas, view, look)
    _body(car, canvas, view, look)
    _end(car, canvas, view, look)
    _side(car, canvas, view, look)
    _wheels(car, canvas, view, look, near=True)
    if from_behind:
        draw_rear_parts(car, canvas, view, look)
    draw_extras(car, canvas, view, look)


def _shadow(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Darken the ground under the car, softly, on the side away from the light."""
    height, width = canvas.shape[:2]
    mask = np.zeros((height // 4, width // 4), np.uint8)
    x0, x1 = car.top[:, 0].min(), car.top[:, 0].max()
    half = car.model.width / 2
    slide = -look.light * 0.5 * car.height / max(look.light[1], 0.35)
    for dx, dz, shade in ((slide[0], slide[2], 110), (0.0, 0.0, 215)):
        z0, z1 = min(-half, -half + dz), max(half - 0.05, half + dz)
        a, b = x0 + min(dx, 0) + 0.1, x1 + max(dx, 0) - 0.1
        ground = [(a, 0, z0), (b, 0, z0), (b + 0.1, 0, z1), (a - 0.1, 0, z1)]
        polygon(mask, view(ground) / 4, (shade, shade, shade))
    soft = cv2.resize(cv2.blur(mask, (7, 5)), (width, height))
    keep = cv2.cvtColor(cv2.bitwise_not(soft), cv2.COLOR_GRAY2RGB)
    cv2.multiply(canvas, keep, canvas, 1 / 255)


def _body(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw what lies between the two sides: hood, roof, front and rear, and the glass there."""
    half = car.half(car.top)
    near = np.column_stack([car.top, half])
    far = np.column_stack([car.top, -half])
    below = np.array(
        [(car.top[i, 0], car.sill, s * half[i]) for i, s in ((0, 1), (-1, 1), (-1, -1), (0, -1))]
    )
    polygon(canvas, view(below), (18, 18, 20))
    near_px, far_px = view(near), view(far)
    along = np.diff(car.top, axis=0)
    normal = np.column_stack([-along[:, 1], along[:, 0]])
    normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-9
    middle = (car.top[:-1] + car.top[1:]) / 2
    facing = ((view.eye[:2] - middle) * normal).sum(1) > 0
    apart = np.hypot(view.eye[0] - middle[:, 0], view.eye[1] - middle[:, 1])
    for i in np.argsort(-apart):
        if not facing[i]:
            continue
        bright = look.bright((normal[i, 0], normal[i, 1], 0.0))
        paint = look.paint if car.is_cab(middle[i, 0]) else look.load
        quad = [near_px[i], near_px[i + 1], far_px[i + 1], far_px[i]]
        polygon(canvas, quad, ink(paint, bright))
    for panel in car.model.panels:
        _panel(car, canvas, view, look, panel)


def _panel(car: Body, canvas: Canvas, view: View, look: Look, panel: Panel) -> None:
    ends = np.array([panel.start, panel.end])
    along = ends[1] - ends[0]
    normal = np.array([-along[1], along[0]])
    if (view.eye[:2] - ends.mean(0)) @ normal <= 0:
        return
    half = car.half(ends) * panel.share
    near = np.column_stack([ends, half])
    around = [*near, *(near * (1, 1, -1))[::-1]]
    if not panel.glass:
        polygon(canvas, view(around), ink(look.trim, 0.6))
        return
    polygon(canvas, view(around), ink(look.glass, 0.9 + 0.5 * abs(normal[1]) / np.hypot(*along)))
    low, top = near[np.argsort(near[:, 1])]
    shine = [low * (1, 1, 0.2), low * (1, 1, -0.3), top * (1, 1, -0.6), top * (1, 1, -0.1)]
    polygon(canvas, view(shine), ink(look.glass, 1.7))  # the sky in it


def _end(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw bumper, grille, lamps and plate of the end that faces the camera."""
    model, front = car.model, bool(view.eye[0] > 0)
    bumper = car.end_x(car.sill + 0.2, front)
    if abs(view.eye[0]) < abs(float(bumper)):
        return  # seen from beside: neither end shows
    half = float(car.half([(float(bumper), car.sill + 0.2)])[0])
    low, high = car.sill, car.sill + 0.14
    bar = car.on_end([low, low, high, high], [-half, half, half, -half], front)
    polygon(canvas, view(bar), ink(look.trim, 0.9))
    y0, y1, across = model.grille
    if front and across:
        opening = car.on_end([y0, y0, y1, y1], [-across, across, across, -across], True)
        polygon(canvas, view(opening), (24, 24, 26))
        for y in np.linspace(y0, y1, 4)[1:-1]:
            edge = view(car.on_end([y, y], [-across, across], True))
            line(canvas, edge, ink(look.metal, 0.8), view.pixels(0.025))
    low = car.sill + (0.16 if front else 0.30)
    plate = car.on_end([low, low, low + 0.11, low + 0.11], [-0.25, 0.25, 0.25, -0.25], front)
    polygon(canvas, view(plate), ink(look.plate))
    for side in (-1.0, 1.0):
        _lamp(car, canvas, view, look, model.head if front else model.tail, side, front)


def _lamp(
    car: Body, canvas: Canvas, view: View, look: Look, lamp: Lamp, side: float, front: bool
) -> None:
    if front:
        colour = (255, 252, 225) if look.lit else (214, 220, 224)
    else:
        colour = (235, 40, 30) if look.lit else (150, 16, 20)
    if lamp.round:
        for grow, shade in ((1.25, (150, 152, 155)), (1.0, colour)):
            y = lamp.y + lamp.height / 2 * grow * np.sin(AROUND)
            z = side * lamp.z + lamp.width / 2 * grow * np.cos(AROUND)
            x = car.end_x(lamp.y, front) + (0.03 if front else -0.03)  # upright, if the body leans
            disc = np.column_stack([np.full(len(y), x), y, z])
            polygon(canvas, view(disc), ink(shade))
        return
    y0, y1 = lamp.y - lamp.height / 2, lamp.y + lamp.height / 2
    z0, z1 = lamp.z - lamp.width / 2, lamp.z + lamp.width / 2
    z = side * np.array([z0, z1, z1, z0])
    polygon(canvas, view(car.on_end([y0, y0, y1, y1], z, front)), ink(colour))


def _side(car: Body, canvas: Canvas, view: View, look: Look) -> None:
    """Draw the near side: paint in bands of light, glass, cladding, seams, lamps' corners."""
    model = car.model
    bright = look.bright((0.0, 0.25, 0.97))
    sill = np.column_stack([np.linspace(car.top[-1, 0], car.top[0, 0], 6), np.full(6, car.sill)])
    around = np.concatenate([car.top, sill])
    levels = np.linspace(car.sill, model.belt, BANDS + 1)[1:]
    gains = [1.08, *np.linspace(1.0, 0.62, BANDS)]
    parts = [(look.paint, around)]
    end = model.load_end
    if end is not None:
        edge = np.array([(end, car.height), (end, car.sill)])
        load = np.concatenate([car.top[car.top[:, 0] < end], edge, sill[sill[:, 0] < end]])
        parts.append((look.load, load))
    for paint, shape in parts:
        for level, gain in zip([car.height, *levels[::-1]], gains, strict=True):
            cut = np.column_stack([shape[:, 0], np.minimum(shape[:, 1], level)])
            polygon(canvas, view(car.on_side(cut)), ink(paint, bright * gain))
    for shape in model.dark:
        polygon(canvas, view(car.on_side(shape, 0.01)), ink(look.trim, 0.8))
    for shape in model.windows:
        _window(car, canvas, view, look, np.array(shape))
    for shape in model.seams:
        seam = view(car.on_side(shape))
        line(canvas, seam, ink(look.paint, 0.42 * bright), view.pixels(0.022))
    rear = (car.top[:, 0].min() if end is None else end) + 0.2
    x = np.linspace(rear, car.top[:, 0].max() - 0.2, 9)
    edge = car.on_side(np.column_stack([x, np.minimum(model.belt, car.roof(x)) - 0.09]))
    line(canvas, view(edge), ink(look.paint, bright * 1.35 + 0.1), view.pixels(0.028))
    for lamp, front in ((model.head, True), (model.tail, False)):
        if not lamp.round:
            _corner(car, canvas, view, lamp, front)


def _window(car: Body, canvas: Canvas, view: View, look: Look, shape: Floats) -> None:
    frame = shape + np.sign(shape - shape.mean(0)) * 0.035
    polygon(canvas, view(car.on_side(frame)), ink(look.trim, 0.7))
    polygon(canvas, view(car.on_side(shape)), ink(look.glass))
    low, high = shape[:, 1].min(), shape[:, 1].max()
    lower = np.column_stack([shape[:, 0], np.minimum(shape[:, 1], low + 0.4 * (high - low))])
    polygon(canvas, view(car.on_side(lower)), ink(look.glass, 0.62))


def _corner(car: Body, canvas: Canvas, view: View, lamp: Lamp, front: bool) -> None:
    """Draw the part of a lamp that reaches around onto the side."""
    y = np.array([lamp.y - lamp.height / 2, lamp.y + lamp.height / 2])
    x = car.end_x(y, front)
    back = (-1.0 if front else 1.0) * lamp.width * 0.6
    shape = [(x[0], y[0]), (x[1], y[1]), (x[1] + back, y[1]), (x[0] + back * 0.6, y[0])]
    colour = (205, 210, 214) if front else (150, 18, 22)
    polygon(canvas, view(car.on_side(shape)), colour)


def _wheels(car: Body, canvas: Canvas, view: View, look: Look, near: bool) -> None:
    model = car.model
    circle = np.column_stack([np.cos(AROUND), np.sin(AROUND)])
    for x in model.wheels:
        z = model.width / 2 * (0.97 if near else -0.97)
        hub = np.array([x, model.radius])
        if near:
            arch = hub + circle * model.radius * 1.16
            arch[:, 1] = np.maximum(arch[:, 1], car.sill * 0.9)
            flat = np.column_stack([arch, np.full(len(arch), z + 0.01)])
            polygon(canvas, view(flat), (14, 14, 15))
        for depth, gain in ((-0.2, 0.6), (0.0, 1.0)):
            tyre = np.column_stack([hub + circle * model.radius, np.full(len(circle), z + depth)])
            polygon(canvas, view(tyre), ink((34, 34, 36), gain))
        if near:
            _rim(car, canvas, view, look, hub, z + 0.01)


def _rim(car: Body, canvas: Canvas, view: View, look: Look, hub: Floats, z: float) -> None:
    model = car.model
    radius = model.radius * model.rim

    def ring(share: float, angles: Floats = AROUND) -> Floats:
        flat = hub + radius * share * np.column_stack([np.cos(angles), np.sin(angles)])
        return view(np.column_stack([flat, np.full(len(flat), z)]))

    bright = 0.45 + 0.6 * look.bright((0.0, 0.0, 1.0))
    polygon(canvas, ring(1.0), ink(look.metal, bright))
    if not model.spokes:  # a disc with a raised cap
        polygon(canvas, ring(0.86), ink(look.metal, bright * 0.78))
        polygon(canvas, ring(0.46), ink(look.metal, bright * 1.1))
        polygon(canvas, ring(0.2), ink(look.metal, bright * 0.6))
        return
    polygon(canvas, ring(0.86), (26, 26, 28))
    turn = 2 * np.pi / model.spokes
    thick = 0.42 * turn if model.spokes > 3 else 0.3 * turn
    for spoke in range(model.spokes):
        at = look.spin + spoke * turn
        outer = ring(0.9, np.array([at - thick / 2, at + thick / 2]))
        inner = ring(0.2, np.array([at + turn / 2, at - turn / 2]))
        polygon(canvas, np.concatenate([outer, inner]), ink(look.metal, bright))
    polygon(canvas, ring(0.26), ink(look.metal, bright * 0.85))
