"""Backbones: names, scaling inside, plain reload, equality with the original networks."""

from __future__ import annotations

import sys

import efficientnet.tfkeras
import keras
import numpy as np
import pytest
from plain_keras import predict_elsewhere

from carlib.errors import RunError, UsageError
from carlib.models import BACKBONES, build
from carlib.models.build import blocks, build_model, check_model
from carlib.models.efficientnet import load_efficientnet_weights
from carlib.spec import ModelSpec

SMALLEST = ("tiny", "efficientnet-lite0", "efficientnet-b0")  # of each family


@pytest.fixture(scope="module")
def models():
    """A model of each family at 64 px, three classes, random weights; built once."""
    return {name: build_model(ModelSpec(name, 64), 3, seed=1) for name in SMALLEST}


@pytest.fixture(scope="module")
def photos():
    """Two photos that are nothing alike, uint8 (2, 64, 64, 3)."""
    y, x = np.mgrid[:64, :64]
    first = np.stack([x * 4, y * 4, (x * y) % 256], axis=-1)
    second = np.stack([255 - y * 2, (x // 8 + y // 8) % 2 * 255, x + y], axis=-1)
    return np.stack([first, second]).astype(np.uint8)


def test_the_families_are_all_tried():
    assert {BACKBONES[name].family for name in SMALLEST} == {b.family for b in BACKBONES.values()}


@pytest.mark.parametrize("name", SMALLEST)
def test_uint8_and_float_photos_give_the_same_probabilities(models, photos, name):
    model = models[name]
    first = np.asarray(model(photos, training=False))
    np.testing.assert_array_equal(first, model(photos.astype(np.float32), training=False))
    assert first.shape == (2, 3)
    assert first.dtype == np.float32
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-6)


def test_scaling_is_the_familys_own(models, photos):
    """The network sees what its own preprocess_input makes of the photos."""
    floats = photos.astype(np.float32)
    wanted = {
        "tiny": floats / 127.5 - 1,
        "efficientnet-lite0": (floats - 127) / 128,
        "efficientnet-b0": efficientnet.tfkeras.preprocess_input(floats),
    }
    for name, model in models.items():
        scaled = model.get_layer("stem_scaling")(photos)
        np.testing.assert_allclose(scaled, wanted[name], atol=1e-5, err_msg=name)


def test_b0_predicts_what_the_efficientnet_package_predicts(models, photos):
    original = efficientnet.tfkeras.EfficientNetB0(
        weights=None, include_top=False, input_shape=(64, 64, 3)
    )
    rng = np.random.default_rng(5)
    for layer in original.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            # As made, it does nothing, and the signal dies away over the depth.
            size = layer.gamma.shape
            layer.gamma.assign(rng.uniform(0.5, 1.5, size))
            layer.beta.assign(rng.normal(0, 0.3, size))
            layer.moving_mean.assign(rng.normal(0, 0.1, size))
            layer.moving_variance.assign(rng.uniform(0.5, 1.5, size))
    model = models["efficientnet-b0"]
    before = model.get_weights()
    for layer in original.layers:
        if layer.weights:
            model.get_layer(layer.name).set_weights(layer.get_weights())
    features = keras.Model(model.input, model.get_layer("top_activation").output)
    found = np.asarray(features(photos, training=False))
    prepared = efficientnet.tfkeras.preprocess_input(photos.astype(np.float32))
    wanted = np.asarray(original(prepared, training=False))
    model.set_weights(before)
    assert wanted.std() > 0.1
    np.testing.assert_allclose(found, wanted, atol=1e-4 * wanted.std())


@pytest.mark.parametrize("name", SMALLEST)
def test_only_keras_own_layers_flat_and_named_by_block(models, name):
    model = models[name]
    for layer in model.layers:
        assert type(layer).__module__.startswith("keras."), layer
        assert not isinstance(layer, keras.Model), layer
    names = list(blocks(model))
    assert names[0] == "stem"
    assert names[-2:] == ["top", "head"]
    assert names[1:-2] == sorted(names[1:-2])


@pytest.mark.parametrize("name", SMALLEST)
def test_a_saved_model_opens_in_a_process_without_carlib(models, photos, tmp_path, name):
    models[name].save(tmp_path / "model.keras")
    found = predict_elsewhere(tmp_path / "model.keras", photos, tmp_path)
    np.testing.assert_array_equal(found, models[name](photos, training=False))


def test_the_same_seed_builds_the_same_weights_and_another_seed_others():
    first, again, other = (build_model(ModelSpec("tiny", 32), 3, seed=s) for s in (1, 1, 2))
    for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(
        (one != two).any()
        for one, two in zip(first.get_weights(), other.get_weights(), strict=True)
    )


def test_tiny_is_tiny(models):
    assert 2_000 < models["tiny"].count_params() < 8_000


def test_mixed_precision_keeps_its_probabilities_in_float32_and_the_policy_as_it_was(photos):
    model = build_model(ModelSpec("tiny", 64, dtype="mixed_float16"), 3)
    assert model.get_layer("stem_conv").compute_dtype == "float16"
    assert model(photos, training=False).dtype == "float32"
    assert keras.config.dtype_policy().name == "float32"


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (ModelSpec("efficientnet-bo", 64), UsageError, "did you mean 'efficientnet-b0'"),
        (ModelSpec("tiny", 64, weights="imagenet"), UsageError, "'tiny' has no 'imagenet'"),
        (
            ModelSpec("efficientnet-lite0", 64, weights="noisy-student"),
            UsageError,
            "has no 'noisy-student' weights; it has none, imagenet",
        ),
        (ModelSpec("tiny", 64, weights="a.pth"), UsageError, "'tiny' has no pretrained weights"),
    ],
)
def test_a_spec_that_cannot_be_built_is_refused_early(spec, error, message):
    with pytest.raises(error, match=message):
        check_model(spec)


