"""The command line: argparse to functions, and errors to one line and an exit code."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from carlib import __version__
from carlib.cli import (
    augment,
    chain,
    demo,
    experiment,
    kaggle,
    lr_find,
    memory,
    models,
    plan,
    predict,
    sample,
    train,
)
from carlib.errors import CarlibError

INTERRUPTED = 130
COMMANDS = (
    *(
        demo,
        sample,
        memory,
        plan,
        lr_find,
        train,
        predict,
        experiment,
        chain,
        kaggle,
        models,
        augment,
    ),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        0 done; 75 stopped for the clock, resumable; 2 wrong usage; 1 failed; 130 interrupted.
    """
    given = _parser().parse_args(arguments)
    logging.basicConfig(format="carlib: %(message)s", level=logging.WARNING)
    try:
        return int(given.run(given))
    except CarlibError as error:
        print(f"carlib: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        return 1  # whoever read the output has left
    except (OSError, MemoryError) as error:
        print(f"carlib: {error or 'out of memory'}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(
            "carlib: interrupted; what was saved is whole, and the same command goes on from it",
            file=sys.stderr,
        )
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="carlib",
        description="Train photo classifiers within rationed GPU hours and never lose one.",
        epilog="Exit codes: 0 done, 75 stopped for the clock (resumable), 2 wrong usage, 1 failed, "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"carlib {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for each in COMMANDS:
        each.add(commands)
    return parser
