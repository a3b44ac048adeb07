"""Accuracy on real photos: a recipe of carlib against a plain Keras script, paired.

Both see the same photos (the recipe's own split), the same pretrained weights and no more
compute: photos x side^2 x epochs through the network. The plain script is what a practitioner
writes in an afternoon: a linear probe, then all layers with BatchNorm frozen, AdamW, cosine
with warm-up, RandomResizedCrop, mirror, small affine, brightness and hue, label smoothing.

    python benchmarks/accuracy.py plain --data DIR --out plain.npz
    carlib train --data DIR --recipe lite0-staged --out RUN
    python benchmarks/accuracy.py compare RUN/predictions/validation.npz plain.npz \\
        --recipe lite0-staged
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import time

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")

import albumentations
import cv2
import keras
import numpy as np

from carlib.audit import audit
from carlib.catalog import read_catalog, split
from carlib.images import read_photo
from carlib.models.build import build_model
from carlib.recipes import load_recipe
from carlib.submission import Predictions

BATCH, PROBE_EPOCHS = 32, 20


class Photos(keras.utils.PyDataset):
    """Augmented batches, as everybody writes them."""

    def __init__(self, photos, labels, classes, size):
        super().__init__(workers=2, use_multiprocessing=False, max_queue_size=8)
        self.photos, self.targets = photos, np.eye(classes, dtype="float32")[labels]
        self.order = np.random.permutation(len(photos))
        self.augment = albumentations.Compose(
            [
                albumentations.RandomResizedCrop(
                    (size, size), (0.5, 1.0), (0.8, 1.25), interpolation=cv2.INTER_AREA
                ),
                albumentations.HorizontalFlip(p=0.5),
                albumentations.Affine(
                    rotate=(-10, 10), shear=(-8, 8), p=0.5, border_mode=cv2.BORDER_REFLECT_101
                ),
                albumentations.RandomBrightnessContrast(0.25, 0.25, p=0.5),
                albumentations.HueSaturationValue(15, 30, 15, p=0.5),
            ]
        )

    def __len__(self):
        return len(self.photos) // BATCH

    def __getitem__(self, step):
        rows = self.order[step * BATCH : (step + 1) * BATCH]
        photos = np.stack([self.augment(image=self.photos[row])["image"] for row in rows])
        return photos, self.targets[rows]

    def on_epoch_end(self):
        self.order = np.random.permutation(len(self.photos))


def plain(given: argparse.Namespace) -> None:
    """Train the plain script on a recipe's training photos; predict its validation photos."""
    recipe = load_recipe(given.recipe)
    catalog = read_catalog(given.data)
    catalog = catalog.without(fault.id for fault in audit(catalog))
    catalog = catalog.take(sorted(range(len(catalog)), key=catalog.ids.__getitem__))
    training, validation = split(catalog, recipe.validation_share, recipe.seed)
    classes, size = len(catalog.classes), given.size
    photos = [read_photo(path) for path in training.paths]
    labels = np.array(training.labels)
    spec = dataclasses.replace(
        recipe.model, size=size, dropout=given.dropout, drop_connect=given.dropout
    )
    model = build_model(spec, classes, seed=given.seed)
    began = time.perf_counter()

    # The probe: a softmax on the features of the photos as they are.
    body = keras.Model(model.input, model.get_layer("head_pool").output)
    features = body.predict(squares(photos, size), batch_size=64, verbose=0)
    inputs = keras.Input(features.shape[1:])
    outputs = model.get_layer("head_classes")(model.get_layer("head_dropout")(inputs))
    probe = keras.Model(inputs, outputs)
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.1)
    targets = np.eye(classes, dtype="float32")[labels]
    probe.compile(keras.optimizers.AdamW(3e-3, weight_decay=1e-3), loss)
    probe.fit(features, targets, batch_size=BATCH, epochs=PROBE_EPOCHS, verbose=0)

    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    steps = len(photos) // BATCH
    schedule = keras.optimizers.schedules.CosineDecay(
        0.0, steps * given.epochs - steps, warmup_target=given.lr, warmup_steps=steps
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=1e-3)
    model.compile(optimizer, loss, metrics=["accuracy"])
    model.fit(Photos(photos, labels, classes, size), epochs=given.epochs, verbose=2)

    kept = squares([read_photo(path) for path in validation.paths], size)
    found = model.predict(kept, batch_size=64, verbose=0)
    predictions = Predictions(
        validation.ids, validation.classes, found, "plain Keras", validation.labels
    )
    predictions.save(given.out)
    compute = len(photos) * size**2 * (given.epochs + 1)
    print(
        f"plain Keras, {size} px, lr {given.lr:g}, {given.epochs} epochs: accuracy "
        f"{predictions.accuracy():.4f} of {len(kept)}; compute {compute / 1e9:.3f} G photo-px; "
        f"{time.perf_counter() - began:.0f} s"
    )


def squares(photos: list[np.ndarray], size: int) -> np.ndarray:
    """The photos stretched to squares, uint8 (N, size, size, 3)."""
    return np.stack([cv2.resize(p, (size, size), interpolation=cv2.INTER_AREA) for p in photos])


def compare(given: argparse.Namespace) -> None:
    """Print the paired difference in accuracy, with its 95% interval."""
    ours, theirs = Predictions.load(given.ours), Predictions.load(given.theirs)
    if ours.ids != theirs.ids or ours.labels != theirs.labels:
        raise SystemExit("the two files do not hold the same photos in the same order")
    truth = np.array(ours.labels)
    right = [each.probabilities.argmax(axis=1) == truth for each in (ours, theirs)]
    difference = right[0].astype(float) - right[1].astype(float)
    half = 1.96 * difference.std(ddof=1) / np.sqrt(len(truth))
    print(
        f"{len(truth)} photos: {ours.source}: {right[0].mean():.4f}; {theirs.source}: "
        f"{right[1].mean():.4f}; difference {difference.mean():+.4f}, 95% "
        f"{difference.mean() - half:+.4f} to {difference.mean() + half:+.4f}"
    )
    if given.recipe:
        print(f"{given.recipe}: {share_of_compute(given.recipe):.3f} of the plain script's compute")


def share_of_compute(name: str, size: int = 192, epochs: int = 14) -> float:
    """Photos x side^2 x epochs of a recipe through the network, by the plain script's."""
    recipe = load_recipe(name).with_probe()
    passes = [
        (phase.size or recipe.model.size) ** 2 * min(phase.views or phase.epochs, phase.epochs)
        for phase in recipe.phases
    ]
    return sum(passes) / (size**2 * (epochs + 1))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("plain")
    command.set_defaults(run=plain)
    command.add_argument("--data", required=True)
    command.add_argument("--out", required=True)
    command.add_argument("--recipe", default="lite0-staged", help="whose split and weights")
    command.add_argument("--size", type=int, default=192)
    command.add_argument("--lr", type=float, default=4e-4)
    command.add_argument("--epochs", type=int, default=14)
    command.add_argument("--seed", type=int, default=0)
    command.add_argument("--dropout", type=float, default=0.2, help="and drop-connect")
    command = commands.add_parser("compare")
    command.set_defaults(run=compare)
    command.add_argument("ours")
    command.add_argument("theirs")
    command.add_argument("--recipe", help="print its share of the plain script's compute")
    given = parser.parse_args()
    given.run(given)


if __name__ == "__main__":
    main()
