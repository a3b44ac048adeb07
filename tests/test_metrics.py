"""Validation metrics: their values, their direction, and what is no monitor."""

from __future__ import annotations

import math

import keras
import numpy as np
import pytest

from carlib.errors import UsageError
from carlib.metrics import ALWAYS, is_higher_better, measure

# Three photos of class 0, one of class 1; one of class 0 is taken for class 2.
TRUTH = np.eye(3, dtype=np.float32)[[0, 0, 0, 1]]
FOUND = np.array([[0.5, 0.25, 0.25], [0.8, 0.1, 0.1], [0.2, 0.2, 0.6], [0.1, 0.8, 0.1]], np.float32)
# F1 of class 0: precision 1, recall 2/3; of class 1: 1; of class 2, which has no photo: 0.
WANTED = {
    "accuracy": 0.75,
    "macro_f1": (0.8 + 1 + 0) / 3,
    "log_loss": -(math.log(0.5) + math.log(0.8) + math.log(0.2) + math.log(0.8)) / 4,
}


@pytest.mark.parametrize("monitor", ["accuracy", "macro_f1", "log_loss", "loss"])
def test_what_is_always_measured(monitor):
    assert measure(TRUTH, FOUND, monitor) == pytest.approx(WANTED, abs=1e-6)


def test_another_metric_of_keras_joins_them():
    found = measure(TRUTH, FOUND, "TopKCategoricalAccuracy")
    assert list(found) == [*ALWAYS, "TopKCategoricalAccuracy"]
    assert found["TopKCategoricalAccuracy"] == 1  # top 5 of 3


@pytest.mark.parametrize(
    ("monitor", "higher"),
    [
        ("accuracy", True),
        ("macro_f1", True),
        ("AUC", True),
        ("TopKCategoricalAccuracy", True),
        ("Precision", True),
        ("loss", False),
        ("log_loss", False),
        ("MeanSquaredError", False),
        ("KLDivergence", False),
    ],
)
def test_the_direction(monitor, higher):
    assert is_higher_better(monitor) is higher


def test_the_direction_is_true():
    """Better predictions move each metric the way that is called better."""
    better = 0.5 * FOUND + 0.5 * TRUTH
    for name in [*ALWAYS, "AUC", "MeanSquaredError"]:
        change = measure(TRUTH, better, name)[name] - measure(TRUTH, FOUND, name)[name]
        assert change > 0 if is_higher_better(name) else change < 0, name


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ("acuracy", r"unknown monitor 'acuracy'; did you mean 'accuracy'\? It may be loss, "),
        ("AUCC", "unknown monitor 'AUCC'; did you mean 'AUC'"),
        ("get", r"unknown monitor 'get'\. It may be loss, "),
        ("MeanIoU", r"keras.metrics.MeanIoU needs arguments \("),
        ("SparseCategoricalAccuracy", "does not fit one-hot labels and probabilities"),
        ("F1Score", "does not fit one-hot labels and probabilities"),  # a value a class
        ("Accuracy", "is the same for right and for wrong predictions"),
        ("Sum", "Keras does not say which way|does not fit"),
    ],
)
def test_no_monitor(monitor, message):
    with pytest.raises(UsageError, match=message) as caught:
        is_higher_better(monitor)
    assert "\n" not in str(caught.value)


def test_keras_agrees_on_the_names():
    for make in ALWAYS.values():
        assert isinstance(make(), keras.metrics.Metric)
