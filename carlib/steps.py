"""A phase's training step: the model that it trains, compiled as every run compiles it."""

from __future__ import annotations

from typing import Any

import keras

from carlib.features import head_of
from carlib.models.build import resized
from carlib.schedules import make_optimizer
from carlib.spec import Phase, Recipe


def trainer_of(model: keras.Model, recipe: Recipe, phase: Phase) -> keras.Model:
    """Return what a phase trains: the head on cached features, or the whole on its photo size.

    Args:
        model: The run's, frozen for the phase.
        recipe: Its photo size holds where the phase has none.
        phase: Of the recipe.

    >>> from carlib.models.build import build_model
    >>> from carlib.spec import ModelSpec
    >>> phase = Phase("all", 1, 1e-3, size=48)
    >>> recipe = Recipe("r", ModelSpec("tiny", 32), (phase,))
    >>> trainer_of(build_model(recipe.model, 3), recipe, phase).input_shape
    (None, 48, 48, 3)
    """
    if phase.views:
        return head_of(model)
    return resized(model, phase.size or recipe.model.size)


def loss_of(recipe: Recipe) -> keras.losses.Loss:
    """Return the recipe's loss, of probabilities."""
    return keras.losses.CategoricalCrossentropy(label_smoothing=recipe.label_smoothing)


def compile_trainer(
    trainer: keras.Model, recipe: Recipe, phase: Phase, schedule: Any
) -> list[keras.metrics.Metric]:
    """Compile a phase's model, its optimizer built, and return the loss' and accuracy's means.

    Args:
        trainer: Of ``trainer_of``.
        recipe: Its loss.
        phase: Its optimizer.
        schedule: Of ``make_schedule``.
    """
    accuracy = keras.metrics.CategoricalAccuracy(name="accuracy")
    trainer.compile(make_optimizer(phase, schedule), loss=loss_of(recipe), metrics=[accuracy])
    # Built before the first step: otherwise the step is traced twice.
    trainer.optimizer.build(trainer.trainable_variables)
    trainer.make_train_function()
    return [trainer.metrics[0], accuracy]
