"""What saves cost the training, by default: held up by them, and slowed while one is written.

    python benchmarks/saves.py --data DIR [--seconds 300] [--backbone efficientnet-lite0]
                               [--size 128] [--batch-size 32] [--views 0]

One phase on labelled photos, saved as carlib does without --save-every, cut after ``--seconds``.
Two costs: the seconds that the training thread spent in saves (sessions.csv, "saving"), and those
that steps took longer while the other thread wrote, against the median of the other steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import keras

from carlib.catalog import read_catalog
from carlib.checkpoints import find_checkpoint
from carlib.recipes import load_recipe
from carlib.runfolder import read_table
from carlib.session import Session
from carlib.spec import Phase
from carlib.train import train_model


class Steps(keras.callbacks.Callback):
    """Seconds of each step, and whether a save was being written at its start or end."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[float, bool]] = []

    def on_train_begin(self, logs: Any = None) -> None:
        self.traced = False

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.began, self.writing = time.perf_counter(), _writing()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if self.traced:
            self.rows.append((time.perf_counter() - self.began, self.writing or _writing()))
        self.traced = True


def _writing() -> bool:
    return any(thread.name == "carlib-saver" for thread in threading.enumerate())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--seconds", type=float, default=300)
    parser.add_argument("--backbone", default="efficientnet-lite0")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--views", type=int, default=0, help="above 0: the head on cached features")
    given = parser.parse_args()
    phase = Phase(
        "head" if given.views else "all",
        10_000,
        1e-3,
        trains="head" if given.views else "all",
        views=given.views,
        batch_size=given.batch_size,
    )
    recipe = load_recipe("lite0-staged")
    model = dataclasses.replace(
        recipe.model, backbone=given.backbone, size=given.size, weights="none"
    )
    recipe = dataclasses.replace(recipe, model=model, phases=(phase,), linear_probe=0)
    steps = Steps()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        session = Session(limit=given.seconds)
        train_model(recipe, read_catalog(given.data), out, session=session, callbacks=[steps])
        (row,) = read_table(out / "sessions.csv")
        newest = find_checkpoint(out / "chain")
        epochs = len(read_table(out / "history.csv"))
    quiet = [seconds for seconds, writing in steps.rows if not writing]
    busy = [seconds for seconds, writing in steps.rows if writing]
    slowed = sum(busy) - len(busy) * statistics.median(quiet)
    print(
        f"{given.backbone}, {given.size} px: a checkpoint of {newest.size / 1e6:.0f} MB, "
        f"{row['saves']} saves and {epochs} epochs in {row['seconds']:.0f} s\n"
        f"held up: {row['saving']:.2f} s, {row['saving'] / row['seconds']:.2%} of the session\n"
        f"slowed: {slowed:.2f} s, {slowed / row['seconds']:.2%} ({len(busy)} of "
        f"{len(steps.rows)} steps met a write; median step {statistics.median(quiet):.3f} s, "
        f"while writing {statistics.median(busy) if busy else float('nan'):.3f} s)"
    )


if __name__ == "__main__":
    main()
