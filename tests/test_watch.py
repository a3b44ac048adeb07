"""Early warnings: what is said of a sick course, and that a healthy one is left in peace."""

from __future__ import annotations

import math
import subprocess
import sys
from typing import Any

import pytest

from carlib.watch import watch

NAN, INF = math.nan, math.inf


def course(
    training: list[float], validation: list[Any], phase: str = "all", first: int = 1, **more: Any
) -> list[dict[str, Any]]:
    """Return a row an epoch of one phase; ``more`` holds a list, or a value for all epochs."""
    rows = []
    for at, (right, value) in enumerate(zip(training, validation, strict=True)):
        row = {
            "phase": phase,
            "epoch": first + at,
            "lr_start": 0.01,
            "lr": 0.01,
            "loss": 2.5 - 2 * right,
            "accuracy": right,
            "val_loss": "" if value == "" else 2.5 - 2 * float(value),
            "val_accuracy": value,
        }
        row.update({key: kept[at] if type(kept) is list else kept for key, kept in more.items()})
        rows.append({key: value for key, value in row.items() if value is not Ellipsis})
    return rows


# 10 classes and 400 validation photos: chance is 10%, two standard errors above it 13%.
HEALTHY = {
    "no epoch": [],
    "one epoch": course([0.3], [0.4]),
    "one epoch at chance": course([0.1], [0.1]),
    "one epoch far above": course([0.9], [0.3]),
    "rising": course([0.3, 0.5, 0.6, 0.7], [0.35, 0.5, 0.55, 0.6]),
    "strong augmentation: training below validation": course([0.2, 0.3, 0.4], [0.5, 0.6, 0.7]),
    "just above chance": course([0.1, 0.1, 0.1], [0.1, 0.14, 0.1]),
    "a slow start that moves": course([0.1, 0.11, 0.12], [0.1, 0.1, 0.1]),
    "moving statistics that lag": course([0.2, 0.3, 0.3, 0.3], [0.1, 0.1, 0.1, 0.12]),
    "warm-up": course([0.1] * 3, [0.1] * 3, lr_start=[0, 0.003, 0.006], lr=[0.003, 0.006, 0.01]),
    "the last epoch of a warm-up and one more": course(
        [0.1] * 2, [0.1] * 2, lr_start=[0.001, 0.01]
    ),
    "a new phase begins": course([0.5, 0.6], [0.5, 0.6], "head") + course([0.1], [0.1], "all", 3),
    "a phase an epoch": course([0.1], [0.1], "a")
    + course([0.1], [0.1], "b", 2)
    + course([0.1], [0.1], "c", 3),
    "one wild validation": course([0.5, 0.6, 0.7], [0.5, 0.3, 0.6]),
    "a wild one at the end": course([0.5, 0.6, 0.7], [0.5, 0.55, 0.3]),
    "a gap of a quarter": course([0.75, 0.8], [0.5, 0.55]),
    "an older history": course([0.3, 0.5], [0.3, 0.5], lr_start=Ellipsis),
    "a metric that is not defined yet": course([0.3, 0.5], [0.3, 0.5], val_macro_f1=NAN),
}


@pytest.mark.parametrize("rows", HEALTHY.values(), ids=HEALTHY)
def test_a_healthy_course(rows: list[dict[str, Any]]) -> None:
    for epochs in range(len(rows) + 1):
        assert watch(rows[:epochs], 10, 400) == []


@pytest.mark.parametrize("empty", ["", NAN, None, Ellipsis], ids=repr)
def test_no_validation_is_no_fault(empty: Any) -> None:
    rows = course([0.1, 0.5, 0.9], [0.0] * 3, val_accuracy=empty, val_loss=empty)
    assert watch(rows, 10, 0) == []


@pytest.mark.parametrize(
    ("classes", "photos"),
    [
        (3, 2),  # a guess may be right for both
        (2, 4),
        (1, 100),
        (0, 100),
        (10, 0),
    ],
)
def test_no_chance_is_known(classes: int, photos: int) -> None:
    assert watch(course([0.1] * 6, [0.1] * 6), classes, photos) == []


