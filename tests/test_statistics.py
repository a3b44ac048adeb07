"""BatchNorm's statistics made anew: the mean over a phase's batches, and nothing else moves."""

from __future__ import annotations

import dataclasses

import keras
import numpy as np
import pytest
from networks import two_photos

from carlib.errors import UsageError
from carlib.freeze import Freezer, norms_of
from carlib.memory.estimate import need_of_training
from carlib.models.build import build_model
from carlib.schedules import make_schedule
from carlib.spec import ModelSpec, Phase, Recipe, from_toml, to_toml
from carlib.steps import compile_trainer, trainer_of

PHASE = Phase("settle", 1, 0.0, trains="statistics")
MODEL = ModelSpec("tiny", 32, head_norm=True, dropout=0.5)
TRUTH = np.eye(3, dtype=np.float32)[[0, 2]]


def batches() -> list[np.ndarray]:
    photos = two_photos(32)
    return [photos, photos[:, ::-1] // 2, 255 - photos]


def settled(phase: Phase, model: keras.Model, times: int = 1) -> dict[str, float]:
    """Take a phase's steps on all batches; return the last step's logs."""
    Freezer(model).apply(phase)
    recipe = Recipe("r", MODEL, (phase,))
    trainer = trainer_of(model, recipe, phase)
    compile_trainer(trainer, recipe, phase, make_schedule(phase, 3))
    for _ in range(times):
        logs = trainer.train_function((photos, TRUTH) for photos in batches()[:1])
        for batch in batches()[1:]:
            logs = trainer.train_function((photos, TRUTH) for photos in [batch])
    return {name: float(value) for name, value in logs.items()}


def by_hand(model: keras.Model) -> dict[str, np.ndarray]:
    """Each BatchNorm's mean and variance over the batches, of what comes into it in training."""
    norms = norms_of(model)
    Freezer(model).apply(Phase("p", 1, 1.0, batchnorm="trained"))
    for drop in (x for x in model.layers if isinstance(x, keras.layers.Dropout)):
        drop.rate = 0.0
    entries = keras.Model(model.input, [norm.input for norm in norms])
    found: dict[str, list[list[np.ndarray]]] = {norm.name: [] for norm in norms}
    for batch in batches():
        for norm, entry in zip(norms, entries(batch, training=True), strict=True):
            x = np.asarray(entry, np.float32)
            places = tuple(range(x.ndim - 1))
            found[norm.name].append([x.mean(places), x.var(places)])
    return {name: np.mean(each, axis=0) for name, each in found.items()}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("dtype", ["float32", "mixed_float16"])
def test_they_are_the_mean_over_all_batches(times, dtype):
    """Whatever they were before, however often the photos come."""
    spec = dataclasses.replace(MODEL, dtype=dtype)
    model = build_model(spec, 3, seed=1)
    wanted = by_hand(build_model(spec, 3, seed=1))
    for norm in norms_of(model):
        norm.moving_mean.assign(norm.moving_mean + 1e9)
        norm.moving_variance.assign(norm.moving_variance * np.nan)
    settled(PHASE, model, times)
    assert wanted.keys() == {norm.name for norm in norms_of(model)}
    for norm in norms_of(model):
        found, tolerance = [norm.moving_mean, norm.moving_variance], 1e-4
        if dtype != "float32":
            tolerance = 0.02
        np.testing.assert_allclose(found, wanted[norm.name], atol=tolerance, rtol=tolerance)


def test_nothing_else_moves_and_no_layer_is_left_changed(tmp_path):
    model = build_model(MODEL, 3, seed=1)
    moving = {id(each) for norm in norms_of(model) for each in norm.non_trainable_variables}
    before = [np.array(each) for each in model.variables]
    momenta = [norm.momentum for norm in norms_of(model)]
    logs = settled(dataclasses.replace(PHASE, accumulate=2, weight_decay=0.1), model)
    assert logs["loss"] > 0
    for was, each in zip(before, model.variables, strict=True):
        assert (was != np.array(each)).any() == (id(each) in moving), each.path
    assert [norm.momentum for norm in norms_of(model)] == momenta
    # What trains after it trains as ever.
    again = settled(Phase("all", 1, 1e-2, batchnorm="trained"), model)
    assert again["loss"] != logs["loss"]
    assert (np.array(model.variables[0]) != before[0]).any()


def test_the_step_needs_the_memory_of_a_forward_pass():
    model = build_model(MODEL, 3)
    needs = {}
    for phase in (PHASE, Phase("all", 1, 1e-3, batchnorm="trained")):
        Freezer(model).apply(phase)
        needs[phase.name] = need_of_training(model, Recipe("r", MODEL, (phase,)), phase, 32)
    assert needs["settle"].requested < needs["all"].requested / 2


def test_what_it_says():
    model = build_model(MODEL, 3)
    trained = Freezer(model).apply(PHASE)
    assert (trained.blocks, trained.trainable_parameters, trained.trainable_compute) == ((), 0, 0)
    assert trained.describe(PHASE) == (
        "phase 'settle': BatchNorm's moving statistics anew over 1 epoch, nothing else changes, "
        "augmentation none"
    )


def test_it_comes_back_from_a_file():
    recipe = Recipe("r", MODEL, (PHASE,))
    assert from_toml(to_toml(recipe)) == recipe


@pytest.mark.parametrize("options", [{"lr": 0.1}, {"ema": 0.5}, {"views": 1}])
def test_what_learns_is_refused(options):
    with pytest.raises(UsageError, match="nothing is learned where trains is 'statistics'"):
        dataclasses.replace(PHASE, **options)


def test_a_network_without_batchnorm_is_refused():
    photos = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(2, 3, name="stem_conv")(photos)
    x = keras.layers.GlobalAveragePooling2D(name="head_pool")(x)
    model = keras.Model(photos, x, name="plain")
    with pytest.raises(UsageError, match="plain has no BatchNorm; leave the phase out"):
        Freezer(model).apply(PHASE)
