"""What the commands share: how one is added, its common options, how figures are shown."""

from __future__ import annotations

import argparse
import json
import re
from typing import TYPE_CHECKING, Any

from carlib.errors import UsageError

if TYPE_CHECKING:
    from carlib.spec import Recipe

STOPPED = 75  # stopped for the clock, resumable (EX_TEMPFAIL of sysexits.h)


def command(commands: Any, name: str, run: Any, summary: str) -> argparse.ArgumentParser:
    """Add a command, or a command's own command, that calls ``run``."""
    added: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + "."
    )
    added.set_defaults(run=run)
    added.add_argument("--json", action="store_true", help="print the figures as JSON")
    return added


def named(text: str) -> str:
    """An unset shell variable must not become the current folder."""
    if not text:
        raise argparse.ArgumentTypeError("a path is needed; received an empty text")
    return text


def size(text: str) -> int:
    """Return the bytes of "10GB", "500MB" or "1.5TB".

    Raises:
        UsageError: Not such a text, or nothing at all.

    >>> size("1.5GB")
    1500000000
    """
    units = {"MB": 10**6, "GB": 10**9, "TB": 10**12}
    found = re.fullmatch(r" *(\d{1,9}(?:\.\d{1,9})?) *([MGT]B) *", text)
    if not found or not float(found[1]):
        raise UsageError(f"a size is like 500MB or 10GB; received {text!r}")
    return int(float(found[1]) * units[found[2]])


def add_recipe(
    command: argparse.ArgumentParser,
    required: bool = True,
    changes: str = "change the recipe, as in carlib train",
) -> None:
    """Add the options that say which recipe, and what is otherwise in it.

    Args:
        command: To add them to.
        required: Whether a recipe must be given. Defaults to True.
        changes: What the help says of changes.
    """
    command.add_argument("--recipe", required=required, metavar="NAME|FILE", help="or .toml, .json")
    command.add_argument(
        "--set", nargs="+", action="extend", default=[], metavar="KEY=VALUE", help=changes
    )
    add_use(command)


def add_use(command: argparse.ArgumentParser) -> None:
    """Add the option that names Python files to run first."""
    command.add_argument(
        "--use",
        nargs="+",
        action="extend",
        type=named,
        default=[],
        metavar="FILE.py",
        help="Python to run first, which may register what is of your own (docs/own.md)",
    )


def read_recipe(given: argparse.Namespace) -> Recipe:
    """Return the recipe of ``add_recipe``'s options, after the files of ``--use`` have run.

    Raises:
        UsageError: A file that is not there, an unknown recipe, a change that it does not take.
        RunError: A file of ``--use`` that fails.
    """
    from carlib.recipes import load_recipe
    from carlib.spec import with_settings
    from carlib.using import use

    for path in given.use:
        use(path)
    return with_settings(load_recipe(given.recipe), given.set)


def add_workers(command: argparse.ArgumentParser) -> None:
    """Add the option that says who loads photos."""
    command.add_argument(
        "--workers", metavar="2|threads:2|processes:2", help="who loads photos (a thread a core)"
    )


def show(given: argparse.Namespace, figures: dict[str, Any], text: str) -> None:
    """Print figures as JSON where that was asked for, else the text."""
    print(json.dumps(figures) if given.json else text)
