"""Cached features: their identity, and what is kept and made again."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from carlib.catalog import read_catalog
from carlib.errors import CarlibError, UsageError
from carlib.features import FeatureCache, body_of, head_of
from carlib.loader import Loader, View, Workers
from carlib.models.build import build_model
from carlib.spec import ModelSpec

AUGMENTED = View(32, "stretch", "light")


@pytest.fixture(scope="module")
def catalog(photos):
    return read_catalog(photos).take(range(0, 60, 5))


@pytest.fixture(scope="module")
def model():
    return build_model(ModelSpec("tiny", 32, dropout=0.0), 3)


def cache(folder, model, catalog, view=AUGMENTED, seed=0, digest="d", batch_size=5, workers=0):
    loader = Loader(
        catalog, view, batch_size=batch_size, seed=seed, workers=Workers("threads", workers)
    )
    return FeatureCache(folder, body_of(model), loader, digest)


def test_body_and_head_are_the_model(model):
    photos = np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3)
    features = body_of(model)(photos, training=False)
    together = head_of(model)(features, training=False)
    np.testing.assert_allclose(together, model(photos, training=False), atol=1e-6)
    ours = {id(variable) for variable in model.variables}
    assert all(id(variable) in ours for variable in head_of(model).variables)
    assert not body_of(model).get_layer("head_pool").weights


def test_half_precision_features_stay_half(catalog, tmp_path):
    half = build_model(ModelSpec("tiny", 32, dtype="mixed_float16"), 3)
    assert cache(tmp_path, half, catalog).view(0).dtype == np.float16
    assert head_of(half).input.dtype == "float16"


def test_features_are_those_of_the_loaders_items_in_catalog_order(tmp_path, model, catalog):
    found = cache(tmp_path, model, catalog)
    body = body_of(model)
    for epoch in (0, 3):
        items = np.stack([found.loader.items(epoch, n) for n in range(len(catalog))])
        wanted = body(items, training=False)
        np.testing.assert_allclose(found.view(epoch), wanted, atol=1e-5)
    assert (found.view(0) != found.view(3)).any()


@pytest.mark.parametrize("workers", [1, 2])
def test_workers_do_not_change_features(tmp_path, model, catalog, workers):
    plain = cache(tmp_path / "a", model, catalog).view(1)
    threaded = cache(tmp_path / "b", model, catalog, workers=workers).view(1)
    np.testing.assert_array_equal(plain, threaded)


def test_the_loader_is_closed_once_a_view_is_made(tmp_path, model, catalog):
    made = cache(tmp_path, model, catalog, workers=2)
    made.view(0)
    assert made.loader._pool is None
    assert made.kept == 1


def test_a_second_cache_reads_what_the_first_kept(tmp_path, model, catalog, monkeypatch):
    first = cache(tmp_path, model, catalog).view(2)
    second = cache(tmp_path, model, catalog)
    monkeypatch.setattr(second, "_compute", None)
    np.testing.assert_array_equal(second.view(2), first)


def changed_model():
    other = build_model(ModelSpec("tiny", 32), 3, seed=1)
    return other


@pytest.mark.parametrize(
    "change",
    [
        {"view": View(32, "pad", "light")},
        {"view": View(32)},
        {"seed": 1},
        {"digest": "another"},
        {"model": changed_model},
    ],
    ids=lambda change: next(iter(change)),
)
def test_what_features_depend_on_is_in_their_name(tmp_path, model, catalog, change):
    other = change.pop("model", lambda: model)()
    names = {
        cache(tmp_path, model, catalog)._path(0),
        cache(tmp_path, model, catalog)._path(1),
        cache(tmp_path, other, catalog, **change)._path(0),
        cache(tmp_path, model, catalog.take(range(5)))._path(0),
    }
    assert len(names) == 4
    assert cache(tmp_path, model, catalog)._path(0) in names


def test_the_heads_weights_are_not_in_the_name(tmp_path, model, catalog):
    before = cache(tmp_path, model, catalog)._path(0)
    kernel = model.get_layer("head_classes").kernel
    kept = kernel.numpy()
    kernel.assign(kept + 1)
    assert cache(tmp_path, model, catalog)._path(0) == before
    kernel.assign(kept)


@pytest.mark.parametrize("harm", ["truncated", "one byte", "empty", "an HTML page"])
def test_a_damaged_file_is_made_again(tmp_path, model, catalog, caplog, harm):
    wanted = cache(tmp_path, model, catalog).view(0)
    (path,) = tmp_path.iterdir()
    content = bytearray(path.read_bytes())
    if harm == "truncated":
        content = content[:-20]
    elif harm == "one byte":
        content[len(content) // 2] ^= 1
    else:
        content = b"<html>404</html>" if harm == "an HTML page" else b""
    path.write_bytes(content)
    np.testing.assert_array_equal(cache(tmp_path, model, catalog).view(0), wanted)
    assert "is damaged" in caplog.text
    caplog.clear()
    cache(tmp_path, model, catalog).view(0)
    assert not caplog.text


def test_an_interrupted_view_leaves_nothing(tmp_path, model, catalog):
    called = []

    def check():
        called.append(1)
        if len(called) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path, model, catalog).view(0, check)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_takes_no_files_costs_only_a_warning(
    tmp_path, model, catalog, caplog, monkeypatch
):
    def full(path, content):
        raise CarlibError("no space left to write")

    monkeypatch.setattr("carlib.features.write_whole", full)
    made = cache(tmp_path, model, catalog)
    views = [made.view(epoch) for epoch in (0, 1)]
    assert views[0].shape == (12, 48)
    assert "the features are not kept on disk: no space left" in caplog.text
    monkeypatch.setattr(made, "_compute", None)  # held in memory instead
    assert made.view(0) is views[0]
    assert made.view(1) is views[1]
    assert made.kept == 0


def test_remove(tmp_path, model, catalog):
    made = cache(tmp_path / "features", model, catalog)
    made.view(0)
    made.remove()
    assert not (tmp_path / "features").exists()
    made.remove()


def test_a_training_loader_is_refused(tmp_path, model, catalog):
    loader = Loader(catalog, AUGMENTED, batch_size=4, training=True)
    with pytest.raises(UsageError, match="cached features need a loader in catalog order"):
        FeatureCache(tmp_path, body_of(model), loader, "d")


def test_training_the_head_moves_the_models_own_weights(model):
    head = head_of(model)
    head.compile(keras.optimizers.SGD(1.0), "categorical_crossentropy")
    before = model.get_layer("head_classes").kernel.numpy()
    head.train_on_batch(np.ones((2, 48), np.float32), np.eye(3)[:2])
    assert (model.get_layer("head_classes").kernel.numpy() != before).any()
    model.get_layer("head_classes").kernel.assign(before)
