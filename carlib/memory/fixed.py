"""What is in memory all along a phase: weights and the optimizer's slots."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import keras

from carlib.memory.walk import FLOAT, size_of
from carlib.spec import Phase


def nbytes(variables: Iterable[Any]) -> int:
    """Return the bytes of variables."""
    return sum(
        math.prod(each.shape) * size_of(keras.backend.standardize_dtype(each.dtype))
        for each in variables
    )


def slots_of(trainer: keras.Model, phase: Phase) -> int:
    """Return the bytes of a phase's optimizer: moments, momentum, averages, accumulators.

    >>> from carlib.models.build import build_model
    >>> from carlib.spec import ModelSpec
    >>> model = build_model(ModelSpec("tiny", 32), 2)
    >>> slots_of(model, Phase("p", 1, 0.1, optimizer="sgd", momentum=0.0))
    0
    """
    trained = sum(int(math.prod(weight.shape)) for weight in trainer.trainable_weights) * FLOAT
    moments = 2 if phase.optimizer != "sgd" else int(phase.momentum > 0)
    return trained * (moments + bool(phase.ema) + (phase.accumulate > 1))
