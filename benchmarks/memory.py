"""carlib's memory rules against the truth: the profiler's peak of requested bytes, case by case.

    python benchmarks/memory.py [--out DIR] [--only SUBSTRING] [--beside 10]

Each case is one real training step (or forward pass) in a process of its own, on a CPU with
TensorFlow's own allocator, read by ``carlib.memory.instrument``. Truths are kept in
DIR/truth.jsonl, so a run cut goes on where it was; the estimates are made anew each time. Beside
them the usual recipe (outputs of all layers, weights, slots and gradients added up) and, for
--beside of the cases, TensorFlow's static estimate (grappler) and the probe: steps of a quarter and
half of the batch, and the line through them. "Seen" cases were at hand when the rules were written,
the others were not. Writes DIR/memory.csv, DIR/memory.md and DIR/memory.png.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

HERE = Path(__file__).parent
MIB = 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="memory-truth", type=Path)
    parser.add_argument("--only", default="", help="cases whose description holds this")
    parser.add_argument("--measure", action="store_true", help="measure only, print no table")
    parser.add_argument("--beside", type=int, default=0, help="cases for grappler and the probe")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)

    from memory_cases import CASES

    truths = _measured(given, CASES)
    if given.measure:
        return
    rows = []
    for case in CASES:
        if case.key in truths and given.only in str(case):
            rows.append(_compared(case, truths[case.key]))
    table = pd.DataFrame(rows)
    table.to_csv(given.out / "memory.csv", index=False)
    summary = _summary(table)
    (given.out / "memory.md").write_text(_markdown(table, summary), encoding="utf-8")
    _draw(table, given.out / "memory.png")
    print(json.dumps(summary) if given.json else _markdown(table, summary))


def _measured(given, cases):
    kept = given.out / "truth.jsonl"
    truths = {}
    if kept.exists():  # the last row of a case counts
        truths = {row["key"]: row for row in map(json.loads, kept.read_text().splitlines())}
    chosen = [number for number, case in enumerate(cases) if given.only in str(case)]
    able = [n for n in chosen if cases[n].work == "training" and cases[n].batch >= 4]
    step = max(1, len(able) // given.beside) if given.beside else 0
    beside = set(able[::step][: given.beside]) if step else set()
    for number in chosen:
        case = cases[number]
        row = truths.get(case.key)
        if row and (number not in beside or row.get("probe")):
            continue
        began = time.perf_counter()
        row = row or _child({"case": number})
        if number in beside:
            row["grappler"] = _child({"case": number, "grappler": True})["grappler"]
            sizes = case.batch // 4, case.batch // 2
            few, more = (_child({"case": number, "batch": n})["requested"] for n in sizes)
            slope = (more - few) / (sizes[1] - sizes[0])
            row["probe"] = few + slope * (case.batch - sizes[0])
        row["key"] = case.key
        with open(kept, "a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        truths[case.key] = row
        print(
            f"{case}: {row['requested'] / MIB:.1f} MiB, {time.perf_counter() - began:.0f} s",
            file=sys.stderr,
            flush=True,
        )
    return truths


def _child(job):
    from carlib.memory.instrument import LIMITED

    child = subprocess.run(
        [sys.executable, str(HERE / "memory_child.py"), json.dumps(job)],
        capture_output=True,
        text=True,
        env={**os.environ, **LIMITED, "TF_CPP_MIN_LOG_LEVEL": "3"},
    )
    if child.returncode:
        raise SystemExit(f"{job}: {child.stderr.strip()[-1000:]}")
    return json.loads(child.stdout.strip().splitlines()[-1])


def _compared(case, truth):
    import keras

    from carlib.memory.fixed import nbytes, slots_of
    from carlib.memory.step import forward_pass, training_step

    keras.backend.clear_session()
    model, trainer = case.build()
    began = time.perf_counter()
    fixed = nbytes(model.variables)
    if case.work == "forward":
        walk = forward_pass(model, case.batch)
    else:
        walk = training_step(trainer, case.phase, case.batch)
        fixed += slots_of(trainer, case.phase)
    peak = walk.tape.peak()
    seconds = time.perf_counter() - began
    activations = truth["requested"] - truth["variables"]
    return {
        "case": str(case),
        "backbone": case.backbone,
        "seen": case.seen,
        "requested": truth["requested"],
        "estimate": fixed + peak.nbytes,
        "error": (fixed + peak.nbytes) / truth["requested"] - 1,
        "activations": activations,
        "activations_error": peak.nbytes / activations - 1,
        "in_use": truth["in_use"],
        "sum_of_outputs_error": truth["sum_of_outputs"] / truth["requested"] - 1,
        "grappler_error": _error(truth, "grappler"),
        "probe_error": _error(truth, "probe"),
        "milliseconds": seconds * 1000,
        "peak": f"{peak.layer}: {peak.what}",
    }


def _error(truth, name):
    return truth[name] / truth["requested"] - 1 if truth.get(name) else None


def _summary(table):
    found = {}
    groups = {"all": table, "seen": table[table.seen], "not seen": table[~table.seen]}
    for name, rows in groups.items():
        if len(rows):
            found[name] = {
                "cases": len(rows),
                "backbones": int(rows.backbone.nunique()),
                "mean_error": float(rows.error.abs().mean()),
                "worst_error": float(rows.error.abs().max()),
                "mean_activations_error": float(rows.activations_error.abs().mean()),
                "sum_of_outputs_mean_error": float(rows.sum_of_outputs_error.abs().mean()),
                "median_milliseconds": float(rows.milliseconds.median()),
            }
            for other in ("grappler", "probe"):
                known = rows[f"{other}_error"].dropna().astype(float)
                if len(known):
                    found[name][f"{other}_cases"] = len(known)
                    found[name][f"{other}_mean_error"] = float(known.abs().mean())
    return found


def _markdown(table, summary):
    lines = [
        "| case | R, MiB | estimate | error | activations | sum of outputs | seen |",
        "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in table.itertuples():
        lines.append(
            f"| {row.case} | {row.requested / MIB:.1f} | {row.estimate / MIB:.1f} | "
            f"{row.error:+.1%} | {row.activations_error:+.1%} | {row.sum_of_outputs_error:+.0%} | "
            f"{'yes' if row.seen else 'no'} |"
        )
    lines.append("")
    for name, values in summary.items():
        lines.append(f"{name}: " + ", ".join(f"{k} {v:.4g}" for k, v in values.items()))
    return "\n".join(lines) + "\n"


def _draw(table, path):
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 2, figsize=(11, 5), constrained_layout=True)
    for axis, column, title in (
        (axes[0], "error", "carlib's rules"),
        (axes[1], "sum_of_outputs_error", "layers' outputs added up"),
    ):
        for seen, marker, label in ((True, "o", "seen"), (False, "s", "not seen")):
            rows = table[table.seen == seen]
            axis.scatter(
                rows.requested / MIB,
                100 * rows[column],
                marker=marker,
                label=label,
                s=28,
                alpha=0.8,
            )
        axis.axhline(0, color="0.5", linewidth=0.8)
        axis.set_xscale("log")
        axis.set_xlabel("peak of requested bytes, MiB")
        axis.set_ylabel("error, %")
        axis.set_title(title)
        axis.legend(frameon=False)
    axes[0].set_ylim(-12, 12)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
