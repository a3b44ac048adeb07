"""Backbones: names, blocks, plain reload, other sizes, half precision."""

from __future__ import annotations

import keras
import numpy as np
import pytest
from networks import SMALLEST, built, check_cuts, check_layers_and_names, enliven, two_photos
from plain_keras import predict_elsewhere

from carlib.errors import RunError, UsageError
from carlib.freeze import Freezer, multiply_adds
from carlib.memory.estimate import EVERYTHING
from carlib.memory.step import training_step
from carlib.models import BACKBONES, build
from carlib.models.build import blocks, build_model, check_model, resized
from carlib.models.table import Backbone
from carlib.spec import ModelSpec, Phase, Recipe
from carlib.steps import compile_trainer, trainer_of


@pytest.fixture(scope="module")
def photos():
    return two_photos()


def test_the_families_are_all_tried():
    assert {BACKBONES[name].family for name in SMALLEST} == {b.family for b in BACKBONES.values()}


@pytest.mark.parametrize("name", BACKBONES)
def test_the_table(name):
    backbone = BACKBONES[name]
    assert backbone.name == name
    assert backbone.description.endswith(".")
    assert "\n" not in backbone.description
    check_model(ModelSpec(name, backbone.size))
    for weights in backbone.weights:
        check_model(ModelSpec(name, backbone.size, weights=weights))


@pytest.mark.parametrize(
    "name",
    [
        "tiny",
        *("small-resnet", "small-resnet2", "small-resnet4", "mobilenetv3-small"),
        *(f"efficientnet-lite{number}" for number in range(3)),
        *(f"efficientnet-b{number}" for number in range(3)),
    ],
)
def test_the_multiply_adds_are_those_of_the_network(name):
    """Counted differently by who publishes them: with or without norms, biases, the classifier.

    The other two figures are carlib's own.
    """
    backbone = BACKBONES[name]
    small = backbone.size < 100
    model = build_model(ModelSpec(name, backbone.size), 10 if small else 1000)
    counted = sum(map(multiply_adds, model.layers[1:])) / 1e9
    assert backbone.gflops == pytest.approx(counted, rel=0.12)
    head = sum(layer.count_params() for layer in blocks(model)["head"])
    assert backbone.parameters == model.count_params() - head
    Freezer(model).apply(EVERYTHING)
    two = [training_step(model, EVERYTHING, batch).tape.peak().nbytes for batch in (32, 64)]
    assert backbone.photo_mb == pytest.approx((two[1] - two[0]) / 32 / 1e6, rel=0.01)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"name": "a b"}, "name must be letters.*received 'a b'"),
        ({"name": ""}, "name must be letters"),
        ({"name": 3}, "name must be letters.*received 3"),
        ({"family": "owm"}, "unknown family 'owm'; did you mean 'own'"),
        ({"size": 0}, "size must be a whole number of px, from 1; received 0"),
        ({"size": 64.0}, r"size must be a whole number of px, from 1; received 64\.0"),
        ({"size": True}, "size must be a whole number"),
        ({"width": 0}, "width must be a number above 0; received 0"),
        ({"depth": float("inf")}, "depth must be a number above 0; received inf"),
        ({"gflops": float("nan")}, "gflops must be a number above 0; received nan"),
        ({"gflops": "0.4"}, r"gflops must be a number above 0; received '0\.4'"),
        ({"weights": "imagenet"}, "weights must be a tuple of names"),
        ({"weights": ("none",)}, "without 'none'"),
        ({"weights": (1,)}, "weights must be a tuple of names"),
        ({"description": "a\nb"}, "description must be one line of text"),
        ({"description": ""}, "description must be one line of text"),
        ({"parameters": -1}, "parameters must be a whole number, from 0; received -1"),
        ({"photo_mb": -1}, "photo_mb must be a number from 0; received -1"),
        ({"top1": 101}, "top1 must be a number from 0 to 100; received 101"),
        ({"least": 0}, "least must be a whole number of px, from 1; received 0"),
        ({"least": 225}, r"least must be size \(224 px\) at the most; received 225"),
    ],
)
def test_a_row_that_is_nonsense_is_refused(fields, message):
    with pytest.raises(UsageError, match=message):
        Backbone(**{"name": "mine", **fields})