@pytest.mark.parametrize(
    ("spec", "classes", "error", "message"),
    [
        (ModelSpec("tiny", 32), 1, UsageError, "two classes or more; received 1"),
        (
            ModelSpec("efficientnet-b0", 64, weights="imagenet2"),
            2,
            UsageError,
            r"model\.weights 'imagenet2' is no file, and no name; did you mean 'imagenet'",
        ),
    ],
)
def test_building_refuses(spec, classes, error, message):
    with pytest.raises(error, match=message):
        build_model(spec, classes)


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-b0"])
def test_a_weights_file_that_is_none_is_named(tmp_path, name):
    path = tmp_path / "weights.h5"
    path.write_text("<html>404</html>")
    with pytest.raises(RunError, match=r"weights\.h5"):
        build_model(ModelSpec(name, 32, weights=str(path)), 2)


def test_weights_that_cannot_be_downloaded_name_the_file_to_attach(monkeypatch):
    def offline(**options):
        raise Exception("URL fetch failure on https://example.invalid/b0.h5")

    monkeypatch.setattr(efficientnet.tfkeras, "EfficientNetB0", offline)
    with pytest.raises(RunError, match=r"URL fetch failure.*without internet, attach the \.h5"):
        load_efficientnet_weights(None, name="EfficientNetB0", weights="imagenet")


def test_b0_without_its_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "efficientnet.tfkeras", None)
    with pytest.raises(UsageError, match="pip install efficientnet"):
        build_model(ModelSpec("efficientnet-b0", 32), 2)


def test_a_layer_that_keras_does_not_have_is_refused(monkeypatch):
    class Odd(keras.layers.Layer):
        def call(self, photos):
            return photos

    def odd_network(input_shape, **options):
        photos = keras.Input(input_shape)
        return keras.Model(photos, Odd(name="odd")(photos))

    monkeypatch.setattr(efficientnet.tfkeras, "EfficientNetB0", odd_network)
    with pytest.raises(RunError, match="layer odd of the efficientnet package is a Odd"):
        build_model(ModelSpec("efficientnet-b0", 32), 2)


def test_a_layer_outside_all_blocks_is_refused():
    photos = keras.Input((8, 8, 3))
    model = keras.Model(photos, keras.layers.Flatten(name="flat")(photos), name="m")
    with pytest.raises(RunError, match="layer 'flat' of m belongs to no block"):
        build.blocks(model)
