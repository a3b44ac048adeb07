"""Optimizers and learning-rate schedules by name, of Keras' own parts."""

from __future__ import annotations

from typing import Any

import keras
from keras.optimizers import schedules

from carlib.errors import look_up
from carlib.spec import Phase


def _constant(phase: Phase, steps: int, warmup: int) -> Any:
    if not warmup:
        return phase.lr
    # Straight up to lr, and there it stays.
    return schedules.PolynomialDecay(phase.lr / (warmup + 1), warmup, end_learning_rate=phase.lr)


def _cosine(phase: Phase, steps: int, warmup: int) -> Any:
    """Cosine to 0 over the phase (Loshchilov and Hutter 2017, SGDR, without restarts)."""
    if not warmup:
        return schedules.CosineDecay(phase.lr, steps)
    return schedules.CosineDecay(
        phase.lr / (warmup + 1),  # not 0: the first step would train nothing
        max(1, steps - warmup),
        warmup_target=phase.lr,
        warmup_steps=warmup,
    )


def _adamw(lr: Any, phase: Phase) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.AdamW(lr, weight_decay=phase.weight_decay)
    # Decaying biases and norms pulls them to 0 for nothing (He et al. 2019, Bag of Tricks).
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


SCHEDULES = {"constant": _constant, "cosine": _cosine}
OPTIMIZERS = {
    "adam": lambda lr, phase: keras.optimizers.Adam(lr),
    "adamw": _adamw,
    "sgd": lambda lr, phase: keras.optimizers.SGD(lr, momentum=0.9, nesterov=True),
}


def make_schedule(phase: Phase, steps_per_epoch: int) -> Any:
    """Return the learning rate of a phase: a number, or a function of the phase's step.

    Args:
        phase: Its schedule, lr, warm-up and epochs.
        steps_per_epoch: Steps an epoch, from 1.

    Raises:
        UsageError: Unknown schedule.

    >>> schedule = make_schedule(Phase("p", 2, 0.1, schedule="cosine"), 10)
    >>> round(float(schedule(10)), 3)
    0.05
    """
    make = look_up(SCHEDULES, phase.schedule, "schedule")
    return make(phase, phase.epochs * steps_per_epoch, round(phase.warmup * steps_per_epoch))


def make_optimizer(phase: Phase, steps_per_epoch: int) -> keras.optimizers.Optimizer:
    """Return a new optimizer for a phase, not built.

    Raises:
        UsageError: Unknown optimizer or schedule.
    """
    make = look_up(OPTIMIZERS, phase.optimizer, "optimizer")
    return make(make_schedule(phase, steps_per_epoch), phase)


def lr_at(phase: Phase, steps_per_epoch: int, step: int) -> float:
    """Return the learning rate of a step of the phase, counted from 0."""
    schedule = make_schedule(phase, steps_per_epoch)
    return float(schedule(step)) if callable(schedule) else float(schedule)