@pytest.mark.parametrize("name", SMALLEST)
def test_probabilities_in_float32(photos, name):
    found = np.asarray(built(name)(photos, training=False))
    assert found.shape == (2, 3)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("name", SMALLEST)
def test_only_keras_own_layers_flat_and_named_by_block(name):
    check_layers_and_names(built(name))


@pytest.mark.parametrize("name", SMALLEST)
def test_nothing_leads_around_a_block(name):
    """What a layer takes is its own block's, or the last of the block below: a cut is clean."""
    check_cuts(built(name))


@pytest.mark.parametrize(
    ("name", "deepest", "share"),
    [
        ("tiny", "block2b", 1.0),
        ("efficientnet-lite0", "block6d", 14 / 16),
        ("efficientnet-b0", "block6d", 14 / 16),
        ("xception", "block12a", 10 / 12),
        ("small-resnet", "block3b", 1.0),
    ],
)
def test_drop_connect_grows_with_depth(name, deepest, share):
    drops = [layer for layer in built(name).layers if layer.name.endswith("_drop")]
    rates = [layer.rate for layer in drops]
    assert rates == sorted(rates)
    assert min(rates) > 0
    assert drops[-1].name == f"{deepest}_drop"
    assert rates[-1] == pytest.approx(0.4 * share)
    assert all(tuple(layer.noise_shape) == (None, 1, 1, 1) for layer in drops)


def test_without_drop_connect_nothing_drops():
    model = build_model(ModelSpec("tiny", 32, drop_connect=0.0), 3)
    assert not [layer for layer in model.layers if layer.name.endswith("_drop")]


def test_saved_models_open_in_a_process_without_carlib(photos, tmp_path):
    paths = [tmp_path / f"{name}.keras" for name in SMALLEST]
    for name, path in zip(SMALLEST, paths, strict=True):
        built(name).save(path)
    found = predict_elsewhere(paths, photos, tmp_path)
    for name, rows in zip(SMALLEST, found, strict=True):
        np.testing.assert_array_equal(rows, built(name)(photos, training=False), err_msg=name)


def one_step(model, size):
    """Train one step, eagerly: no graph to trace."""
    model.compile("sgd", loss="categorical_crossentropy", run_eagerly=True)
    model.train_on_batch(two_photos(size), np.eye(3, dtype=np.float32)[:2])


@pytest.mark.parametrize("name", SMALLEST)
def test_other_photo_sizes_train_the_same_variables(photos, tmp_path, name):
    model = enliven(build_model(ModelSpec(name, 64), 3, seed=2))
    before = np.asarray(model(photos, training=False))
    shapes = [layer.output.shape for layer in model.layers]
    work = [multiply_adds(layer) for layer in model.layers[1:]]
    first = list(blocks(model))
    assert resized(model, 64) is model

    smaller = resized(model, 48)
    again = resized(smaller, 80)
    for other, size in ((smaller, 48), (again, 80)):
        assert other.input_shape == (None, size, size, 3)
        assert other.name == model.name
        assert [layer.name for layer in other.layers] == [layer.name for layer in model.layers]
        pairs = zip(other.layers[1:], model.layers[1:], strict=True)
        assert all(one is two for one, two in pairs)
        variables = zip(other.variables, model.variables, strict=True)
        assert all(one is two for one, two in variables)
        found = np.asarray(other(two_photos(size), training=False))
        assert found.shape == (2, 3)
        np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(before, model(photos, training=False))
    assert [layer.output.shape for layer in model.layers] == shapes
    assert [multiply_adds(layer) for layer in model.layers[1:]] == work
    assert list(blocks(smaller)) == list(blocks(model)) == first

    Freezer(model).apply(Phase("p", 1, 1e-3, trains=0.5, batchnorm="affine"))
    one_step(smaller, 48)
    # Compiled, it is not handed on: the next one is compiled for its own phase.
    assert not resized(smaller, 32).compiled
    after = np.asarray(model(photos, training=False))
    assert (after != before).any()
    model.save(tmp_path / "model.keras")
    opened = keras.models.load_model(tmp_path / "model.keras")
    assert opened.input_shape == (None, 64, 64, 3)
    np.testing.assert_array_equal(after, opened(photos, training=False))
    inner = keras.Model(model.input, model.get_layer("head_pool").output)
    assert inner.input_shape == (None, 64, 64, 3)
    body = resized(inner, 48)
    assert body.output_shape == inner.output_shape
    assert body(two_photos(48), training=False).shape == (2, *inner.output_shape[1:])


