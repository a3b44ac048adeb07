"""Heads, presets and metrics of a user's own: registered, at work, named when unknown; refused."""

from __future__ import annotations

import csv
import dataclasses
import functools
import json
import os
import pickle
import re
from pathlib import Path

import cv2
import keras
import numpy as np
import pytest
from keras import layers
from networks import two_photos
from photos import draw

from carlib import metrics, using
from carlib.augment import (
    PRESETS,
    Augmentation,
    Preset,
    add_preset,
    entry_size,
    make_augmenter,
    own_presets,
    preset_named,
)
from carlib.augment import own as presets
from carlib.catalog import read_catalog
from carlib.cli import main
from carlib.errors import RunError, UsageError
from carlib.experiments import child, read_experiment
from carlib.features import FeatureCache, body_of, head_of
from carlib.freeze import Freezer
from carlib.loader import Items, Loader, View, Workers
from carlib.memory.probe import probe
from carlib.memory.step import forward_pass, training_step
from carlib.metrics import ALWAYS, add_metric, is_higher_better, measure
from carlib.models import add_head, own
from carlib.models.build import build_model, check_model
from carlib.spec import ModelSpec, Phase, Recipe, to_dict
from carlib.steps import compile_trainer, trainer_of

PAGE = (Path(__file__).parents[1] / "docs/own.md").read_text(encoding="utf-8")
_, _, HEAD, PRESET, _, METRIC = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
SPEC = ModelSpec("tiny", 32, head="residual")
PHASE = Phase("all", 1, 1e-3, batch_size=4)


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    """Nothing stays registered, or used."""
    monkeypatch.setattr(own._heads, "things", {})
    monkeypatch.setattr(presets._own, "things", {})
    monkeypatch.setattr(metrics._own, "things", {})
    monkeypatch.setattr(using, "_used", [])


@pytest.fixture
def mine(tmp_path):
    """The page's three examples, as a file."""
    path = tmp_path / "mine.py"
    path.write_text("\n".join((HEAD, PRESET, METRIC)))
    return path


def run(*codes):
    for code in codes:
        exec(compile(code, "own.md", "exec"), {})


def added(name, *transforms, margin=1.0):
    """Register a preset."""
    add_preset(Preset(name, "Mine.", transforms, margin))


def top(k):
    return functools.partial(keras.metrics.TopKCategoricalAccuracy, k=k)


def test_a_file_that_is_run_twice_registers_twice():
    run(HEAD, PRESET, METRIC, HEAD, PRESET, METRIC)
    assert list(own._heads.things) == ["residual"]
    assert list(presets.known()) == [*PRESETS, "dusk"]
    assert list(metrics._own.things) == ["top3"]
    for forget, name in ((own.forget_head, "residual"), (presets.forget, "dusk")):
        forget(name)
        forget(name)
    metrics.forget("top3")
    assert not own._heads.things
    assert presets.known() == PRESETS
    assert not metrics._own.things


@pytest.mark.parametrize(
    ("add", "message"),
    [
        (lambda: add_head("a", "dense"), "head 'a' must be a function of pooled and classes; rec"),
        (lambda: add_head("a b", len), "a head's name is letters, digits, .* received 'a b'"),
        (lambda: add_head("residual", len), "there is another head 'residual' already"),
        (lambda: add_preset("light"), "add_preset takes a Preset; received 'light'"),
        (lambda: added("light"), "'light' is a preset of carlib's own; give yours another"),
        (lambda: added("dusk"), "there is another preset 'dusk' already"),
        (lambda: added("my-own"), "a preset's name is letters, digits, .* received 'my-own'"),
        (lambda: added(7), "a preset's name is letters, digits, .* received 7"),
        (lambda: add_metric("a", "AUC", True), "'a' must be a function that returns a Keras met"),
        (lambda: add_metric("a", top(3), 1), "higher of metric 'a' must be True or False; rec.*1"),
        (lambda: add_metric("loss", top(3), True), "'loss' is a metric of carlib's own"),
        (lambda: add_metric("accuracy", top(3), True), "'accuracy' is a metric of carlib's own"),
        (lambda: add_metric("AUC", top(3), True), "'AUC' is a metric of carlib's own"),
        (lambda: add_metric("top3", top(2), True), "there is another metric 'top3' already"),
    ],
)
def test_what_is_not_registered(add, message):
    run(HEAD, PRESET, METRIC)
    before = dict(own._heads.things), presets.known(), dict(metrics._own.things)
    with pytest.raises(UsageError, match=message):
        add()
    assert before == (own._heads.things, presets.known(), metrics._own.things)


