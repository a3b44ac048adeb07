"""``carlib models``: the table of backbones."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from carlib.cli.shared import command, show


def add(commands: Any) -> None:
    """Add the command ``models``."""
    command(commands, "models", _run, "list the backbones: photo size, weights, what for")


def _run(given: argparse.Namespace) -> int:
    from carlib.models import BACKBONES

    lines = [
        f"{each.name:<20}{each.size:>4} px  {', '.join(('none', *each.weights)):<31}"
        f"{each.description}"
        for each in BACKBONES.values()
    ]
    figures = {"models": [dataclasses.asdict(each) for each in BACKBONES.values()]}
    show(given, figures, "\n".join(lines))
    return 0
