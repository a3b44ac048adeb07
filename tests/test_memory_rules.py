"""The memory rules: one for every layer, the laws they follow, and the truth."""

from __future__ import annotations

import itertools
import json
import math
import statistics

import keras
import pytest
from keras import layers
from memory_truth import built, measured

from carlib.errors import UsageError
from carlib.memory.fixed import nbytes, slots_of
from carlib.memory.instrument import measure
from carlib.memory.rules import RULES
from carlib.memory.rules.functions import ACTIVATIONS
from carlib.memory.step import forward_pass, training_step
from carlib.memory.walk import nodes_of
from carlib.models.build import build_model
from carlib.models.table import BACKBONES
from carlib.spec import ModelSpec

MIB = 2**20
# Of each family the smallest: the others repeat its blocks.
SMALLEST = {
    "tiny": 32,
    "small-resnet": 32,
    "efficientnet-lite0": 64,
    "efficientnet-b0": 64,
    "xception": 96,
    "mobilenetv3-small": 64,
}


def peak(case, batch=None):
    _, trainer, _, phase = built(case)
    return training_step(trainer, phase, batch or phase.batch_size).tape.peak()


def share(found, term):
    return sum(each.nbytes for each in found.alive if each.term == term)


@pytest.mark.parametrize("backbone", SMALLEST)
def test_every_layer_of_every_family_has_a_rule(backbone):
    model, trainer, _, phase = built((backbone, SMALLEST[backbone], "float32", {}))
    assert training_step(trainer, phase, 2).unknown == []
    assert forward_pass(model, 2).unknown == []
    for node in nodes_of(model):
        activation = getattr(getattr(node.operation, "activation", None), "__name__", "linear")
        assert activation in ACTIVATIONS, f"{node.operation.name} has no rule for {activation}"


def test_the_smallest_of_every_family_is_tried():
    families = {BACKBONES[name].family for name in SMALLEST}
    assert families == {backbone.family for backbone in BACKBONES.values()}


def test_heads_on_cached_features_have_rules():
    _, trainer, _, phase = built(("tiny", 32, "float32", {"trains": "head", "views": 1}))
    assert training_step(trainer, phase, 8).unknown == []


@pytest.mark.parametrize(
    "head", [{"pooling": "max"}, {"pooling": "both"}, {"head_norm": True}, {"hidden": 8}], ids=str
)
def test_every_head_has_rules(head):
    model = build_model(ModelSpec("tiny", 32, **head), 3)
    phase = built(("tiny", 32, "float32", {}))[3]
    assert training_step(model, phase, 8).unknown == []
    assert forward_pass(model, 8).unknown == []


class Odd(layers.Layer):
    def call(self, inputs):
        return inputs * 2.0


def test_a_class_of_somebodys_own_has_no_rule_by_its_name():
    class Dense(layers.Layer):
        def call(self, inputs):
            return inputs * 2.0

    photos = keras.Input((16, 16, 3))
    x = layers.GlobalAveragePooling2D()(Dense(name="own")(layers.Conv2D(8, 3)(photos)))
    model = keras.Model(photos, layers.Dense(2)(x))
    assert training_step(model, built(("tiny", 32, "float32", {}))[3], 4).unknown == ["own"]


def test_a_layer_without_a_rule_is_named_and_counted():
    photos = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, name="conv")(photos)
    x = layers.GlobalAveragePooling2D(name="pool")(Odd(name="odd")(x))
    model = keras.Model(photos, layers.Dense(2, name="classes")(x))
    _, _, _, phase = built(("tiny", 32, "float32", {}))
    walk = training_step(model, phase, 4)
    assert walk.unknown == ["odd"]
    assert any(each.layer == "odd" for each in walk.tape.peak().alive)


SIDE = (16, 16, 3)


def inner(kind):
    """A part of a network that is a model itself, called on photos."""
    photos, twin = keras.Input(SIDE, name="a"), keras.Input(SIDE, name="b")
    conv = layers.Conv2D(4, 3, padding="same")
    if kind == "two inputs":
        return lambda x: keras.Model([photos, twin], conv(layers.Add()([photos, twin])))([x, x])
    if kind == "named inputs":
        both = {"b": twin, "a": photos}
        part = keras.Model(both, conv(layers.Add()([photos, twin])))
        return lambda x: part({"a": x, "b": x})
    if kind == "two outputs":
        part = keras.Model(photos, [conv(photos), layers.Conv2D(4, 3, padding="same")(photos)])
        return lambda x: layers.Add()(part(x))
    if kind == "sequential":
        return keras.Sequential([conv])
    part = keras.Model(photos, layers.Conv2D(3, 3, padding="same")(photos))
    return lambda x: conv(part(part(x)))