@pytest.mark.parametrize(
    ("look", "message"),
    [
        (
            lambda: check_model(ModelSpec("tiny", 32, head="residul")),
            "^unknown head 'residul'; did you mean 'residual'",
        ),
        (lambda: preset_named("dsk+ToGray"), "^unknown preset 'dsk'; did you mean 'dusk'"),
        (lambda: is_higher_better("top4"), "^unknown monitor 'top4'; did you mean 'top3'"),
        (lambda: is_higher_better("zzz"), "accuracy, macro_f1, log_loss, top3, or another class"),
    ],
)
def test_an_unknown_name_is_held_against_the_user_s_too(look, message):
    run(HEAD, PRESET, METRIC)
    with pytest.raises(UsageError, match=message):
        look()


def test_a_head_where_none_is_registered():
    with pytest.raises(UsageError, match="unknown head 'residual': none is registered; put its"):
        check_model(SPEC)


# --- Heads


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "a", "hidden": 8}, "head 'a' lays its own layers, and head_norm or hidden asks"),
        ({"head": "a", "head_norm": True}, "head 'a' lays its own layers"),
        ({"head": 3}, "ModelSpec: head must be a non-empty text; received 3"),
    ],
)
def test_what_a_recipe_cannot_say_of_it(options, message):
    with pytest.raises(UsageError, match=message):
        ModelSpec("tiny", 32, **options)


def twice(pooled, classes):
    """One layer called twice, and as many units as classes."""
    dense = layers.Dense(pooled.shape[-1], activation="tanh", name="head_twice")
    x = dense(dense(pooled))
    return layers.Concatenate(name="head_both")([pooled, layers.Dense(classes, name="head_d")(x)])


@pytest.mark.parametrize("pooling", ["average", "both"])
@pytest.mark.parametrize("head", ["residual", "twice", "plain"])
def test_it_lies_between_pooling_and_classifier_and_trains_on_cached_features(head, pooling):
    run(HEAD)
    add_head("twice", twice)
    add_head("plain", lambda pooled, classes: pooled)
    spec = ModelSpec("tiny", 32, head=head, pooling=pooling)
    model = build_model(spec, 3)
    layered = [each.name for each in model.layers]
    assert layered[-2:] == ["head_dropout", "head_classes"]
    whole = np.asarray(model(two_photos(32), training=False))
    parts = head_of(model)(body_of(model)(two_photos(32), training=False), training=False)
    np.testing.assert_allclose(parts, whole, rtol=1e-5)
    phase = Phase("h", 1, 1e-3, trains="head", views=1)
    Freezer(model).apply(phase)
    assert trainer_of(model, Recipe("r", spec, (phase,)), phase).input_shape == (
        None,
        *model.get_layer("head_pool").output.shape[1:],
    )


def test_a_step_on_cached_features_is_the_step_through_the_network():
    """Both train the same weights in the same way: the body is frozen."""
    run(HEAD)
    spec = dataclasses.replace(SPEC, dropout=0.0)
    trained = []
    for views in (0, 1):
        phase = Phase("h", 1, 0.1, trains="head", views=views, optimizer="sgd")
        recipe = Recipe("r", spec, (phase,))
        model = build_model(spec, 3, seed=2)
        Freezer(model).apply(phase)
        trainer = trainer_of(model, recipe, phase)
        compile_trainer(trainer, recipe, phase, 0.1)
        photos = two_photos(32)
        given = body_of(model)(photos, training=False) if views else photos
        trainer.train_on_batch(np.asarray(given), np.eye(3)[:2])
        trained.append(model.get_weights())
    fresh = build_model(spec, 3, seed=2).get_weights()
    moved = [not np.array_equal(*pair) for pair in zip(fresh, trained[0], strict=True)]
    # Kernel and bias, gamma and beta, both moving statistics; the classifier's kernel and bias.
    assert sum(moved) == 2 + 2 + 2 + 2
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)


def test_it_is_saved_and_opened_in_half_precision_too(tmp_path):
    run(HEAD)
    model = build_model(dataclasses.replace(SPEC, dtype="mixed_float16"), 3)
    assert model.get_layer("head_residual").compute_dtype == "float16"
    model.save(tmp_path / "model.keras")
    own.forget_head("residual")
    opened = keras.models.load_model(tmp_path / "model.keras")
    found, wanted = (each.predict(two_photos(32), verbose=0) for each in (opened, model))
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == np.float32


