"""What an epoch of carlib's loop costs beside bare ``model.fit`` on the same arrays.

EfficientNet-Lite0 at 96 px, batch 32, everything trains but BatchNorm, 512 photos in memory,
no augmentation. Each round runs every arm in a process of its own, in turn; the figures are
medians over all epochs but each process's first (which holds the tracing).

    python benchmarks/loop_overhead.py --rounds 3

Arms: ``fit`` (bare ``model.fit`` on numpy arrays), ``fast`` and ``exact`` (carlib with that
determinism), ``fit-exact`` (``model.fit`` under op determinism too).
"""

from __future__ import annotations

import argparse
import csv
import functools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

ARMS = ("fit", "fast", "fit-exact", "exact")
TRAINING, VALIDATION, SIZE, BATCH, EPOCHS, CLASSES = 512, 10, 96, 32, 6, 10


def photos() -> tuple[np.ndarray, np.ndarray]:
    """Return TRAINING + VALIDATION photos, uint8, and their labels."""
    rng = np.random.default_rng(0)
    count = TRAINING + VALIDATION
    pixels = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    return pixels, np.arange(count) % CLASSES


def run_fit(exact: bool) -> dict[str, object]:
    """Time epochs of model.fit on the model, optimizer and loss that carlib would use."""
    import keras
    import tensorflow as tf

    from carlib.freeze import Freezer
    from carlib.models.build import build_model
    from carlib.schedules import make_optimizer

    if exact:
        tf.config.experimental.enable_op_determinism()
    recipe = make_recipe("fast")
    began = time.perf_counter()
    model = build_model(recipe.model, CLASSES)
    Freezer(model).apply(recipe.phases[0])
    model.compile(
        make_optimizer(recipe.phases[0], TRAINING // BATCH),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    built = time.perf_counter() - began
    pixels, labels = photos()
    seconds: list[float] = []

    class Clock(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.began = time.perf_counter()

        def on_epoch_end(self, epoch, logs=None):
            seconds.append(time.perf_counter() - self.began)

    targets = np.eye(CLASSES, dtype=np.float32)[labels]
    model.fit(
        pixels[:TRAINING],
        targets[:TRAINING],
        batch_size=BATCH,
        epochs=EPOCHS,
        verbose=0,
        callbacks=[Clock()],
    )
    return {"seconds": seconds, "build": built}


def make_recipe(determinism: str):
    from carlib.spec import ModelSpec, Phase, Recipe

    return Recipe(
        "overhead",
        ModelSpec("efficientnet-lite0", SIZE, weights="imagenet"),
        (Phase("all", EPOCHS, 1e-4, batch_size=BATCH),),
        determinism=determinism,
        validation_share=VALIDATION / (TRAINING + VALIDATION),
    )


def run_carlib(determinism: str) -> dict[str, object]:
    """Time epochs of carlib's own training; the loader reads photos from memory."""
    from carlib.catalog import Catalog
    from carlib.loader import Loader
    from carlib.train import loop

    pixels, labels = photos()
    with tempfile.TemporaryDirectory() as folder:
        # The catalog's digest wants files; the loader is given the photos in memory.
        paths = [str(Path(folder, f"{number:04d}")) for number in range(len(pixels))]
        for path in paths:
            Path(path).write_text(path)
        memory = dict(zip(paths, pixels, strict=True))
        loop.Loader = functools.partial(Loader, read=memory.__getitem__)
        loop.audit = lambda catalog: ()
        catalog = Catalog(
            tuple(map(str, range(len(paths)))),
            tuple(paths),
            tuple(map(str, range(CLASSES))),
            tuple(labels.tolist()),
        )
        out = Path(folder, "run")
        loop.train_model(make_recipe(determinism), catalog, out)
        with open(out / "timings.csv") as file:
            rows = list(csv.DictReader(file))
        result = json.loads((out / "result.json").read_text())
    assert result["photos"]["training"] == TRAINING, result["photos"]
    return {
        "seconds": [float(row["seconds"]) for row in rows],
        "wait": [float(row["wait"]) for row in rows],
        "start": result["phases"][0]["start_seconds"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--arm", choices=ARMS)
    given = parser.parse_args()
    if given.arm:
        fit = given.arm.startswith("fit")
        said = run_fit(given.arm == "fit-exact") if fit else run_carlib(given.arm)
        print(json.dumps(said))
        return
    found: dict[str, list[float]] = {arm: [] for arm in ARMS}
    starts: list[float] = []
    for _ in range(given.rounds):
        for arm in ARMS:
            command = [sys.executable, __file__, "--arm", arm]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            said = json.loads(done.stdout.splitlines()[-1])
            found[arm] += said["seconds"][1:]
            starts += [said["start"]] if "start" in said else []
    median = {arm: statistics.median(values) for arm, values in found.items()}
    for arm in ARMS:
        low, high = min(found[arm]), max(found[arm])
        print(f"{arm:10s} median {median[arm]:.3f} s an epoch ({low:.3f} to {high:.3f})")
    print(f"fast / fit        {median['fast'] / median['fit']:.3f}")
    print(f"exact / fit       {median['exact'] / median['fit']:.3f}")
    print(f"exact / fit-exact {median['exact'] / median['fit-exact']:.3f}")
    print(f"carlib's start-up to the end of the first step: {statistics.median(starts):.1f} s")


if __name__ == "__main__":
    main()
