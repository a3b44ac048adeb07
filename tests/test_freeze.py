"""What trains, at block borders, and what a frozen block does with a photo."""

from __future__ import annotations

import keras
import numpy as np
import pytest

from carlib.freeze import Freezer
from carlib.models.build import blocks, build_model
from carlib.spec import ModelSpec, Phase

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
@pytest.mark.parametrize("batchnorm", ["frozen", "trained"])
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
            wanted = name in trained.blocks and (not norm or batchnorm == "trained")
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
