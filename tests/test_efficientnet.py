"""EfficientNet B0 to B7: the table against the package, its files, and what it refuses."""

from __future__ import annotations

import functools
import hashlib
import sys

import efficientnet.model
import efficientnet.tfkeras
import efficientnet.weights
import keras
import numpy as np
import pytest
from networks import enliven, features_of, two_photos, write_h5

from carlib.errors import RunError, UsageError
from carlib.models import BACKBONES, build
from carlib.models.build import build_model
from carlib.models.efficientnet import efficientnet_release
from carlib.models.releases import fetch
from carlib.spec import ModelSpec

NAMES = [name for name, backbone in BACKBONES.items() if backbone.family == "efficientnet"]


def test_all_eight_are_there():
    assert [f"efficientnet-b{number}" for number in range(8)] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_the_table_is_the_packages(monkeypatch, name):
    """Width, depth and photo size are what its own class is made with."""
    asked = []

    def record(width, depth, size, dropout, **options):
        asked.append((width, depth, size, options["model_name"]))

    monkeypatch.setattr(efficientnet.model, "EfficientNet", record)
    getattr(efficientnet.tfkeras, f"EfficientNetB{name[-1]}")()
    backbone = BACKBONES[name]
    assert asked == [(backbone.width, backbone.depth, backbone.size, name)]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("weights", ["imagenet", "noisy-student"])
def test_a_release_is_the_file_that_the_package_would_fetch(monkeypatch, name, weights):
    asked = {}

    def get_file(name, url, **options):
        asked.update(options, name=name, url=url)
        raise InterruptedError

    monkeypatch.setattr(keras.utils, "get_file", get_file)
    small = [efficientnet.model.DEFAULT_BLOCKS_ARGS[0]]
    with pytest.raises(InterruptedError):
        efficientnet.model.EfficientNet(
            0.1,
            0.1,
            32,
            blocks_args=small,
            model_name=name,
            include_top=False,
            weights=weights,
            **{kind: getattr(keras, kind) for kind in ("backend", "layers", "models", "utils")},
        )
    release = efficientnet_release(name, weights)
    assert (release.name, release.url) == (asked["name"], asked["url"])
    assert release.digest == asked["file_hash"]


def test_released_weights_predict_what_the_package_predicts(monkeypatch, tmp_path):
    """From an attached file, by the name of the weights, at another size than it was made at."""
    made_at = {"weights": None, "include_top": False, "input_shape": (96, 96, 3)}
    package = enliven(efficientnet.tfkeras.EfficientNetB0(**made_at))
    release = efficientnet_release("efficientnet-b0", "noisy-student")
    folder = tmp_path / "datasets/somebody/weights"
    folder.mkdir(parents=True)
    named = [(layer.name, layer) for layer in package.layers]
    path = write_h5(folder / release.name, named)
    digests = ("", hashlib.md5(path.read_bytes()).hexdigest())
    monkeypatch.setitem(efficientnet.weights.NS_WEIGHTS_HASHES, "efficientnet-b0", digests)
    monkeypatch.setattr(build, "fetch", functools.partial(fetch, roots=[tmp_path]))
    spec = ModelSpec("efficientnet-b0", 64, weights="noisy-student")
    photos = two_photos()
    found = np.asarray(features_of(build_model(spec, 3))(photos, training=False))
    prepared = efficientnet.tfkeras.preprocess_input(photos.astype(np.float32))
    original = efficientnet.tfkeras.EfficientNetB0(**{**made_at, "input_shape": (64, 64, 3)})
    original.set_weights(package.get_weights())
    wanted = np.asarray(original(prepared, training=False))
    assert wanted.std() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-3 * wanted.std())


def test_offline_the_file_to_attach_is_named(monkeypatch, tmp_path):
    nowhere = (tmp_path / "gone").as_uri() + "/"
    monkeypatch.setattr(efficientnet.weights, "NS_WEIGHTS_PATH", nowhere)
    monkeypatch.setattr(build, "fetch", functools.partial(fetch, roots=(), cache=tmp_path))
    spec = ModelSpec("efficientnet-b5", 456, weights="noisy-student")
    file = r"efficientnet-b5_noisy-student_notop\.h5"
    message = f"^{file} is not attached.*; attach {file}, from {nowhere}{file}, as a dataset"
    with pytest.raises(RunError, match=message) as caught:
        build_model(spec, 2)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("weights", "module"), [("none", "tfkeras"), ("imagenet", "weights")])
def test_without_its_package_it_says_what_to_install(monkeypatch, weights, module):
    monkeypatch.setitem(sys.modules, f"efficientnet.{module}", None)
    with pytest.raises(UsageError, match="pip install efficientnet"):
        build_model(ModelSpec("efficientnet-b0", 32, weights=weights), 2)


def test_a_layer_that_keras_does_not_have_is_refused(monkeypatch):
    class Odd(keras.layers.Layer):
        def call(self, photos):
            return photos

    def odd_network(**options):
        photos = keras.Input((32, 32, 3))
        return keras.Model(photos, Odd(name="odd")(photos))

    monkeypatch.setattr(efficientnet.tfkeras, "EfficientNetB0", odd_network)
    with pytest.raises(RunError, match="layer odd of the efficientnet package is a Odd"):
        build_model(ModelSpec("efficientnet-b0", 32), 2)
