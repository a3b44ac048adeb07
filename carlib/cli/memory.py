"""``carlib memory``: what a recipe needs in memory, before its first step."""

from __future__ import annotations

import argparse
import dataclasses
import os
from typing import Any

from carlib.cli.shared import add_recipe, command, named, read_recipe, show
from carlib.errors import UsageError


def add(commands: Any) -> None:
    """Add the command ``memory``."""
    memory = command(commands, "memory", _run, "say what a recipe needs in memory, before its run")
    add_recipe(memory)
    memory.add_argument("--classes", type=int, default=10, metavar="N", help="(%(default)s)")
    memory.add_argument(
        "--gpu",
        metavar="NAME|16GB",
        help="T4, P100, V100, A100, A100-80, L4, or its memory; default: what is there",
    )
    memory.add_argument(
        "--explain", action="store_true", help="how it grows with what, and what would make it fit"
    )
    memory.add_argument(
        "--picture",
        type=named,
        metavar="FILE.png",
        help="draw it, phase by phase, and how it grows",
    )
    memory.add_argument(
        "--probe",
        action="store_true",
        help="measure small real steps beside, in processes of their own; some minutes",
    )


def _run(given: argparse.Namespace) -> int:
    from carlib.devices import device_named

    recipe = read_recipe(given)
    device = device_named(given.gpu) if given.gpu is not None else None
    if given.classes < 2:
        raise UsageError(f"--classes must be 2 or more; received {given.classes}")
    if given.picture and not given.picture.endswith(".png"):
        raise UsageError(f"--picture must end in .png; received {given.picture!r}")

    from carlib.memory.estimate import estimate_memory
    from carlib.memory.explain import explain
    from carlib.memory.words import describe, explained
    from carlib.models.build import build_model
    from carlib.train.start import check_names

    check_names(recipe)
    lines = []
    # First: a model on the GPU would take the memory that the probe's process needs.
    if given.probe:
        from carlib.memory.probe import compare, probe

        lines = list(probe(recipe, given.classes))
    device = device or _present()
    spec = dataclasses.replace(recipe.model, weights="none")
    model = build_model(spec, given.classes)
    forecast = estimate_memory(recipe, given.classes, device, model)
    hint = "" if given.explain else "--explain says what else would make it fit"
    figures, text = forecast.figures(), describe(forecast, hint)
    said = explain(recipe, forecast, model) if given.explain or given.picture else None
    if said and given.explain:
        figures["explain"] = said.figures()
        text += f"\n\n{explained(forecast, said)}"
    if given.probe:
        needs = {need.name: need for need in forecast.phases}
        figures["probe"] = {line.phase: line.figures(needs[line.phase]) for line in lines}
        text += f"\n\n{compare(forecast, lines)}"
    if said and given.picture:
        from carlib.files import write_whole
        from carlib.memory.picture import draw
        from carlib.style.drawing import png

        write_whole(given.picture, png(draw(forecast, said)))
        figures["picture"] = given.picture
        text += f"\n\npicture: {given.picture}"
    show(given, figures, text)
    return 0


def _present() -> Any:
    """The device that is there; of a CPU it is said what its memory is."""
    from carlib.memory.instrument import LIMIT_MIB
    from carlib.memory.present import present_device

    device = present_device()
    if device is None or device.kind != "cpu":
        return device
    limited = f"its allocator's limit, {LIMIT_MIB}"
    free = "a CPU has no memory of its own: most of what is free on this machine now"
    return dataclasses.replace(device, source=limited if LIMIT_MIB in os.environ else free)
