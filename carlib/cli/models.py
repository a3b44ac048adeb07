"""``carlib models``: the table of backbones."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from carlib.cli.shared import add_use, command, show


def add(commands: Any) -> None:
    """Add the command ``models``."""
    summary = "list the backbones: photo size, multiply-adds a photo, weights, what for"
    add_use(command(commands, "models", _run, summary))


def _run(given: argparse.Namespace) -> int:
    from carlib.models.own import known
    from carlib.using import use

    for path in given.use:
        use(path)
    backbones = known().values()
    lines = [
        f"{each.name:<20}{each.size:>4} px  {_billions(each.gflops)} billion multiply-adds  "
        f"{', '.join(('none', *each.weights)):<31}{each.description}"
        for each in backbones
    ]
    figures = {"models": [dataclasses.asdict(each) for each in backbones]}
    show(given, figures, "\n".join(lines))
    return 0


def _billions(gflops: float) -> str:
    return f"{gflops:>6.2f}" if gflops >= 0.01 else f"{gflops:>6.4f}"
