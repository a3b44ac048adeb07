"""Validation metrics by name, of Keras' own, and which way each is better."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np

from carlib.errors import UsageError, suggestion

# Measured at every validation. log_loss is without label smoothing and class weights, so that
# it can be compared between recipes; the loss itself cannot.
ALWAYS: Mapping[str, Callable[[], Any]] = {
    "accuracy": lambda: keras.metrics.CategoricalAccuracy(),
    "macro_f1": lambda: keras.metrics.F1Score(average="macro"),
    "log_loss": lambda: keras.metrics.CategoricalCrossentropy(),
}
LOSS = "loss"


def is_higher_better(monitor: str) -> bool:
    """Return whether more of a monitored metric is better.

    Args:
        monitor: "loss", a name in ALWAYS, or a metric class of ``keras.metrics`` that takes
            one-hot labels and probabilities, such as "AUC" or "TopKCategoricalAccuracy".

    Raises:
        UsageError: No such metric, one that does not fit, or one whose direction Keras does not
            say.

    >>> is_higher_better("macro_f1"), is_higher_better("log_loss")
    (True, False)
    """
    if monitor == LOSS:
        return False
    metric = _make(monitor)
    # More classes than a top five, and not as many photos: some metrics take squares for theirs.
    truth = np.eye(8, dtype="float32")[[0, 1, 2, 3, 4, 5, 6, 7, 0]]
    right = 0.84 * truth + 0.02
    wrong = (1 - truth) / 7
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
        if not reason and values[0] == values[1]:
            reason = "is the same for right and for wrong predictions"
    if reason:
        raise UsageError(
            f"monitor: keras.metrics.{monitor} does not fit one-hot labels and probabilities "
            f"({reason}); use {_KNOWN}"
        )
    # Keras' own callbacks read the direction there in their mode "auto".
    direction = getattr(metric, "_direction", None)
    if direction not in ("up", "down"):
        raise UsageError(
            f"monitor: Keras does not say which way keras.metrics.{monitor} is better; use {_KNOWN}"
        )
    return bool(direction == "up")


_KNOWN = ", ".join(
    (LOSS, *ALWAYS, "or another classification metric of keras.metrics, such as AUC")
)


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
        metric.update_state(truth, found)
        values[name] = float(metric.result())
    # Keras counts in float32; a share of photos is written as everybody else computes it.
    values["accuracy"] = float(np.mean(np.argmax(found, axis=1) == np.argmax(truth, axis=1)))
    return values


def _make(name: str) -> Any:
    if name in ALWAYS:
        return ALWAYS[name]()
    kind = getattr(keras.metrics, name, None)
    if not (isinstance(kind, type) and issubclass(kind, keras.metrics.Metric)):
        named = [
            each for each in dir(keras.metrics) if isinstance(getattr(keras.metrics, each), type)
        ]
        near = suggestion(name, (LOSS, *ALWAYS, *named)).partition(" Known:")[0].rstrip(".")
        raise UsageError(f"unknown monitor {name!r}{near or '.'} It may be {_KNOWN}")
    try:
        return kind()
    except TypeError as error:
        raise UsageError(
            f"monitor: keras.metrics.{name} needs arguments ({error}); use {_KNOWN}"
        ) from error