@pytest.mark.parametrize(
    "kind", ["two inputs", "named inputs", "two outputs", "sequential", "called twice"]
)
def test_a_model_in_the_model_is_walked_through(kind):
    photos = keras.Input(SIDE)
    pooled = layers.GlobalAveragePooling2D()(inner(kind)(photos))
    model = keras.Model(photos, layers.Dense(2)(pooled))
    _, _, _, phase = built(("tiny", 32, "float32", {}))
    tape = training_step(model, phase, 4).tape
    made = [each.what for each in tape.tensors if each.term == "gradients"]
    assert set(made) == {"gradient of kernel", "gradient of bias"}
    assert len(made) == len(model.trainable_weights) + 2 * (kind == "called twice")


def test_a_sequential_is_the_model_it_is_inside():
    stack = [layers.Conv2D(4, 3), layers.GlobalAveragePooling2D(), layers.Dense(2)]
    photos = keras.Input(SIDE)
    x = photos
    for layer in stack:
        x = layer(x)
    _, _, _, phase = built(("tiny", 32, "float32", {}))
    sequential = keras.Sequential([keras.Input(SIDE), *stack])
    peaks = [
        training_step(each, phase, 4).tape.peak().nbytes
        for each in (sequential, keras.Model(photos, x))
    ]
    assert peaks[0] == peaks[1] > 0


class Written(keras.Model):
    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (lambda: Written(name="own"), "model 'own' is a Written, whose layers nobody can walk"),
        (lambda: keras.Sequential([layers.Dense(2)], name="bare"), "a Sequential that begins"),
        (
            lambda: keras.Sequential(
                [keras.Input((None, None, 3)), layers.Conv2D(2, 3)], name="any"
            ),
            "model 'any' takes photos of any size",
        ),
    ],
)
def test_a_model_that_cannot_be_walked_is_refused(model, words):
    with pytest.raises(UsageError, match=words):
        forward_pass(model(), 2)


# A step of each class of keras.layers that has a rule, alone between a convolution and a head.
LAYERS = (
    layers.Activation("gelu"),
    layers.Activation("hard_silu"),
    layers.Activation("silu"),
    layers.AveragePooling2D(2),
    layers.BatchNormalization(),
    layers.Conv2D(4, 3, activation="relu"),
    layers.Cropping2D(1),
    layers.DepthwiseConv2D(3),
    layers.Dropout(0.5),
    layers.LayerNormalization(),
    layers.MaxPooling2D(2),
    layers.ReLU(6.0),
    layers.Rescaling(2.0),
    layers.SeparableConv2D(4, 3),
    layers.ZeroPadding2D(),
)


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.name)
@pytest.mark.parametrize("trains", [True, False])
def test_a_gradient_comes_through_every_layer(layer, trains):
    photos = keras.Input((12, 12, 3))
    first = layers.Conv2D(4, 3, name="first")
    x = layers.GlobalAveragePooling2D()(
        layer.__class__.from_config(layer.get_config())(first(photos))
    )
    model = keras.Model(photos, layers.Dense(2)(x))
    first.trainable = trains
    _, _, _, phase = built(("tiny", 32, "float32", {"optimizer": "adam"}))
    walk = training_step(model, phase, 4)
    made = {each.what for each in walk.tape.tensors if each.layer == "first"}
    assert ("gradient of kernel" in made) == trains
    assert walk.unknown == []


def test_linear_in_the_batch():
    case = ("efficientnet-b0", 64, "float32", {"batchnorm": "trained"})
    sizes = [peak(case, batch).nbytes for batch in (32, 64, 96, 128)]
    steps = [after - before for before, after in itertools.pairwise(sizes)]
    assert max(steps) < 1.02 * min(steps)


def test_quadratic_in_the_side():
    options = {"batchnorm": "trained", "optimizer": "adam"}
    cases = [("efficientnet-b0", side, "float32", options) for side in (128, 256)]
    small, large = (share(peak(case, 8), "activations") for case in cases)
    assert large == pytest.approx(4 * small, rel=0.05)


def test_a_staircase_in_what_trains():
    """Less trains, less is saved, and far from in proportion to the weights."""
    options = ("all", 0.75, 0.5, 0.25, "head")
    cases = [("efficientnet-b0", 224, "float32", {"trains": trains}) for trains in options]
    sizes = [peak(case, 8).nbytes for case in cases]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[1] < 0.6 * sizes[0]  # 99% of the weights still train
    assert sizes[-1] > 0.1 * sizes[0]  # the widest layers' forward pass: the floor


@pytest.mark.parametrize(
    ("options", "bytes_a_weight"),
    [
        ({"optimizer": "adam"}, 8),
        ({"optimizer": "adamw"}, 8),
        ({"optimizer": "sgd"}, 4),
        ({"optimizer": "sgd", "momentum": 0.0}, 0),
        ({"optimizer": "adam", "ema": 0.9}, 12),
        ({"optimizer": "sgd", "accumulate": 2, "ema": 0.9}, 12),
    ],
)
@pytest.mark.parametrize("trains", ["all", "head"])
def test_slots_are_what_the_optimizer_holds(options, bytes_a_weight, trains):
    from carlib.schedules import make_optimizer

    _, trainer, _, phase = built(("tiny", 32, "float32", {**options, "trains": trains}))
    trained = sum(math.prod(weight.shape) for weight in trainer.trainable_weights)
    assert slots_of(trainer, phase) == bytes_a_weight * trained
    optimizer = make_optimizer(phase, 0.1)
    optimizer.build(trainer.trainable_weights)
    held = [each for each in optimizer.variables if len(each.shape)]  # without counters
    assert nbytes(held) == slots_of(trainer, phase)


