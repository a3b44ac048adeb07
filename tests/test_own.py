"""Backbones of a user's own: registered, built, trained, opened; and what is refused."""

from __future__ import annotations

import dataclasses
import functools
import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from networks import two_photos
from plain_keras import predict_elsewhere

from carlib import using
from carlib.cli import main
from carlib.errors import RunError, UsageError
from carlib.freeze import Freezer
from carlib.memory import estimate_memory
from carlib.memory.probe import probe
from carlib.models import BACKBONES, Backbone, add_backbone, own
from carlib.models.build import (
    backbone_features,
    blocks,
    build_model,
    check_model,
    load_weights,
    resized,
)
from carlib.models.lite import lite_weights_file
from carlib.models.own import forget, known
from carlib.models.tiny import tiny_features
from carlib.recipes import RECIPES
from carlib.registry import same
from carlib.schedules import lr_of, make_schedule
from carlib.schedules.own import forget as forget_schedule
from carlib.schedules.own import own_schedules
from carlib.spec import ModelSpec, Phase, Recipe, to_json

PAGE = (Path(__file__).parents[1] / "docs/own.md").read_text(encoding="utf-8")
SCRATCH, WRAPPED, _, _, SCHEDULE, _ = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
TWICE = "lite0-scaled-twice"


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Nothing stays registered, or used."""
    monkeypatch.setattr(own._own, "things", {})
    monkeypatch.setattr(using, "_used", [])


@pytest.fixture
def mine(tmp_path):
    """The page's first example, as a file."""
    path = tmp_path / "mine.py"
    path.write_text(SCRATCH)
    return path


def run(code):
    exec(compile(code, "own.md", "exec"), {})


# --- Registering


def no_features(photos, *, drop_connect):
    return photos


def no_weights(model, source):
    pass


@pytest.mark.parametrize(
    ("backbone", "features", "weights", "message"),
    [
        (Backbone("tiny"), no_features, None, "'tiny' is a backbone of carlib's own; give yours"),
        (Backbone("a", family="lite"), no_features, None, "'a' is of the family 'lite'; yours"),
        (Backbone("a"), "features", None, "must be a function of photos and.*received 'features'"),
        (Backbone("a"), no_features, "a.h5", r"function of model and source; received 'a\.h5'"),
        (Backbone("a", weights=("one", "two")), no_features, None, r"names weights \(one, two\)"),
    ],
)
def test_what_is_not_registered(backbone, features, weights, message):
    with pytest.raises(UsageError, match=message):
        add_backbone(backbone, features, weights)
    assert known() == BACKBONES


def test_a_file_that_is_run_twice_registers_twice_and_the_newest_counts():
    for code in (SCRATCH, SCRATCH, WRAPPED, WRAPPED):
        before = dict(own._own.things)
        run(code)
        assert all(same(own._own.things[name], entry) for name, entry in before.items())
    assert list(known()) == [*BACKBONES, "mine", TWICE]
    forget("mine")
    forget("mine")
    assert list(known()) == [*BACKBONES, TWICE]


def scaled(factor):
    return lambda photos, *, drop_connect: (photos, factor)


def by_default(factor):
    def features(photos, *, drop_connect=factor):
        return photos

    return features


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ((Backbone("a"), no_features), (Backbone("a", size=32), no_features)),
        ((Backbone("a"), no_features), (Backbone("a"), tiny_features)),
        ((Backbone("a"), no_features), (Backbone("a"), no_features, no_weights)),
        ((Backbone("a"), scaled(1)), (Backbone("a"), scaled(2))),
        ((Backbone("a"), by_default(0.1)), (Backbone("a"), by_default(0.2))),
        ((Backbone("a"), no_features), (Backbone("a"), functools.partial(no_features))),
    ],
)
def test_another_one_under_a_name_that_is_taken_is_refused(one, other):
    add_backbone(*one)
    add_backbone(*one)
    with pytest.raises(UsageError, match="there is another backbone 'a' already; give this one"):
        add_backbone(*other)
    add_backbone(Backbone("b"), scaled(1))
    add_backbone(Backbone("b"), scaled(1))
    assert same(own.own("a"), own.Own(*one))


