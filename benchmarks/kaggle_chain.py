"""A run driven through a local Kaggle, session by session, against the same run in one process.

    python benchmarks/kaggle_chain.py [--limit 45s] [--timeout 50s] [--recipe lite0-quick]

Twice: sessions that stop by themselves at --limit, and sessions that know of none and are killed
at --timeout. Real client, real notebook, a package without internet, limits in real time; only
Kaggle is a local stand-in, so the driver and the sessions share the cores. Needs the right to make
namespaces. The suite does the same with limits that strike at a known step
(tests/test_kaggle_end_to_end.py).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from local_kaggle import LocalKaggle, refused
from runs import Run, call, final, train

from carlib.recipes import load_recipe
from carlib.runfolder import read_table
from carlib.sample import write_sample
from carlib.spec import to_json, with_settings

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", default="45s")
    parser.add_argument("--timeout", default="50s")
    parser.add_argument("--recipe", default="lite0-quick")
    parser.add_argument("--set", nargs="*", default=["phases.all.epochs=40"])
    given = parser.parse_args()
    if why := refused():
        raise SystemExit(f"no session can run here: {why}")
    recipe = to_json(with_settings(load_recipe(given.recipe), given.set))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        photos = write_sample(root / "photos")
        whole = call(train, Run(photos, root / "whole", recipe))["final"]
        hours = float(read_table(root / "whole/sessions.csv")[-1]["total_hours"])
        print(f"in one process: {hours * 3600:.0f} s", flush=True)
        with LocalKaggle(root / "kaggle") as kaggle:
            kaggle.add_dataset("alice/photos", photos)
            environment = {
                name: value for name, value in os.environ.items() if name not in kaggle.unset
            } | kaggle.environment
            package = ["package", "--out", str(root / "package"), "--upload", "--poll", "1s"]
            _carlib(environment, *package)
            failed = False
            for name, *how in (
                ("stopping", "--limit", given.limit),
                ("killed", "--timeout", given.timeout),
            ):
                told = _carlib(
                    environment,
                    *("chain", "--out", str(root / name), "--kernel", f"alice/cars-{name}"),
                    *("--recipe", given.recipe, "--set", *given.set, "--dataset", "alice/photos"),
                    *("--no-internet", "--poll", "1s", *how),
                )
                failed |= not _tell(name, kaggle, told, whole, hours)
    if failed:
        raise SystemExit("FAILED: a chain did not end as the run in one process")


def _carlib(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "carlib", "kaggle", *arguments, "--json"]
    done = subprocess.run(
        command, env=environment, cwd=ROOT, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout))


def _tell(
    name: str, kaggle: LocalKaggle, told: dict[str, Any], whole: dict[str, Any], hours: float
) -> bool:
    run = Path(told["output"]) / "run"
    same = call(final, run) == whole
    versions = [
        version
        for ref, kernel in kaggle.kernels.items()
        if ref.startswith(f"alice/cars-{name}")
        for version in kernel.versions
    ]
    versions.sort(key=lambda version: version.started or 0.0)
    spent = ", ".join(f"{version.status} {version.seconds:.0f} s" for version in versions)
    trained = float(read_table(run / "sessions.csv")[-1]["total_hours"]) * 3600
    print(
        f"{name}: {told['turns']} sessions ({spent}), {trained:.0f} s of them training "
        f"({trained / (hours * 3600):.2f} of the one process); final weights, history, best "
        f"{'identical' if same else 'DIFFERENT'}",
        flush=True,
    )
    return same


if __name__ == "__main__":
    main()