def test_its_layers_have_memory_rules_or_are_named():
    run(HEAD)
    add_head("odd", lambda pooled, classes: layers.UnitNormalization(name="head_unit")(pooled))
    for head, unknown in (("residual", []), ("odd", ["head_unit"])):
        model = build_model(dataclasses.replace(SPEC, head=head), 3)
        assert training_step(model, PHASE, 4).unknown == unknown
        assert training_step(head_of(model), PHASE, 4).unknown == unknown
        assert forward_pass(model, 4).unknown == unknown


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda x: 1 / 0, RunError, r"of head 'odd' failed \(ZeroDivisionError: division by zero"),
        (lambda x: None, UsageError, r"'odd' must end in one Keras tensor \(B, N\).*NoneType"),
        (lambda x: [x], UsageError, "must end in one Keras tensor .* received list"),
        (
            lambda x: layers.Reshape((6, 8), name="head_a")(x),
            UsageError,
            r"must end in one Keras tensor .* received KerasTensor \(None, 6, 8\)",
        ),
        (
            lambda x: layers.Lambda(lambda y: y, name="head_a")(x),
            UsageError,
            "head 'odd': 'head_a' is a Lambda; build it of single layers of keras.layers",
        ),
        (lambda x: x * 2.0, UsageError, "head 'odd': 'multiply.*' is a Multiply; build it of"),
        (lambda x: layers.ReLU(name="relu")(x), UsageError, "a layer named 'relu'; name each head"),
        (
            lambda x: layers.Dense(3, name="head_classes")(x),
            UsageError,
            r"'head_classes'; name each head_\.\.\., and none head_pool, .* which are carlib's",
        ),
        (
            lambda x: layers.ReLU(name="head_a")(layers.ReLU(name="head_a")(x)),
            UsageError,
            r"'odd' is no network from the pooled .*\(.*unique.*\); build it of these, each layer",
        ),
        (
            lambda x: layers.ReLU(name="head_a")(keras.Input((48,))),
            UsageError,
            "'odd' is no network from the pooled features to its end",
        ),
    ],
)
def test_heads_that_cannot_be_built_or_saved_are_refused(make, error, message):
    add_head("odd", lambda pooled, classes: make(pooled))
    with pytest.raises(error, match=message) as caught:
        build_model(dataclasses.replace(SPEC, head="odd"), 3)
    assert len(str(caught.value).splitlines()) == 1


def test_the_probe_does_not_know_what_no_file_has_registered():
    run(HEAD)
    with pytest.raises(UsageError, match=r"do not know 'residual', .* put its add_head into"):
        probe(Recipe("r", SPEC, (PHASE,)), 3)


# --- Presets

CROP = ("RandomResizedCrop", {"scale": (0.5, 1.0), "ratio": (0.9, 1.1), "p": 1.0})


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (("HorizontalFlop", {"p": 1}), "has no transform 'HorizontalFlop'; did you mean 'Horizont"),
        (("zzzz", {"p": 1}), "'odd': albumentations has no transform 'zzzz'$"),
        (("Compose", {"p": 1}), "albumentations has no transform 'Compose'"),
        (("HorizontalFlip", {"p": 1, "side": 2}), r"refuses HorizontalFlip .*UserWarning: Arg.*si"),
        (("Blur", {"blur_limit": "much", "p": 0.01}), r"refuses Blur with .*blur_limit.*; mend"),
        (("Lambda", {"image": np.flip, "p": 1}), "options of Lambda must be numbers, texts and li"),
        (("CenterCrop", {"height": 8, "width": 8, "p": 0.1}), r"makes uint8 \(8, 8, 3\) of a pho"),
        (
            ("Resize", {"height": 64, "width": 64, "p": 0.1}),
            r"\(64, 64, 3\) of a photo, uint8 \(97",
        ),
        (("OneOf", {"transforms": (("Blur", {"p": 1}),), "p": 1, "nn": 3}), "refuses OneOf .*nn"),
        (("OneOf", {"transforms": (), "p": 1}), "OneOf has nothing to choose from"),
        (("ToFloat", {"p": 0.1}), r"ToFloat makes float32 \(64, 64, 3\) of a photo, uint8 \(64, 6"),
        (
            ("OneOf", {"transforms": (("Blurr", {"p": 1.0}),), "p": 0.5}),
            "has no transform 'Blurr'; did you mean 'Blur'",
        ),
    ],
)
def test_transforms_that_are_none(transform, message):
    with pytest.raises(UsageError, match=message) as caught:
        added("odd", ("HorizontalFlip", {"p": 0.5}), transform)
    assert len(str(caught.value).splitlines()) == 1
    assert presets.known() == PRESETS


