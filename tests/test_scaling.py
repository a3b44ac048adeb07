"""Wrong input scaling cannot happen: a photo 0..255 gives what the original network gives for it
after that network's own preprocessing, whatever the photo's type."""

from __future__ import annotations

import efficientnet.tfkeras
import keras
import numpy as np
import pytest
from networks import SMALLEST, built, features_of, two_photos

from carlib.models.xception import block_name


def above_scaling(model, scaled):
    """The feature map of photos that were scaled by hand, past the model's own scaling."""
    inner = keras.Model(model.get_layer("stem_scaling").output, features_of(model).output)
    return np.asarray(inner(scaled, training=False))


def efficientnet_b0(floats):
    original = efficientnet.tfkeras.EfficientNetB0(
        weights=None, include_top=False, input_shape=(64, 64, 3)
    )
    for layer in original.layers:
        if layer.weights:
            layer.set_weights(built("efficientnet-b0").get_layer(layer.name).get_weights())
    prepared = efficientnet.tfkeras.preprocess_input(floats.copy())
    return np.asarray(original(prepared, training=False))


def xception(floats):
    """The original's layers without a name of their own go by their order."""
    original = keras.applications.Xception(weights=None, include_top=False)
    ours = [layer for layer in built("xception").layers if "_residual_" in layer.name]
    for kind in (keras.layers.Conv2D, keras.layers.BatchNormalization):
        unnamed = [layer for layer in original.layers if not layer.name.startswith("block")]
        pairs = zip(
            [layer for layer in unnamed if type(layer) is kind],
            [layer for layer in ours if type(layer) is kind],
            strict=True,
        )
        for one, two in pairs:
            one.set_weights(two.get_weights())
    for layer in original.layers:
        if layer.name.startswith("block") and layer.weights:
            same = built("xception").get_layer(block_name(layer.name))
            layer.set_weights(same.get_weights())
    prepared = keras.applications.xception.preprocess_input(floats.copy())
    return np.asarray(original(prepared, training=False))


# What each family's own preprocessing and network make of photos 0..255. Of Lite the original
# is not in Keras: its formula, from efficientnet_lite_builder.py, goes to the first layer.
ORIGINALS = {
    "tiny": lambda floats: above_scaling(built("tiny"), floats / 127.5 - 1),
    "efficientnet-lite0": lambda floats: above_scaling(
        built("efficientnet-lite0"), (floats - 127) / 128
    ),
    "efficientnet-b0": efficientnet_b0,
    "xception": xception,
    "small-resnet": lambda floats: above_scaling(built("small-resnet"), floats / 127.5 - 1),
    # What keras' own network makes of them: test_applications.py.
    "mobilenetv3-small": lambda floats: above_scaling(
        built("mobilenetv3-small"), floats / 127.5 - 1
    ),
}


def test_every_family_has_an_original():
    assert set(ORIGINALS) == set(SMALLEST)


@pytest.mark.parametrize("name", SMALLEST)
def test_photos_of_any_type_give_what_the_original_gives(name):
    photos = two_photos()
    floats = photos.astype(np.float32)
    wanted = ORIGINALS[name](floats)
    features = features_of(built(name))
    assert wanted.std() > 0.1
    for given in (photos, floats, floats.astype(np.float64)):
        found = np.asarray(features(given, training=False))
        np.testing.assert_allclose(found, wanted, atol=1e-3 * wanted.std())


@pytest.mark.parametrize("name", SMALLEST)
@pytest.mark.parametrize(
    "wrong",
    [
        lambda floats: floats / 255,
        lambda floats: floats / 127.5 - 1,
        lambda floats: floats[..., ::-1],
    ],
    ids=["by 255", "to -1..1", "BGR"],
)
def test_a_wrong_scaling_would_show(name, wrong):
    """The comparison above can fail: photos prepared otherwise give something else."""
    floats = two_photos().astype(np.float32)
    features = features_of(built(name))
    right = np.asarray(features(floats, training=False))
    found = np.asarray(features(wrong(floats), training=False))
    assert abs(found - right).max() > right.std()
