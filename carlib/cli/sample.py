"""``carlib sample``: the drawn photo set on disk."""

from __future__ import annotations

import argparse
from typing import Any

from carlib.cli.shared import command, show


def add(commands: Any) -> None:
    """Add the command ``sample``."""
    sample = command(commands, "sample", _run, "write the drawn, competition-shaped sample set")
    sample.add_argument("folder", metavar="DIR", help="a new or empty folder")
    sample.add_argument("--classes", type=int, default=10, help="2 to 10 (%(default)s)")
    sample.add_argument("--per-class", type=int, default=60, help="training photos (%(default)s)")
    sample.add_argument("--test-per-class", type=int, default=20, help="(%(default)s)")
    sample.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    sample.add_argument("--zip", action="store_true", help="photos inside train.zip and test.zip")


def _run(given: argparse.Namespace) -> int:
    from carlib.sample import write_sample

    folder = write_sample(
        given.folder,
        classes=given.classes,
        per_class=given.per_class,
        test_per_class=given.test_per_class,
        seed=given.seed,
        zipped=given.zip,
    )
    photos = given.classes * given.per_class, given.classes * given.test_per_class
    show(
        given,
        {"folder": str(folder), "training": photos[0], "test": photos[1]},
        f"{folder}: {photos[0]} training and {photos[1]} test photos of {given.classes} classes",
    )
    return 0