# --- Building


def test_it_is_built_as_any_other(tmp_path):
    run(SCRATCH)
    assert check_model(ModelSpec("mine", 32)) == Backbone(
        "mine", size=32, description="One block.", gflops=0.001
    )
    model = build_model(ModelSpec("mine", 48, drop_connect=0.4), 3)
    assert model.name == "mine"
    assert list(blocks(model)) == ["stem", "block1a", "top", "head"]
    assert model.get_layer("block1a_drop").rate == 0.4
    found = np.asarray(model(two_photos(48), training=False))
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-6)
    trained = Freezer(model).apply(Phase("some", 1, 1e-3, trains=0.4))
    assert trained.blocks == ("top", "head")
    assert resized(model, 32).output_shape == (None, 3)
    model.save(tmp_path / "model.keras")
    elsewhere = predict_elsewhere([tmp_path / "model.keras"], two_photos(48), tmp_path)
    np.testing.assert_array_equal(elsewhere[0], found)


def test_half_precision_and_the_seed():
    run(SCRATCH)
    half = build_model(ModelSpec("mine", 32, dtype="mixed_float16"), 3, seed=4)
    assert half.get_layer("top_conv").compute_dtype == "float16"
    plain, again, other = (build_model(ModelSpec("mine", 32), 3, seed=s) for s in (4, 4, 5))
    np.testing.assert_array_equal(plain.get_weights()[0], again.get_weights()[0])
    assert (plain.get_weights()[0] != other.get_weights()[0]).any()


def test_its_memory_is_forecast_like_that_of_the_same_layers():
    """Tiny under another name needs what tiny needs."""
    add_backbone(Backbone("small", size=32), tiny_features)
    tiny = RECIPES["tiny-check"]
    small = dataclasses.replace(tiny, model=ModelSpec("small", 32))
    first, second = (estimate_memory(recipe, 5).phases for recipe in (tiny, small))
    assert [need.requested for need in first] == [need.requested for need in second]
    assert [need.unknown for need in first] == [need.unknown for need in second]


@keras.saving.register_keras_serializable("test_own")
class Doubled(layers.Layer):
    def call(self, inputs):
        return 2 * inputs


def inner(photos):
    """A model within the model."""
    side = keras.Input(photos.shape[1:])
    return keras.Model(side, layers.Conv2D(2, 1)(side), name="stem_net")(photos)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda photos: 1 / 0, RunError, r"the features of.*'odd' failed \(ZeroDivisionError: div"),
        (lambda photos: check_model(ModelSpec("tinny", 32)), UsageError, "did you mean 'tiny'"),
        (lambda photos: None, UsageError, "end in one Keras tensor.*received NoneType"),
        (lambda photos: [photos], UsageError, "end in one Keras tensor.*received list"),
        (lambda photos: np.zeros((1, 2, 2, 3)), UsageError, r"received ndarray \(1, 2, 2, 3\)"),
        (
            lambda photos: layers.Flatten(name="top_flat")(photos),
            UsageError,
            r"must end in one Keras tensor \(B, H, W, C\).*received KerasTensor \(None, 3072\)",
        ),
        (lambda photos: Doubled(name="top_x")(photos), UsageError, "'top_x' is a Doubled; build"),
        (
            lambda photos: layers.Lambda(lambda x: x, name="top_x")(photos),
            UsageError,
            "'top_x' is a Lambda; build it of single layers",
        ),
        (
            lambda photos: layers.ReLU(name="top_x")(layers.ReLU(name="top_x")(photos)),
            UsageError,
            r"\(.*unique.*\); build them of the photos, each layer named once",
        ),
        (inner, UsageError, "'stem_net' is a Functional; build it of single layers"),
        (
            lambda photos: layers.ReLU(name="top_relu")(photos / 255.0),
            UsageError,
            "'odd': 'true_divide.*' is a TrueDivide; build it of single layers of keras.layers",
        ),
        (
            lambda photos: layers.ReLU(name="relu")(photos),
            RunError,
            "layer 'relu' of odd belongs to no block; name it like stem_",
        ),
        (
            lambda photos: layers.ReLU(name="head_relu")(photos),
            UsageError,
            r"'odd' has layers named head_\.\.\., as the classifier's are; name its last ones top_",
        ),
        (lambda photos: photos, UsageError, "'odd' are its photos as they are; lay a layer"),
        (
            lambda photos: layers.ReLU(name="top_relu")(keras.Input((32, 32, 3))),
            UsageError,
            r"'odd' are no network from its photos to their end \(.*\); build them of the photos",
        ),
    ],
)
def test_features_that_cannot_be_built_frozen_or_saved_are_refused(make, error, message):
    add_backbone(Backbone("odd"), lambda photos, *, drop_connect: make(photos))
    with pytest.raises(error, match=message) as caught:
        build_model(ModelSpec("odd", 32), 2)
    assert len(str(caught.value).splitlines()) == 1


