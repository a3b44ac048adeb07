"""A head's phase on cached features against the same phase through the network, in one process.

    python benchmarks/cached_features.py --data DIR [--epochs 20] [--views 2] [--repeats 2]

Both train the same head on the same split at the same photo size, augmentation and epochs; the
cached one spends ``views`` passes of the frozen network, the other one an epoch. Times are of
whole phases: caching, training and validation, start-up (tracing) left in. The order of the two
turns with each repeat; the ratio is of medians.
"""

from __future__ import annotations

import argparse
import dataclasses
import statistics
import tempfile
from pathlib import Path

from carlib.catalog import read_catalog
from carlib.recipes import load_recipe
from carlib.runfolder import read_json, read_table
from carlib.spec import Phase
from carlib.train import train_model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", required=True)
    parser.add_argument("--recipe", default="lite0-staged", help="whose model and size")
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=2)
    given = parser.parse_args()
    catalog = read_catalog(given.data)
    recipe = load_recipe(given.recipe)
    head = Phase(
        "head", given.epochs, 3e-3, trains="head", schedule="cosine", augment="light", batch_size=32
    )
    model = dataclasses.replace(recipe.model, size=given.size)
    plain = dataclasses.replace(recipe, model=model, phases=(head,), linear_probe=0)
    cached = dataclasses.replace(plain, phases=(dataclasses.replace(head, views=given.views),))
    seconds: dict[str, list[float]] = {"network": [], "cached": []}
    accuracy: dict[str, list[float]] = {"network": [], "cached": []}
    for repeat in range(given.repeats):
        arms = [("network", plain), ("cached", cached)]
        for name, arm in arms if repeat % 2 == 0 else reversed(arms):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "run"
                train_model(arm, catalog, out)
                (phase,) = read_json(out / "result.json")["phases"]
                history = read_table(out / "history.csv")
                timings = read_table(out / "timings.csv")
            spent = sum(row["seconds"] + row["validation_seconds"] for row in timings)
            spent += phase["feature_seconds"] or 0.0
            seconds[name].append(spent)
            accuracy[name].append(history[-1]["val_accuracy"])
            print(f"{name}: {spent:.1f} s, validation accuracy {accuracy[name][-1]:.4f}")
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    print(
        f"{given.epochs} epochs, {given.views} views, {given.size} px: network / cached = "
        f"{medians['network'] / medians['cached']:.1f}"
    )


if __name__ == "__main__":
    main()
