"""Optimizers by name, of Keras' own."""

from __future__ import annotations

from typing import Any

import keras

from carlib.errors import UsageError, look_up
from carlib.spec import Phase

NOT_DECAYED = ["bias", "gamma", "beta"]


def _options(phase: Phase) -> dict[str, Any]:
    """What all optimizers have in common."""
    options: dict[str, Any] = {"global_clipnorm": phase.clip} if phase.clip else {}
    if phase.accumulate > 1:
        options["gradient_accumulation_steps"] = phase.accumulate
    if phase.ema:
        # The average is kept beside the weights: Keras must never write it over them.
        options |= {"use_ema": True, "ema_momentum": phase.ema, "ema_overwrite_frequency": None}
    return options


def _adam(lr: Any, phase: Phase) -> keras.optimizers.Optimizer:
    if phase.weight_decay:
        raise UsageError(
            f"phase {phase.name!r}: adam takes no weight_decay; use optimizer = 'adamw', or "
            "weight_decay = 0"
        )
    return keras.optimizers.Adam(lr, **_options(phase))


def _adamw(lr: Any, phase: Phase) -> keras.optimizers.Optimizer:
    optimizer = keras.optimizers.AdamW(lr, weight_decay=phase.weight_decay, **_options(phase))
    # Decaying biases and norms pulls them to 0 for nothing (He et al. 2019, Bag of Tricks).
    optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer


def _sgd(lr: Any, phase: Phase) -> keras.optimizers.Optimizer:
    decay = phase.weight_decay or None
    optimizer = keras.optimizers.SGD(
        lr, phase.momentum, nesterov=phase.momentum > 0, weight_decay=decay, **_options(phase)
    )
    if decay:
        optimizer.exclude_from_weight_decay(var_names=NOT_DECAYED)
    return optimizer


OPTIMIZERS = {"adam": _adam, "adamw": _adamw, "sgd": _sgd}


def make_optimizer(phase: Phase, schedule: Any) -> keras.optimizers.Optimizer:
    """Return a new optimizer for a phase, not built.

    Args:
        phase: Its optimizer, momentum, weight decay and moving average.
        schedule: Of ``make_schedule``.

    Raises:
        UsageError: Unknown optimizer, or a weight decay that it does not have.

    >>> phase = Phase("p", 2, 0.1, optimizer="sgd")
    >>> make_optimizer(phase, make_schedule(phase, 10)).momentum
    0.9
    """
    return look_up(OPTIMIZERS, phase.optimizer, "optimizer")(schedule, phase)
