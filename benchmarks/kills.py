"""Runs killed (-9) at random moments, 200 in all: each ends bit for bit as the one never killed.

    python benchmarks/kills.py [--times 200] [--seed N]

The tiny network on drawn photos, saved after every step, each attempt a new process. A run is
started again, by the same call, until it is through; nothing else is done to its folder. What is
compared: every final variable, history.csv, the best epoch, its checkpoint and its saved model.
The suite does the same with 25 (tests/test_kills.py).
"""

from __future__ import annotations

import argparse
import collections
import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from conftest import make_recipe
from runs import Run, call, start, train

from carlib.checkpoints import find_checkpoint
from carlib.sample import write_sample
from carlib.spec import to_json, with_settings

SETTINGS = ("phases.*.batch_size=6", "phases.all.ema=0.9", "phases.all.restore_best=true")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=200)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    print(f"seed {given.seed}")
    recipe = to_json(with_settings(make_recipe(), SETTINGS))
    found: collections.Counter[str] = collections.Counter()
    with tempfile.TemporaryDirectory() as folder:
        photos = write_sample(Path(folder) / "photos", classes=3, per_class=20, test_per_class=4)
        began = time.perf_counter()
        whole = call(train, Run(photos, Path(folder) / "whole", recipe, every="1 step"))["final"]
        longest = time.perf_counter() - began
        killed, runs, same = 0, 0, 0
        while killed < given.times:
            runs += 1
            run = Run(photos, Path(folder) / str(runs), recipe, every="1 step")
            while True:
                process, pipe = start(train, run)
                if killed < given.times:
                    process.join(chance.uniform(0, longest))
                    if process.is_alive():
                        os.kill(process.pid, signal.SIGKILL)
                        process.join()
                        killed += 1
                        found[_where(run.out)] += 1
                        continue
                ended = pipe.recv()
                process.join()
                break
            same += ended["final"] == whole
            print(
                f"{killed} kills, {runs} runs, {same} of them as the one never killed", flush=True
            )
    print("what a kill left:", ", ".join(f"{name} {count}" for name, count in found.most_common()))
    if same < runs:
        raise SystemExit("FAILED: a killed run came out otherwise")


def _where(out: Path) -> str:
    chain = out / "chain"
    if chain.is_dir() and any(chain.glob("*.aside")):
        return "a half-written save, whole ones before it"
    checkpoint = find_checkpoint(chain)
    if checkpoint is None:
        return "nothing yet"
    return "a state within an epoch" if checkpoint.position.step else "a state between epochs"


if __name__ == "__main__":
    main()
