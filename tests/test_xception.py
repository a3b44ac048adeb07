"""Xception: its blocks are its residual units, its file is the one that Keras fetches."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
from networks import built, enliven, features_of, two_photos, write_h5

from carlib.errors import RunError
from carlib.models import build
from carlib.models.build import blocks, build_model
from carlib.models.releases import fetch
from carlib.models.xception import IMAGENET, PROJECTED, block_name
from carlib.spec import ModelSpec


def test_the_blocks_are_the_residual_units():
    found = blocks(built("xception"))
    units = [f"block{number}a" for number in range(2, 14)]
    assert list(found) == ["stem", *units, "top", "head"]
    for number, unit in enumerate(units, 2):
        names = [layer.name.removeprefix(f"{unit}_") for layer in found[unit]]
        assert names[-1] == "add"
        assert ("residual_conv" in names) == ("residual_bn" in names) == (number in PROJECTED)
        assert ("drop" in names) == (5 <= number < 13)


def test_every_other_layer_keeps_its_name():
    original = keras.applications.Xception(weights=None, include_top=False)
    named = {block_name(x.name) for x in original.layers if x.name.startswith("block")}
    assert named <= {layer.name for layer in built("xception").layers}


def test_the_release_is_the_file_that_keras_would_fetch(monkeypatch):
    asked = {}

    def get_file(name, url, **options):
        asked.update(options, name=name, url=url)
        raise InterruptedError

    module = pytest.importorskip("keras.src.applications.xception")
    monkeypatch.setattr(module.file_utils, "get_file", get_file)
    with pytest.raises(InterruptedError):
        keras.applications.Xception(include_top=False)
    assert (IMAGENET.name, IMAGENET.url) == (asked["name"], asked["url"])
    assert IMAGENET.digest == asked["file_hash"]


def test_a_released_file_is_loaded(tmp_path):
    """Its layers without a name bear one that Keras counted up, from any number."""
    original = enliven(keras.applications.Xception(weights=None, include_top=False), seed=7)
    layers = [(layer.name, layer) for layer in original.layers]
    path = write_h5(tmp_path / "weights.h5", layers)
    model = build_model(ModelSpec("xception", 64, weights=str(path)), 3)
    photos = two_photos()
    prepared = keras.applications.xception.preprocess_input(photos.astype(np.float32))
    wanted = np.asarray(original(prepared, training=False))
    found = np.asarray(features_of(model)(photos, training=False))
    assert wanted.std() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-3 * wanted.std())


def test_offline_the_file_to_attach_is_named(monkeypatch, tmp_path):
    class Gone(type(IMAGENET)):
        __slots__ = ()

    gone = Gone(IMAGENET.name, (tmp_path / "gone.h5").as_uri(), IMAGENET.digest)
    monkeypatch.setattr(build, "IMAGENET", gone)
    monkeypatch.setattr(build, "fetch", functools.partial(fetch, roots=(), cache=tmp_path))
    with pytest.raises(RunError, match=r"attach xception_weights_.*_notop\.h5, from file:"):
        build_model(ModelSpec("xception", 299, weights="imagenet"), 2)
