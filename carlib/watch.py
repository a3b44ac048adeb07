"""Early warnings: what the rows of a run's history say is going wrong, and what to do."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

FINITE = ("lr", "loss", "accuracy", "val_loss", "val_accuracy")  # must be, in each row
GAP = 0.25  # of accuracy, training above validation
GRACE = 5  # epochs of a phase in which a network that still moves may be at chance

Rows = Sequence[Mapping[str, Any]]


def watch(rows: Rows, classes: int, validation_photos: int) -> list[str]:
    """Return what goes wrong in a run so far, a sentence or two each; [] when all is well.

    To be asked after each epoch. A sentence's part before its colon stays the same from
    epoch to epoch, its figures do not.

    Args:
        rows: The history, a row an epoch: phase, epoch, lr, loss, accuracy, val_loss,
            val_accuracy, and maybe lr_start (accuracies as shares).
        classes: How many there are.
        validation_photos: How many there are; with 0, empty val_* cells are no fault.

    >>> row = {"phase": "head", "epoch": 1, "lr": 0.1, "loss": float("nan"), "accuracy": 0.1}
    >>> for sentence in watch([row], classes=10, validation_photos=0):
    ...     print(sentence.partition(".")[0])
    NaN or infinite values: first loss in epoch 1, where training diverged
    """
    found = (
        _not_finite(rows, validation_photos),
        _at_chance(rows, classes, validation_photos),
        _far_above(rows, validation_photos),
    )
    return [sentence for sentence in found if sentence]


def _value(row: Mapping[str, Any], name: str) -> float:
    try:
        return float(row[name])
    except (KeyError, TypeError, ValueError):  # no such column, None, an empty cell
        return math.nan


def _not_finite(rows: Rows, photos: int) -> str:
    # Without a count, one figure of validation shows that there was one.
    validated = photos > 0 or any(math.isfinite(_value(row, "val_loss")) for row in rows)
    names = [name for name in FINITE if validated or not name.startswith("val_")]
    for row in rows:
        for name in names:
            if not math.isfinite(_value(row, name)):
                return (
                    f"NaN or infinite values: first {name} in epoch {_value(row, 'epoch'):.0f}, "
                    "where training diverged. Lower the learning rate, or lengthen the warm-up."
                )
    return ""


def _at_chance(rows: Rows, classes: int, photos: int) -> str:
    """Speak after two epochs of a phase in which nothing moves, or five if training does."""
    if not rows or photos < 1 or classes < 2:
        return ""
    chance = 1 / classes
    bound = chance + 2 * math.sqrt(chance * (1 - chance) / photos)
    if bound >= 1:  # so few photos that guessing could get them all
        return ""
    phase = []
    for row in reversed(rows):
        # While it warms up, a network has not tried yet.
        if row.get("phase") != rows[-1].get("phase") or _warms_up(row):
            break
        phase.append(row)
    if len(phase) < 2:
        return ""
    last, before = phase[0], phase[1]
    if not all(_value(row, "val_accuracy") <= bound for row in (last, before)):
        return ""
    falls = _value(last, "loss") < 0.995 * _value(before, "loss")
    moves = falls or _value(last, "accuracy") > bound
    if moves and len(phase) < GRACE:
        return ""
    return (
        f"Validation accuracy is at chance: {_value(last, 'val_accuracy'):.1%} in epoch "
        f"{_value(last, 'epoch'):.0f}, where guessing among {classes} classes gives {chance:.1%} "
        f"and up to {bound:.1%} by luck. "
        + (
            "Training is not: check the labels of the validation photos; with batchnorm trained, "
            "its moving statistics may lack steps."
            if _value(last, "accuracy") > bound
            else "The network has not learnt: check labels, learning rate and weights."
        )
    )


def _warms_up(row: Mapping[str, Any]) -> bool:
    # Not so where lr_start is not known, nor where a constant rate is rounded.
    return _value(row, "lr_start") < 0.99 * _value(row, "lr")


def _far_above(rows: Rows, photos: int) -> str:
    # Two epochs of it: one may be an accident of a single validation.
    if len(rows) < 2 or not all(_gap(row, photos) > GAP for row in rows[-2:]):
        return ""
    last = rows[-1]
    return (
        f"Training accuracy is far above validation accuracy: {_value(last, 'accuracy'):.1%} "
        f"against {_value(last, 'val_accuracy'):.1%} in epoch {_value(last, 'epoch'):.0f}. The "
        "network overfits; and where augmentation or dropout is on, the training figure is "
        "pessimistic, so the true gap is wider still. Try stronger augmentation, more dropout or "
        "weight decay, fewer epochs, or a smaller part that trains."
    )


def _gap(row: Mapping[str, Any], photos: int) -> float:
    """Return training accuracy above validation accuracy; 0 where luck could make it."""
    validation = _value(row, "val_accuracy")
    gap = _value(row, "accuracy") - validation
    luck = 2 * math.sqrt(max(0.0, validation * (1 - validation)) / photos) if photos > 0 else 0.0
    return gap if gap > luck else 0.0
