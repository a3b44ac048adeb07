"""``carlib models``: the table of backbones."""

from __future__ import annotations

import argparse
import dataclasses
from typing import TYPE_CHECKING, Any

from carlib.cli.shared import add_use, command, show

if TYPE_CHECKING:
    from carlib.models import Backbone


def add(commands: Any) -> None:
    """Add the command ``models``."""
    summary = "list the backbones: photo size, cost, published accuracy, weights, what for"
    add_use(command(commands, "models", _run, summary))


def _run(given: argparse.Namespace) -> int:
    from carlib.models.own import known
    from carlib.using import use

    for path in given.use:
        use(path)
    backbones = known().values()
    lines = [
        f"{'':<20}  px  billion multiply-adds   parameters  MB a photo  top-1  weights",
        *(_line(each) for each in backbones),
        "",
        "parameters: without the classifier; MB a photo: memory of a training step of all of the",
        "network, float32; top-1: published, of ImageNet, in %",
    ]
    figures = {"models": [dataclasses.asdict(each) for each in backbones]}
    show(given, figures, "\n".join(lines))
    return 0


def _line(each: Backbone) -> str:
    gflops = f"{each.gflops:.2f}" if each.gflops >= 0.01 else f"{each.gflops:.4f}"
    parameters = f"{each.parameters:,}" if each.parameters else "?"
    photo = f"{each.photo_mb:,.3g}" if each.photo_mb < 1000 else f"{each.photo_mb:,.0f}"
    return (
        f"{each.name:<20}{each.size:>4}  {gflops:>21}  {parameters:>11}  "
        f"{photo if each.photo_mb else '?':>10}  {each.top1 or '':>5}  "
        f"{', '.join(('none', *each.weights)):<30}{each.description}"
    )
