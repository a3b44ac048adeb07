"""The loader as Keras takes it: pairs in the loader's order, each epoch its own."""

from __future__ import annotations

import threading
from pathlib import Path

import keras
import numpy as np
import pytest
from photos import draw, encode

from carlib.batches import Batches, pair, pairs
from carlib.catalog import Catalog
from carlib.errors import UsageError
from carlib.loader import Batch, Loader, View, Workers
from carlib.models.build import build_model
from carlib.spec import ModelSpec

COUNT, BATCH, CLASSES, SIZE = 11, 4, 3, 32


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("photos")
    paths = [str(folder / f"{number}.png") for number in range(COUNT)]
    for number, path in enumerate(paths):
        Path(path).write_bytes(encode(draw(33 + number, 70 - 2 * number, number)))
    labels = tuple(number % 3 for number in range(COUNT))
    return Catalog(tuple(map(str, range(COUNT))), tuple(paths), ("a", "b", "c"), labels)


def make(catalog: Catalog, training: bool = True) -> Loader:
    view = View(SIZE, preset="light" if training else "none")
    return Loader(
        catalog, view, batch_size=BATCH, seed=1, training=training, workers=Workers("threads", 0)
    )


@pytest.fixture(scope="module")
def model() -> keras.Model:
    model = build_model(ModelSpec("tiny", SIZE), CLASSES, seed=3)
    model.compile("adam", "categorical_crossentropy", metrics=["accuracy"])
    return model


def unlabelled(catalog: Catalog) -> Catalog:
    return Catalog(catalog.ids, catalog.paths)


@pytest.mark.parametrize(
    ("labels", "rows"),
    [
        ([0], [[1, 0, 0]]),
        ([2, 0, 2], [[0, 0, 1], [1, 0, 0], [0, 0, 1]]),
        ([], np.zeros((0, 3))),
    ],
)
def test_pair_is_one_hot(labels: list[int], rows: list[list[int]]) -> None:
    photos = np.arange(len(labels) * 12, dtype=np.uint8).reshape(-1, 2, 2, 3)
    batch = Batch(np.arange(len(labels)), photos, np.array(labels, np.int32))
    found, truth = pair(batch, 3)
    assert found is photos
    assert truth.dtype == np.float32
    np.testing.assert_array_equal(truth, rows)