def test_a_preset_is_named_changed_and_sized_as_any_other():
    run(PRESET)
    added("close", CROP, ("OneOf", {"transforms": (("Blur", {"p": 1.0}),), "p": 0.5}), margin=1.5)
    names = [name for name, _ in preset_named("dusk+ToGray-ISONoise").transforms]
    assert names == ["HorizontalFlip", "RandomGamma", "ToGray"]
    assert Augmentation("dusk").clean == pytest.approx(0.5 * 0.5 * 0.7)
    assert entry_size("close+ToGray", 32) == 48
    for name in ("dusk", "close", "close-Blur"):
        augment = make_augmenter(name, 32)
        photo = cv2.resize(draw(70, 90), (entry_size(name, 32),) * 2)
        made = [augment(photo, seed) for seed in range(8)]
        assert {each.shape for each in made} == {(32, 32, 3)}
        assert len({each.tobytes() for each in made}) > 1
    assert own_presets("dusk+ToGray") == (presets.known()["dusk"],)
    assert own_presets("light-ToGray") == ()


def test_what_a_name_once_stood_for_is_forgotten():
    added("mine", ("HorizontalFlip", {"p": 1.0}))
    assert len(preset_named("mine+ToGray").transforms) == 2
    presets.forget("mine")
    with pytest.raises(UsageError, match="unknown preset 'mine'"):
        preset_named("mine+ToGray")
    added("mine", ("HorizontalFlip", {"p": 1.0}), ("Blur", {"p": 1.0}))
    assert len(preset_named("mine+ToGray").transforms) == 3


def test_processes_that_load_photos_get_it(photos):
    run(PRESET)
    catalog = read_catalog(photos).take(range(4))
    view = View(24, preset="dusk+ToGray")
    with Loader(catalog, view, batch_size=4, workers=Workers("processes", 1)) as loader:
        found = [next(iter(loader.epoch(epoch))).photos for epoch in range(2)]
    items = Items(catalog, view)
    for epoch in range(2):
        np.testing.assert_array_equal(found[epoch], items.batch(epoch, np.arange(4)))
    sent = pickle.dumps(items)
    presets.forget("dusk")
    assert np.array_equal(pickle.loads(sent)(1, 2), items(1, 2))
    assert list(presets.known()) == [*PRESETS, "dusk"]


def test_cached_features_know_what_is_in_it(photos, tmp_path):
    """Another preset under the same name leads to other features."""
    body = body_of(build_model(ModelSpec("tiny", 32), 3))
    catalog = read_catalog(photos).take(range(2))

    def identity(name, *transforms):
        presets.forget("mine")
        added("mine", *transforms)
        loader = Loader(catalog, View(32, preset=name), batch_size=2)
        return FeatureCache(tmp_path, body, loader, "d").identity

    flip, blur = ("HorizontalFlip", {"p": 0.5}), ("Blur", {"p": 0.5})
    found = [identity("mine", *each) for each in ((flip,), (flip,), (blur,))]
    assert found[0] == found[1] != found[2]
    assert identity("light", flip) == identity("light", blur)


# --- Metrics

TRUTH = np.eye(4, dtype=np.float32)[[0, 1, 2, 3]]
FOUND = np.array(
    [[0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1], [0.4, 0.3, 0.2, 0.1]],
    np.float32,
)


class Surprise(keras.metrics.Mean):
    """One minus the probability of the right class."""

    def update_state(self, truth, found, sample_weight=None):
        return super().update_state(1 - keras.ops.sum(truth * found, axis=-1))


def test_a_metric_joins_the_others_where_it_is_the_monitor():
    run(METRIC)
    add_metric("surprise", Surprise, higher=False)
    shared = keras.metrics.TopKCategoricalAccuracy(k=2)
    add_metric("shared", lambda: shared, higher=True)
    assert [is_higher_better(name) for name in metrics._own.things] == [True, False, True]
    for name, value in (("top3", 0.75), ("surprise", 0.75), ("shared", 0.5), ("shared", 0.5)):
        found = measure(TRUTH, FOUND, name)
        assert list(found) == [*ALWAYS, name]
        assert found[name] == pytest.approx(value)
    assert list(measure(TRUTH, FOUND, "accuracy")) == list(ALWAYS)


