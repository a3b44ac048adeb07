"""A phase's training step: the model that it trains, compiled as every run compiles it."""

from __future__ import annotations

from typing import Any

import keras

from carlib.features import head_of
from carlib.models.build import blocks, resized
from carlib.schedules import make_optimizer
from carlib.schedules.optimizers import layered
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
    """Return the recipe's loss, of probabilities.

    Focal: Lin et al. 2017, arxiv.org/abs/1708.02002, its alpha 1, as class weights are apart.
    """
    if recipe.loss == "focal":
        return keras.losses.CategoricalFocalCrossentropy(
            alpha=1.0, gamma=recipe.focal_gamma, label_smoothing=recipe.label_smoothing
        )
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
    optimizer = make_optimizer(phase, schedule)
    if phase.layer_decay < 1:
        optimizer = layered(optimizer, scales_of(trainer, phase.layer_decay))
    trainer.compile(optimizer, loss=loss_of(recipe), metrics=[accuracy])
    # Built before the first step: otherwise the step is traced twice.
    trainer.optimizer.build(trainer.trainable_variables)
    trainer.make_train_function()
    return [trainer.metrics[0], accuracy]


def scales_of(trainer: keras.Model, layer_decay: float) -> list[float]:
    """Return the factor on the learning rate of each variable that trains.

    The head's is 1, and each block's below is ``layer_decay`` times that of the block above.

    >>> from carlib.models.build import build_model
    >>> from carlib.spec import ModelSpec
    >>> model = build_model(ModelSpec("tiny", 32), 3)
    >>> scales = scales_of(model, 0.5)
    >>> scales[0], scales[-1]  # of stem and head, with four blocks between
    (0.03125, 1.0)
    """
    names = blocks(trainer)
    factors = {
        id(variable): layer_decay**place
        for place, members in enumerate(reversed(names.values()))
        for layer in members
        for variable in layer.trainable_variables
    }
    return [factors[id(variable)] for variable in trainer.trainable_variables]
