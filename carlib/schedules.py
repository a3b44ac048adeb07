"""Optimizers and learning-rate schedules by name, of Keras' own parts; patience that resumes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import keras
from keras.optimizers import schedules

from carlib.errors import UsageError, look_up
from carlib.spec import Phase

NOT_DECAYED = ["bias", "gamma", "beta"]


def _constant(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    if not warmup:
        return phase.lr
    # Straight up to lr, and there it stays.
    return schedules.PolynomialDecay(phase.lr / (warmup + 1), warmup, end_learning_rate=phase.lr)


def _cosine(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    """Cosine to 0 over the phase (Loshchilov and Hutter 2017, SGDR, without restarts)."""
    if not warmup:
        return schedules.CosineDecay(phase.lr, steps)
    return schedules.CosineDecay(
        phase.lr / (warmup + 1),  # not 0: the first step would train nothing
        max(1, steps - warmup),
        warmup_target=phase.lr,
        warmup_steps=warmup,
    )


def _step(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    every = max(1, round(phase.every * epoch)) if phase.every else -(-steps // 3)
    return _WarmUp(schedules.ExponentialDecay(phase.lr, every, phase.decay, staircase=True), warmup)


def _cyclic(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    """Straight up from decay * lr to lr and back (Smith 2017, arxiv.org/abs/1506.01186)."""
    every = round(phase.every * epoch) if phase.every else -(-steps // 3)
    # Of one update, a cycle would never leave its low end.
    return _WarmUp(_Triangle(phase.decay * phase.lr, phase.lr, max(2, every)), warmup)


def _plateau(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    return _Scaled(_constant(phase, steps, epoch, warmup))


class _Triangle(schedules.LearningRateSchedule):
    """Between two rates and back, over and over, from the low one on."""

    def __init__(self, low: float, high: float, cycle: int):
        super().__init__()
        self.low, self.high, self.cycle = low, high, cycle

    def __call__(self, step: Any) -> Any:
        # In whole numbers: late steps lie closer together than float32 can tell.
        within = keras.ops.cast(keras.ops.mod(step, self.cycle), "float32")
        off = keras.ops.absolute(2 * within / self.cycle - 1)  # from the peak
        return self.high - (self.high - self.low) * off

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "cycle": self.cycle}


class _WarmUp(schedules.LearningRateSchedule):
    """Another schedule, its first steps on a straight line from near 0 to the schedule itself."""

    def __init__(self, schedule: Any, steps: int):
        super().__init__()
        self.schedule, self.steps = schedule, steps

    def __call__(self, step: Any) -> Any:
        rise = (keras.ops.cast(step, "float32") + 1) / (self.steps + 1)
        return self.schedule(step) * keras.ops.minimum(rise, 1.0)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule, "steps": self.steps}


class _PerUpdate(schedules.LearningRateSchedule):
    """Another schedule, of updates: Keras asks by steps, accumulated ones counted one by one."""

    def __init__(self, schedule: Any, accumulate: int):
        super().__init__()
        self.schedule, self.accumulate = schedule, accumulate

    def __call__(self, step: Any) -> Any:
        return self.schedule(keras.ops.floor_divide(step, self.accumulate))

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule, "accumulate": self.accumulate}


def _per_update(schedule: Any, accumulate: int) -> Any:
    return _PerUpdate(schedule, accumulate) if callable(schedule) else schedule


class _Scaled(schedules.LearningRateSchedule):
    """Another schedule, or a number, times a factor that the run changes."""

    def __init__(self, schedule: Any):
        super().__init__()
        self.schedule = schedule
        self.scale = keras.Variable(1.0, trainable=False, name="scale")

    def __call__(self, step: Any) -> Any:
        lr = self.schedule(step) if callable(self.schedule) else self.schedule
        return lr * keras.ops.convert_to_tensor(self.scale)

    def get_config(self) -> dict[str, Any]:
        return {"schedule": self.schedule}


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


SCHEDULES = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "plateau": _plateau,
    "cyclic": _cyclic,
}
OPTIMIZERS = {"adam": _adam, "adamw": _adamw, "sgd": _sgd}


def make_schedule(phase: Phase, steps_per_epoch: int) -> Any:
    """Return the learning rate of a phase: a number, or a function of the phase's step.

    Args:
        phase: Its schedule, lr, warm-up, epochs, and steps an update.
        steps_per_epoch: Steps an epoch, from 1.

    Raises:
        UsageError: Unknown schedule.

    >>> schedule = make_schedule(Phase("p", 2, 0.1, schedule="cosine"), 10)
    >>> round(float(schedule(10)), 3)
    0.05
    """
    make = look_up(SCHEDULES, phase.schedule, "schedule")
    epoch = steps_per_epoch / phase.accumulate  # in updates
    made = make(phase, max(1, int(phase.epochs * epoch)), epoch, round(phase.warmup * epoch))
    if phase.accumulate == 1:
        return made
    if isinstance(made, _Scaled):
        made.schedule = _per_update(made.schedule, phase.accumulate)
        return made
    return _per_update(made, phase.accumulate)


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


def lr_of(schedule: Any, step: int) -> float:
    """Return the learning rate of a step, counted from 0, by what ``make_schedule`` gave."""
    return float(schedule(step)) if callable(schedule) else float(schedule)


def is_better(value: float, best: float | None, *, higher: bool) -> bool:
    """Return whether a metric's value beats the best so far; NaN beats nothing but "none yet".

    >>> is_better(0.5, 0.4, higher=True), is_better(0.5, float("nan"), higher=True)
    (True, True)
    """
    if best is None:
        return True
    if math.isnan(best):  # a metric that is not defined for some predictions
        return not math.isnan(value)
    return value > best if higher else value < best


@dataclass(slots=True)
class Patience:
    """What a phase remembers of its validation: when "plateau" cuts, when the phase ends.

    Keras' ReduceLROnPlateau and EarlyStopping forget all of it at every ``fit``; this belongs
    to the run and lies in its checkpoints.

    Args:
        best: Best value of the monitored metric in this phase; None before the first.
        since_best: Epochs after it.
        since_cut: Epochs after it or after the last cut, whichever was later.
        scale: Factor on the learning rate, the product of all cuts.

    >>> phase = Phase("p", 9, 0.1, schedule="plateau", patience=2, decay=0.5, early_stop=3)
    >>> patience = Patience()
    >>> [patience.take(phase, value, higher=True) for value in (0.3, 0.2, 0.3, 0.1)]
    [False, False, False, True]
    >>> patience.scale
    0.5
    """

    best: float | None = None
    since_best: int = 0
    since_cut: int = 0
    scale: float = 1.0
    name: ClassVar[str] = "patience"

    def take(self, phase: Phase, value: float, *, higher: bool) -> bool:
        """Take in an epoch's value; return whether the phase must end.

        Args:
            phase: Its schedule, patience, decay and early_stop.
            value: Of the monitored metric, on validation.
            higher: Whether more is better.
        """
        if is_better(value, self.best, higher=higher):
            self.best, self.since_best, self.since_cut = value, 0, 0
            return False
        self.since_best += 1
        self.since_cut += 1
        if phase.schedule == "plateau" and self.since_cut >= phase.patience:
            self.scale *= phase.decay
            self.since_cut = 0
        return 0 < phase.early_stop <= self.since_best

    def apply(self, schedule: Any) -> None:
        """Bring the scale into a schedule of ``make_schedule``; only "plateau" has a use for it."""
        if isinstance(schedule, _Scaled):
            schedule.scale.assign(self.scale)

    def get(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return dataclasses.asdict(self)

    def set(self, state: Mapping[str, Any], /) -> None:
        """Take back what ``get`` gave."""
        for entry in dataclasses.fields(self):
            setattr(self, entry.name, state[entry.name])
