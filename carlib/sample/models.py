"""The ten car models of the sample set, as data: shape only, never colour.

Lengths are metres. On a side of the car a point is (x, y): x along the car from
its middle, forward positive; y up from the ground. Across the car, z is 0 in
the middle.
"""

from __future__ import annotations

from dataclasses import dataclass

Point = tuple[float, float]
Shape = tuple[Point, ...]


@dataclass(frozen=True, slots=True)
class Lamp:
    """A pair of lamps: height of the centre, distance from the middle, size, round or not."""

    y: float
    z: float
    height: float
    width: float
    round: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """A flat piece across the body between two outline points: glass, or a dark opening."""

    start: Point
    end: Point
    share: float = 0.86  # of the body's width there
    glass: bool = True


@dataclass(frozen=True, slots=True)
class Model:
    """One car model.

    Args:
        name: What a person would call it.
        outline: Side silhouette, from the rear's lowest point over the roof to the front's.
        width: Of the body.
        belt: Height where the body begins to lean inwards.
        lean: Share of the width lost between belt and roof.
        corner: Radius of the outline's corners.
        windows: Side windows.
        panels: Glass and openings across the body.
        wheels: x of each axle.
        radius: Of a wheel with its tyre.
        rim: Radius of the rim, as a share of ``radius``.
        spokes: Of a rim; 0 for a plain disc.
        head: Front lamps.
        tail: Rear lamps.
        grille: Lower edge, upper edge, half the width; all 0 for none.
        dark: Unpainted parts of a side.
        seams: Door gaps and other lines of a side.
        extras: Parts with a drawing of their own: rails, spare, open, fenders, wing.
        load_end: x where the load of a box truck, painted apart, ends; None for no load.
    """

    name: str
    outline: Shape
    width: float
    belt: float
    lean: float
    corner: float
    windows: tuple[Shape, ...]
    panels: tuple[Panel, ...]
    wheels: tuple[float, ...]
    radius: float
    rim: float
    spokes: int
    head: Lamp
    tail: Lamp
    grille: tuple[float, float, float]
    dark: tuple[Shape, ...] = ()
    seams: tuple[Shape, ...] = ()
    extras: frozenset[str] = frozenset()
    load_end: float | None = None


# Points read better as rows.
# fmt: off
SEDAN = Model(
    "sedan",
    outline=(
        (-2.30, 0.30), (-2.38, 0.62), (-2.32, 1.00), (-1.72, 1.05), (-1.02, 1.42), (0.25, 1.45),
        (1.05, 1.02), (2.12, 0.86), (2.36, 0.62), (2.30, 0.26),
    ),
    width=1.78, belt=0.98, lean=0.24, corner=0.22,
    windows=(
        ((-1.42, 1.06), (-1.00, 1.32), (-0.42, 1.35), (-0.42, 1.05)),
        ((-0.32, 1.05), (-0.32, 1.36), (0.20, 1.37), (0.80, 1.04)),
    ),
    panels=(
        Panel((-1.68, 1.07), (-1.08, 1.39)), Panel((0.30, 1.42), (1.00, 1.05)),
    ),
    wheels=(-1.38, 1.42), radius=0.32, rim=0.66, spokes=5,
    head=Lamp(0.72, 0.62, 0.15, 0.36), tail=Lamp(0.84, 0.62, 0.16, 0.40),
    grille=(0.58, 0.76, 0.36),
    seams=(
        ((-0.37, 1.05), (-0.37, 0.34)),
        ((0.82, 1.02), (0.84, 0.60), (0.72, 0.34)),
        ((-1.35, 1.04), (-1.10, 0.70), (-0.98, 0.34)),
    ),
)

