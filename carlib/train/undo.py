"""The state that a run goes back to when a step has failed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from carlib.checkpoints import Position

ACCUMULATOR = "_gradient_accumulator"  # how Keras calls them, behind their weight's name
_COUNTS = ("optimizer/iteration", "optimizer/iteration#1")


@dataclass(frozen=True, slots=True, eq=False)
class Undo:
    """What a checkpoint holds, still in memory: the newest save, or what the session began with.

    A step that has failed leaves variables that were changed halfway (BatchNorm's statistics,
    weights whose gradients came early), so nothing goes on from there.

    Args:
        position: Where the run goes on.
        arrays: As ``collect`` gives them; nothing changes them.
        values: Likewise.
        name: Of the checkpoint.
        steps: Of the session by then. Defaults to 0.
        photos: Likewise. Defaults to 0.
    """

    position: Position
    arrays: Mapping[str, np.ndarray]
    values: Mapping[str, Any]
    name: str
    steps: int = 0
    photos: int = 0

    def split(self, parts: int) -> Undo:
        """Return the same state of a run with ``parts`` steps for each one.

        Keras counts steps, not updates, and adds up the means of their gradients: both grow.
        The loss scale stays, and so do the metrics, which count photos.

        >>> state = {"optimizer/iteration": np.int64(3), "optimizer/w_momentum": np.ones(1)}
        >>> halved = Undo(Position(0, 1, 3), state, {}, "").split(2)
        >>> halved.position.step, int(halved.arrays["optimizer/iteration"])
        (6, 6)
        """
        counted = {
            key: np.asarray(value * value.dtype.type(parts))
            for key, value in self.arrays.items()
            if key in _COUNTS or (key.startswith("optimizer/") and key.endswith(ACCUMULATOR))
        }
        position = dataclasses.replace(self.position, step=self.position.step * parts)
        return dataclasses.replace(self, position=position, arrays={**self.arrays, **counted})
