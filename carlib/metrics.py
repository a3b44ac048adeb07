"""Validation metrics by name, of Keras' own or a user's, and which way each is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from carlib.errors import UsageError, suggestion
from carlib.registry import Registry

# Measured at every validation. log_loss is without label smoothing and class weights, so that
# it can be compared between recipes; the loss itself cannot.
ALWAYS: Mapping[str, Callable[[], Any]] = {
    "accuracy": lambda: keras.metrics.CategoricalAccuracy(),
    "macro_f1": lambda: keras.metrics.F1Score(average="macro"),
    "log_loss": lambda: keras.metrics.CategoricalCrossentropy(),
}
LOSS = "loss"


@dataclass(frozen=True, slots=True)
class Own:
    """A registered metric.

    Args:
        make: Returns a new one.
        higher: Whether more of it is better.
    """

    make: Callable[[], Any]
    higher: bool


_own: Registry[Own] = Registry("metric", lambda: (LOSS, *ALWAYS, *_of_keras()))


def add_metric(name: str, make: Callable[[], Any], higher: bool) -> None:
    """Register a validation metric of your own, for recipes of this process.

    Args:
        name: What a recipe's ``monitor`` says.
        make: Returns a new ``keras.metrics.Metric`` of one-hot labels and probabilities, both of
            shape (photos, classes), that comes to one number; for any number of classes.
        higher: Whether more of it is better.

    Raises:
        UsageError: No function, a direction that is neither True nor False, or a name that is
            taken, by a metric of Keras too.

    >>> add_metric("top3", lambda: keras.metrics.TopKCategoricalAccuracy(k=3), higher=True)
    >>> is_higher_better("top3")
    True
    >>> forget("top3")
    """
    if not callable(make):
        raise UsageError(
            f"make of metric {name!r} must be a function that returns a Keras metric; received "
            f"{make!r}"
        )
    if not isinstance(higher, bool):
        raise UsageError(f"higher of metric {name!r} must be True or False; received {higher!r}")
    _own.add(name, Own(make, higher))


def forget(name: str) -> None:
    """Take a metric of your own out again; a name that is not there is none."""
    _own.forget(name)


def is_higher_better(monitor: str) -> bool:
    """Return whether more of a monitored metric is better.

    Args:
        monitor: "loss", a name in ALWAYS, a metric class of ``keras.metrics`` that takes one-hot
            labels and probabilities, such as "AUC" or "TopKCategoricalAccuracy", or the name of a
            metric of your own.

    Raises:
        UsageError: No such metric, one that does not fit, or one whose direction Keras does not
            say; of your own, one that is better the other way.
        RunError: What your own was registered with failed.

    >>> is_higher_better("macro_f1"), is_higher_better("log_loss")
    (True, False)
    """
    if monitor == LOSS:
        return False
    metric = _make(monitor)
    # More classes than a top ten, and not as many photos: some metrics take squares for theirs.
    classes = 200
    truth = np.eye(classes, dtype="float32")[[*range(classes), 0]]
    right = 0.84 * truth + 0.16 / classes
    wrong = (1 - truth) / (classes - 1)
    values = []
    try:
        for found in (right, wrong):
            metric.reset_state()
            metric.update_state(truth, found)
            values.append(np.asarray(metric.result()))
    # Whatever a metric says of inputs that are not for it.
    except Exception as error:
        reason = " ".join(str(error).split())[:100]
    else:
        reason = f"gives {values[0].size} values" if values[0].size != 1 else ""
        if not reason and not np.isfinite(values).all():
            reason = f"gives {values[0]:g} for right and {values[1]:g} for wrong predictions"
        elif not reason and values[0] == values[1]:
            reason = "is the same for right and for wrong predictions"
    if reason:
        what = repr(monitor) if monitor in _own.things else f"keras.metrics.{monitor}"
        raise UsageError(
            f"monitor: {what} does not fit one-hot labels and probabilities ({reason}); use "
            f"{_known()}"
        )
    if monitor in _own.things:
        higher = _own.things[monitor].higher
        if higher != bool(values[0] > values[1]):
            raise UsageError(
                f"monitor: {monitor!r} is registered with higher={higher}, and is "
                f"{float(values[0]):.4g} for right and {float(values[1]):.4g} for wrong "
                f"predictions; give higher={not higher}"
            )
        return higher
    # Keras' own callbacks read the direction there in their mode "auto".
    direction = getattr(metric, "_direction", None)
    if direction not in ("up", "down"):
        raise UsageError(
            f"monitor: Keras does not say which way keras.metrics.{monitor} is better; use "
            f"{_known()}"
        )
    return bool(direction == "up")


def _known() -> str:
    others = "or another classification metric of keras.metrics, such as AUC"
    return ", ".join((LOSS, *ALWAYS, *_own.things, others))


def _of_keras() -> list[str]:
    return [name for name in dir(keras.metrics) if isinstance(getattr(keras.metrics, name), type)]


def measure(truth: np.ndarray, found: np.ndarray, monitor: str) -> dict[str, float]:
    """Return the metrics of predictions by name: those in ALWAYS, and the monitored one.

    Args:
        truth: One-hot labels, float32, shape (photos, classes).
        found: Probabilities, float32, same shape.
        monitor: As in ``is_higher_better``; "loss" adds nothing.

    >>> found = np.array([[0.75, 0.25], [0.75, 0.25]], "float32")
    >>> {name: round(value, 3) for name, value in measure(np.eye(2), found, "loss").items()}
    {'accuracy': 0.5, 'macro_f1': 0.333, 'log_loss': 0.837}
    """
    names = [*ALWAYS, *({monitor} - {LOSS, *ALWAYS})]
    values = {}
    for name in names:
        metric = _make(name)
        with _own.told(name, "update") if name in _own.things else nullcontext():
            metric.update_state(truth, found)
            values[name] = float(metric.result())
    # Keras counts in float32; a share of photos is written as everybody else computes it.
    values["accuracy"] = float(np.mean(np.argmax(found, axis=1) == np.argmax(truth, axis=1)))
    return values


def _make(name: str) -> Any:
    if name in ALWAYS:
        return ALWAYS[name]()
    if name in _own.things:
        return _made(name)
    kind = getattr(keras.metrics, name, None)
    if not (isinstance(kind, type) and issubclass(kind, keras.metrics.Metric)):
        names = (LOSS, *ALWAYS, *_own.things, *_of_keras())
        near = suggestion(name, names).partition(" Known:")[0].rstrip(".")
        raise UsageError(f"unknown monitor {name!r}{near or '.'} It may be {_known()}")
    try:
        return kind()
    except TypeError as error:
        raise UsageError(
            f"monitor: keras.metrics.{name} needs arguments ({error}); use {_known()}, or register "
            "it with them by carlib.metrics.add_metric"
        ) from error


def _made(name: str) -> Any:
    with _own.told(name, "make"):
        metric = _own.things[name].make()
    if not isinstance(metric, keras.metrics.Metric):
        raise UsageError(
            f"the make of metric {name!r} must return a keras.metrics.Metric; received {metric!r}"
        )
    metric.reset_state()  # one that is always the same would go on counting
    return metric