@pytest.mark.parametrize("name", SMALLEST)
def test_half_precision_trains_and_opens(tmp_path, name):
    model = enliven(build_model(ModelSpec(name, 32, dtype="mixed_float16"), 3))
    assert keras.config.dtype_policy().name == "float32"
    convolutions = [layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D)]
    assert {layer.compute_dtype for layer in convolutions} == {"float16"}
    assert {variable.dtype for variable in model.trainable_variables} == {"float32"}
    one_step(model, 32)
    found = model(two_photos(32), training=False)
    assert found.dtype == "float32"
    assert np.isfinite(np.asarray(found)).all()
    # Without the optimizer, as a run exports it.
    keras.Model(model.input, model.output).save(tmp_path / "model.keras")
    opened = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(found, opened(two_photos(32), training=False))


def test_the_same_seed_builds_the_same_weights_and_another_seed_others():
    first, again, other = (build_model(ModelSpec("tiny", 32), 3, seed=s) for s in (1, 1, 2))
    for one, two in zip(first.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(one, two)
    assert any(
        (one != two).any()
        for one, two in zip(first.get_weights(), other.get_weights(), strict=True)
    )


def test_tiny_is_tiny():
    assert 2_000 < built("tiny").count_params() < 8_000


@pytest.mark.parametrize(
    ("spec", "error", "message"),
    [
        (ModelSpec("efficentnet-b0", 64), UsageError, "did you mean 'efficientnet-b0'"),
        (ModelSpec("tiny", 64, weights="imagenet"), UsageError, "'tiny' has no 'imagenet'"),
        (ModelSpec("inception-v3", 74), UsageError, "takes photos of 75 px or more; received 74"),
        (
            ModelSpec("efficientnet-lite0", 64, weights="noisy-student"),
            UsageError,
            "has no 'noisy-student' weights; it has none, imagenet",
        ),
        (ModelSpec("tiny", 64, weights="a.pth"), UsageError, "'tiny' has no pretrained weights"),
        (
            ModelSpec("xception", 71, weights="noisy-student"),
            UsageError,
            "'xception' has no 'noisy-student' weights; it has none, imagenet",
        ),
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


@pytest.mark.parametrize("name", ["efficientnet-lite0", "efficientnet-b0", "xception"])
def test_a_weights_file_that_is_none_is_named(tmp_path, name):
    path = tmp_path / "weights.h5"
    path.write_text("<html>404</html>")
    with pytest.raises(RunError, match=r"weights\.h5"):
        build_model(ModelSpec(name, 32, weights=str(path)), 2)


def test_a_layer_outside_all_blocks_is_refused():
    photos = keras.Input((8, 8, 3))
    model = keras.Model(photos, keras.layers.Flatten(name="flat")(photos), name="m")
    with pytest.raises(RunError, match="layer 'flat' of m belongs to no block"):
        build.blocks(model)


@pytest.mark.parametrize(
    ("phase", "trainer"),
    [
        (Phase("same", 1, 1e-3), "tiny"),
        (Phase("sized", 1, 1e-3, size=48), "tiny"),
        (Phase("cached", 1, 1e-3, trains="head", views=1), "head"),
    ],
    ids=lambda each: getattr(each, "name", None),
)
@pytest.mark.parametrize(("dtype", "scaled"), [("mixed_float16", True), ("float32", False)])
def test_the_loss_is_scaled_in_half_precision_whatever_the_phase_trains(
    phase, trainer, dtype, scaled
):
    recipe = Recipe("r", ModelSpec("tiny", 32, dtype=dtype), (phase,))
    model = build_model(recipe.model, 3)
    Freezer(model).apply(phase)
    made = trainer_of(model, recipe, phase)
    compile_trainer(made, recipe, phase, 1e-3)
    assert made.name == trainer
    assert isinstance(made.optimizer, keras.optimizers.LossScaleOptimizer) == scaled