@pytest.mark.parametrize(
    ("make", "higher", "error", "message"),
    [
        (lambda: 1 / 0, True, RunError, r"the make of metric 'odd' failed \(ZeroDivisionError"),
        (lambda: "AUC", True, UsageError, r"must return a keras\.metrics\.Metric; received 'AUC'"),
        (
            top(3),
            False,
            UsageError,
            "'odd' is registered with higher=False, and is 1 for right and 0 for wrong predictions;"
            " give higher=True",
        ),
        (
            Surprise,
            True,
            UsageError,
            "'odd' is registered with higher=True, and is 0.1592 for right",
        ),
        (
            top(200),
            True,
            UsageError,
            "'odd' does not fit one-hot .*the same for right and for wrong",
        ),
        (
            lambda: keras.metrics.F1Score(),
            True,
            UsageError,
            r"monitor: 'odd' does not fit one-hot labels and probabilities \(gives 200 values\)",
        ),
        (
            keras.metrics.SparseCategoricalAccuracy,
            True,
            UsageError,
            "'odd' does not fit one-hot labels and probabilities",
        ),
        (
            lambda: keras.metrics.MeanMetricWrapper(lambda truth, found: truth[:, 0] * np.nan),
            True,
            UsageError,
            r"does not fit one-hot .* \(gives nan for right and nan for wrong predictions\)",
        ),
    ],
)
def test_no_monitor(make, higher, error, message):
    add_metric("odd", make, higher)
    with pytest.raises(error, match=message) as caught:
        is_higher_better("odd")
    assert len(str(caught.value).splitlines()) == 1


def test_what_fails_in_validation_is_one_line():
    add_metric("odd", lambda: keras.metrics.F1Score(), higher=True)
    with pytest.raises(RunError, match=r"the update of metric 'odd' failed \(TypeError: only"):
        measure(TRUTH, FOUND, "odd")


# --- The commands

OURS = ["model.head=residual", "phases.*.augment=dusk+ToGray", "monitor=top3"]


def test_a_run_has_all_three_and_predicts_without_their_file(mine, photos, tmp_path, capsys):
    out = tmp_path / "run"
    train = ["train", "--data", str(photos), "--recipe", "tiny-check", "--out", str(out)]
    assert main([*train, "--use", str(mine), "--set", *OURS, "phases.*.epochs=1"]) == 0
    with open(out / "history.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert all(0 <= float(row["val_top3"]) <= 1 for row in rows)
    assert json.loads((out / "result.json").read_text())["monitor"] == "top3"
    for registry in (own._heads, presets._own, metrics._own):
        registry.things.clear()
    csv_out = tmp_path / "submission.csv"
    predict = ["predict", "--run", str(out), "--data", str(photos), "--out", str(csv_out)]
    assert main(predict) == 0
    assert len(csv_out.read_text().splitlines()) == 13
    capsys.readouterr()
    assert main([*train, "--set", *OURS]) == 2
    assert "unknown head 'residual'" in capsys.readouterr().err


def test_memory_and_augment_know_them(mine, photos, tmp_path, capsys):
    asked = ["memory", "--recipe", "tiny-check", "--use", str(mine), "--json", "--set", *OURS]
    assert main(asked) == 0
    phases = json.loads(capsys.readouterr().out)["phases"]
    assert all(need["unknown"] == [] for need in phases.values())
    grid = str(tmp_path / "grid.png")
    asked = ["augment", "dusk-ISONoise", "--data", str(photos), "--out", grid, "--size", "32"]
    assert main([*asked, "--use", str(mine)]) == 0
    assert cv2.imread(grid).shape == (6 * 32, 6 * 32, 3)


def test_a_plan_s_runs_and_its_search_know_them(mine, tmp_path):
    plan = tmp_path / "plan.toml"
    text = f'base = "tiny-check"\nuse = ["{mine.name}"]\nvalidation_share = 0.5\nset = {OURS}\n'
    plan.write_text(text + '[search]\nadd = ["Blur"]')
    found = read_experiment(plan)
    assert list(presets.known())[-1] == "dusk"
    using._used.clear()
    presets._own.things.clear()
    job = {"use": found.use, "arms": [["base", to_dict(found.base.recipe)]], "parent": os.getppid()}
    assert child._check(job) == 0
    job["arms"][0][1]["monitor"] = "top4"
    with pytest.raises(UsageError, match="arm 'base': unknown monitor 'top4'; did you mean 'top3'"):
        child._check(job)