# --- Weights


def test_the_pages_second_example_has_the_imagenet_weights_and_scales_twice():
    run(WRAPPED)
    twice = build_model(ModelSpec(TWICE, 64, weights="imagenet"), 3)
    right = build_model(ModelSpec("efficientnet-lite0", 64, weights="imagenet"), 3)
    assert list(blocks(twice)) == list(blocks(right))
    for layer in right.layers[1:]:
        if not layer.name.startswith("head_"):
            pairs = zip(twice.get_layer(layer.name).weights, layer.weights, strict=True)
            assert all((np.asarray(one) == np.asarray(two)).all() for one, two in pairs)
    bodies = [
        keras.Model(model.input, model.get_layer("top_activation").output)
        for model in (twice, right)
    ]
    photos = two_photos(64).astype(np.float32)
    divided = bodies[1](photos / 255, training=False)
    np.testing.assert_allclose(bodies[0](photos, training=False), divided, rtol=1e-4, atol=1e-4)
    assert np.abs(bodies[1](photos, training=False) - np.asarray(divided)).max() > 0.1


def test_the_source_is_the_name_or_the_file():
    told = []
    path = str(lite_weights_file("efficientnet-lite0"))
    row = Backbone("named", weights=("here",))
    add_backbone(row, tiny_features, lambda model, source: told.append((model.name, source)))
    for weights in ("none", "here", path):
        build_model(ModelSpec("named", 32, weights=weights), 2)
    load_weights(None, "efficientnet-b0", "none")
    assert told == [("named", "here"), ("named", path)]


def test_weights_from_a_path_alone():
    path = str(lite_weights_file("efficientnet-lite0"))
    add_backbone(
        Backbone("lite"),
        functools.partial(backbone_features, name="efficientnet-lite0"),
        lambda model, source: load_weights(model, "efficientnet-lite0", source),
    )
    model = build_model(ModelSpec("lite", 32, weights=path), 2)
    right = build_model(ModelSpec("efficientnet-lite0", 32, weights="imagenet"), 2)
    first, second = (each.get_layer("stem_conv").kernel for each in (model, right))
    np.testing.assert_array_equal(first, second)


def broken(model, source):
    raise OSError("no such disk\n  at all")


@pytest.mark.parametrize(
    ("weights", "function", "error", "message"),
    [
        (
            "noisy-student",
            no_weights,
            UsageError,
            "'a' has no 'noisy-student' weights; it has none",
        ),
        ("a.h5", None, UsageError, "'a' has no pretrained weights: use 'none'"),
        ("a.h5", no_weights, UsageError, r"model\.weights 'a\.h5' is no file, and no name"),
        ("here", no_weights, UsageError, "'here' is no file, and no name; did you mean 'there'"),
        (
            "there",
            broken,
            RunError,
            r"the weights of backbone 'a' failed \(OSError: no such disk at",
        ),
    ],
)
def test_weights_that_cannot_be_had(weights, function, error, message):
    names = ("there",) if "here" in weights else ()
    add_backbone(Backbone("a", weights=names), tiny_features, function)
    with pytest.raises(error, match=message):
        build_model(ModelSpec("a", 32, weights=weights), 2)


