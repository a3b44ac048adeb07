"""Sessions given a limit end within it, and leave little of it unused.

    python benchmarks/limit.py --data DIR [--limits 180 300 600] [--recipe lite0-staged]

Each is one ``carlib train --limit``, timed from outside, from the process's start to its end; each
goes on with the run of the one before, so that some end within an epoch, some in validation.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from carlib.runfolder import read_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--limits", type=int, nargs="+", default=[180, 300, 600])
    parser.add_argument("--recipe", default="lite0-staged")
    parser.add_argument("--set", nargs="*", default=["phases.*.epochs=1000"])
    given = parser.parse_args()
    failed = False
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        command = [sys.executable, "-m", "carlib", "train", "--data", given.data]
        command += ["--recipe", given.recipe, "--out", str(out), "--set", *given.set]
        for limit in given.limits:
            began = time.perf_counter()
            done = subprocess.run(
                [*command, "--limit", f"{limit}s"], check=False, capture_output=True, text=True
            )
            idle = limit - (time.perf_counter() - began)
            if done.returncode != 75:
                raise SystemExit(f"ended with {done.returncode}:\n{done.stderr[-2000:]}")
            row = read_table(out / "sessions.csv")[-1]
            print(
                f"--limit {limit}s: ended {idle:.1f} s before it, {idle / limit:.1%} unused; "
                f"{row['why']} in epoch {row['epoch'] + 1}, {row['steps']} steps",
                flush=True,
            )
            failed |= not 0 <= idle <= 0.02 * limit
    if failed:
        raise SystemExit("FAILED: a session ended after its limit, or left more than 2% unused")


if __name__ == "__main__":
    main()
