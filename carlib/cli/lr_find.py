"""``carlib lr-find``: a learning rate for a phase, from a short sweep."""

from __future__ import annotations

import argparse
from typing import Any

from carlib.cli.shared import add_recipe, add_workers, command, named, read_recipe, show
from carlib.errors import UsageError


def add(commands: Any) -> None:
    """Add the command ``lr-find``."""
    find = command(
        commands,
        "lr-find",
        _run,
        "suggest a learning rate: a phase's own steps at rates that rise, on a copy that is gone",
    )
    find.add_argument(
        "--data", type=named, required=True, metavar="DIR", help="as carlib train has it"
    )
    add_recipe(find)
    find.add_argument("--phase", default="", metavar="NAME", help="default: the last one")
    find.add_argument(
        "--run",
        dest="folder",
        type=named,
        metavar="RUN",
        help="begin with the best weights of a run, where the phases before are trained",
    )
    find.add_argument("--low", type=float, default=1e-6, metavar="LR", help="(%(default)g)")
    find.add_argument("--high", type=float, default=1.0, metavar="LR", help="(%(default)g)")
    find.add_argument("--steps", type=int, default=120, metavar="N", help="(%(default)s)")
    find.add_argument("--picture", type=named, metavar="FILE.png", help="draw the loss")
    add_workers(find)


def _run(given: argparse.Namespace) -> int:
    from carlib.catalog import read_catalog
    from carlib.loader import Workers

    recipe = read_recipe(given)
    if given.picture and not given.picture.endswith(".png"):
        raise UsageError(f"--picture must end in .png; received {given.picture!r}")
    workers = Workers.parse(given.workers) if given.workers else None
    catalog = read_catalog(given.data)

    from carlib.lr_find.sweep import find_lr

    curve = find_lr(
        recipe,
        catalog,
        phase=given.phase,
        run=given.folder,
        low=given.low,
        high=given.high,
        steps=given.steps,
        workers=workers,
    )
    figures, text = curve.figures(), curve.describe()
    if given.picture:
        from carlib.files import write_whole
        from carlib.lr_find.picture import draw
        from carlib.style.drawing import png

        write_whole(given.picture, png(draw(curve)))
        figures["picture"] = given.picture
        text += f"\npicture: {given.picture}"
    show(given, figures, text)
    return 0