HATCHBACK = Model(
    "hatchback",
    outline=(
        (-1.72, 0.30), (-1.80, 0.60), (-1.74, 0.98), (-1.36, 1.52), (0.30, 1.58), (1.02, 1.06),
        (1.58, 0.88), (1.80, 0.62), (1.74, 0.26),
    ),
    width=1.66, belt=0.98, lean=0.20, corner=0.26,
    windows=(
        ((-1.42, 1.10), (-1.22, 1.42), (-0.66, 1.47), (-0.56, 1.08)),
        ((-0.46, 1.07), (-0.56, 1.47), (0.24, 1.49), (0.82, 1.07)),
    ),
    panels=(
        Panel((-1.70, 1.03), (-1.40, 1.46)), Panel((0.36, 1.54), (0.98, 1.09)),
    ),
    wheels=(-1.16, 1.18), radius=0.31, rim=0.60, spokes=3,
    head=Lamp(0.78, 0.58, 0.24, 0.26), tail=Lamp(0.92, 0.70, 0.34, 0.14),
    grille=(0.40, 0.54, 0.40),
    seams=(
        ((-0.52, 1.07), (-0.56, 0.34)),
        ((0.86, 1.05), (0.82, 0.60), (0.62, 0.34)),
    ),
)

ESTATE = Model(
    "estate",
    outline=(
        (-2.34, 0.30), (-2.42, 0.62), (-2.40, 1.02), (-2.22, 1.55), (0.22, 1.55), (1.05, 1.02),
        (2.12, 0.88), (2.38, 0.62), (2.32, 0.26),
    ),
    width=1.80, belt=1.00, lean=0.20, corner=0.16,
    windows=(
        ((-2.24, 1.09), (-2.10, 1.44), (-1.28, 1.45), (-1.28, 1.07)),
        ((-1.18, 1.07), (-1.18, 1.45), (-0.42, 1.46), (-0.42, 1.06)),
        ((-0.32, 1.06), (-0.32, 1.46), (0.18, 1.46), (0.82, 1.04)),
    ),
    panels=(
        Panel((-2.38, 1.08), (-2.25, 1.47)), Panel((0.28, 1.51), (1.00, 1.05)),
    ),
    wheels=(-1.42, 1.44), radius=0.33, rim=0.68, spokes=10,
    head=Lamp(0.74, 0.60, 0.20, 0.34), tail=Lamp(0.90, 0.76, 0.46, 0.12),
    grille=(0.56, 0.80, 0.30),
    seams=(
        ((-0.37, 1.06), (-0.37, 0.34)),
        ((0.84, 1.02), (0.86, 0.60), (0.74, 0.34)),
        ((-1.23, 1.06), (-1.18, 0.70), (-1.00, 0.34)),
    ),
    extras=frozenset({"rails"}),
)

OFFROAD = Model(
    "off-roader",
    outline=(
        (-1.98, 0.48), (-2.02, 0.70), (-2.00, 1.20), (-1.94, 1.86), (0.42, 1.88), (0.66, 1.24),
        (1.88, 1.18), (1.98, 0.80), (1.96, 0.46),
    ),
    width=1.84, belt=1.16, lean=0.08, corner=0.07,
    windows=(
        ((-1.84, 1.28), (-1.80, 1.72), (-1.06, 1.72), (-1.06, 1.28)),
        ((-0.92, 1.28), (-0.92, 1.72), (-0.24, 1.72), (-0.24, 1.28)),
        ((-0.10, 1.28), (-0.10, 1.72), (0.34, 1.72), (0.52, 1.28)),
    ),
    panels=(
        Panel((-1.98, 1.28), (-1.95, 1.74), 0.70), Panel((0.45, 1.80), (0.64, 1.30)),
    ),
    wheels=(-1.20, 1.26), radius=0.44, rim=0.52, spokes=6,
    head=Lamp(0.98, 0.62, 0.26, 0.26, round=True), tail=Lamp(0.92, 0.80, 0.24, 0.12),
    grille=(0.84, 1.10, 0.42),
    dark=(
        ((-2.02, 0.48), (-2.02, 0.62), (1.98, 0.62), (1.97, 0.46)),
    ),
    seams=(
        ((-0.17, 1.28), (-0.17, 0.62)),
        ((0.60, 1.24), (0.60, 0.62)),
        ((-0.99, 1.28), (-0.99, 1.00)),
    ),
    extras=frozenset({"spare"}),
)

