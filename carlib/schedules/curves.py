"""Learning-rate schedules by name, of Keras' own parts where it has them."""

from __future__ import annotations

import math
from typing import Any

import keras
from keras.optimizers import schedules

from carlib.errors import RunError, look_up
from carlib.schedules.own import factor_of, own_schedules
from carlib.spec import Phase


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


def _triangular2(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    """As cyclic, each cycle's peak half as far above the low end (Smith 2017, "triangular2")."""
    every = round(phase.every * epoch) if phase.every else -(-steps // 3)
    low, high, cycle = phase.decay * phase.lr, phase.lr, max(2, every)
    return _WarmUp(_Triangle(low, high, cycle, halves=True), warmup)


def _exponential(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    """Times decay every ``every`` epochs, a little at each update; of 0, over the whole phase."""
    every = max(1, round(phase.every * epoch)) if phase.every else steps
    return _WarmUp(schedules.ExponentialDecay(phase.lr, every, phase.decay), warmup)


def _piecewise(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    """Constant from each epoch of ``rates`` on, at its share of lr."""
    # Keras' values hold up to their boundary, and with it.
    ends = [round(since * epoch) - 1 for since, _ in phase.rates]
    values = [phase.lr, *(phase.lr * share for _, share in phase.rates)]
    return _WarmUp(schedules.PiecewiseConstantDecay(ends, values), warmup)


def _restarts(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    """Cosine from lr to 0, again and again (Loshchilov and Hutter 2017, arxiv.org/abs/1608.03983).

    Keras' CosineDecayRestarts finds the cycle of a step by logarithms in float32, and restarts a
    step late; so here every update's rate is laid down beforehand.
    """
    length = phase.every * epoch if phase.every else steps / 3
    rates, begun = [], 0.0
    for update in range(steps):
        while update - begun >= length - 1e-9:
            begun, length = begun + length, length * phase.growth
        within = (update - begun) / max(1.0, length)
        rates.append(phase.lr * 0.5 * (1 + math.cos(math.pi * within)))
    return _WarmUp(_Laid(rates), warmup)


def _onecycle(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    """Up to lr and down to almost nothing, both by cosine (Smith and Topin 2018).

    Shape and figures as torch's OneCycleLR has them: from lr / 25 up over 30% of the phase, or over
    ``warmup`` epochs, then down to lr / 250,000. Momentum stays (arxiv.org/abs/1708.07120).
    """
    top = (warmup or RISE * steps) - 1
    first, last = phase.lr / 25, phase.lr / 25 / 1e4

    def between(start: float, end: float, share: float) -> float:
        return end + (start - end) / 2 * (1 + math.cos(math.pi * share))

    rates = [
        between(first, phase.lr, update / top if top > 0 else 1.0)
        if update <= top
        else between(phase.lr, last, (update - top) / max(1.0, steps - 1 - top))
        for update in range(steps)
    ]
    return _Laid(rates)


def _own(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    """A user's: its factor on lr, update by update."""
    rates = []
    for update in range(steps):
        factor = factor_of(phase.schedule, update / epoch, phase.epochs)
        if not 0 <= factor <= MOST_FACTOR:
            raise RunError(
                f"schedule {phase.schedule!r} gave {factor} at epoch {update / epoch:.3g}; a "
                f"factor on the learning rate is a number from 0 to {MOST_FACTOR:g}"
            )
        rates.append(phase.lr * factor)
    return _WarmUp(_Laid(rates), warmup)


def _plateau(phase: Phase, steps: int, epoch: float, warmup: int) -> Any:
    return Scaled(_constant(phase, steps, epoch, warmup))


class _Triangle(schedules.LearningRateSchedule):
    """Between two rates and back, over and over, from the low one on.

    With ``halves``, each peak is half as far above the low rate as the one before.
    """

    def __init__(self, low: float, high: float, cycle: int, halves: bool = False):
        super().__init__()
        self.low, self.high, self.cycle, self.halves = low, high, cycle, halves

    def __call__(self, step: Any) -> Any:
        # In whole numbers: late steps lie closer together than float32 can tell.
        within = keras.ops.cast(keras.ops.mod(step, self.cycle), "float32")
        off = keras.ops.absolute(2 * within / self.cycle - 1)  # from the peak
        if not self.halves:
            return self.high - (self.high - self.low) * off
        number = keras.ops.cast(keras.ops.floor_divide(step, self.cycle), "float32")
        return self.low + (self.high - self.low) * 0.5**number * (1 - off)

    def get_config(self) -> dict[str, Any]:
        return {"low": self.low, "high": self.high, "cycle": self.cycle, "halves": self.halves}


class _Laid(schedules.LearningRateSchedule):
    """A rate for every update, laid down beforehand; the last holds on."""

    def __init__(self, rates: list[float]):
        super().__init__()
        self.rates = rates

    def __call__(self, step: Any) -> Any:
        last = keras.ops.minimum(keras.ops.cast(step, "int32"), len(self.rates) - 1)
        return keras.ops.take(keras.ops.convert_to_tensor(self.rates, "float32"), last)

    def get_config(self) -> dict[str, Any]:
        return {"rates": self.rates}


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


class Scaled(schedules.LearningRateSchedule):
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


RISE = 0.3  # of a onecycle phase
MOST_FACTOR = 1000.0
SCHEDULES = {
    "constant": _constant,
    "cosine": _cosine,
    "step": _step,
    "plateau": _plateau,
    "cyclic": _cyclic,
    "triangular2": _triangular2,
    "exponential": _exponential,
    "piecewise": _piecewise,
    "restarts": _restarts,
    "onecycle": _onecycle,
}


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
    make = look_up(SCHEDULES | dict.fromkeys(own_schedules(), _own), phase.schedule, "schedule")
    epoch = steps_per_epoch / phase.accumulate  # in updates
    made = make(phase, max(1, int(phase.epochs * epoch)), epoch, round(phase.warmup * epoch))
    if phase.accumulate == 1:
        return made
    if isinstance(made, Scaled):
        made.schedule = _per_update(made.schedule, phase.accumulate)
        return made
    return _per_update(made, phase.accumulate)


def lr_of(schedule: Any, step: int) -> float:
    """Return the learning rate of a step, counted from 0, by what ``make_schedule`` gave."""
    return float(schedule(step)) if callable(schedule) else float(schedule)
