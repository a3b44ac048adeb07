"""Heads, the focal loss, and learning rates that differ from block to block."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from networks import two_photos

from carlib.features import body_of, head_of
from carlib.freeze import Freezer
from carlib.models.build import blocks, build_model
from carlib.schedules import make_optimizer, make_schedule
from carlib.schedules.optimizers import layered
from carlib.spec import ModelSpec, Phase, Recipe
from carlib.steps import compile_trainer, loss_of, scales_of, trainer_of

SPEC = ModelSpec("tiny", 32, dropout=0.0, drop_connect=0.0)
WIDTH = 48  # of the tiny network's last feature map


def features_of(model):
    """The last feature map of two photos."""
    top = keras.Model(model.input, model.get_layer("top_activation").output)
    return np.asarray(top(two_photos(32)))


@pytest.mark.parametrize(
    ("pooling", "pooled"),
    [
        ("average", lambda x: x.mean((1, 2))),
        ("max", lambda x: x.max((1, 2))),
        ("both", lambda x: np.concatenate([x.mean((1, 2)), x.max((1, 2))], 1)),
    ],
)
def test_pooling(pooling, pooled):
    model = build_model(dataclasses.replace(SPEC, pooling=pooling), 3)
    found = np.asarray(body_of(model)(two_photos(32)))
    np.testing.assert_allclose(found, pooled(features_of(model)), rtol=1e-5)


@pytest.mark.parametrize(
    "change",
    [{}, {"pooling": "both"}, {"head_norm": True}, {"pooling": "both", "hidden": 8}],
    ids=str,
)
def test_body_and_head_are_the_whole(change):
    model = build_model(dataclasses.replace(SPEC, **change), 3)
    whole = np.asarray(model(two_photos(32)))
    parts = np.asarray(head_of(model)(body_of(model)(two_photos(32))))
    np.testing.assert_allclose(parts, whole, rtol=1e-6)


@pytest.mark.parametrize("batchnorm", ["frozen", "affine", "trained", "only"])
@pytest.mark.parametrize("trains", ["head", 0.5, "all"])
def test_the_heads_norm_trains_always(batchnorm, trains):
    model = build_model(dataclasses.replace(SPEC, head_norm=True), 3)
    Freezer(model).apply(Phase("p", 1, 1e-3, trains=trains, batchnorm=batchnorm))
    norm = model.get_layer("head_norm")
    before = norm.moving_mean.numpy()
    model(two_photos(32), training=True)
    assert len(norm.trainable_variables) == 2
    assert not np.array_equal(before, norm.moving_mean.numpy())


# --- Focal loss


def focal(truth, found, gamma, smoothing=0.0):
    """Equation 4 of Lin et al., its alpha 1, over smoothed targets."""
    smooth = truth * (1 - smoothing) + smoothing / truth.shape[1]
    return float(np.mean(np.sum(-smooth * (1 - found) ** gamma * np.log(found), axis=1)))


@pytest.mark.parametrize("gamma", [0.0, 1.0, 2.0, 5.0])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_focal_loss_follows_its_formula(gamma, smoothing):
    found = np.random.default_rng(0).dirichlet(np.ones(4), 6).astype("float32")
    truth = np.eye(4, dtype="float32")[[0, 1, 2, 3, 0, 1]]
    recipe = Recipe(
        "r",
        SPEC,
        (Phase("p", 1, 1e-3),),
        loss="focal",
        focal_gamma=gamma,
        label_smoothing=smoothing,
    )
    assert float(loss_of(recipe)(truth, found)) == pytest.approx(
        focal(truth, found, gamma, smoothing), rel=1e-5
    )
    if not gamma:
        plain = dataclasses.replace(recipe, loss="crossentropy")
        assert float(loss_of(plain)(truth, found)) == pytest.approx(
            float(loss_of(recipe)(truth, found)), rel=1e-5
        )


# --- Learning rates from block to block


def test_scales_fall_from_block_to_block():
    model = build_model(SPEC, 3)
    names = list(blocks(model))
    scales = dict(
        zip([each.path for each in model.trainable_variables], scales_of(model, 0.5), strict=True)
    )
    for path, scale in scales.items():
        block = path.split("_")[0]
        assert scale == 0.5 ** (len(names) - 1 - names.index(block)), path


def test_only_what_trains_has_a_scale():
    model = build_model(SPEC, 3)
    Freezer(model).apply(Phase("p", 1, 1e-3, trains=0.3))
    assert len(scales_of(model, 0.5)) == len(model.trainable_variables)
    phase = Phase("h", 1, 1e-3, trains="head", views=1)
    Freezer(model).apply(phase)
    head = trainer_of(model, Recipe("r", SPEC, (phase,)), phase)
    assert scales_of(head, 0.5) == [1.0, 1.0]


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("options", [{}, {"accumulate": 2}, {"clip": 0.1}, {"ema": 0.9}], ids=str)
def test_a_step_is_scaled_and_slots_are_not(optimizer, options):
    """Two variables of equal value and gradient: the second moves by its share, decay included."""
    decay = 0.0 if optimizer == "adam" else 0.1
    phase = Phase("p", 1, 0.1, optimizer=optimizer, weight_decay=decay, **options)
    made = layered(make_optimizer(phase, make_schedule(phase, 10)), [1.0, 0.25])
    one, other = (keras.Variable([1.0, 2.0], name=name) for name in ("one", "other"))
    for _ in range(options.get("accumulate", 1)):
        made.apply([keras.ops.array([0.5, -0.5])] * 2, [one, other])
    moved = np.array([1.0, 2.0]) - np.asarray(one)
    assert np.all(moved != 0)
    np.testing.assert_allclose(np.array([1.0, 2.0]) - np.asarray(other), 0.25 * moved, rtol=1e-4)
    plain = make_optimizer(phase, make_schedule(phase, 10))
    plain.build([one, other])
    # Their owner's name counts the optimizers of the process.
    names = [each.path.partition("/")[2] for each in made.variables]
    assert names == [each.path.partition("/")[2] for each in plain.variables]


def test_a_scale_of_1_changes_nothing():
    phase = Phase("p", 1, 0.1, weight_decay=0.1)
    trained = []
    for scaled in (False, True):
        model = build_model(SPEC, 3, seed=1)
        recipe = Recipe("r", SPEC, (phase,))
        Freezer(model).apply(phase)
        if scaled:
            made = layered(make_optimizer(phase, 0.1), [1.0] * len(model.trainable_variables))
            model.compile(made, loss=loss_of(recipe))
        else:
            compile_trainer(model, recipe, phase, 0.1)
        model.train_on_batch(two_photos(32), np.eye(3)[:2])
        trained.append([np.asarray(each) for each in model.trainable_variables])
    for one, other in zip(*trained, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_phases_layer_decay_reaches_its_optimizer():
    model = build_model(SPEC, 3)
    phase = Phase("p", 1, 0.1, optimizer="sgd", momentum=0.0, layer_decay=0.5)
    Freezer(model).apply(phase)
    compile_trainer(model, Recipe("r", SPEC, (phase,)), phase, 0.1)
    assert list(model.optimizer.scales) == scales_of(model, 0.5)