PICKUP = Model(
    "pickup",
    outline=(
        (-2.66, 0.46), (-2.70, 0.66), (-2.68, 1.10), (-0.62, 1.10), (-0.52, 1.74), (0.42, 1.76),
        (1.04, 1.18), (2.40, 1.06), (2.62, 0.78), (2.58, 0.42),
    ),
    width=1.86, belt=1.08, lean=0.16, corner=0.08,
    windows=(
        ((-0.40, 1.18), (-0.34, 1.62), (0.36, 1.64), (0.84, 1.18)),
    ),
    panels=(
        Panel((-2.58, 1.10), (-0.70, 1.10), glass=False), Panel((-0.60, 1.24), (-0.54, 1.64), 0.80),
        Panel((0.46, 1.70), (0.99, 1.24)),
    ),
    wheels=(-1.66, 1.62), radius=0.40, rim=0.56, spokes=8,
    head=Lamp(0.88, 0.70, 0.26, 0.28), tail=Lamp(0.88, 0.82, 0.36, 0.14),
    grille=(0.70, 0.98, 0.50),
    dark=(
        ((-2.70, 0.46), (-2.70, 0.58), (-2.20, 0.58), (-2.20, 0.46)),
    ),
    seams=(
        ((-0.62, 1.10), (-0.62, 0.50)),
        ((-0.48, 1.14), (-0.48, 0.54), (0.84, 0.54), (0.90, 1.14)),
        ((-2.56, 1.00), (-0.70, 1.00)),
    ),
)

MINIBUS = Model(
    "minibus",
    outline=(
        (-2.30, 0.32), (-2.34, 0.70), (-2.30, 1.20), (-2.18, 1.94), (1.42, 1.98), (2.04, 1.24),
        (2.26, 0.86), (2.28, 0.56), (2.24, 0.28),
    ),
    width=1.84, belt=1.10, lean=0.12, corner=0.24,
    windows=(
        ((-2.08, 1.24), (-2.02, 1.74), (-1.32, 1.76), (-1.32, 1.24)),
        ((-1.20, 1.24), (-1.20, 1.76), (-0.42, 1.76), (-0.42, 1.24)),
        ((-0.30, 1.24), (-0.30, 1.76), (0.46, 1.76), (0.46, 1.24)),
        ((0.60, 1.24), (0.60, 1.76), (1.20, 1.77), (1.66, 1.24)),
    ),
    panels=(
        Panel((-2.29, 1.26), (-2.20, 1.80)), Panel((1.48, 1.90), (2.00, 1.28), 0.90),
    ),
    wheels=(-1.44, 1.50), radius=0.33, rim=0.58, spokes=0,
    head=Lamp(0.84, 0.66, 0.30, 0.22), tail=Lamp(0.92, 0.80, 0.50, 0.12),
    grille=(0.50, 0.60, 0.56),
    seams=(
        ((0.53, 1.80), (0.53, 0.36)),
        ((-0.36, 1.80), (-0.36, 0.36)),
        ((-2.20, 1.08), (0.46, 1.08)),
        ((1.66, 1.24), (1.60, 0.74)),
    ),
)

COUPE = Model(
    "coupe",
    outline=(
        (-2.14, 0.28), (-2.22, 0.58), (-2.20, 0.92), (-1.90, 0.95), (-0.46, 1.25), (-0.02, 1.25),
        (0.86, 0.86), (1.96, 0.66), (2.24, 0.44), (2.20, 0.20),
    ),
    width=1.88, belt=0.86, lean=0.30, corner=0.34,
    windows=(
        ((-0.98, 0.95), (-0.50, 1.14), (-0.02, 1.17), (0.58, 0.90)),
    ),
    panels=(
        Panel((-1.62, 1.00), (-0.56, 1.22), 0.76), Panel((0.04, 1.22), (0.80, 0.89)),
    ),
    wheels=(-1.34, 1.38), radius=0.35, rim=0.78, spokes=5,
    head=Lamp(0.58, 0.68, 0.09, 0.44), tail=Lamp(0.78, 0.56, 0.18, 0.18, round=True),
    grille=(0.28, 0.44, 0.60),
    dark=(
        ((-0.94, 0.54), (-0.80, 0.74), (-0.66, 0.74), (-0.78, 0.50)),
        ((-2.16, 0.28), (-2.18, 0.36), (-1.74, 0.36), (-1.74, 0.28)),
    ),
    seams=(
        ((-0.62, 0.92), (-0.56, 0.34), (0.62, 0.30), (0.70, 0.84)),
    ),
    extras=frozenset({"wing"}),
)

