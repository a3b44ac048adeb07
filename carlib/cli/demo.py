"""``carlib demo``: the whole job on the drawn photos."""

from __future__ import annotations

import argparse
from typing import Any

from carlib.cli.shared import command, show


def add(commands: Any) -> None:
    """Add the command ``demo``."""
    demo = command(commands, "demo", _run, "the whole job on a drawn sample set, cut once")
    demo.add_argument("--out", default="carlib-demo", help="folder to write (%(default)s)")


def _run(given: argparse.Namespace) -> int:
    from carlib.demo import run_demo

    figures = run_demo(given.out)
    show(
        given,
        figures,
        f"test accuracy {figures['accuracy']:.3f} in {figures['seconds']:.0f} s; "
        f"see {figures['submission']} and {figures['report']}",
    )
    return 0