@pytest.mark.parametrize(
    ("name", "weights", "message"),
    [
        ("efficientnet-lit0", "imagenet", "unknown backbone.*did you mean 'efficientnet-lite0'"),
        ("tiny", "imagenet", "'tiny' has no 'imagenet' weights"),
        ("efficientnet-lite0", "imagenet2", "'imagenet2' is no file, and no name; did you mean"),
    ],
)
def test_weights_of_a_backbone_that_has_none_such(name, weights, message):
    with pytest.raises(UsageError, match=message):
        load_weights(None, name, weights)


def test_features_of_an_unknown_backbone():
    with pytest.raises(UsageError, match="unknown backbone 'tinny'; did you mean 'tiny'"):
        backbone_features(keras.Input((32, 32, 3)), "tinny")


# --- The commands


def test_it_trains_stops_goes_on_reports_and_predicts_without_its_file(mine, photos, tmp_path):
    out = tmp_path / "run"
    train = ["train", "--data", str(photos), "--recipe", "tiny-check", "--out", str(out)]
    train += ["--set", "model.backbone=mine"]
    assert main([*train, "--use", str(mine), "--stop-after", "2"]) == 75
    assert main([*train, "--use", str(mine)]) == 0
    assert "mine" in (out / "report.html").read_text()
    mine.unlink()
    predict = ["predict", "--run", str(out), "--data", str(photos)]
    predict += ["--out", str(tmp_path / "submission.csv")]
    done = subprocess.run(
        [sys.executable, "-m", "carlib", *predict], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len((tmp_path / "submission.csv").read_text().splitlines()) == 13


def test_without_its_file_it_is_unknown(photos, tmp_path, capsys):
    train = ["train", "--data", str(photos), "--recipe", "tiny-check", "--out", str(tmp_path / "r")]
    assert main([*train, "--set", "model.backbone=mine"]) == 2
    assert "unknown backbone 'mine'" in capsys.readouterr().err


def test_memory_plan_and_models_know_it(mine, photos, capsys):
    using_it = ["--use", str(mine), "--json"]
    ours = ["--recipe", "tiny-check", "--set", "model.backbone=mine"]
    assert main(["memory", *ours, *using_it, "--gpu", "T4", "--explain"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["phases"]["all"]["fits"] is True
    assert told["phases"]["all"]["unknown"] == []
    assert main(["plan", *ours, *using_it, "--gpu=T4", "--no-probe", "--data", str(photos)]) == 0
    assert json.loads(capsys.readouterr().out)["phases"]
    assert main(["models", *using_it]) == 0
    last = json.loads(capsys.readouterr().out)["models"][-1]
    assert (last["name"], last["gflops"]) == ("mine", 0.001)


PROBED = Recipe("probed", ModelSpec("mine", 32), (Phase("all", 1, 1e-3, batch_size=4),))


def test_the_probe_knows_it_by_its_file(mine, tmp_path, monkeypatch, capsys):
    """Two small real steps, in a process that has the file's path."""
    monkeypatch.chdir(tmp_path)
    Path("probed.json").write_text(to_json(PROBED))
    asked = ["memory", "--recipe", "probed.json", "--use", mine.name, "--probe", "--json"]
    assert main(asked) == 0
    measured = json.loads(capsys.readouterr().out)["probe"]["all"]
    assert measured["batches"] == [2, 4]
    assert measured["requested"] > measured["fixed"] > 0


def test_the_probe_does_not_know_what_no_file_has_registered():
    run(SCRATCH)
    with pytest.raises(UsageError, match="do not know 'mine', which no file has registered: put"):
        probe(PROBED, 3)


def test_a_schedule_of_the_page_is_one():
    run(SCHEDULE)
    run(SCHEDULE)
    assert own_schedules() == ("halving",)
    try:
        phase = Phase("p", 4, 0.2, schedule="halving")
        assert lr_of(make_schedule(phase, 10), 20) == pytest.approx(0.05)
    finally:
        forget_schedule("halving")
    with pytest.raises(UsageError, match="unknown schedule 'halving'"):
        make_schedule(phase, 10)
