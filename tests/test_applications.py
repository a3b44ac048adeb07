"""Backbones of keras.applications: they give what keras' own give, from the same weights file."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from networks import (
    check_cuts,
    check_layers_and_names,
    enliven,
    features_of,
    two_photos,
    write_h5,
)

from carlib.errors import RunError, UsageError
from carlib.freeze import Freezer
from carlib.memory.estimate import EVERYTHING
from carlib.memory.rules.functions import ACTIVATIONS
from carlib.memory.step import forward_pass, training_step
from carlib.memory.walk import nodes_of
from carlib.models.applications import APPLICATIONS
from carlib.models.build import build_model
from carlib.models.table import BACKBONES
from carlib.spec import ModelSpec, Phase, Recipe
from carlib.steps import trainer_of
from carlib.train.start import check_names

SIZE = 80
# One of each network; and how many of its layers may leave a photo's block out.
DROPS = {
    "mobilenetv3-small": 0,
    "efficientnetv2-b0": 15,
    "inception-v3": 0,
    "resnet50v2": 0,
    "densenet121": 0,
    "convnext-tiny": 18,
}
# The first stands for the others in the newest releases: they take long to build.
ONE, *OTHERS = DROPS
KINDS = [ONE, *(pytest.param(name, marks=pytest.mark.once) for name in OTHERS)]


def original(name, **options):
    made = APPLICATIONS[name]
    maker = getattr(keras.applications, made.maker)
    return maker(weights=None, include_top=False, input_shape=(SIZE, SIZE, 3), **options)


def lively(name):
    """Keras' own network without preprocessing, no two channels alike."""
    model = enliven(original(name, **APPLICATIONS[name].options))
    rng = np.random.default_rng(3)
    for layer in model.layers:
        if type(layer).__name__ == "LayerScale":  # of 1e-6 as made
            layer.gamma.assign(rng.uniform(0.5, 1.5, layer.gamma.shape))
    return model


def as_keras_has_it(name, model, photos):
    """The feature map of photos 0..255 after keras' own preprocessing, wherever it has that."""
    whole = original(name)
    whole.set_weights(model.get_weights())
    module = {
        "inception-v3": keras.applications.inception_v3,
        "resnet50v2": keras.applications.resnet_v2,
        "densenet121": keras.applications.densenet,
    }.get(name, keras.applications.efficientnet_v2)
    return np.asarray(whole(module.preprocess_input(photos.astype(np.float32)), training=False))


def test_the_table_and_the_networks_are_the_same():
    names = {name for name, each in BACKBONES.items() if each.family == "application"}
    assert set(APPLICATIONS) == names
    # What is tried here, and what repeats its blocks.
    tried = {APPLICATIONS[name].rename.__name__ for name in DROPS}
    assert {made.rename.__name__ for made in APPLICATIONS.values()} == tried


@pytest.mark.parametrize("name", KINDS)
def test_released_weights_give_what_keras_own_network_gives(tmp_path, name):
    theirs = lively(name)
    layers = [(layer.name, layer) for layer in theirs.layers if layer.weights]
    path = write_h5(tmp_path / "weights.h5", layers)
    model = build_model(ModelSpec(name, SIZE, weights=str(path)), 3)
    photos = two_photos(SIZE)
    wanted = as_keras_has_it(name, theirs, photos)
    assert np.abs(wanted[0] - wanted[1]).max() > 1e-3
    found = np.asarray(features_of(model)(photos, training=False))
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())

    kept = model.get_weights()
    short = write_h5(tmp_path / "short.h5", layers[:-1])
    with pytest.raises(RunError, match=f"layers of weights, {name} has .* of another backbone"):
        build_model(ModelSpec(name, SIZE, weights=str(short)), 3)
    assert all((one == two).all() for one, two in zip(kept, model.get_weights(), strict=True))


@pytest.mark.parametrize("name", KINDS)
def test_it_is_cut_at_blocks_trains_and_opens(tmp_path, name):
    model = build_model(ModelSpec(name, SIZE, drop_connect=0.4), 3)
    check_layers_and_names(model)
    check_cuts(model)
    drops = [each.rate for each in model.layers if getattr(each, "noise_shape", None)]
    assert len(drops) == DROPS[name]
    assert drops == sorted(drops)
    assert drops[-1:] == [pytest.approx(0.4)] * bool(drops)

    Freezer(model).apply(EVERYTHING)
    assert training_step(model, EVERYTHING, 2).unknown == []
    assert forward_pass(model, 2).unknown == []
    for node in nodes_of(model):
        activation = getattr(getattr(node.operation, "activation", None), "__name__", "linear")
        assert activation in ACTIVATIONS, node.operation.name

    before = [np.array(each) for each in model.trainable_variables]
    model.compile("sgd", loss="categorical_crossentropy", run_eagerly=True)
    loss = model.train_on_batch(two_photos(SIZE), np.eye(3, dtype=np.float32)[:2])
    assert np.isfinite(loss)
    after = [np.array(each) for each in model.trainable_variables]
    moved = [(was != now).any() for was, now in zip(before, after, strict=True)]
    assert np.mean(moved) > 0.9
    found = np.asarray(model(two_photos(SIZE), training=False))
    keras.Model(model.input, model.output).save(tmp_path / "model.keras")
    opened = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(found, opened(two_photos(SIZE), training=False))


def test_weights_of_other_shapes_are_refused_whole(tmp_path):
    theirs = original(ONE, alpha=0.75, **APPLICATIONS[ONE].options)
    layers = [(layer.name, layer) for layer in theirs.layers if layer.weights]
    path = write_h5(tmp_path / "narrow.h5", layers)
    with pytest.raises(RunError, match=r"has the shapes .* the model wants .* another backbone"):
        build_model(ModelSpec(ONE, SIZE, weights=str(path)), 3)


@pytest.mark.parametrize(
    ("size", "phase", "message"),
    [(64, 0, "takes photos of 75 px or more; received 64"), (80, 64, "received 64 px")],
)
def test_photos_too_small_for_it_are_refused_before_anything_runs(size, phase, message):
    phases = (Phase("all", 1, 1e-3, size=phase),)
    with pytest.raises(UsageError, match=message):
        check_names(Recipe("r", ModelSpec("inception-v3", size), phases))


def test_whatever_asks_for_a_step_of_photos_too_small_is_told():
    recipe = Recipe("r", ModelSpec(ONE, 32), (Phase("all", 1, 1e-3, size=16),))
    with pytest.raises(UsageError, match="takes photos of 32 px or more; received 16 px"):
        trainer_of(keras.Model(), recipe, recipe.phases[0])
