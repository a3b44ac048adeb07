"""A checkpoint written by one set of versions, resumed by another.

    python benchmarks/across_versions.py --data DIR --other .venv-newest/bin/python

Each Python trains a run to its end; then each goes on, from the middle, with the run that the
other one began. It must say that versions differ, take the state whole, and end comparably: the
table shows each run's last losses and best accuracy.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
import tempfile
from pathlib import Path

from carlib.runfolder import read_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--other", required=True, help="another Python with carlib")
    parser.add_argument("--recipe", default="lite0-quick")
    parser.add_argument("--stop-after", type=int, default=100)
    parser.add_argument("--set", nargs="*", default=["model.size=96", "phases.*.ema=0.98"])
    given = parser.parse_args()
    pythons = {"this": sys.executable, "other": given.other}
    with tempfile.TemporaryDirectory() as folder:

        def train(python: str, out: str, *more: str) -> str:
            command = [python, "-m", "carlib", "train", "--data", given.data, "--out"]
            command += [str(Path(folder) / out), "--recipe", given.recipe, "--set", *given.set]
            done = subprocess.run([*command, *more], check=False, capture_output=True, text=True)
            if done.returncode not in (0, 75):
                raise SystemExit(f"{out} ended with {done.returncode}:\n{done.stderr[-2000:]}")
            return done.stderr

        for first, second in itertools.product(pythons, repeat=2):
            out = f"{first}-{second}"
            train(pythons[first], out, "--stop-after", str(given.stop_after))
            said = train(pythons[second], out)
            warned = [line for line in said.splitlines() if "by other versions" in line]
            row = read_table(Path(folder) / out / "history.csv")[-1]
            best = max(r["val_accuracy"] for r in read_table(Path(folder) / out / "history.csv"))
            print(
                f"begun by {first}, ended by {second}: loss {row['loss']:.4f}, validation loss "
                f"{row['val_loss']:.4f}, best accuracy {best:.4f}; {len(warned)} warning"
            )
            for line in warned:
                print(f"    {line}")
            if bool(warned) != (first != second):
                raise SystemExit("FAILED: a warning too many, or one missing")


if __name__ == "__main__":
    main()