def test_half_precision_saves_a_third_not_a_half():
    cases = [
        ("efficientnet-b0", 128, dtype, {"batchnorm": "trained"})
        for dtype in ("float32", "mixed_float16")
    ]
    whole, half = (peak(case, 8).nbytes for case in cases)
    assert 0.6 < half / whole < 0.75


def test_frozen_blocks_save_nothing():
    found = peak(("efficientnet-b0", 64, "float32", {"trains": "head"}), 8)
    assert not found.backward
    assert share(found, "gradients") == 0


@pytest.mark.parametrize(("batchnorm", "waits"), [("only", True), ("affine", False)])
def test_a_gradient_that_no_layer_waits_for_comes_late(batchnorm, waits):
    """A BatchNorm's input is there while the convolution that made it has the gradient of its own
    input computed, and gone by the time of its kernel's."""
    found = peak(("tiny", 96, "float32", {"batchnorm": batchnorm}), 32)
    assert found.backward
    assert found.what == ("gradient" if waits else "gradient of kernel")
    assert found.layer.endswith("_project_conv")
    held = {(each.layer, each.what) for each in found.alive}
    assert ((found.layer, "output") in held) == waits


def test_where_batchnorm_alone_trains_no_kernel_keeps_its_input():
    options = ({"batchnorm": batchnorm} for batchnorm in ("only", "affine"))
    only, affine = (peak(("efficientnet-b0", 96, "float32", each), 8).nbytes for each in options)
    assert only < 0.7 * affine


def test_rules_are_of_known_kinds():
    for name in set(RULES) - {"?", "LayerScale"}:
        assert hasattr(layers, name) or hasattr(keras.ops, name.lower()), name


def test_the_truth_needs_the_allocator():
    """Without it nothing reports: better an error than a peak of nothing."""
    from carlib.errors import RunError

    variable = keras.Variable([1.0])
    with pytest.raises(RunError, match="saw no allocation"):
        measure(lambda: variable + 1, [variable], "CPU:0")


TRUTHS = (
    ("tiny", 96, "float32", {"batchnorm": "trained", "batch_size": 32}),
    ("tiny", 128, "float32", {"optimizer": "sgd", "batch_size": 32}),
    ("tiny", 128, "mixed_float16", {"batchnorm": "affine", "batch_size": 16}),
    ("tiny", 64, "float32", {"batchnorm": "only", "batch_size": 32}),
    (
        "tiny",
        64,
        "float32",
        {"batch_size": 32, "pooling": "both", "head_norm": True, "loss": "focal"},
    ),
    ("efficientnet-lite0", 96, "float32", {"batch_size": 8}),
    ("efficientnet-lite0", 96, "float32", {"trains": 0.5, "batchnorm": "trained", "batch_size": 8}),
    ("efficientnet-lite0", 96, "float32", {"trains": "head", "batch_size": 16}),
    ("efficientnet-lite0", 96, "float32", {"trains": "head", "views": 1, "optimizer": "sgd"}),
    ("efficientnet-b0", 96, "float32", {"optimizer": "adam", "clip": 1.0, "batch_size": 8}),
    ("efficientnet-b0", 96, "float32", {"trains": 0.25, "ema": 0.9, "batch_size": 16}),
    ("xception", 96, "float32", {"trains": 0.5, "optimizer": "sgd", "batch_size": 4}),
    ("efficientnet-lite0", 96, "float32", {"trains": "statistics", "lr": 0.0, "batch_size": 16}),
)


def test_the_rules_tell_the_truth():
    """Short form of benchmarks/memory.py: real steps, read from TensorFlow's own allocator."""
    errors = []
    for case, (asked, variables) in zip(TRUTHS, measured(TRUTHS), strict=True):
        requested = asked
        model, trainer, _, phase = built(case)
        # Counters, rates and metrics are variables too, a few bytes each.
        fixed = nbytes(model.variables) + slots_of(trainer, phase)
        assert fixed == pytest.approx(variables, abs=4096)
        told = fixed + peak(case).nbytes
        # On a busy machine the profiler loses an allocation now and then.
        if told > 1.1 * requested:
            requested = max(requested, measured([case])[0][0])
        errors.append(told / requested - 1)
        assert abs(errors[-1]) < 0.1, json.dumps([case, told / MIB, requested / MIB])
    assert statistics.mean(map(abs, errors)) < 0.03
