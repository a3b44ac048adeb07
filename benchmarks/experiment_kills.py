"""An experiment of 12 runs, killed (-9) at 20 random moments: the table is that of an uncut one.

    python benchmarks/experiment_kills.py [--times 20] [--seed N]

The tiny network on drawn photos: a base and three arms, three seeds each. Either the experiment is
killed or the run that it has under way; then the same command is given again. What is compared: the
table, but for its columns of hours, and each run's epochs, photo by photo. The suite does the same
with fewer runs (tests/test_experiment_cli.py).
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from experiments import begin, killed_at_random, told

from carlib.runfolder import read_json
from carlib.sample import write_sample

PLAN = """
name = "Tiny"
base = "tiny-check"
set = ["phases.all.epochs=6"]
seeds = 3
validation_share = 0.5

[arms]
slow = ["phases.all.lr=1e-4"]
fast = ["phases.all.lr=2e-2"]
frozen = ["phases.all.batchnorm=frozen"]
"""
LONGEST = 25.0  # seconds until a kill


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=20)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 10**6)
    given = parser.parse_args()
    chance = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photos = write_sample(root / "photos", classes=4, per_class=30, test_per_class=4)
        plan = root / "plan.toml"
        plan.write_text(PLAN)
        process = begin(plan, photos, root / "whole")
        said, _ = process.communicate()
        if process.returncode:
            sys.exit(said)
        print(said.partition("Changes:")[0].strip(), flush=True)
        killed = killed_at_random(
            plan, photos, root / "cut", times=given.times, chance=chance, longest=LONGEST
        )
        whole, cut = told(root / "whole"), told(root / "cut")
        results = [epochs(root / name) for name in ("whole", "cut")]
    summary = {
        "seed": given.seed,
        "runs": int(whole.runs.sum()),
        "killed": dict(killed),
        "same_table": whole.equals(cut),
        "same_epochs": results[0] == results[1],
    }
    print(json.dumps(summary))
    sys.exit(0 if summary["same_table"] and summary["same_epochs"] else 1)


def epochs(out: Path) -> dict[str, object]:
    """Which photos each epoch of each run had right."""
    paths = sorted(out.glob("runs/*/*/trial.json"))
    return {str(path.relative_to(out)): read_json(path)["correct"] for path in paths}


if __name__ == "__main__":
    main()