SICK: list[tuple[str, list[dict[str, Any]], str]] = [
    ("NaN or infinite", course([0.3, 0.2], [0.3, 0.2], loss=[NAN, 1.0]), "first loss in epoch 1,"),
    ("NaN or infinite", course([0.3, NAN], [0.3, 0.2]), "first loss in epoch 2,"),
    ("NaN or infinite", course([0.3, 0.3], [0.3, 0.3], val_loss=[1.0, INF]), "first val_loss in"),
    ("NaN or infinite", course([0.3], [0.3], val_loss=-INF), "Lower the learning rate, or"),
    ("NaN or infinite", course([0.3], [0.3], lr=""), "first lr in epoch 1, where"),
    ("NaN or infinite", course([0.3], [0.3], val_accuracy=None), "first val_accuracy in epoch 1"),
    ("NaN or infinite", course([0.3], [0.3], loss=Ellipsis), "first loss in epoch 1"),
    ("at chance", course([0.1, 0.1], [0.1, 0.13]), "13.0% in epoch 2, where guessing among 10"),
    ("at chance", course([0.1, 0.1], [0.1, 0.0]), "gives 10.0% and up to 13.0% by luck"),
    ("at chance", course([0.1, 0.1], [0.1, 0.1], lr_start=Ellipsis), "check labels, learning rate"),
    ("at chance", course([0.1, 0.1], [0.1, 0.1], lr_start=0.0099999), "The network has not learnt"),
    ("at chance", course([0.1, 0.1, 0.1], [0.5, 0.1, 0.1]), "in epoch 3"),  # it forgot again
    ("at chance", course([0.1] * 3, [0.1] * 3, lr_start=[0.001, 0.01, 0.01]), "in epoch 3"),
    ("at chance", course([0.1, 0.11, 0.12, 0.12, 0.13], [0.1] * 5), "has not learnt"),
    ("at chance", course([0.2, 0.2, 0.3, 0.3, 0.3], [0.1] * 5), "check the labels of the valid"),
    (
        "at chance",
        course([0.5], [0.5], "head") + course([0.1, 0.1], [0.1, 0.1], "all", 2),
        "10.0% in epoch 3",
    ),
    ("far above", course([0.6, 0.9], [0.3, 0.6]), "90.0% against 60.0% in epoch 2"),
    ("far above", course([0.4, 0.8, 0.9], [0.4, 0.5, 0.6]), "is pessimistic"),
    ("far above", course([0.8, 0.9], [0.5, 0.6]), "Try stronger augmentation, more dropout"),
    (
        "far above",
        course([0.8], [0.5], "head") + course([0.9], [0.6], "all", 2),
        "90.0% against 60.0% in epoch 2",
    ),
]


@pytest.mark.parametrize(("topic", "rows", "words"), SICK)
def test_a_sick_course(topic: str, rows: list[dict[str, Any]], words: str) -> None:
    (sentence,) = watch(rows, 10, 400)
    # What stays the same from epoch to epoch stands before the colon.
    assert topic in sentence.partition(":")[0]
    assert words in sentence.partition(":")[2]


def test_several_things_at_once() -> None:
    rows = course([0.5] * 5, [0.1] * 5, loss=[NAN, 1.0, 1.0, 1.0, 1.0])
    topics = [sentence.partition(":")[0] for sentence in watch(rows, 10, 400)]
    assert topics == [
        "NaN or infinite values",
        "Validation accuracy is at chance",
        "Training accuracy is far above validation accuracy",
    ]


@pytest.mark.parametrize(("photos", "warned"), [(400, True), (16, True), (8, False), (0, True)])
def test_a_gap_that_luck_could_make(photos: int, warned: bool) -> None:
    # Two standard errors of 60% among 16 photos are 24%, among 8 photos 35%.
    assert bool(watch(course([0.9, 0.9], [0.6, 0.6]), 10, photos)) == warned


def test_validation_shows_itself_without_a_count() -> None:
    (sentence,) = watch(course([0.3, 0.3], [0.3, 0.3], val_loss=[1.0, NAN]), 10, 0)
    assert "first val_loss in epoch 2" in sentence


def test_it_loads_nothing_heavy() -> None:
    script = (
        "import sys, carlib.watch\n"
        "print({'tensorflow', 'matplotlib', 'pandas', 'numpy'} & set(sys.modules))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"
