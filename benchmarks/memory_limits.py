"""The safe figure against the allocator's true limit, and the largest batch against one too large.

    python benchmarks/memory_limits.py [--out DIR] [--only SUBSTRING] [--json]

Each case's training step runs in processes whose allocator is limited, its memory one region as a
GPU's is, until the smallest limit that does not run out is known to 3%. Then: does it run at T?
how much above the true limit is T? does the largest batch for a device of 1.5 T run there, and
1.35 times that batch not? Tries are kept in DIR/limits.jsonl: a run cut goes on where it was.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
MIB = 2**20
STEPS = 3
PRECISE = 0.03


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="memory-truth", type=Path)
    parser.add_argument("--only", default="", help="cases whose description holds this")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    from memory_cases import LIMITS

    kept = given.out / "limits.jsonl"
    tries = {}
    if kept.exists():
        for row in map(json.loads, kept.read_text().splitlines()):
            tries[row["key"], row["batch"], row["limit"]] = row["runs"]

    def runs(number: int, batch: int, limit: int) -> bool:
        case = LIMITS[number]
        key = case.key, batch, limit
        if key not in tries:
            tries[key] = _runs(number, batch, limit)
            row = {"key": case.key, "batch": batch, "limit": limit, "runs": tries[key]}
            with open(kept, "a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
        return tries[key]

    rows = []
    for number, case in enumerate(LIMITS):
        if given.only in str(case):
            rows.append(_tried(number, case, runs))
            if not given.json:
                print(", ".join(f"{name} {value}" for name, value in rows[-1].items()), flush=True)
    worst = max(row["safe_over_true"] for row in rows)
    summary = {
        "cases": len(rows),
        "run_at_safe": sum(row["runs_at_safe"] for row in rows),
        "worst_safe_over_true": worst,
        "largest_batch_runs": sum(row["largest_runs"] for row in rows),
        "larger_does_not": sum(not row["larger_runs"] for row in rows),
    }
    print(json.dumps(summary))


def _tried(number, case, runs):
    import keras

    from carlib.devices import Device
    from carlib.memory.estimate import need_of_training
    from carlib.memory.fit import largest_batch

    keras.backend.clear_session()
    model, _ = case.build()
    need = need_of_training(model, case.recipe, case.phase, case.batch)
    low, high = 0.97 * need.requested / MIB, need.safe / MIB
    at_safe = runs(number, case.batch, int(high))
    while not runs(number, case.batch, int(high)):
        low, high = high, 1.15 * high
        if high * MIB > 4 * need.safe:
            raise SystemExit(f"{case}: does not run in {high:.0f} MiB")
    while high / low > 1 + PRECISE:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if runs(number, case.batch, int(middle)) else (middle, high)
    usable = int(1.5 * need.safe)
    most = largest_batch(model, case.recipe, case.phase, Device("limited", usable, kind="cpu"))
    return {
        "case": str(case),
        "requested": round(need.requested / MIB, 1),
        "true_limit": round(high, 1),
        "safe": round(need.safe / MIB, 1),
        "true_over_requested": round(high * MIB / need.requested, 3),
        "safe_over_true": round(need.safe / MIB / high, 3),
        "runs_at_safe": at_safe,
        "largest_batch": most,
        "largest_runs": runs(number, most, usable // MIB),
        "larger_runs": runs(number, int(-(-1.35 * most // 1)), usable // MIB),
    }


def _runs(number: int, batch: int, limit: int) -> bool:
    """Whether some steps of a case run in ``limit`` MiB."""
    from carlib.memory.instrument import LIMIT_MIB, LIMITED

    job = {"case": number, "of": "LIMITS", "batch": batch, "steps": STEPS, "heap": limit}
    child = subprocess.run(
        [sys.executable, str(HERE / "memory_child.py"), json.dumps(job)],
        capture_output=True,
        text=True,
        env={
            **os.environ,
            **LIMITED,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            LIMIT_MIB: str(limit),
        },
    )
    last = (child.stdout.strip().splitlines() or [""])[-1]
    if child.returncode == 0 and last.startswith("{"):
        return not json.loads(last)["exhausted"]
    if "RESOURCE_EXHAUSTED" in child.stderr or "OOM" in child.stderr or "exhausted" in child.stderr:
        return False  # before the first step: weights, slots
    raise SystemExit(f"case {number}: {child.stderr.strip()[-500:]}")


if __name__ == "__main__":
    main()
