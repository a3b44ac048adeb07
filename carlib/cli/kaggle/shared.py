"""What the Kaggle commands share: the client, and how often it looks."""

from __future__ import annotations

import argparse
import importlib.metadata
import re
from typing import TYPE_CHECKING, Any

from carlib.errors import UsageError

if TYPE_CHECKING:
    from carlib.kaggle.client import Client

FAILED = 1
PACKAGE = "carlib-package"  # slug of the dataset, where none is given
LEAST_CLIENT = (2, 2)  # the first that tells the quota


def add_patience(parser: argparse.ArgumentParser, poll: str) -> None:
    """Add the option that says how often to look."""
    parser.add_argument(
        "--poll", default=poll, metavar=poll, help="from one look to the next (%(default)s)"
    )


def make_client(**options: Any) -> Client:
    """Return the client.

    Raises:
        UsageError: It is not installed, or too old.
    """
    from carlib.kaggle.client import Client

    try:
        found = importlib.metadata.version("kaggle")
    except importlib.metadata.PackageNotFoundError:
        found = ""
    # Not looked for by importing: that signs in, and ends the process where it cannot.
    if tuple(map(int, re.findall(r"\d+", found)[:2])) < LEAST_CLIENT:
        raise UsageError(
            f"the Kaggle client must be 2.2 or newer; received {found or 'none'}: "
            "pip install '.[kaggle]' in carlib's folder, on the machine that drives"
        )
    return Client(**options)


def poll_of(given: argparse.Namespace) -> float:
    """Seconds from one look to the next: none would keep Kaggle busy, and never end waiting."""
    from carlib.session import seconds

    if poll := seconds(given.poll):
        return poll
    raise UsageError(f"--poll must be above 0 seconds; received {given.poll!r}")
