"""The plan's hours against real short runs, each in a process of its own.

    python benchmarks/plan.py [--data DIR] [--runs tiny quick cached] [--json]

Per run: ``plan_run`` in one process, then ``train_model`` in another, on the same photos; what is
compared is the time that ``train_model`` takes, all of it. By phase: a run's training has its
traced first step in it, which the plan counts as start. On an idle machine; about five minutes on
two cores.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from carlib.spec import Recipe, with_settings

# Recipe and settings: the tiny network, where photos are what takes time; head and all of Lite0
# through the network; a head on cached features, then half of the network.
RUNS = {
    "tiny": ("tiny-check", ["phases.head.epochs=10", "phases.all.epochs=30"]),
    "quick": ("lite0-quick", []),
    "cached": (
        "lite0-staged",
        [
            "model.size=128",
            "phases.*.size=0",
            "phases.head.views=2",
            "phases.head.augment=light",
            "phases.all.trains=0.5",
            "phases.all.epochs=8",
        ],
    ),
}


def recipe_of(name: str) -> Recipe:
    from carlib.recipes import load_recipe

    recipe, settings = RUNS[name]
    return with_settings(load_recipe(recipe), settings)


def plan(name: str, data: str) -> dict[str, Any]:
    from carlib.catalog import read_catalog
    from carlib.plan.make import plan_run

    began = time.perf_counter()
    figures = plan_run(recipe_of(name), read_catalog(data)).figures()
    return {**figures, "took": time.perf_counter() - began}


def train(name: str, data: str) -> dict[str, Any]:
    from carlib.catalog import read_catalog
    from carlib.runfolder import read_json, read_table
    from carlib.train import train_model

    with tempfile.TemporaryDirectory() as folder:
        catalog, run = read_catalog(data), Path(folder) / "run"
        began = time.perf_counter()
        train_model(recipe_of(name), catalog, run)
        seconds = time.perf_counter() - began
        timings = read_table(run / "timings.csv")
        phases = read_json(run / "result.json")["phases"]
    kinds: dict[str, dict[str, float]] = {}
    for phase in phases:
        rows = [row for row in timings if row["phase"] == phase["name"]]
        kinds[phase["name"]] = {
            "training": sum(row["seconds"] for row in rows),
            "validation": sum(row["validation_seconds"] for row in rows),
            "features": phase["feature_seconds"] or 0.0,
            "start": phase["start_seconds"],
        }
    return {"seconds": seconds, "phases": kinds}


def alone(work: Callable[..., Any], *arguments: Any) -> Any:
    """Return what a function gives in a new process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(work, arguments)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", help="default: the sample set of 600 photos, drawn")
    parser.add_argument("--runs", nargs="+", choices=list(RUNS), default=list(RUNS))
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        data = given.data
        if not data:
            from carlib.sample import write_sample

            data = str(write_sample(Path(folder) / "photos"))
        for name in given.runs:
            planned, real = alone(plan, name, data), alone(train, name, data)
            found[name] = {
                "planned": 3600 * planned["hours"],
                "real": real["seconds"],
                "ratio": 3600 * planned["hours"] / real["seconds"],
                "planning": planned["took"],
                "phases": {
                    phase: {"planned": planned["phases"][phase]["seconds"], "real": kinds}
                    for phase, kinds in real["phases"].items()
                },
            }
            if not given.json:
                show(name, found[name])
    if given.json:
        print(json.dumps(found))
        return
    off = [abs(run["ratio"] - 1) for run in found.values()]
    print(f"off by {statistics.fmean(off):.1%} on average, {max(off):.1%} at the most")


def show(name: str, run: dict[str, Any]) -> None:
    print(
        f"{name}: planned {run['planned']:.1f} s, real {run['real']:.1f} s, ratio "
        f"{run['ratio']:.3f}; planning took {run['planning']:.1f} s"
    )
    for phase, each in run["phases"].items():
        said = ", ".join(
            f"{kind} {each['planned'][kind]:.1f} / {each['real'][kind]:.1f}"
            for kind in each["real"]
        )
        print(f"    {phase}: planned / real: {said}")


if __name__ == "__main__":
    main()
