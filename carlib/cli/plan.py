"""``carlib plan``: hours, sessions and quota before a run; planned against spent after one."""

from __future__ import annotations

import argparse
from typing import Any

from carlib.cli.shared import add_recipe, add_workers, command, named, read_recipe, show
from carlib.errors import UsageError


def add(commands: Any) -> None:
    """Add the command ``plan``."""
    plan = command(
        commands, "plan", _run, "say what a recipe takes in hours, and what would be cheaper"
    )
    add_recipe(plan, required=False)
    plan.add_argument("--data", type=named, metavar="DIR", help="as carlib train has it")
    plan.add_argument(
        "--gpu",
        metavar="NAME",
        help="T4, P100, V100, A100, A100-80 or L4; default: what is there, measured",
    )
    plan.add_argument("--quota", default="30h", metavar="30h", help="a week (%(default)s)")
    plan.add_argument("--session", default="12h", metavar="12h", help="at most (%(default)s)")
    plan.add_argument(
        "--no-probe", action="store_true", help="measure nothing: guess, in a few seconds"
    )
    plan.add_argument(
        "--run",
        dest="folder",
        type=named,
        metavar="RUN",
        help="with --recipe and --data: keep the plan in this run folder, and its sessions are "
        "held against it; alone: what the run has spent, and what is left",
    )
    add_workers(plan)


def _run(given: argparse.Namespace) -> int:
    if given.folder and not (given.recipe or given.data):
        return _spent(given)
    if not (given.recipe and given.data):
        raise UsageError(
            "carlib plan needs --recipe and --data for a plan, or --run alone for what a run has "
            "spent"
        )
    from carlib.catalog import read_catalog
    from carlib.devices import device_named
    from carlib.loader import Workers
    from carlib.session import seconds

    recipe = read_recipe(given)
    device = device_named(given.gpu) if given.gpu is not None else None
    quota, session = seconds(given.quota), seconds(given.session)
    workers = Workers.parse(given.workers) if given.workers else None
    catalog = read_catalog(given.data)

    from carlib.plan import compare, describe, keep_plan, standing
    from carlib.plan.make import plan_run

    plan = plan_run(
        recipe,
        catalog,
        device=device,
        probe=not given.no_probe,
        quota=quota,
        session=session,
        workers=workers,
    )
    figures, text = plan.figures(), describe(plan)
    if given.folder:
        path = keep_plan(given.folder, figures)
        text += f"\n\nkept: {path}"
        if (stands := standing(given.folder)) is not None:
            figures["run"] = stands.figures()
            text += f"\n\n{compare(stands)}"
    show(given, figures, text)
    return 0


def _spent(given: argparse.Namespace) -> int:
    from carlib.errors import RunError
    from carlib.plan import compare, standing

    stands = standing(given.folder)
    if stands is None:
        raise RunError(
            f"{given.folder} has no session that ended and finished an epoch: what it takes is "
            "not known yet; plan it with --recipe and --data"
        )
    show(given, stands.figures(), compare(stands))
    return 0
