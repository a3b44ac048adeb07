"""Optimizers by name, of Keras' own."""

from __future__ import annotations

from collections.abc import Sequence
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


class _Layered:
    """An optimizer whose learning rate, decay included, is scaled variable by variable."""

    scales: Sequence[float] = ()  # in the order of the variables it is built with
    weight_decay: Any

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        scaled = learning_rate * self._scale_of(variable)
        super().update_step(gradient, variable, scaled)  # type: ignore[misc]

    def _apply_weight_decay(self, variables: Any) -> None:
        whole = self.weight_decay
        if whole is None:
            return
        for variable in variables:
            self.weight_decay = whole * self._scale_of(variable)
            super()._apply_weight_decay([variable])  # type: ignore[misc]
        self.weight_decay = whole

    def _scale_of(self, variable: Any) -> float:
        return self.scales[self._get_variable_index(variable)]  # type: ignore[attr-defined]


def layered(optimizer: keras.optimizers.Optimizer, scales: Sequence[float]) -> Any:
    """Return the optimizer with a factor on the learning rate of each variable.

    Args:
        optimizer: Not built yet.
        scales: A factor a variable, in the order of those that it will be built with.

    >>> optimizer = layered(keras.optimizers.SGD(0.5), [1.0, 0.1])
    >>> one, other = keras.Variable(1.0), keras.Variable(1.0)
    >>> optimizer.apply([1.0, 1.0], [one, other])
    >>> float(one), round(float(other), 3)
    (0.5, 0.95)
    """
    kind = type(optimizer)
    # A class of the same name: it is what its own variables are named after.
    optimizer.__class__ = type(kind.__name__, (_Layered, kind), {})
    optimizer.scales = tuple(scales)
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
    >>> make_optimizer(phase, 0.1).momentum
    0.9
    """
    return look_up(OPTIMIZERS, phase.optimizer, "optimizer")(schedule, phase)
