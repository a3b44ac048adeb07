"""Every backbone at its native size: built, one training step, saved, opened by plain Keras.

    python benchmarks/backbones.py [--out DIR] [--only NAME ...] [--size PX]

A child process a backbone: a batch of two photos, everything trains, BatchNorm too. What the
opened model predicts must be what the built one did, bit for bit. A run cut goes on where it was:
rows are kept in DIR/backbones.jsonl, the table is DIR/backbones.md.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

from carlib.files import write_whole
from carlib.models.table import BACKBONES

HEAD = (
    "| backbone | px | parameters | its loss | first step, s | saved, MB | opened: the same |\n"
    "| --- | ---: | ---: | ---: | ---: | ---: | --- |\n"
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default="backbones", type=Path)
    parser.add_argument("--only", nargs="+", choices=list(BACKBONES), default=list(BACKBONES))
    parser.add_argument("--size", type=int, default=0, help="px; default: its own")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(_tried(given.child, given.size)))
        return
    given.out.mkdir(parents=True, exist_ok=True)
    kept = given.out / "backbones.jsonl"
    rows = {}
    if kept.exists():
        rows = {(row["name"], row["px"]): row for row in map(json.loads, kept.open())}
    chosen = [(name, given.size or BACKBONES[name].size) for name in given.only]
    for name, size in chosen:
        if (name, size) not in rows:
            child = [sys.executable, __file__, "--child", name, "--size", str(size)]
            said = subprocess.run(child, capture_output=True, text=True, check=False)
            if said.returncode:
                sys.exit(f"{name}: {said.stderr.strip()[-500:]}")
            rows[name, size] = json.loads(said.stdout.splitlines()[-1])
            with kept.open("a", encoding="utf-8") as file:
                file.write(json.dumps(rows[name, size]) + "\n")
        print(_line(rows[name, size]), flush=True)
    write_whole(
        given.out / "backbones.md", HEAD + "\n".join(_line(rows[key]) for key in chosen) + "\n"
    )
    if not all(rows[key]["same"] for key in chosen):
        sys.exit("an opened model predicts otherwise than it was saved")


def _line(row: dict) -> str:
    same = "yes" if row["same"] else "NO"
    return (
        f"| {row['name']} | {row['px']} | {row['parameters']:,} | {row['loss']:.3f} | "
        f"{row['step']:.1f} | {row['saved']:.0f} | {same} |"
    )


def _tried(name: str, size: int) -> dict:
    import tempfile

    import keras
    import numpy as np

    from carlib.freeze import Freezer
    from carlib.models.build import build_model
    from carlib.schedules import make_schedule
    from carlib.spec import ModelSpec, Phase, Recipe
    from carlib.steps import compile_trainer

    phase = Phase("all", 1, 1e-3, batch_size=2, optimizer="sgd", batchnorm="trained")
    # A block left out for both photos would learn nothing.
    spec = ModelSpec(name, size, dropout=0.0, drop_connect=0.0)
    recipe = Recipe("r", spec, (phase,))
    model = build_model(recipe.model, 10)
    Freezer(model).apply(phase)
    compile_trainer(model, recipe, phase, make_schedule(phase, 1))
    photos = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    before = _values(model)
    began = time.perf_counter()
    logs = model.train_function(iter([(photos, np.eye(10, dtype=np.float32)[[1, 7]])]))
    loss, seconds = float(logs["loss"]), time.perf_counter() - began
    moved = [(was != now).any() for was, now in zip(before, _values(model), strict=True)]
    if not np.isfinite(loss) or np.mean(moved) < 0.9:
        raise SystemExit(f"{name}: loss {loss}, {np.mean(moved):.0%} of the weights moved")
    wanted = np.asarray(model(photos, training=False))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        keras.Model(model.input, model.output).save(path)
        saved = path.stat().st_size / 1e6
        found = np.asarray(keras.models.load_model(path)(photos, training=False))
    return {
        "name": name,
        "px": size,
        "parameters": model.count_params(),
        "loss": loss,
        "step": seconds,
        "saved": saved,
        "same": bool((wanted == found).all()),
    }


def _values(model) -> list:
    return [each.numpy() for each in model.trainable_variables]


if __name__ == "__main__":
    main()
