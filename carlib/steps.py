"""A phase's training step: the model that it trains, compiled as every run compiles it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from carlib.features import head_of
from carlib.freeze import norms_of
from carlib.models.build import blocks, check_side, resized
from carlib.schedules import make_optimizer
from carlib.schedules.optimizers import layered
from carlib.spec import Phase, Recipe


def trainer_of(model: keras.Model, recipe: Recipe, phase: Phase) -> keras.Model:
    """Return what a phase trains: the head on cached features, or the whole on its photo size.

    Args:
        model: The run's, frozen for the phase.
        recipe: Its photo size holds where the phase has none.
        phase: Of the recipe.

    Raises:
        UsageError: Photos of a phase too small for the backbone.

    >>> from carlib.models.build import build_model
    >>> from carlib.spec import ModelSpec
    >>> phase = Phase("all", 1, 1e-3, size=48)
    >>> recipe = Recipe("r", ModelSpec("tiny", 32), (phase,))
    >>> trainer_of(build_model(recipe.model, 3), recipe, phase).input_shape
    (None, 48, 48, 3)
    """
    size = phase.size or recipe.model.size
    check_side(recipe.model.backbone, size)  # of cached features too: they are of such photos
    return head_of(model) if phase.views else resized(model, size)


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
    vars(trainer).pop("train_step", None)  # of a phase before
    if phase.statistics_only:
        phase = dataclasses.replace(phase, accumulate=1)  # each step counts by itself
        vars(trainer)["train_step"] = _statistics_step(trainer)
    optimizer = make_optimizer(phase, schedule)
    if phase.layer_decay < 1:
        optimizer = layered(optimizer, scales_of(trainer, phase.layer_decay))
    trainer.compile(optimizer, loss=loss_of(recipe), metrics=[accuracy])
    # Built before the first step: otherwise the step is traced twice.
    trainer.optimizer.build(trainer.trainable_variables)
    trainer.make_train_function()
    return [trainer.metrics[0], accuracy]


def _statistics_step(trainer: keras.Model) -> Callable[[Any], Any]:
    """Return a train step that learns nothing: moving statistics become means over the steps.

    Which step it is the optimizer counts, whose state a checkpoint holds.
    """
    norms = norms_of(trainer)
    moving = [each for norm in norms for each in (norm.moving_mean, norm.moving_variance)]

    def step(data: Any) -> Any:
        photos, truth, weight = keras.utils.unpack_x_y_sample_weight(data)
        count = trainer.optimizer.iterations
        # From nothing: what was there, however large or broken, leaves no rounding behind.
        so_far = [keras.ops.where(count == 0, 0.0, each) for each in moving]
        for variable, mean in zip(moving, so_far, strict=True):
            variable.assign(mean)
        with _of_the_batch(norms):
            found = trainer(photos, training=True)
        loss = trainer.compute_loss(photos, truth, found, weight)
        trainer.metrics[0].update_state(loss, sample_weight=keras.ops.shape(photos)[0])
        count.assign(count + 1)
        share = 1 / keras.ops.cast(count, "float32")
        for variable, mean in zip(moving, so_far, strict=True):
            variable.assign(mean + (variable - mean) * share)
        return trainer.compute_metrics(photos, truth, found, weight)

    return step


@contextmanager
def _of_the_batch(norms: Sequence[Any]) -> Iterator[None]:
    """Have BatchNorms keep the statistics of the batch alone, while they are traced."""
    kept = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, kept, strict=True):
            norm.momentum = momentum


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
