"""What trains, at block borders, and what a frozen block does with a photo."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from carlib.freeze import Freezer, multiply_adds
from carlib.models.build import blocks, build_model
from carlib.spec import SHARES, ModelSpec, Phase

ALL = ("stem", "block1a", "block2a", "block2b", "top", "head")


@pytest.fixture
def model():
    return build_model(ModelSpec("tiny", 32), 3)


@pytest.mark.parametrize(
    ("trains", "upper"),
    [
        ("head", 1),
        (0.0, 1),
        (0.01, 2),
        (0.2, 2),
        (0.4, 3),
        (0.5, 3),  # 2.5 of 5 blocks: Python rounds to the even number
        (0.6, 4),
        (1.0, 6),
        ("all", 6),
    ],
)
@pytest.mark.parametrize("batchnorm", ["frozen", "affine", "trained"])
def test_the_upper_blocks_train(model, trains, upper, batchnorm):
    trained = Freezer(model).apply(Phase("p", 1, 1e-3, trains=trains, batchnorm=batchnorm))
    assert trained.blocks == ALL[-upper:]
    assert trained.of_blocks == len(ALL)
    assert trained.parameters == model.count_params()
    assert trained.trainable_parameters == sum(
        int(np.prod(weight.shape)) for weight in model.trainable_weights
    )
    for name, members in blocks(model).items():
        for layer in members:
            norm = isinstance(layer, keras.layers.BatchNormalization)
            wanted = name in trained.blocks and (not norm or batchnorm != "frozen")
            assert layer.trainable == wanted, layer.name


def test_phases_may_thaw_and_freeze_in_any_order(model):
    freezer = Freezer(model)
    everything = Phase("p", 1, 1e-3, batchnorm="trained")
    first = freezer.apply(everything)
    freezer.apply(Phase("p", 1, 1e-3, trains="head"))
    assert freezer.apply(everything) == first


def test_a_frozen_part_gives_a_photo_the_same_features_in_training(model):
    """No drop-connect, no batch statistics: what is frozen may be cached."""
    freezer = Freezer(model)
    photos = np.arange(8 * 32 * 32 * 3, dtype=np.uint8).reshape(8, 32, 32, 3)
    inner = keras.Model(model.input, model.get_layer("top_activation").output)

    def features(training):
        return np.asarray(inner(photos, training=training))

    freezer.apply(Phase("p", 1, 1e-3, trains="head"))
    np.testing.assert_array_equal(features(True), features(False))
    freezer.apply(Phase("p", 1, 1e-3, batchnorm="trained"))
    assert (features(True) != features(False)).any()


def test_a_saved_model_is_not_frozen(model, tmp_path):
    freezer = Freezer(model)
    freezer.apply(Phase("p", 1, 1e-3, trains="head"))
    before = [weight.path for weight in model.trainable_weights]
    with freezer.as_built():
        model.save(tmp_path / "m.keras")
    assert [weight.path for weight in model.trainable_weights] == before
    again = keras.models.load_model(tmp_path / "m.keras")
    assert len(again.trainable_weights) > len(before) == 2
    assert all(layer.trainable for layer in again.layers)


def test_dropout_comes_back_as_built_and_for_saving(model):
    freezer = Freezer(model)
    drop = model.get_layer("block2b_drop")
    built = drop.rate
    freezer.apply(Phase("p", 1, 1e-3, trains="head"))
    assert drop.rate == 0
    with freezer.as_built():
        assert drop.rate == built > 0
    assert drop.rate == 0
    freezer.apply(Phase("p", 1, 1e-3))
    assert drop.rate == built


def share(trained, by, freezer):
    """What the cut comes to below the head, in the count that it was made by."""
    below = [name for name in trained.blocks if name != "head"]
    every = [name for name in ALL if name != "head"]
    return freezer._total(by, below) / freezer._total(by, every)


@pytest.mark.parametrize("by", SHARES)
@pytest.mark.parametrize("wanted", [0.125, 0.25, 0.5, 0.8, 1.0])
def test_a_share_is_cut_at_the_nearest_block_border(model, by, wanted):
    freezer = Freezer(model)
    found = share(freezer.apply(Phase("p", 1, 1e-3, trains=wanted, share_by=by)), by, freezer)
    every = [
        sum(freezer._total(by, [name]) for name in ALL[first:-1]) / freezer._total(by, ALL[:-1])
        for first in range(len(ALL) - 1)
    ]
    assert found in [pytest.approx(each) for each in every]
    assert abs(found - wanted) == pytest.approx(min(abs(each - wanted) for each in every))


def test_what_a_share_counts_matters(model):
    """Most parameters lie at the top, most of the compute at the bottom."""
    half = {
        by: len(Freezer(model).apply(Phase("p", 1, 1e-3, trains=0.5, share_by=by)).blocks)
        for by in SHARES
    }
    assert half["parameters"] < half["compute"]


def test_the_shares_reported_are_the_models(model):
    freezer = Freezer(model)
    whole = freezer.apply(Phase("p", 1, 1e-3, batchnorm="trained"))
    assert whole.trainable_layers == whole.layers == len(model.layers) - 1  # the input is none
    assert whole.trainable_compute == whole.compute
    head = freezer.apply(Phase("p", 1, 1e-3, trains="head"))
    assert head.trainable_layers == 3
    assert head.trainable_compute == 48 * 3
    assert head.trainable_parameters == 48 * 3 + 3
    line = head.describe(Phase("p", 1, 1e-3, trains="head"))
    assert "1 of 6 blocks train (147 of " in line
    assert "of layers, 0% of compute)" in line


@pytest.mark.parametrize(
    ("layer", "wanted"),
    [
        (keras.layers.Conv2D(4, 3, 2, padding="same"), 5 * 4 * 4 * 3 * 3 * 6),
        (keras.layers.Conv2D(4, 3, groups=2, padding="same"), 9 * 7 * 4 * 3 * 3 * 3),
        (keras.layers.DepthwiseConv2D((3, 5), padding="same"), 9 * 7 * 6 * 3 * 5),
        (keras.layers.SeparableConv2D(4, 3, padding="same"), 9 * 7 * 6 * (3 * 3 + 4)),
        (keras.layers.GlobalAveragePooling2D(), 0),
        (keras.layers.BatchNormalization(), 0),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_multiply_adds(layer, wanted):
    layer(keras.Input((9, 7, 6)))
    assert multiply_adds(layer) == wanted


@pytest.mark.parametrize(
    ("policy", "gamma_moves", "mean_moves"),
    [("frozen", False, False), ("affine", True, False), ("trained", True, True)],
)
def test_what_a_batchnorm_policy_trains(model, policy, gamma_moves, mean_moves):
    freezer = Freezer(model)
    freezer.apply(Phase("p", 1, 1e-3))  # another phase before
    freezer.apply(Phase("p", 1, 1e-3, batchnorm="affine"))
    freezer.apply(Phase("p", 1, 1e-3, batchnorm=policy))
    norm = model.get_layer("block2a_bn")
    before = norm.gamma.numpy(), norm.moving_mean.numpy()
    model.compile(keras.optimizers.SGD(0.1), "categorical_crossentropy")
    photos = np.arange(8 * 32 * 32 * 3, dtype=np.uint8).reshape(8, 32, 32, 3)
    model.train_on_batch(photos, np.eye(3)[np.arange(8) % 3])
    assert (norm.gamma.numpy() != before[0]).any() == gamma_moves
    assert (norm.moving_mean.numpy() != before[1]).any() == mean_moves


def test_affine_normalises_in_training_as_in_prediction(model):
    freezer = Freezer(model)
    photos = np.arange(8 * 32 * 32 * 3, dtype=np.uint8).reshape(8, 32, 32, 3)
    # Up to where the first dropout is.
    lower = keras.Model(model.input, model.get_layer("block1a_project_bn").output)

    def same(policy):
        freezer.apply(Phase("p", 1, 1e-3, batchnorm=policy))
        found = [np.asarray(lower(photos, training=mode)) for mode in (True, False)]
        return (found[0] == found[1]).all()

    assert not same("trained")
    assert same("affine")
    assert not same("trained")


def test_a_model_trained_on_affine_norms_is_saved_plain(model, tmp_path):
    freezer = Freezer(model)
    freezer.apply(Phase("p", 1, 1e-3, batchnorm="affine"))
    keras.Model(model.input, model.output).save(tmp_path / "m.keras")
    photos = np.arange(2 * 32 * 32 * 3, dtype=np.uint8).reshape(2, 32, 32, 3)
    again = keras.models.load_model(tmp_path / "m.keras")
    np.testing.assert_allclose(again(photos), model(photos, training=False), atol=1e-6)
