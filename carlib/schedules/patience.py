"""What a phase remembers of its validation: patience that resumes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from carlib.schedules.curves import Scaled
from carlib.spec import Phase


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
        if isinstance(schedule, Scaled):
            schedule.scale.assign(self.scale)

    def get(self) -> dict[str, Any]:
        """Return all of it, ready for JSON."""
        return dataclasses.asdict(self)

    def set(self, state: Mapping[str, Any], /) -> None:
        """Take back what ``get`` gave."""
        for entry in dataclasses.fields(self):
            setattr(self, entry.name, state[entry.name])
