"""What an epoch of carlib's loop costs beside bare ``model.fit`` on the same arrays.

EfficientNet-Lite0 at 96 px, batch 32, everything trains but BatchNorm, 512 photos in memory,
no augmentation. Both train in one process, each in a thread, and hand over after every epoch,
so that a machine that slows down slows both. The ratio is taken pair by pair, from the start of
an epoch to the end of its last step; first epochs (the tracing) do not count.

    python benchmarks/loop_overhead.py --epochs 25
    python benchmarks/loop_overhead.py --epochs 25 --exact   # op determinism on, in both
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import tempfile
import threading
import time
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from carlib.catalog import Catalog
from carlib.freeze import Freezer
from carlib.loader import Loader
from carlib.models.build import build_model
from carlib.schedules import make_optimizer, make_schedule
from carlib.spec import ModelSpec, Phase, Recipe
from carlib.train import loop

TRAINING, VALIDATION, SIZE, BATCH, CLASSES = 512, 10, 96, 32, 10
STEPS = TRAINING // BATCH


class Turns(keras.callbacks.Callback):
    """Times epochs, and lets the other one run between two of its own."""

    def __init__(self, mine: threading.Semaphore, others: threading.Semaphore):
        super().__init__()
        self.mine, self.others = mine, others
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch, logs=None):
        self.others.release()
        self.mine.acquire()
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch, logs=None):
        if batch == STEPS - 1:
            self.seconds.append(time.perf_counter() - self.began)


def fit(recipe: Recipe, pixels: np.ndarray, labels: np.ndarray, turns: Turns) -> None:
    """Bare model.fit, on the model, optimizer and loss that carlib uses."""
    model = build_model(recipe.model, CLASSES)
    Freezer(model).apply(recipe.phases[0])
    model.compile(
        make_optimizer(recipe.phases[0], make_schedule(recipe.phases[0], STEPS)),
        loss=keras.losses.CategoricalCrossentropy(),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
    )
    # As carlib does; model.fit by itself traces its step a second time, in the second epoch.
    model.optimizer.build(model.trainable_variables)
    targets = np.eye(CLASSES, dtype=np.float32)[labels]
    epochs = recipe.phases[0].epochs
    model.fit(pixels, targets, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[turns])


def carlib(recipe: Recipe, pixels: np.ndarray, labels: np.ndarray, turns: Turns) -> float:
    """carlib's own training; the loader reads photos from memory. Returns start-up seconds."""
    with tempfile.TemporaryDirectory() as folder:
        # The catalog's digest wants files.
        paths = [str(Path(folder, f"{number:04d}")) for number in range(len(pixels))]
        for path in paths:
            Path(path).write_text(path)
        memory = dict(zip(paths, pixels, strict=True))
        loop.Loader = functools.partial(Loader, read=memory.__getitem__)
        loop.audit = lambda catalog: ()
        ids = tuple(map(str, range(len(paths))))
        classes = tuple(map(str, range(CLASSES)))
        catalog = Catalog(ids, tuple(paths), classes, tuple(labels.tolist()))
        out = Path(folder, "run")
        loop.train_model(recipe, catalog, out, callbacks=[turns])
        result = json.loads((out / "result.json").read_text())
    assert result["photos"]["training"] == TRAINING, result["photos"]
    return result["phases"][0]["start_seconds"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--epochs", type=int, default=25)
    parser.add_argument("--exact", action="store_true", help="op determinism on, in both")
    given = parser.parse_args()
    if given.exact:
        tf.config.experimental.enable_op_determinism()
    recipe = Recipe(
        "overhead",
        ModelSpec("efficientnet-lite0", SIZE, weights="imagenet"),
        (Phase("all", given.epochs, 1e-4, batch_size=BATCH),),
        determinism="exact" if given.exact else "fast",
        validation_share=VALIDATION / (TRAINING + VALIDATION),
    )
    rng = np.random.default_rng(0)
    count = TRAINING + VALIDATION
    pixels = rng.integers(0, 256, (count, SIZE, SIZE, 3), np.uint8)
    labels = np.arange(count) % CLASSES
    ours, theirs = threading.Semaphore(0), threading.Semaphore(0)
    fits, carlibs = Turns(theirs, ours), Turns(ours, theirs)

    def bare() -> None:
        theirs.acquire()  # carlib begins
        fit(recipe, pixels[:TRAINING], labels[:TRAINING], fits)
        ours.release()

    other = threading.Thread(target=bare)
    other.start()
    start = carlib(recipe, pixels, labels, carlibs)
    theirs.release()
    other.join()
    pairs = list(zip(carlibs.seconds, fits.seconds, strict=True))[1:]
    ratios = sorted(mine / bare for mine, bare in pairs)
    for name, values in (("carlib", carlibs.seconds[1:]), ("model.fit", fits.seconds[1:])):
        print(
            f"{name:10s} median {statistics.median(values):.3f} s an epoch "
            f"({min(values):.3f} to {max(values):.3f})"
        )
    quarter = len(ratios) // 4
    print(
        f"carlib / model.fit, pair by pair: median {statistics.median(ratios):.3f}, "
        f"quartiles {ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}, {len(ratios)} pairs"
    )
    best = [sorted(values)[quarter] for values in zip(*pairs, strict=True)]
    print(f"carlib / model.fit, lower quartiles (the quiet epochs): {best[0] / best[1]:.3f}")
    print(f"carlib's start-up to the end of the first step, apart: {start:.1f} s")


if __name__ == "__main__":
    main()
