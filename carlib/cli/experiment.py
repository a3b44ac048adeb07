"""``carlib experiment``: a plan's runs, and the table of what they came to."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carlib.cli.shared import STOPPED, add_workers, command, named, show
from carlib.errors import CarlibError, UsageError

if TYPE_CHECKING:
    from carlib.experiments import Experiment
    from carlib.experiments.launch import Launcher

FAILED = 1


def add(commands: Any) -> None:
    """Add the command ``experiment`` with its own: run and table."""
    parser = commands.add_parser(
        "experiment",
        help="run a plan of changes to a recipe, and say which are better",
        description="Run a plan of changes to a recipe, and say which are better, by how much and "
        "how surely. docs/experiments.md has plans.",
    )
    own = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    run = command(own, "run", _run, "train the plan's runs that are not finished")
    table = command(own, "table", _table, "write the table of the runs that are finished")
    for each in (run, table):
        each.add_argument("--plan", type=named, required=True, metavar="FILE", help="a .toml")
        each.add_argument(
            "--out", type=named, required=True, metavar="DIR", help="its folder; plans may share it"
        )
    table.add_argument(
        "--data", type=named, metavar="DIR", help="not needed: the results know their photos"
    )
    run.add_argument(
        "--data", type=named, required=True, metavar="DIR", help="as carlib train has it"
    )
    run.add_argument("--limit", metavar="11h30m", help="stop in time; default: the platform's")
    run.add_argument("--exclude", metavar="FILE", help="ids of photos to leave out, one a line")
    run.add_argument(
        "--external", type=named, metavar="DIR", help="more photos that only train, like --data"
    )
    run.add_argument("--groups", type=named, metavar="FILE", help="CSV (id, group)")
    run.add_argument(
        "--at-once",
        type=int,
        metavar="N",
        help="runs at a time; default: one a GPU, one in all on a CPU, one a machine with --ray",
    )
    run.add_argument(
        "--ray",
        metavar="auto|ADDRESS",
        help="spread runs over a Ray cluster, whose machines all see DIR and the photos "
        "(pip install carlib[ray])",
    )
    add_workers(run)


def _run(given: argparse.Namespace) -> int:
    from carlib.experiments import Photos, read_experiment, run_experiment
    from carlib.experiments.run import BUDGET
    from carlib.session import detect_session, seconds

    experiment = read_experiment(given.plan)
    if not Path(given.data).is_dir():
        raise UsageError(f"there is no folder {given.data}; give as --data what carlib train has")
    photos = Photos(given.data, given.exclude, given.external, given.groups)
    limit = seconds(given.limit) if given.limit is not None else None
    session = detect_session(limit=limit)
    ending = run_experiment(
        experiment,
        photos,
        given.out,
        session=session,
        launcher=_launcher(given),
        workers=given.workers or "",
    )
    said = f"{ending.done} of {ending.of} runs done, {ending.hours:.3g} h so far"
    if ending.failed:
        first, why = next(iter(ending.failed.items()))
        said += f"; {len(ending.failed)} failed: {first}: {why}"
    if ending.why == BUDGET:
        said += f"; the plan's {experiment.hours:g} hours are used up: raise hours to go on"
    elif ending.why != "done":
        said += f"; stopped for {ending.why}: the same command goes on"
    figures = {
        "why": ending.why,
        "done": ending.done,
        "of": ending.of,
        "failed": ending.failed,
        "hours": ending.hours,
    }
    if ending.done:
        tables, text = _tables(experiment, given.out)
        figures["tables"], said = tables, f"{text}\n{said}"
    show(given, figures, said)
    if ending.why not in ("done", BUDGET):
        return STOPPED
    return FAILED if ending.failed else 0


def _table(given: argparse.Namespace) -> int:
    from carlib.experiments import read_experiment

    figures, text = _tables(read_experiment(given.plan), given.out)
    show(given, {"tables": figures}, text)
    return 0


def _tables(experiment: Experiment, out: str) -> tuple[list[dict[str, Any]], str]:
    from carlib.experiments import tables_of, write_tables
    from carlib.experiments.words import markdown

    tables = tables_of(experiment, out)
    text = markdown(tables)
    try:
        paths = write_tables(experiment, tables, out)
        text += f"\nwritten: {', '.join(map(str, paths))}"
    except CarlibError as error:  # of an earlier kernel's output, which one can only read
        text += f"\nnot written: {error}"
    return [table.figures() for table in tables], text


def _launcher(given: argparse.Namespace) -> Launcher | None:
    at_once = given.at_once
    if at_once is not None and at_once < 1:
        raise UsageError(f"--at-once must be 1 or more; received {at_once}")
    if given.ray is not None:
        from carlib.experiments.over_ray import OverRay

        return OverRay.of(given.ray, given.out, at_once)
    if at_once is None:
        return None
    from carlib.experiments.launch import Local, gpus

    if (devices := gpus()) and at_once > len(devices):
        raise UsageError(
            f"--at-once {at_once}: there are {len(devices)} GPUs, one a run; TensorFlow takes all "
            "of a GPU's memory"
        )
    return Local(at_once, devices)
