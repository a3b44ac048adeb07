"""A batch far too large under a limited allocator: the runs end, as good as one that fitted.

    python benchmarks/out_of_memory.py [--data DIR] [--seeds 5] [--limit-mib 300] [--batch 64]
                                       [--set KEY=VALUE ...]

Each run trains lite0-quick in a process of its own, asked for --batch photos a step. "fitted" has
no limit; "foreseen" has --limit-mib of memory, and is made smaller before the first step; "blind"
has as little, and its estimate is kept from knowing, so that steps really run out. Without --data
the sample photos are drawn. Accuracies are the best epoch's on the validation photos, of the same
split for each seed.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--limit-mib", type=int, default=300)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _train(json.loads(given.child))
        return
    with tempfile.TemporaryDirectory() as folder:
        data = given.data
        if data is None:
            from carlib.sample import write_sample

            data = Path(folder) / "photos"
            write_sample(data)
        arms = {
            "fitted": {},
            "foreseen": {"limit": given.limit_mib},
            "blind": {"limit": given.limit_mib, "blind": True},
        }
        found: dict[str, list[float]] = {name: [] for name in arms}
        for seed in range(given.seeds):
            for name, arm in arms.items():
                out = Path(folder) / f"{name}-{seed}"
                job = {
                    "data": str(data),
                    "out": str(out),
                    "seed": seed,
                    "batch": given.batch,
                    "set": given.set,
                    **arm,
                }
                row = _child(job)
                found[name].append(row["accuracy"])
                print(f"{name}, seed {seed}: {row}", flush=True)
    for name, values in found.items():
        print(f"{name}: mean {statistics.mean(values):.4f} of {[round(v, 4) for v in values]}")


def _child(job: dict) -> dict:
    from carlib.memory.instrument import LIMIT_MIB, LIMITED

    limits = {LIMIT_MIB: str(job["limit"])} if "limit" in job else {}
    child = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(job)],
        capture_output=True,
        text=True,
        env={**os.environ, **LIMITED, **limits},
    )
    if child.returncode:
        raise SystemExit(f"{job}: {child.stderr.strip()[-1500:]}")
    return json.loads(child.stdout.strip().splitlines()[-1])


def _train(job: dict) -> None:
    import tensorflow as tf

    from carlib.catalog import read_catalog
    from carlib.recipes import load_recipe
    from carlib.runfolder import read_json, read_table
    from carlib.spec import with_settings
    from carlib.train import loop, train_model

    if job.get("limit"):  # one region, as a GPU's memory is
        region = tf.zeros([(job["limit"] - 4) * 2**20], tf.uint8)
        del region
    if job.get("blind"):
        loop.present_device = lambda *_, **__: None
    changes = [f"seed={job['seed']}", f"phases.*.batch_size={job['batch']}", *job["set"]]
    recipe = with_settings(load_recipe("lite0-quick"), changes)
    outcome = train_model(recipe, read_catalog(job["data"]), job["out"])
    result = read_json(Path(job["out"]) / "result.json")
    print(
        json.dumps(
            {
                "done": outcome.done,
                "accuracy": outcome.accuracy,
                "epochs": len(read_table(Path(job["out"]) / "history.csv")),
                "steps": {phase["name"]: phase.get("fitted") for phase in result["phases"]},
            }
        )
    )


if __name__ == "__main__":
    main()