ROADSTER = Model(
    "roadster",
    outline=(
        (-1.88, 0.30), (-1.96, 0.56), (-1.84, 0.86), (-1.00, 0.94), (-0.70, 0.88), (0.30, 0.88),
        (0.46, 0.94), (1.66, 0.82), (1.96, 0.56), (1.90, 0.26),
    ),
    width=1.68, belt=0.90, lean=0.00, corner=0.24,
    windows=(),
    panels=(
        Panel((-0.96, 0.92), (0.40, 0.91), 0.82, glass=False),
    ),
    wheels=(-1.18, 1.24), radius=0.32, rim=0.70, spokes=16,
    head=Lamp(0.70, 0.58, 0.24, 0.24, round=True), tail=Lamp(0.68, 0.66, 0.10, 0.28),
    grille=(0.44, 0.58, 0.30),
    seams=(
        ((-0.52, 0.86), (-0.50, 0.40), (0.44, 0.36), (0.46, 0.90)),
    ),
    extras=frozenset({"open"}),
)

BEETLE = Model(
    "beetle",
    outline=(
        (-1.98, 0.40), (-1.96, 0.62), (-1.78, 0.90), (-1.44, 1.18), (-1.00, 1.40), (-0.44, 1.54),
        (0.12, 1.52), (0.44, 1.40), (0.80, 1.04), (1.24, 0.98), (1.60, 0.82), (1.84, 0.58),
        (1.90, 0.36),
    ),
    width=1.54, belt=0.98, lean=0.26, corner=0.30,
    windows=(
        ((-1.06, 1.08), (-0.98, 1.26), (-0.78, 1.37), (-0.36, 1.42), (-0.34, 1.07)),
        ((-0.22, 1.07), (-0.24, 1.42), (0.08, 1.41), (0.32, 1.31), (0.54, 1.06)),
    ),
    panels=(
        Panel((-1.40, 1.21), (-1.04, 1.38), 0.55), Panel((0.44, 1.40), (0.76, 1.08), 0.80),
    ),
    wheels=(-1.18, 1.20), radius=0.33, rim=0.62, spokes=0,
    head=Lamp(0.72, 0.58, 0.28, 0.28, round=True), tail=Lamp(0.62, 0.58, 0.22, 0.16, round=True),
    grille=(0.00, 0.00, 0.00),
    seams=(
        ((-0.30, 1.06), (-0.34, 0.42)),
        ((0.58, 1.04), (0.54, 0.42)),
    ),
    extras=frozenset({"fenders"}),
)

TRUCK = Model(
    "box truck",
    outline=(
        (-2.80, 0.52), (-2.80, 0.80), (-2.80, 2.70), (0.92, 2.70), (0.94, 2.04), (1.98, 2.02),
        (2.36, 1.30), (2.52, 1.06), (2.56, 0.70), (2.54, 0.36),
    ),
    width=2.06, belt=1.20, lean=0.04, corner=0.06,
    windows=(
        ((1.28, 1.30), (1.28, 1.84), (1.86, 1.84), (2.14, 1.30)),
    ),
    panels=(
        Panel((2.02, 1.94), (2.33, 1.36), 0.90),
    ),
    wheels=(-1.62, 1.72), radius=0.42, rim=0.54, spokes=0,
    head=Lamp(0.80, 0.78, 0.24, 0.28), tail=Lamp(0.68, 0.80, 0.12, 0.30),
    grille=(0.72, 1.04, 0.44),
    dark=(
        ((-2.80, 0.34), (-2.80, 0.82), (0.92, 0.82), (0.92, 0.34)),
        ((0.92, 0.34), (0.92, 2.04), (1.06, 2.04), (1.06, 0.34)),
    ),
    seams=(
        ((1.16, 1.92), (1.16, 0.56)),
        ((2.22, 1.28), (2.20, 0.90)),
    ),
    load_end=0.92,
)

MODELS = (
    SEDAN, HATCHBACK, ESTATE, OFFROAD, PICKUP, MINIBUS, COUPE, ROADSTER, BEETLE, TRUCK,
)  # by label
# fmt: on