MIXED = Batch(
    np.arange(4),
    np.zeros((4, 2, 2, 3), np.uint8),
    np.array([0, 1, 2, 1], np.int32),
    np.array([1, 1, 0, 2], np.int32),
    np.array([0.75, 0.1, 1.0, 0.0], np.float32),
)
TARGETS = [[0.75, 0.25, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]


def test_mixed_photos_have_soft_targets() -> None:
    photos, targets = pair(MIXED, 3)
    assert photos is MIXED.photos
    assert targets.dtype == np.float32
    np.testing.assert_allclose(targets, TARGETS, rtol=0, atol=1e-7)


def test_a_photo_weighs_what_its_targets_weigh() -> None:
    weights = [0.5, 1.0, 3.0]
    photos, targets, found = pair(MIXED, 3, weights)
    assert photos is MIXED.photos
    assert found.dtype == np.float32
    np.testing.assert_allclose(targets, TARGETS, rtol=0, atol=1e-7)
    np.testing.assert_allclose(found, [0.75 * 0.5 + 0.25 * 1, 1, 3, 3], rtol=1e-6)
    plain = Batch(MIXED.numbers, MIXED.photos, MIXED.labels)
    np.testing.assert_array_equal(pair(plain, 3, weights)[2], [0.5, 1, 3, 1])


@pytest.mark.parametrize("weights", [[], [1.0, 2.0], [1.0, 2.0, 3.0, 4.0]])
def test_a_weight_a_class(weights: list[float]) -> None:
    said = f"^weights must be one a class, 3; received {len(weights)} of them$"
    with pytest.raises(UsageError, match=said):
        pair(MIXED, 3, weights)


def test_targets_of_a_mixing_loader(catalog: Catalog) -> None:
    view = View(SIZE, preset="light", clean_share=0.2, mixup=0.4, cutmix=1.0)
    loader = Loader(catalog, view, batch_size=BATCH, seed=1, training=True)
    with loader:
        for epoch in range(4):
            batches = loader.epoch(epoch)
            found = pairs(loader, epoch, weights=[1.0, 2.0, 4.0])
            for batch, (photos, targets, weights) in zip(batches, found, strict=True):
                np.testing.assert_array_equal(photos, batch.photos)
                np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
                rows = np.arange(BATCH)
                apart = batch.labels != batch.partners
                own, other = targets[rows, batch.labels], targets[rows, batch.partners]
                np.testing.assert_allclose(own[apart], batch.shares[apart], atol=1e-6)
                np.testing.assert_allclose(other[apart], 1 - batch.shares[apart], atol=1e-6)
                np.testing.assert_allclose(own[~apart], 1, atol=1e-6)
                np.testing.assert_allclose(weights, targets @ [1, 2, 4], rtol=1e-6)


def test_keras_train_function_takes_the_triple(catalog: Catalog, model: keras.Model) -> None:
    """The loss is the mean of the photos' losses times their weights."""
    loader = make(catalog, training=False)
    triple = next(pairs(loader, 0, weights=[1.0, 2.0, 4.0]))
    photos, targets, weights = triple
    rows = np.asarray(model(photos, training=False), np.float64)
    wanted = np.mean(-np.log((rows * targets).sum(1)) * weights)
    model.make_test_function()
    for metric in model.metrics:
        metric.reset_state()
    assert float(model.test_function(iter([triple]))["loss"]) == pytest.approx(wanted, rel=1e-5)
    model.make_train_function()
    assert np.isfinite(float(model.train_function(iter([triple]))["loss"]))


@pytest.mark.parametrize("training", [True, False])
def test_pairs_are_the_loaders_batches(catalog: Catalog, training: bool) -> None:
    loader = make(catalog, training)
    for start in range(loader.steps + 1):
        batches = list(loader.epoch(2, start))
        found = list(pairs(loader, 2, start))
        assert len(found) == len(batches) == loader.steps - start
        for (photos, truth), batch in zip(found, batches, strict=True):
            np.testing.assert_array_equal(photos, batch.photos)
            np.testing.assert_array_equal(truth.argmax(1), batch.numbers % 3)
            np.testing.assert_array_equal(truth.sum(1), 1)


@pytest.mark.parametrize(
    "ask",
    [
        lambda loader: pair(loader.batch(0, 0), 3),
        lambda loader: next(pairs(loader, 0)),
        lambda loader: Batches(loader)[0],
    ],
)
def test_labels_are_needed(catalog: Catalog, ask: object) -> None:
    with pytest.raises(UsageError, match="training needs labels, and these photos have none"):
        ask(make(unlabelled(catalog)))


@pytest.mark.parametrize(("training", "length"), [(True, 2), (False, 3)])
def test_length_and_items(catalog: Catalog, training: bool, length: int) -> None:
    loader = make(catalog, training)
    batches = Batches(loader)
    assert len(batches) == batches.num_batches == length
    for epoch in range(3):
        for step in (1, 0):
            photos, truth = batches[step]
            batch = loader.batch(epoch, step)
            np.testing.assert_array_equal(photos, batch.photos)
            np.testing.assert_array_equal(truth.argmax(1), batch.labels)
        batches.on_epoch_begin()
        batches.on_epoch_end()
        batches.on_epoch_end()  # of nothing


def test_epochs_differ(catalog: Catalog) -> None:
    batches = Batches(make(catalog))
    first = batches[0][0]
    batches.on_epoch_begin()
    np.testing.assert_array_equal(batches[0][0], first)
    batches.on_epoch_end()
    assert not np.array_equal(batches[0][0], first)


class Noted(Loader):
    """Notes what is asked for, by whichever thread."""

    def batch(self, epoch: int, step: int) -> Batch:
        with LOCK:
            self.asked.append((epoch, step))
        return super().batch(epoch, step)


LOCK = threading.Lock()


@pytest.mark.parametrize("workers", [1, 2])
def test_fit_takes_each_batch_of_each_epoch(
    catalog: Catalog, model: keras.Model, workers: int
) -> None:
    loader = Noted(catalog, View(SIZE, preset="light"), batch_size=BATCH, training=True)
    loader.asked = []
    history = model.fit(Batches(loader, workers), epochs=3, verbose=0)
    assert len(history.history["loss"]) == 3
    assert np.isfinite(history.history["loss"]).all()
    # Keras looks at a batch or two of the first epoch beforehand, for their shapes.
    early = len(loader.asked) - 3 * loader.steps
    assert 0 <= early <= loader.steps
    assert {epoch for epoch, _ in loader.asked[:early]} <= {0}
    wanted = sorted((epoch, step) for epoch in range(3) for step in range(loader.steps))
    assert sorted(loader.asked[early:]) == wanted


@pytest.mark.parametrize("workers", [1, 2])
def test_fit_passes_errors_on(catalog: Catalog, model: keras.Model, workers: int) -> None:
    with pytest.raises(UsageError, match="training needs labels"):
        model.fit(Batches(make(unlabelled(catalog)), workers), verbose=0)


def test_evaluate_equals_a_loop_of_our_own(catalog: Catalog, model: keras.Model) -> None:
    loader = make(catalog, training=False)
    found = model.evaluate(Batches(loader), verbose=0, return_dict=True)
    losses, hits = [], []
    for batch in loader.epoch(0):
        rows = np.asarray(model(batch.photos, training=False), np.float64)
        picked = rows[np.arange(len(rows)), batch.labels]
        losses += (-np.log(picked)).tolist()
        hits += (rows.argmax(1) == batch.labels).tolist()
    assert len(hits) == COUNT
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-5)
    assert found["accuracy"] == pytest.approx(np.mean(hits), rel=1e-6)
